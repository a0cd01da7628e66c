"""Rules about listeners, TLS and the machine."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from gwsmtp.config.listenrules import is_for_this_machine, unreadable
from gwsmtp.config.loader import check_file
from tests.config.helpers import ORGANIZATION, errors, warnings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {listen: ['127.0.0.1:25', '127.0.0.1']}", "2 server.listen[1]: 127.0.0.1:25 is"),
        ("server: {listen: '0.0.0.0:465'}", "ssl.listen[0]: 0.0.0.0:465 is given twice"),
        ("ssl: {enabled: true}", "2 ssl.enabled: needs certificate_file"),
        ("ssl: {disable_protocols: [TLSv1, TLSv1.1, TLSv1.2]}", "disables every protocol"),
        ("ssl: {cipher_list: 'NOSUCH:CIPHER'}", "2 ssl.cipher_list: is no cipher string"),
        (
            "ssl: {enabled: true, certificate_file: /no/such.pem}",
            "2 ssl.certificate_file: /no/such.pem: No such file",
        ),
        ("paths: {run: /" + "x" * 90 + "}", "2 paths.run: is longer than 80 bytes"),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("server: {enabled: false}", "2 server.enabled: both servers are off"),
        (
            "server: {listen: ['0.0.0.0:25', '127.0.0.1:25']}",
            "2 server.listen[1]: 127.0.0.1:25 is covered",
        ),
        ("ssl: {enable_tls: on}", "2 ssl.enable_tls: STARTTLS is not offered without"),
        ("ssl: {enable_tls: on}", "ssl.disable_protocols: TLSv1.1 not disabled, yet OpenSSL 3"),
        (
            "ssl: {enable_tls: on, cipher_list: 'DEFAULT @SECLEVEL=0'}",
            "allows TLSv1.1 (RFC 8996: deprecated)",
        ),
        ("ssl: {key_file: /a}", "ssl.key_file: counts only together with certificate_file"),
        (
            "ssl: {enable_tls: on, certificate_file: /no/such.pem}",
            "ssl.certificate_file: /no/such.pem: No such file",
        ),
        ("workers: {user: root}", "workers.user: the children would keep root's rights"),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_the_machine_of_an_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    class Name:
        nodename = "Node1.example.com"

    monkeypatch.setattr(os, "uname", Name)
    assert is_for_this_machine("")
    assert is_for_this_machine("node1")
    assert is_for_this_machine("NODE1.example.com")
    assert not is_for_this_machine("node1.example.org")
    assert not is_for_this_machine("node2")


def test_another_machines_interface_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    path.write_text("interface: {name: a, host_server: elsewhere.example}\n" + ORGANIZATION)
    assert "will not run it" in check_file(path).warnings[0]


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two self-signed certificates, a.crt with a.key and b.crt with b.key."""
    directory = tmp_path_factory.mktemp("pem")
    for name in ("a", "b"):
        subprocess.run(
            shlex.split(
                f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN={name} "
                f"-keyout {directory}/{name}.key -out {directory}/{name}.crt"
            ),
            check=True,
            capture_output=True,
        )
        (directory / f"{name}.key").chmod(0o600)
    return directory


@pytest.mark.full
def test_certificate_and_key_belong_together(tmp_path: Path, pem: Path) -> None:
    text = "ssl: {{enabled: on, certificate_file: {0}/a.crt, key_file: {0}/{1}.key}}\n"
    modern = text.replace("enabled: on", "enabled: on, disable_protocols: [TLSv1, TLSv1.1]")
    assert warnings(tmp_path, modern.format(pem, "a")) == []
    found = errors(tmp_path, text.format(pem, "b"))
    assert found == ["2 ssl.key_file: the key does not belong to the certificate"]
    (pem / "a.key").chmod(0o644)
    found = warnings(tmp_path, modern.format(pem, "a"))
    assert found == ["2 ssl.key_file: holds a private key that others can read; chmod 600"]
    (pem / "a.key").chmod(0o600)
    (tmp_path / "junk.pem").write_text("junk")
    (tmp_path / "junk.pem").chmod(0o600)
    junk = f"ssl: {{enabled: on, certificate_file: {tmp_path}/junk.pem}}\n"
    assert "cannot be used" in errors(tmp_path, junk)[0]


@pytest.mark.full
def test_an_encrypted_key_needs_its_phrase_and_asks_nobody(tmp_path: Path, pem: Path) -> None:
    key = tmp_path / "c.key"
    subprocess.run(
        shlex.split(f"openssl rsa -aes256 -in {pem}/a.key -out {key} -passout pass:sesame"),
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    text = "ssl: {{enabled: on, certificate_file: {0}/a.crt, key_file: {1}, pass_phrase: '{2}'}}\n"
    assert "cannot be used" in errors(tmp_path, text.format(pem, key, ""))[0]
    assert "cannot be used" in errors(tmp_path, text.format(pem, key, "wrong"))[0]
    assert errors(tmp_path, text.format(pem, key, "sesame")) == []
    found = warnings(tmp_path, text.format(pem, key, "env:GW_NOT_SET"))
    assert any("GW_NOT_SET is not set" in line for line in found)


def test_a_named_pipe_does_not_stop_a_check(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert unreadable(pipe) == f"{pipe}: is not a regular file"
    assert unreadable(tmp_path) == f"{tmp_path}: is not a regular file"
    assert unreadable(tmp_path / "none").endswith("No such file or directory")
    (tmp_path / "file").write_text("")
    assert unreadable(tmp_path / "file") == ""
