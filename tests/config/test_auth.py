"""Users of AUTH."""

from pathlib import Path

from tests.config.helpers import problem, value_of


def test_back_ends(tmp_path: Path) -> None:
    assert value_of(tmp_path, "auth: {file: users}", "auth.file") == tmp_path / "users"
    found = problem(tmp_path, "auth: {backend: ldap}")
    assert found == "gw.yaml:2 auth.backend: must be file or passthrough"
