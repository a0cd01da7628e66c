"""config.whereabouts: which gateway a file means, whatever else is wrong with it."""

from pathlib import Path

import pytest

from gwsmtp.base.errors import ConfigError
from gwsmtp.config.whereabouts import Whereabouts, find_whereabouts


def found(folder: Path, text: str) -> Whereabouts:
    file = folder / "gw.yaml"
    file.write_text(text)
    return find_whereabouts(file)


def test_a_good_file_is_read_as_ever(tmp_path: Path) -> None:
    place = found(
        tmp_path, "interface: {name: gw}\npaths: {base: ./v}\nworkers: {drain_timeout: 7}\n"
    )
    assert place == Whereabouts("gw", tmp_path / "v" / "run", 7)
    assert (place.pidfile.name, place.table.name) == ("gw.pid", "gw.table")


def test_where_its_run_directory_is_given_it_counts(tmp_path: Path) -> None:
    text = f"interface: {{name: gw}}\npaths: {{base: ./v, run: {tmp_path / 'r'}}}\n"
    assert found(tmp_path, text).run == tmp_path / "r"


def test_without_paths_it_is_the_installed_place(tmp_path: Path) -> None:
    assert found(tmp_path, "interface: {name: gw}\n").run == Path("/opt/gwava/gwsmtp/run")
    assert found(tmp_path, "interface: {name: gw}\npaths:\n").drain_timeout == 60


@pytest.mark.parametrize(
    "more",
    [
        "server: {listen: nowhere}",
        "nonsense: true",
        "workers: {drain_timeout: never}",
        "workers: {count: -1, drain_timeout: 60}",
        "workers: 3",
        "organizations: {}",
        "server: {listen: 1, listen: 2}",
    ],
)
def test_other_problems_do_not_matter(tmp_path: Path, more: str) -> None:
    text = f"interface: {{name: gw, hostserver: x}}\npaths: {{base: ./v, spool: 3}}\n{more}\n"
    assert found(tmp_path, text) == Whereabouts("gw", tmp_path / "v" / "run", 60)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("paths: {base: ./v}", "gw.yaml interface"),
        ("interface: {name: Not This}", "gw.yaml:1 interface.name: "),
        ("interface: {name: gw}\npaths: {run: 3}", "gw.yaml:2 paths.run: "),
        ("interface: {name: gw, name: other}", "gw.yaml:1 interface.name: "),
        ("interface: {name: gw}\ninterface: {name: other}", "gw.yaml:2 interface: "),
        ("interface: [", "gw.yaml:1"),
        ("", "gw.yaml interface"),
    ],
)
def test_without_the_keys_that_name_it_there_is_no_answer(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        found(tmp_path, text)
    assert words in str(refused.value.problems[0])


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        find_whereabouts(tmp_path / "none.yaml")
