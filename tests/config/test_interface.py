"""General, rows 2-7: the interface itself."""

from pathlib import Path

import pytest

from gwsmtp.config.loader import load_config
from tests.config.helpers import problems


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("name: Demo", "does not fit the pattern"),
        ("name: ''", "does not fit the pattern"),
        (f"name: {'x' * 41}", "at most 40 characters"),
        ("name: on", "must be text"),
        ("name: a, scan_failure_action: drop", "must be delay, allow or reject"),
        ("name: a, stats_module: promotheus", "needs host:port or unix:/path"),
        ("name: a, host_server: 'a b'", "host name"),
        ('name: a, notes: "a\\eb"', "control characters"),
    ],
)
def test_the_interface(tmp_path: Path, keys: str, expected: str) -> None:
    found = problems(tmp_path, f"interface: {{{keys}}}\n")
    assert any(expected in line for line in found), found


def test_sinks_of_statistics(tmp_path: Path) -> None:
    path = tmp_path / "gw.yaml"
    sinks = "[prometheus, 'prometheus:127.0.0.1:9108', 'unix:/run/s', 'stats.example:7']"
    path.write_text(f"interface: {{name: a, stats_module: {sinks}}}\n")
    assert load_config(path).interface.stats_module == (
        "prometheus", "prometheus:127.0.0.1:9108", "unix:/run/s", "stats.example:7",
    )  # fmt: skip
