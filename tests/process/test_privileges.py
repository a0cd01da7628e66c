"""Children of a root master become workers.user for good."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.limits.slots import Role
from gwsmtp.process.privileges import PrivilegeError, find_account
from tests.support.masterproc import Gateway


def test_no_user_is_nobody_to_become() -> None:
    assert find_account("", "") is None
    assert find_account(None, None) is None


def test_account_takes_the_users_group_unless_one_is_named() -> None:
    nobody = pwd.getpwnam("nobody")
    account = find_account("nobody", "")
    assert account is not None
    assert (account.uid, account.gid) == (nobody.pw_uid, nobody.pw_gid)
    other = find_account("nobody", "daemon")
    assert other is not None
    assert other.gid != nobody.pw_gid
    assert find_account(str(nobody.pw_uid), str(nobody.pw_gid)) == account


@pytest.mark.parametrize(("user", "group"), [("no-such-user", ""), ("nobody", "no-such-group")])
def test_unknown_names_are_refused(user: str, group: str) -> None:
    with pytest.raises(PrivilegeError, match="no-such"):
        find_account(user, group)


@pytest.fixture
def open_base() -> Iterator[Path]:
    """A directory that other users may enter, which pytest's own are not."""
    base = Path(tempfile.mkdtemp(prefix="gwsmtp-"))
    base.chmod(0o755)
    yield base
    shutil.rmtree(base)


@pytest.mark.full
def test_children_of_root_become_the_user_and_can_work(open_base: Path) -> None:
    assert os.geteuid() == 0, "this test proves the drop from root: run the full tests as root"
    nobody = pwd.getpwnam("nobody")
    with Gateway(open_base, user="nobody") as gateway:
        client = gateway.connect()
        uids, gids = (nobody.pw_uid,) * 3, (nobody.pw_gid,) * 3
        groups = os.getgrouplist("nobody", nobody.pw_gid)
        assert gateway.ask(client, "ids") == f"{uids} {gids} {groups}"
        for view in gateway.slots():
            status = Path(f"/proc/{view.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
            assert "CapPrm:\t0000000000000000" in status
        assert gateway.ask(client, "link") == "adopted"
        assert (open_base / "spool/adopted").stat().st_uid == nobody.pw_uid
        socket = (open_base / "run/demo.engine.sock").stat()
        assert (socket.st_uid, socket.st_mode & 0o777) == (nobody.pw_uid, 0o660)
        run, table = (open_base / "run").stat(), (open_base / "run/demo.table").stat()
        assert (run.st_uid, run.st_gid, run.st_mode & 0o777) == (0, nobody.pw_gid, 0o750)
        assert (table.st_uid, table.st_gid, table.st_mode & 0o777) == (0, nobody.pw_gid, 0o660)
        spool = (open_base / "spool").stat()
        assert (spool.st_uid, spool.st_mode & 0o777) == (nobody.pw_uid, 0o700)
        assert len(gateway.of(Role.WORKER)) == 1


@pytest.mark.full
def test_unknown_user_ends_the_start_in_one_line(open_base: Path) -> None:
    gateway = Gateway(open_base, user="no-such-user")
    gateway.launch()
    try:
        assert gateway.wait_exit() == ExitCode.NO_PERMISSION
        assert "workers.user: there is no user 'no-such-user'" in gateway.log()
        assert "Traceback" not in gateway.log()
    finally:
        gateway.close()


@pytest.mark.full
def test_user_that_cannot_write_into_the_spool_ends_the_start(open_base: Path) -> None:
    assert os.geteuid() == 0, "this test proves the drop from root: run the full tests as root"
    (open_base / "spool").mkdir(mode=0o700)
    gateway = Gateway(open_base, user="nobody")
    gateway.launch()
    try:
        assert gateway.wait_exit() == ExitCode.NO_PERMISSION
        assert f"user 'nobody' cannot write into {open_base}/spool" in gateway.log()
    finally:
        gateway.close()
