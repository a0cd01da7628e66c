import pytest

from gwsmtp.base import errors, replies


def test_config_error_names_every_problem() -> None:
    error = errors.ConfigError(["a.yaml:1 x: no", "a.yaml:2 y: no"])
    assert error.problems == ["a.yaml:1 x: no", "a.yaml:2 y: no"]
    assert str(error) == "a.yaml:1 x: no; a.yaml:2 y: no"


def test_remote_protocol_error_may_carry_what_to_say() -> None:
    assert errors.RemoteProtocolError("nonsense").reply is None
    error = errors.RemoteProtocolError("flood", replies.TOO_MUCH_DATA)
    assert error.reply is replies.TOO_MUCH_DATA
    assert str(error) == "flood"


def test_peer_errors_name_the_phase() -> None:
    gone, late = errors.PeerGone("DATA"), errors.PeerTimeout("HELO")
    assert (gone.phase, str(gone)) == ("DATA", "connection lost in DATA")
    assert (late.phase, str(late)) == ("HELO", "timeout in HELO")


@pytest.mark.parametrize(
    ("error", "parent"),
    [
        (errors.ConfigError, errors.GatewayError),
        (errors.LocalProtocolError, errors.ProtocolError),
        (errors.RemoteProtocolError, errors.ProtocolError),
        (errors.ProtocolError, errors.GatewayError),
        (errors.PeerGone, errors.GatewayError),
        (errors.PeerTimeout, errors.GatewayError),
        (errors.ScanUnavailable, errors.GatewayError),
        (errors.SpoolError, errors.GatewayError),
        (errors.TableError, errors.GatewayError),
    ],
)
def test_tree(error: type[BaseException], parent: type[BaseException]) -> None:
    assert error.__base__ is parent


def test_no_boundary_swallows_the_end_of_the_master() -> None:
    halt = errors.HaltMaster(71, "address taken")
    assert not isinstance(halt, Exception)
    assert (halt.exit_code, halt.reason, str(halt)) == (71, "address taken", "address taken")
