"""Certificates kept good: what replaces what, who is told, and what a client is shown."""

import logging
import ssl
from pathlib import Path

import pytest

from gwsmtp.config.tls import ServerSslGroup, SslGroup, TlsPlan, tls_plan
from gwsmtp.master.tlscontexts import WATCH_MS, TlsContexts
from gwsmtp.net.tlsmaterial import TlsMaterial
from tests.support.pki import Authority, Files

NAME = "gw.example.test"


class ManualClock:
    def __init__(self) -> None:
        import time

        self.seconds = time.time()

    def monotonic(self) -> float:
        return self.seconds

    def boot_ms(self) -> int:
        return int(self.seconds * 1000)

    def now(self) -> float:
        return self.seconds

    def rfc5322(self) -> str:
        return ""

    def iso(self) -> str:
        return ""


def plan_of(files: Files, **more: object) -> TlsPlan:
    group = SslGroup.model_validate({**files.settings, **more})
    return tls_plan(group, ServerSslGroup())


class Shown:
    """One handshake in memory and what the client saw of it."""

    def __init__(
        self,
        material: TlsMaterial | None,
        ca: Path,
        name: str = NAME,
        maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        ciphers: str = "DEFAULT",
    ) -> None:
        assert material is not None, "no material"
        context = ssl.create_default_context(cafile=str(ca))
        context.check_hostname = False
        context.maximum_version = maximum
        context.set_ciphers(ciphers)
        buffers = [ssl.MemoryBIO() for _ in range(4)]
        client = context.wrap_bio(buffers[0], buffers[1], server_hostname=name)
        server = material.context.wrap_bio(buffers[2], buffers[3], server_side=True)
        for _ in range(6):
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    pass
                buffers[2].write(buffers[1].read())
                buffers[0].write(buffers[3].read())
        found = client.getpeercert()
        assert found is not None
        self.serial = int(str(found["serialNumber"]), 16)
        self.version = client.version()
        self.cipher = client.cipher()
        self.asked_name = getattr(server, "asked_name", "")


def test_nothing_wanted_is_nothing_made() -> None:
    assert TlsContexts().build(None) is None


def test_the_chain_is_sent_and_new_material_is_new(files: Files) -> None:
    contexts = TlsContexts()
    first, second = contexts.build(plan_of(files)), contexts.build(plan_of(files))
    assert Shown(first, files.ca).serial == files.serial
    assert first is not None
    assert second is not None
    assert first.context is not second.context  # ticket keys are a context's own
    assert Shown(first, files.ca).asked_name == NAME


def test_an_encrypted_key(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "gw", kind="rsa", phrase="sesame")
    material = TlsContexts().build(plan_of(files, pass_phrase="sesame"))
    assert Shown(material, files.ca).serial == files.serial


def test_protocols_and_ciphers_are_as_written(files: Files) -> None:
    only_12 = TlsContexts().build(plan_of(files, disable_protocols=("TLSv1", "TLSv1.1")))
    assert Shown(only_12, files.ca, maximum=ssl.TLSVersion.TLSv1_2).version == "TLSv1.2"
    none_old = TlsContexts().build(plan_of(files, disable_protocols="TLSv1, TLSv1.1, TLSv1.2"))
    with pytest.raises(ssl.SSLError):
        Shown(none_old, files.ca, maximum=ssl.TLSVersion.TLSv1_2)
    assert Shown(none_old, files.ca).version == "TLSv1.3"
    material = TlsContexts().build(plan_of(files, cipher_list="ECDHE-ECDSA-AES128-GCM-SHA256"))
    shown = Shown(material, files.ca, maximum=ssl.TLSVersion.TLSv1_2)
    assert shown.cipher is not None
    assert shown.cipher[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"


def test_the_server_name_chooses(tmp_path: Path, files: Files, authority: Authority) -> None:
    other = authority.issue(tmp_path, "other", names=("mx.other.test", "*.wild.test"))
    named = authority.issue(tmp_path, "named", number=1, names=("x.test",))
    rows = (
        {"certificate_file": str(other.certificate), "key_file": str(other.key)},
        {
            "certificate_file": str(named.certificate),
            "chain_file": str(named.chain),
            "key_file": str(named.key),
            "names": "asked.test",
        },
    )
    material = TlsContexts().build(plan_of(files, certificates=rows))
    assert material is not None
    by_name = {
        name: material.context_for(name)
        for name in ("mx.other.test", "MX.OTHER.TEST.", "a.wild.test", "a.b.wild.test", "x.test")
    }
    assert by_name["mx.other.test"] is by_name["MX.OTHER.TEST."] is by_name["a.wild.test"]
    assert by_name["a.b.wild.test"] is by_name["x.test"] is material.context
    assert Shown(material, files.ca, "asked.test").serial == named.serial
    assert Shown(material, files.ca, "unknown.test").serial == files.serial


def test_two_kinds_of_key_stand_side_by_side(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    rsa = authority.issue(tmp_path, "rsa", kind="rsa")
    row = {
        "certificate_file": str(rsa.certificate),
        "chain_file": str(rsa.chain),
        "key_file": str(rsa.key),
    }
    material = TlsContexts().build(plan_of(files, certificates=(row,)))
    old = ssl.TLSVersion.TLSv1_2
    for kind, expected in (("ECDSA", files.serial), ("RSA", rsa.serial)):
        ciphers = f"ECDHE-{kind}-AES128-GCM-SHA256"
        assert Shown(material, files.ca, ciphers=ciphers, maximum=old).serial == expected


def spoil(files: Files, how: str, authority: Authority) -> None:
    folder, stem = files.certificate.parent, files.certificate.stem
    match how:
        case "missing":
            files.certificate.unlink()
        case "junk":
            files.certificate.write_text("junk")
        case "mismatch":
            authority.issue(folder, "elsewhere", number=7).certificate.rename(files.certificate)
        case "expired":
            authority.issue(folder, stem, days=-0.1, begins_in_days=-9)
        case "early":
            authority.issue(folder, stem, begins_in_days=2)
        case _:
            files.key.write_text("")


@pytest.mark.parametrize("how", ["missing", "junk", "mismatch", "expired", "early", "no key"])
def test_what_is_bad_does_not_replace_what_was_good(
    files: Files, authority: Authority, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    contexts, clock = TlsContexts(), ManualClock()
    contexts.build(plan_of(files))
    spoil(files, how, authority)
    caplog.clear()
    assert not contexts.watch(clock.boot_ms())
    clock.seconds += 61
    assert not contexts.watch(clock.boot_ms())
    material = contexts.build(plan_of(files))
    assert Shown(material, files.ca).serial == files.serial
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1, errors  # once per change, however often it is looked at
    assert "the last good one is kept" in errors[0]
    renewed = authority.issue(files.certificate.parent, "gw", number=3)
    clock.seconds += 61
    assert contexts.watch(clock.boot_ms())
    material = contexts.build(plan_of(files))
    assert Shown(material, files.ca).serial == renewed.serial
    clock.seconds += 61
    assert not contexts.watch(clock.boot_ms())


def test_half_a_renewal_waits_for_the_other_half(files: Files, authority: Authority) -> None:
    contexts, clock = TlsContexts(), ManualClock()
    contexts.build(plan_of(files))
    new = authority.issue(files.certificate.parent, "new", number=4)
    new.certificate.rename(files.certificate)
    assert not contexts.watch(clock.boot_ms())
    new.key.rename(files.key)
    clock.seconds += 61
    assert contexts.watch(clock.boot_ms())
    assert Shown(contexts.build(plan_of(files)), files.ca).serial == new.serial


def test_touched_files_with_the_same_content_are_no_news(files: Files) -> None:
    contexts, clock = TlsContexts(), ManualClock()
    contexts.build(plan_of(files))
    content = files.certificate.read_bytes()
    files.certificate.unlink()
    files.certificate.write_bytes(content)
    assert not contexts.watch(clock.boot_ms())


def test_it_looks_once_a_minute(files: Files, authority: Authority) -> None:
    contexts, clock = TlsContexts(), ManualClock()
    contexts.build(plan_of(files))
    assert not contexts.watch(clock.boot_ms())
    authority.issue(files.certificate.parent, "gw")
    assert not contexts.watch(clock.boot_ms() + WATCH_MS - 1)
    assert contexts.watch(clock.boot_ms() + WATCH_MS)


def test_at_the_first_start_an_expired_one_is_better_than_none(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    files = authority.issue(tmp_path, "gw", days=-0.1, begins_in_days=-9)
    assert TlsContexts().build(plan_of(files)) is not None
    assert "the certificate has expired" in caplog.text


def test_without_any_usable_one_there_is_no_tls_and_no_failure(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    files.key.unlink()
    contexts = TlsContexts()
    assert contexts.build(plan_of(files)) is None
    assert "event=tls_unavailable" in caplog.text


def test_one_bad_unit_of_several_takes_nothing_else_along(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    row = {"certificate_file": str(tmp_path / "none.pem")}
    material = TlsContexts().build(plan_of(files, certificates=(row,)))
    assert Shown(material, files.ca).serial == files.serial


def test_time_alone_makes_a_certificate_bad_which_is_said_once(
    tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    files = authority.issue(tmp_path, "gw", days=1)
    contexts = TlsContexts(clock)
    contexts.build(plan_of(files))
    assert not caplog.records or "expired" not in caplog.text
    clock.seconds += 2 * 86400
    assert not contexts.watch(clock.boot_ms())
    clock.seconds += 61
    assert not contexts.watch(clock.boot_ms())
    assert caplog.text.count("the certificate has expired") == 1
    assert contexts.build(plan_of(files)) is not None
    assert caplog.text.count("the certificate has expired") == 1


def test_one_that_was_not_valid_yet_is_taken_when_it_is(
    files: Files, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    contexts = TlsContexts(clock)
    contexts.build(plan_of(files))
    authority.issue(files.certificate.parent, "gw", number=5, begins_in_days=1)
    assert not contexts.watch(clock.boot_ms())
    clock.seconds += 3600
    assert not contexts.watch(clock.boot_ms())
    assert caplog.text.count("not valid yet") == 1
    clock.seconds += 86400
    assert contexts.watch(clock.boot_ms())
    assert contexts.build(plan_of(files)) is not None
