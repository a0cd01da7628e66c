"""``gwsmtp trial`` as a process: what it prints, how it ends."""

import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from gwsmtp.cli.trial import command
from tests.support.nexthop import NextHop
from tests.support.rawclient import RawClient
from tests.support.running import Running, python
from tests.support.wait import wait_for


def test_help_has_the_tables_of_rules() -> None:
    result = CliRunner().invoke(command, ["--help"])
    assert result.exit_code == 0
    assert "| `550 5.1.1 no`" in result.output
    assert "rcpt:unknown*=550 5.1.1 unknown" in result.output


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--rule", "end=explode"], "no action 'explode'"),
        (["--rule", "end=close", "--script", "x"], "exclude each other"),
        (["--listen", "127.0.0.1:99999"], "a port is a number from 1 to 65535"),
        (["--listen", "no where:1"], "an IP address or host name is needed"),
    ],
)
def test_a_wrong_command_line_is_refused(
    tmp_path: Path, arguments: list[str], problem: str
) -> None:
    result = CliRunner().invoke(command, ["--maildir", str(tmp_path), *arguments])
    assert result.exit_code == 2
    assert problem in result.output


def test_an_address_that_is_taken_has_its_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = CliRunner().invoke(command, ["--maildir", str(tmp_path), "--listen", address])
    assert result.exit_code == 71
    assert result.output.startswith(f"gwsmtp trial: cannot listen on {address}")


def test_a_folder_that_cannot_be_made_has_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    run = "from gwsmtp.cli.trial import command; command()"
    hop = Running(
        "trial", [*python(run), "--maildir", tmp_path / "file" / "maildir"], tmp_path / "log"
    )
    hop.spawn()
    hop.wait_for_exit(73)
    assert "cannot create" in hop.log_lines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_sessions(tmp_path: Path, number: signal.Signals) -> None:
    with NextHop(tmp_path) as hop, RawClient(hop.address) as client:
        client.greet()
        hop.signal(number)
        assert client.read_to_end() == b""
        hop.wait_for_exit(0)


def test_the_end_of_its_input_ends_it(tmp_path: Path) -> None:
    with NextHop(tmp_path) as hop:
        hop.close_input()
        hop.wait_for_exit(0)


def test_it_starts_again_on_the_same_address(tmp_path: Path) -> None:
    hop = NextHop(tmp_path)
    with hop:
        address = hop.address
    with hop, RawClient(address) as client:
        client.greet()
        assert client.send_message("", ["u@example.test"], b"again\r\n").code == 250
    assert hop.address == address
    assert hop.filed() == [b"again\r\n"]


def test_rules_may_stand_on_the_command_line(tmp_path: Path) -> None:
    run = "from gwsmtp.cli.trial import command; command()"
    arguments = ["--maildir", str(tmp_path / "mail"), "--rule", "greeting=421 4.3.2 busy"]
    hop = Running("trial", [*python(run), *arguments], tmp_path / "log")
    with hop:
        address = wait_for(lambda: next(iter(hop.log_lines()), ""), "the address it listens on")
        with RawClient(address) as client:
            assert client.read_to_end() == b"421 4.3.2 busy\r\n"


def test_the_server_works_in_a_patched_process_on_a_socket_bound_before(tmp_path: Path) -> None:
    """So it runs as a child of the master."""
    code = (
        "import socket, sys\n"
        "listener = socket.create_server(('127.0.0.1', 0))\n"
        "from gevent import monkey; monkey.patch_all()\n"
        "import gevent.event\n"
        "from pathlib import Path\n"
        "from gwsmtp.trial.server import TrialServer\n"
        "server = TrialServer(listener, Path(sys.argv[1]), None)\n"
        "server.start()\n"
        "print(server.address)\n"
        "ended = gevent.event.Event()\n"
        "gevent.signal_handler(15, ended.set)\n"
        "ended.wait()\n"
        "gevent.joinall([gevent.spawn(server.stop) for _ in range(2)], raise_error=True)\n"
    )
    with Running("patched", [*python(code), str(tmp_path / "mail")], tmp_path / "log") as child:
        address = wait_for(lambda: next(iter(child.log_lines()), ""), "the address it listens on")
        with RawClient(address) as client:
            client.greet()
            assert client.send_message("", ["u@example.test"], b"x\r\n").code == 250
            assert client.quit().code == 221
        child.stop()
        (filed,) = (tmp_path / "mail" / "new").iterdir()
        assert filed.read_bytes() == b"x\r\n"
