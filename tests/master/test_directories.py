"""Directories: made when missing, left alone when there, refused in one line."""

from pathlib import Path

import pytest

from gwsmtp.base.errors import HaltMaster
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.master.directories import make_directories, make_directory
from tests.support.standin import Paths


def test_missing_ones_are_made_with_narrow_modes(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "a/b")
    make_directories(paths, None)
    modes = {path.name: path.stat().st_mode & 0o777 for path in paths.base.iterdir()}
    assert modes == {"run": 0o750, "log": 0o750, "spool": 0o700, "hold": 0o700, "tmp": 0o700}
    assert (paths.spool / "queue").stat().st_mode & 0o777 == 0o700


def test_existing_ones_keep_their_mode(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    paths.run.mkdir(mode=0o711)
    paths.run.chmod(0o711)
    make_directories(paths, None)
    assert paths.run.stat().st_mode & 0o777 == 0o711


def test_file_in_the_way_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    for path in (tmp_path / "x", tmp_path / "x/y/z"):
        with pytest.raises(HaltMaster, match="cannot create") as caught:
            make_directory(path, None, 0o700)
        assert caught.value.exit_code == ExitCode.CANNOT_CREATE
