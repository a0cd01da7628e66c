"""TLS on real processes: both listeners at once, and clients that others wrote."""

import os
import signal
import ssl
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import StartGateway
from tests.support.eventlog import events, wait_for_events
from tests.support.gateway import Gateway
from tests.support.pki import Authority, Files, Kind
from tests.support.rawclient import RawClient
from tests.support.rawsink import RawSink
from tests.support.running import tool
from tests.support.tlsclient import by_starttls, client_context, over_ssl
from tests.support.wait import wait_for

pytestmark = pytest.mark.full


@pytest.fixture
def files(folder: Path, authority: Authority) -> Files:
    return authority.issue(folder, "gw")


def settings_of(files: Files, **more: Any) -> dict[str, Any]:
    return {"ssl": files.on_both_listeners | more}


CONTENT = b"Subject: x\r\n\r\nhi\r\n"


def test_a_message_over_each_listener(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> None:
    gateway: Gateway = start_gateway(sink.address, settings_of(files))
    context = client_context(files.ca)
    plain, ssl = by_starttls(gateway.address, context), over_ssl(gateway.ssl_address, context)
    assert ssl.read_reply().code == 220
    for client in (plain, ssl):
        assert "STARTTLS" not in client.command("EHLO client.example").lines
        reply = client.send_message("a@client.example", ["b@example.test"], CONTENT)
        assert reply.code == 250, reply
        assert client.quit().code == 221
    assert [b"with ESMTPS id" in message.payload for message in sink.messages] == [True, True]
    sessions = wait_for_events(gateway, "session", 2)
    assert {line["listener"] for line in sessions} == {"plain", "ssl"}
    for line in sessions:
        assert line["tls"] == "TLSv1.3,TLS_AES_256_GCM_SHA384"
        assert (line["sni"], line["reason"]) == ("gw.example.test", "quit")


def run(command: Sequence[str | Path], said: bytes = b"", **environment: str) -> str:
    """What a program says, which must succeed."""
    done = subprocess.run(
        [str(part) for part in command],
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    text = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{command}: {text}"
    return text


def s_client(address: str, files: Files, *options: str | Path) -> str:
    return run(
        [
            *("openssl", "s_client", "-ign_eof", "-connect", address, "-CAfile", files.ca),
            *("-verify_return_error", "-servername", "gw.example.test"),
            *("-verify_hostname", "gw.example.test", *options),
        ],
        b"EHLO client.example\r\nquit\r\n",
    )


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_clients_that_others_wrote(
    start_gateway: StartGateway, sink: RawSink, folder: Path, authority: Authority, kind: Kind
) -> None:
    files = authority.issue(folder, "gw", kind=kind)
    gateway: Gateway = start_gateway(sink.address, settings_of(files))
    for address, options in (
        (gateway.address, ["-starttls", "smtp"]),
        (gateway.ssl_address, []),
    ):
        for version in ("-tls1_2", "-tls1_3"):
            said = s_client(address, files, version, *options)
            assert "Verify return code: 0 (ok)" in said
            assert "Secure Renegotiation IS" in said
            assert "221 2.0.0 Bye" in said
    host, _, port = gateway.address.rpartition(":")
    swaks: list[str | Path] = [
        *(tool("swaks"), "--server", host, "--from", "a@client.example"),
        *("--to", "b@example.test", "--helo", "client.example"),
    ]
    run([*swaks, "--port", port, "--tls"])
    run([*swaks, "--port", gateway.ssl_address.rpartition(":")[2], "--tls-on-connect"])
    assert [b"with ESMTPS id" in message.payload for message in sink.messages] == [True, True]
    (folder / "main.cf").write_text(
        "compatibility_level = 3.6\nmail_owner = nobody\n"
        "setgid_group = mail\ndefault_privs = daemon\nmeta_directory = /\n"
    )
    finger = run(
        [
            *(tool("posttls-finger"), "-c", "-l", "secure", "-F", files.ca, "-t", "20"),
            *(f"[{host}]:{port}", "gw.example.test"),
        ],
        MAIL_CONFIG=str(folder),
    )
    assert "Verified TLS connection established" in finger


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("starttls", [True, False])
def test_sessions_resume_on_any_of_four_workers(
    start_gateway: StartGateway, sink: RawSink, files: Files, version: str, starttls: bool
) -> None:
    gateway: Gateway = start_gateway(sink.address, settings_of(files) | {"workers": {"count": 4}})
    address = gateway.address if starttls else gateway.ssl_address
    options = [version, *(("-starttls", "smtp") if starttls else ())]
    session = files.key.with_suffix(".session")
    first = s_client(address, files, *options, "-sess_out", session)
    assert "New, TLSv1" in first
    wait_for_events(gateway, "session", 1)
    ready = [line for line in events(gateway, "child_ready") if line["child"][:6] == "worker"]
    workers = {line["child"]: int(line["pid"]) for line in ready}
    assert len(workers) == 4
    for number, (name, pid) in enumerate(workers.items()):
        with only_running(pid, workers.values()):
            said = s_client(address, files, *options, "-sess_in", session)
        assert "Reused, TLSv1" in said, said
        wait_for_events(gateway, "session", 2 + number)
        last = [line for line in gateway.log_lines() if "event=session" in line][-1]
        assert last.split()[1] == name


@contextmanager
def only_running(chosen: int, pids: Iterable[int]) -> Iterator[None]:
    """Who accepts is the kernel's choice; who stands still is not chosen."""
    others = [pid for pid in pids if pid != chosen]
    for pid in others:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in others:
            os.kill(pid, signal.SIGCONT)


def test_without_a_usable_certificate_mail_goes_on_in_clear(
    start_gateway: StartGateway, sink: RawSink, folder: Path, files: Files
) -> None:
    unreadable = folder / "key-that-is-a-folder"
    unreadable.mkdir()
    gateway: Gateway = start_gateway(sink.address, settings_of(files, key_file=str(unreadable)))
    assert gateway.ssl_addresses == []
    with RawClient(gateway.address) as client:
        assert "STARTTLS" not in client.greet().lines
        assert client.command("STARTTLS").text == "4.7.0 TLS not available now"
        assert client.send_message("a@c.example", ["b@example.test"], CONTENT).code == 250
    log = "\n".join(gateway.log_lines())
    assert "level=ERROR" in log
    assert "event=tls_certificate_bad key=ssl.key_file" in log
    assert "event=tls_unavailable" in log


def test_handshakes_that_never_end_are_ended_and_hold_up_nobody(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> None:
    settings = settings_of(files) | {"protocol": {"tls_negotiation_timeout": 1}}
    gateway: Gateway = start_gateway(sink.address, settings)
    stalled = [RawClient(gateway.ssl_address) for _ in range(100)]
    for client in stalled[:50]:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00")
    with over_ssl(gateway.ssl_address, client_context(files.ca)) as good:
        good.greet()
        assert good.command("NOOP").code == 250
    for client in stalled:
        assert b"220" not in client.read_to_end()
        client.close()
    ended = wait_for_events(gateway, "session", 101)
    assert sum(line["reason"] == "timeout: TLS handshake" for line in ended) == 100
    assert all(float(line["seconds"]) < 5 for line in ended)


def test_a_server_name_beyond_ascii_ends_its_own_handshake_only(
    start_gateway: StartGateway, sink: RawSink, files: Files
) -> None:
    gateway: Gateway = start_gateway(sink.address, settings_of(files))
    context = client_context(files.ca)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    hello = context.wrap_bio(incoming, outgoing, server_hostname="gw.example.test")
    with pytest.raises(ssl.SSLWantReadError):
        hello.do_handshake()
    with RawClient(gateway.ssl_address) as client:
        client.send(outgoing.read().replace(b"gw.example", b"gw\n\xff=ample"))
        assert b"220" not in client.read_to_end()
    (line,) = wait_for_events(gateway, "session", 1)
    assert line["reason"] == "TLS: callback failed"
    with over_ssl(gateway.ssl_address, context) as good:
        good.greet()
    log = gateway.log_lines()
    assert not any("Traceback" in line for line in log), "\n".join(log)
    assert sum("event=unraisable" in line for line in log) == 1
    wait_for(
        lambda: len([line for line in gateway.log_lines() if "event=session" in line]) == 2,
        "the second session's line",
    )
