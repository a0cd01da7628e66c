"""A certificate with its chain and key: read whole, and proved."""

import os
from pathlib import Path

import pytest

from gwsmtp.config.certificates import (
    MAX_OCTETS,
    CertificateProblem,
    file_states,
    read_file,
    read_unit,
)
from gwsmtp.config.secret import Secret
from gwsmtp.config.tls import TlsUnit
from tests.support.pki import Authority, Files, Kind


def unit_of(files: Files, phrase: str = "", names: tuple[str, ...] = ()) -> TlsUnit:
    return TlsUnit(("ssl",), files.certificate, files.chain, files.key, Secret(phrase), names)


@pytest.mark.parametrize("kind", ["rsa", "ecdsa"])
def test_a_good_unit(tmp_path: Path, authority: Authority, kind: Kind) -> None:
    files = authority.issue(tmp_path, "gw", kind=kind, names=("A.example", "*.b.example"))
    loaded = read_unit(unit_of(files))
    assert loaded.names == ("a.example", "*.b.example")
    assert loaded.pem == files.certificate.read_bytes() + files.chain.read_bytes()
    assert loaded.key == files.key.read_bytes()
    assert loaded.chain_fits
    assert kind in loaded.key_kind.lower() or loaded.key_kind.startswith("ECPrivate")
    assert loaded.not_before < loaded.not_after
    assert int(loaded.serial, 16) == files.serial


def test_one_file_may_hold_all(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "gw")
    whole = tmp_path / "all.pem"
    parts = (files.key, files.certificate, files.chain)
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    loaded = read_unit(TlsUnit(("ssl",), whole, None, whole, Secret(""), ()))
    assert loaded.chain_fits


def test_names_written_count_instead_of_the_certificates(
    tmp_path: Path, authority: Authority
) -> None:
    files = authority.issue(tmp_path, "gw")
    assert read_unit(unit_of(files, names=("mx.example",))).names == ("mx.example",)


def test_a_phrase_nobody_needs_is_harmless(tmp_path: Path, authority: Authority) -> None:
    assert read_unit(unit_of(authority.issue(tmp_path, "gw"), "phrase")).phrase == "phrase"


@pytest.mark.parametrize("part", ["certificate", "chain", "key"])
@pytest.mark.parametrize("content", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_junk_is_a_problem_of_its_part(
    tmp_path: Path, authority: Authority, part: str, content: bytes
) -> None:
    files = authority.issue(tmp_path, "gw")
    path: Path = getattr(files, part)
    path.write_bytes(content)
    if part == "chain" and not content:
        assert read_unit(unit_of(files)).pem.startswith(files.certificate.read_bytes().rstrip())
        return
    with pytest.raises(CertificateProblem) as caught:
        read_unit(unit_of(files))
    assert caught.value.field == f"{part}_file"
    assert not caught.value.is_unread


@pytest.mark.parametrize("part", ["certificate", "chain", "key"])
def test_a_file_that_is_not_there_is_said_so(
    tmp_path: Path, authority: Authority, part: str
) -> None:
    files = authority.issue(tmp_path, "gw")
    path: Path = getattr(files, part)
    path.unlink()
    with pytest.raises(CertificateProblem, match="No such file") as caught:
        read_unit(unit_of(files))
    assert caught.value.is_missing
    assert caught.value.is_unread


def test_strange_files_do_not_stop_us(tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large"
    os.mkfifo(pipe)
    large.write_bytes(bytes(MAX_OCTETS + 1))
    assert read_file(pipe)[0] == f"{pipe}: is not a regular file"
    assert read_file(large)[0] == f"{large}: is too large"
    assert read_file(tmp_path)[0].startswith(f"{tmp_path}: ")


def test_states_tell_a_replaced_file(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "gw")
    before = file_states((unit_of(files),))
    assert before == file_states((unit_of(files),))
    authority.issue(tmp_path, "gw")
    after = file_states((unit_of(files),))
    assert before != after
    files.key.unlink()
    assert file_states((unit_of(files),)) != after
