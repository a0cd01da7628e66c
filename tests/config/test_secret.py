"""Secrets: where they come from, and that they show themselves nowhere."""

import pickle
from pathlib import Path

import pytest

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.crosscheck import readable_secrets
from gwsmtp.config.secret import MASK, Secret
from gwsmtp.config.show import as_yaml, plain
from tests.config.helpers import HEAD, check, config_of, problem, write

RELAY = (
    "external_delivery: {{use_relay_server: true, relay_targets: "
    '[{{host: r.example, authentication: cram-md5, username: u, password: "{}"}}]}}\n'
)


def secret_of(directory: Path, text: str) -> Secret:
    config = config_of(directory, RELAY.format(text))
    return config.external_delivery.relay_targets[0].password


def test_a_literal_is_masked_everywhere(tmp_path: Path) -> None:
    config = config_of(tmp_path, RELAY.format("hush-hush"))
    secret = config.external_delivery.relay_targets[0].password
    assert secret.reveal() == "hush-hush"
    assert secret.is_literal
    assert "hush" not in repr(config) + str(secret) + as_yaml(config) + str(plain(config))
    assert MASK in as_yaml(config)


def test_a_file_is_read_when_asked(tmp_path: Path) -> None:
    secret = secret_of(tmp_path, "file:pw")
    assert secret.path == tmp_path / "pw"
    with pytest.raises(ConfigError, match="No such file"):
        secret.reveal()
    (tmp_path / "pw").write_bytes(b"one\r\ntwo\n")
    assert secret.reveal() == "one"
    (tmp_path / "pw").write_bytes(b"\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        secret.reveal()
    assert str(secret) == f"file:{tmp_path}/pw"


def test_the_environment_is_read_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = secret_of(tmp_path, "env:GW_PW")
    monkeypatch.delenv("GW_PW", raising=False)
    with pytest.raises(ConfigError, match="GW_PW is not set"):
        secret.reveal()
    monkeypatch.setenv("GW_PW", "x")
    assert secret.reveal() == "x"
    assert secret.path is None
    assert str(secret) == "env:GW_PW"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("env:1x", "needs the name"), ("env:", "needs the name"), ("file:", "needs a path"),
     ("x" * 5000, "at most 4096")],
)  # fmt: skip
def test_bad_sources(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in problem(tmp_path, RELAY.format(text))


def test_nothing_written_is_nothing() -> None:
    empty = Secret("")
    assert not empty
    assert empty.public() == ""
    assert not empty.is_literal
    assert empty == Secret("")
    assert Secret("a") != Secret("a", "env")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a")}) == 1
    assert repr(Secret("a")) == f"Secret('{MASK}')"
    assert pickle.loads(pickle.dumps(Secret("a"))) == Secret("a")


def test_a_pass_phrase_may_be_an_absolute_path(tmp_path: Path) -> None:
    phrase = tmp_path / "phrase"
    phrase.write_text("open sesame\n")
    config = config_of(tmp_path, f"ssl: {{pass_phrase: {phrase}}}\n")
    assert config.ssl.pass_phrase.reveal() == "open sesame"
    config = config_of(tmp_path, "ssl: {pass_phrase: /no/such/file}\n")
    assert config.ssl.pass_phrase.reveal() == "/no/such/file"
    assert "/no/such" not in as_yaml(config)
    config_of(tmp_path, f"ssl: {{pass_phrase: /{'x' * 300}}}\n")


def test_a_literal_others_can_read_is_a_warning(tmp_path: Path) -> None:
    text = RELAY.format("hush")
    assert not any("is a literal secret" in w for w in check(tmp_path, text, 0o600).warnings)
    found = [w for w in check(tmp_path, text, 0o640).warnings if "is a literal secret" in w]
    assert len(found) == 1
    assert "relay_targets[0].password: is a literal secret" in found[0]
    assert "hush" not in found[0]
    assert not any(
        "is a literal secret" in w for w in check(tmp_path, RELAY.format("env:A"), 0o644).warnings
    )


def test_literals_of_organisations_are_seen_too(tmp_path: Path) -> None:
    text = (
        "organizations: [{name: r, domains: [{name: a.example, smtp_hosts: "
        "[{host: h.example, authentication: cram-md5, username: u, password: hush}]}]}]\n"
    )
    found = [w for w in check(tmp_path, text, 0o644).warnings if "is a literal secret" in w]
    assert len(found) == 1
    assert "smtp_hosts[0].password" in found[0]


def test_a_file_that_is_gone_gives_no_warning(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD)
    path.unlink()
    assert readable_secrets({}, path) == []
