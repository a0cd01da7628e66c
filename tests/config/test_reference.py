"""The files in conf/ are generated from the fields, loadable, and say all there is to say."""

import re
from pathlib import Path

import pytest

from gwsmtp.config.loader import check_file, load_config
from gwsmtp.config.reference import about, reference, starter, yaml_value
from gwsmtp.config.root import Config
from gwsmtp.config.secret import MASK, Secret
from gwsmtp.config.setting import settings_of
from gwsmtp.config.yamltext import parse
from tests.config.helpers import HEAD, write

CONF = Path(__file__).parents[2] / "conf"
REMEDY = "run `gwsmtp config reference` (with --starter for gwsmtp.yaml) into conf/ again"


def test_the_reference_file_is_up_to_date() -> None:
    assert (CONF / "gwsmtp.reference.yaml").read_text("utf-8") == reference(), REMEDY


def test_the_starter_file_is_up_to_date() -> None:
    assert (CONF / "gwsmtp.yaml").read_text("utf-8") == starter(), REMEDY


def defaults(directory: Path) -> Config:
    return load_config(write(directory, HEAD.replace("demo", "main")))


@pytest.mark.parametrize("name", ["gwsmtp.reference.yaml", "gwsmtp.yaml"])
def test_the_shipped_files_hold_nothing_but_defaults(tmp_path: Path, name: str) -> None:
    config = load_config(CONF / name)
    assert config == defaults(tmp_path)
    assert check_file(CONF / name).unenforced() == []


def test_uncommented_starter_lines_are_still_the_defaults(tmp_path: Path) -> None:
    text = re.sub(r"(?m)^( *)# (?=( *- )?[{a-z_0-9]+: )", r"\1", starter())
    text = re.sub(r"(?m)^( *)# (allowed_sources:|servers:|  - \{.*)$", r"\1\2", text)
    text = re.sub(r"(?ms)^# organizations:\n.*?callout}\n", "", text)
    assert "# banner" not in text
    assert load_config(write(tmp_path, text)) == defaults(tmp_path)


def test_every_setting_is_in_the_reference() -> None:
    text = " ".join(line.strip().lstrip("# ") for line in reference().splitlines())
    for key, field in settings_of(Config):
        assert about(field) in text, key


def test_the_trial_configuration(tmp_path: Path) -> None:
    report = check_file(CONF / "trial.yaml")
    assert report.problems == []
    assert report.warnings == []
    assert report.unenforced() == []
    config = load_config(CONF / "trial.yaml")
    assert config.paths.base == CONF.parent / "var"
    assert config.workers.number == 2
    assert str(config.server.listen[0]) == "127.0.0.1:2525"
    assert str(config.organizations[0].domains[0].smtp_hosts[0].endpoint) == "127.0.0.1:2600"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain-word", "plain-word"),
        ("yes", '"yes"'),
        ("", '""'),
        ("10.*", '"10.*"'),
        ("*@*", '"*@*"'),
        ("a: b", '"a: b"'),
        ('say "x"', '"say \\"x\\""'),
        ("zwei\nzeilen", '"zwei\\nzeilen"'),
        (True, "true"),
        (None, "null"),
        (0.3, "0.3"),
        (("a", 1), "[a, 1]"),
        (Secret("x"), f'"{MASK}"'),
        (Path("/a/b"), "/a/b"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert yaml_value(value) == text
    if isinstance(value, str):
        assert parse(f"a: {text}").value == {"a": value}
