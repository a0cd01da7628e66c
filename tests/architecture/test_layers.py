"""Rules 1, 2, 3 and 8 hold in gwsmtp, and each is seen to find its violation."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.architecture import layers
from tests.architecture.house import House

Plant = Callable[[dict[str, str]], Path]
Rule = Callable[[House], list[str]]

RULES: tuple[Rule, ...] = (
    layers.imports_go_down,
    layers.no_cycles,
    layers.dynamic_imports_stay_in_their_places,
    layers.entry_points_exist,
    layers.pure_packages_stay_pure,
    layers.the_master_imports_no_gevent,
    layers.the_master_loads_no_gevent,
    layers.one_importer_of_spf,
)

BROKEN: list[tuple[Rule, dict[str, str], str]] = [
    (
        layers.imports_go_down,
        {"config/a.py": "import gwsmtp.cli.main"},
        "config may not import cli",
    ),
    (
        layers.imports_go_down,
        {"scan/a.py": "def f():\n    from gwsmtp.policy import chain\n", "policy/chain.py": ""},
        "gwsmtp/scan/a.py:2: scan may not import policy",
    ),
    (
        layers.imports_go_down,
        {"limits/a.py": "from ..spool import files\n", "spool/files.py": ""},
        "limits may not import spool",
    ),
    (
        layers.imports_go_down,
        {"base/a.py": "from gwsmtp import net", "net/__init__.py": ""},
        "base may not import net",
    ),
    (layers.imports_go_down, {"base/a.py": "import gevent"}, "base imports gevent"),
    (layers.imports_go_down, {"extra/a.py": ""}, "package extra has no layer"),
    (layers.imports_go_down, {"net/a.py": "import gwsmtp.extra.b"}, "net may not import extra"),
    (
        layers.no_cycles,
        {
            "net/a.py": "from gwsmtp.net.b import x",
            "net/b.py": "def f():\n    from gwsmtp.net import c",
            "net/c.py": "import gwsmtp.net.a",
        },
        "cycle gwsmtp.net.a > gwsmtp.net.b > gwsmtp.net.c > gwsmtp.net.a",
    ),
    (
        layers.dynamic_imports_stay_in_their_places,
        {"session/a.py": "import importlib\nimportlib.import_module('gwsmtp.cli.main')"},
        "gwsmtp/session/a.py:2: imports by string",
    ),
    (
        layers.entry_points_exist,
        {"master/children.py": "E = 'gwsmtp.process.worker:main'", "process/worker.py": "x = 1"},
        "no such entry point: gwsmtp.process.worker:main",
    ),
    (
        layers.entry_points_exist,
        {"master/children.py": "E = 'gwsmtp.process.gone'"},
        "no such entry point: gwsmtp.process.gone",
    ),
    (
        layers.pure_packages_stay_pure,
        {"protocol/a.py": "import socket"},
        "gwsmtp.protocol.a > sock",
    ),
    (
        layers.pure_packages_stay_pure,
        {
            "scan/wire.py": "def f():\n    from gwsmtp.net.dial import dial",
            "net/dial.py": "from gevent.socket import create_connection",
        },
        "gwsmtp.scan.wire > gwsmtp.net.dial > gevent.socket",
    ),
    (
        layers.pure_packages_stay_pure,
        {"limits/a.py": "from gwsmtp.base.clock import x", "base/clock.py": "import time"},
        "gwsmtp.limits.a > gwsmtp.base.clock > time",
    ),
    (
        layers.pure_packages_stay_pure,
        {"directory/a.py": "from gwsmtp.config.models import Config"},
        "gwsmtp.directory.a > gwsmtp.config.models",
    ),
    (
        layers.the_master_imports_no_gevent,
        {
            "master/a.py": "def f():\n    import gwsmtp.net.resolver",
            "net/__init__.py": "import dns.resolver",
            "net/resolver.py": "",
        },
        "gwsmtp.master.a > gwsmtp.net > dns.resolver",
    ),
    (
        layers.the_master_imports_no_gevent,
        {"cli/run.py": "from gevent import sleep"},
        "gwsmtp.cli.run > gevent",
    ),
    (
        layers.the_master_loads_no_gevent,
        {
            "__init__.py": "",
            "master/a.py": "__import__('gwsmtp.net.b')",
            "net/b.py": "import gevent",
        },
        "loaded before the fork: gevent",
    ),
    (
        layers.the_master_loads_no_gevent,
        {"__init__.py": "", "master/a.py": "raise RuntimeError('broken')"},
        "RuntimeError: broken",
    ),
    (layers.one_importer_of_spf, {"policy/other.py": "from spf import check2"}, "imports spf"),
]

FINE: list[tuple[Rule, dict[str, str]]] = [
    (
        layers.imports_go_down,
        {
            "cli/main.py": "import click\nfrom gwsmtp import __version__\nimport gwsmtp.master.a",
            "base/a.py": "import os.path\nfrom gwsmtp.base import b",
            "__init__.py": "",
        },
    ),
    (layers.no_cycles, {"net/a.py": "import gwsmtp.net.b", "net/b.py": "import gwsmtp.base.c"}),
    (layers.dynamic_imports_stay_in_their_places, {"process/boot.py": "__import__('x')"}),
    (
        layers.entry_points_exist,
        {"master/children.py": "E = 'gwsmtp.process.w:main'", "process/w.py": "def main(): ..."},
    ),
    (layers.pure_packages_stay_pure, {"scan/pool.py": "import gevent", "limits/a.py": "import os"}),
    (
        layers.the_master_imports_no_gevent,
        {"cli/main.py": "def f():\n    import gwsmtp.cli.top", "cli/top.py": "import gevent"},
    ),
    (layers.one_importer_of_spf, {"policy/spf.py": "import spf"}),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_gwsmtp_keeps(rule: Rule, house: House) -> None:
    assert rule(house) == []


@pytest.mark.parametrize(("rule", "files", "problem"), BROKEN)
def test_violation_is_found(rule: Rule, files: dict[str, str], problem: str, plant: Plant) -> None:
    found = rule(House(plant({f"gwsmtp/{path}": text for path, text in files.items()})))
    assert any(problem in line for line in found), found


@pytest.mark.parametrize(("rule", "files"), FINE)
def test_what_is_allowed_passes(rule: Rule, files: dict[str, str], plant: Plant) -> None:
    assert rule(House(plant({f"gwsmtp/{path}": text for path, text in files.items()}))) == []


def test_every_rule_is_tried_on_a_violation() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


def test_relative_imports_are_resolved(plant: Plant) -> None:
    house = House(
        plant(
            {
                "gwsmtp/net/__init__.py": "from . import b",
                "gwsmtp/net/a.py": "from .b import x\nfrom . import b\nfrom ..base import ids",
                "gwsmtp/net/b.py": "",
            }
        )
    )
    targets = [found.target for found in house.modules["gwsmtp.net.a"].imports]
    assert targets == ["gwsmtp.net.b", "gwsmtp.net.b", "gwsmtp.base"]
    assert [found.target for found in house.modules["gwsmtp.net"].imports] == ["gwsmtp.net.b"]
