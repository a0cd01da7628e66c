"""Rules about TLS: what is refused, and what a check warns about (SETTINGS rows 25-35)."""

from pathlib import Path

import pytest

from tests.config.helpers import errors, warnings
from tests.support.pki import Authority, Files

MODERN = "disable_protocols: [TLSv1, TLSv1.1]"


def ssl_of(files: Files, more: str = "", group: str = "ssl") -> str:
    return (
        f"{group}: {{enabled: on, {MODERN}, certificate_file: {files.certificate}, "
        f"chain_file: {files.chain}, key_file: {files.key}{more}}}\n"
    ).replace("enabled: on, " if group == "server_ssl" else "\0", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssl: {enabled: true}", "2 ssl.enabled: needs certificate_file"),
        ("ssl: {disable_protocols: [TLSv1, TLSv1.1, TLSv1.2]}", "disables every protocol"),
        ("server_ssl: {disable_protocols: [TLSv1, TLSv1.1, TLSv1.2]}", "server_ssl.disable_proto"),
        ("ssl: {cipher_list: 'NOSUCH:CIPHER'}", "2 ssl.cipher_list: is no cipher string"),
        ("server_ssl: {cipher_list: 'NOSUCH'}", "2 server_ssl.cipher_list: is no cipher string"),
        (
            "ssl: {enabled: true, certificate_file: /no/such.pem}",
            "2 ssl.certificate_file: /no/such.pem: No such file",
        ),
        (
            "ssl: {enabled: true}\nserver_ssl: {certificate_file: /no/such.pem}",
            "3 server_ssl.certificate_file: /no/such.pem: No such file",
        ),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssl: {enable_tls: on}", "2 ssl.enable_tls: STARTTLS is not offered without"),
        ("ssl: {enable_tls: on}", "ssl.disable_protocols: TLSv1.1 not disabled, yet OpenSSL 3"),
        (
            "ssl: {enable_tls: on, cipher_list: 'DEFAULT @SECLEVEL=0'}",
            "allows TLSv1.1 (RFC 8996: deprecated)",
        ),
        ("ssl: {key_file: /a}", "ssl.key_file: counts only together with certificate_file"),
        (
            "server_ssl: {certificates: [{certificate_file: /a}]}",
            "server_ssl.certificates: counts only together with certificate_file",
        ),
        (
            "ssl: {enable_tls: on, certificate_file: /no/such.pem}",
            "ssl.certificate_file: /no/such.pem: No such file",
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_a_good_unit_is_silent(tmp_path: Path, files: Files) -> None:
    assert warnings(tmp_path, ssl_of(files)) == []


def test_the_servers_unit_will_do(tmp_path: Path, files: Files) -> None:
    text = f"ssl: {{enabled: on, {MODERN}}}\n" + ssl_of(files, group="server_ssl")
    assert warnings(tmp_path, text) == []


def test_a_key_of_another_certificate_is_refused(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    other = authority.issue(tmp_path, "other", number=1)
    files.key.write_bytes(other.key.read_bytes())
    expected = ["2 ssl.key_file: the key does not belong to the certificate"]
    assert errors(tmp_path, ssl_of(files)) == expected


def test_a_key_others_can_read_is_a_warning(tmp_path: Path, files: Files) -> None:
    files.key.chmod(0o640)
    expected = ["2 ssl.key_file: holds a private key that others can read; chmod 600"]
    assert warnings(tmp_path, ssl_of(files)) == expected


def test_a_file_that_is_no_certificate_is_refused(tmp_path: Path, files: Files) -> None:
    files.certificate.write_text("junk")
    assert errors(tmp_path, ssl_of(files)) == [
        "2 ssl.certificate_file: holds no certificate in PEM form"
    ]


def test_an_encrypted_key_needs_its_phrase(tmp_path: Path, authority: Authority) -> None:
    files = authority.issue(tmp_path, "gw", kind="rsa", phrase="sesame")
    assert errors(tmp_path, ssl_of(files)) == ["2 ssl.key_file: the key needs a pass phrase"]
    wrong = errors(tmp_path, ssl_of(files, ", pass_phrase: wrong"))
    assert "the pass phrase is wrong" in wrong[0]
    assert errors(tmp_path, ssl_of(files, ", pass_phrase: sesame")) == []
    (tmp_path / "phrase").write_text("sesame\n")
    assert errors(tmp_path, ssl_of(files, f", pass_phrase: {tmp_path}/phrase")) == []
    found = warnings(tmp_path, ssl_of(files, ", pass_phrase: 'env:GW_NOT_SET'"))
    assert any("GW_NOT_SET is not set" in line for line in found)


@pytest.mark.parametrize(
    ("days", "begins_in_days", "expected"),
    [
        (-0.5, -9, "the certificate has expired on 20"),
        (13, -9, "the certificate expires on 20"),
        (15, -9, ""),
        (90, 2, "the certificate is not valid yet"),
    ],
)
def test_age_is_a_warning(
    tmp_path: Path, authority: Authority, days: float, begins_in_days: float, expected: str
) -> None:
    files = authority.issue(tmp_path, "gw", days=days, begins_in_days=begins_in_days)
    found = warnings(tmp_path, ssl_of(files))
    assert len(found) == bool(expected)
    assert all(expected in line for line in found)


def test_a_chain_of_somebody_else_is_a_warning(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    files.chain.write_bytes(files.ca.read_bytes())
    assert warnings(tmp_path, ssl_of(files)) == [
        "2 ssl.chain_file: the chain does not hold the issuer of the certificate"
    ]


def test_two_certificates_for_one_name_need_two_kinds_of_key(
    tmp_path: Path, files: Files, authority: Authority
) -> None:
    def more(other: Files) -> str:
        row = f"{{certificate_file: {other.certificate}, key_file: {other.key}}}"
        return ssl_of(files, f", certificates: [{row}]")

    assert warnings(tmp_path, more(authority.issue(tmp_path, "rsa", kind="rsa"))) == []
    found = warnings(tmp_path, more(authority.issue(tmp_path, "same", number=1)))
    assert found == [
        "2 ssl.certificates[0].certificate_file: is for gw.example.test like one before it, "
        "which is shown instead"
    ]
