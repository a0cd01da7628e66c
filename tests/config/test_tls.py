"""SSL, rows 25-35: what is accepted, normalised and refused."""

from pathlib import Path
from typing import Any

import pytest

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.tls import ServerSslGroup, SslGroup, TlsPlan, tls_plan
from tests.config.helpers import HEAD, config_of, problems, value_of


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        ("ssl: {listen: '[::]'}", "ssl.listen", (Endpoint("::", 465),)),
        (
            "ssl: {enable_tls: on, cipher_list: 'HIGH !aNULL,!RC4 : !3DES'}",
            "tls.ciphers",
            "HIGH:!aNULL:!RC4:!3DES",
        ),
        ("ssl: {disable_protocols: [TLSv1]}", "tls", None),
        ("ssl: {enable_tls: on}", "tls.allowed", ("TLSv1.1", "TLSv1.2")),
        (
            "server_ssl: {certificates: [{certificate_file: /a, names: 'A.example, *.B.example'}]}",
            "server_ssl.certificates.0.names",
            ("a.example", "*.b.example"),
        ),
        ("ssl: {disable_protocols: 'SSLv2, TLSv1'}", "ssl.disable_protocols", ("SSLv2", "TLSv1")),
    ],
)
def test_values_are_normalised(tmp_path: Path, text: str, key: str, expected: Any) -> None:
    assert value_of(tmp_path, text, key) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ssl: {disable_protocols: [TLSv1.3]}", 'did you mean "TLSv1'),
        ("ssl: {cipher_list: ''}", "at least 1 characters"),
        ("ssl: {certificates: [{names: a.example}]}", "certificate_file"),
        ("ssl: {certificates: [{certificate_file: /a, names: '*'}]}", "is no domain name"),
        ("ssl: {certificates: [{certificate_file: /a, names: 'a.*.b'}]}", "is no domain name"),
    ],
)
def test_values_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    found = problems(tmp_path, HEAD + text)
    assert any(expected in line for line in found), found


def plan_of(directory: Path, text: str) -> TlsPlan:
    config = config_of(directory, text)
    return tls_plan(config.ssl, config.server_ssl)


SERVER = """
server_ssl:
  certificate_file: /server.crt
  chain_file: /server.chain
  key_file: /server.key
  pass_phrase: sesame
  cipher_list: HIGH
  disable_protocols: [TLSv1, TLSv1.1]
  certificates: [{certificate_file: /more.pem}]
"""


def test_a_blank_unit_is_the_servers_as_a_whole(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "ssl: {chain_file: /own.chain, pass_phrase: own}\n" + SERVER)
    first, second = plan.units
    assert first.place == ("server_ssl",)
    assert (str(first.certificate), str(first.chain)) == ("/server.crt", "/server.chain")
    assert (str(first.key), first.pass_phrase.reveal()) == ("/server.key", "sesame")
    assert second.place == ("server_ssl", "certificates", 0)
    assert second.key == second.certificate


def test_an_own_unit_takes_nothing_from_the_servers(tmp_path: Path) -> None:
    (unit,) = plan_of(tmp_path, "ssl: {certificate_file: /own.pem}\n" + SERVER).units
    assert unit.place == ("ssl",)
    assert (str(unit.key), unit.chain, unit.pass_phrase.is_set) == ("/own.pem", None, False)


def test_ciphers_and_protocols_are_inherited_one_by_one(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "ssl: {certificate_file: /own.pem, cipher_list: AES256}\n" + SERVER)
    assert (plan.ciphers, plan.ciphers_place) == ("AES256", "ssl.cipher_list")
    assert (plan.allowed, plan.allowed_place) == (("TLSv1.2",), "server_ssl.disable_protocols")


def test_without_anything_written_the_manuals_defaults_count() -> None:
    plan = tls_plan(SslGroup(), ServerSslGroup())
    assert plan.units == ()
    assert plan.ciphers == "DEFAULT:!aNULL:!eNULL:!RC4:!3DES"
    assert plan.allowed == ("TLSv1.1", "TLSv1.2")
