"""Parameters of MAIL and RCPT: which are taken, what they become, how wrong ones are refused."""

import pytest

from gwsmtp.base import replies
from gwsmtp.base.address import NULL_SENDER, Mailbox
from gwsmtp.protocol.events import Mail, Recipient
from gwsmtp.protocol.extensions import Offer
from gwsmtp.protocol.params import NO_SIZE, mail_event, recipient_event

OFFER = Offer(1000, dsn=True)
ANN = Mailbox("ann@a.test", "ann", "a.test")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ("", (NO_SIZE, "7BIT", False, "")),
        ("SIZE=0", (0, "7BIT", False, "")),
        ("size=99999999999999999999 body=8bitmime", (10**20 - 1, "8BITMIME", False, "")),
        ("SMTPUTF8 BODY=7BIT", (NO_SIZE, "7BIT", True, "")),
        ("RET=hdrs ENVID=a+2Bb", (NO_SIZE, "7BIT", False, "RET=hdrs ENVID=a+2Bb")),
        (f"ENVID={'x' * 100}", (NO_SIZE, "7BIT", False, f"ENVID={'x' * 100}")),
    ],
)
def test_mail(parameters: str, expected: tuple[int, str, bool, str]) -> None:
    event = mail_event(NULL_SENDER, parameters, OFFER)
    assert isinstance(event, Mail)
    assert (event.size, event.body, event.is_utf8, event.dsn) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        *("SIZE", "SIZE=x", "SIZE=-1", "SIZE=" + "1" * 21, "BODY", "BODY=BINARYMIME"),
        *("SMTPUTF8=YES", "RET", "RET=ALL", "ENVID", "ENVID=a+2b", "ENVID=" + "x" * 101),
    ],
)
def test_bad_values_of_mail(parameters: str) -> None:
    assert mail_event(NULL_SENDER, parameters, OFFER) is replies.BAD_PARAMETER


@pytest.mark.parametrize("parameters", ["XYZ", "AUTH=<>", "NOTIFY=NEVER"])
def test_unknown_parameters_of_mail(parameters: str) -> None:
    assert mail_event(NULL_SENDER, parameters, OFFER) is replies.UNKNOWN_PARAMETER


@pytest.mark.parametrize("parameters", ["RET=FULL", "ENVID=x", "SIZE=1"])
def test_what_is_not_offered_is_unknown(parameters: str) -> None:
    assert mail_event(NULL_SENDER, parameters, Offer(-1)) is replies.UNKNOWN_PARAMETER


def test_no_syntax_at_all() -> None:
    assert mail_event(NULL_SENDER, "SIZE=1 SIZE=1", OFFER) is replies.BAD_SENDER
    assert recipient_event(ANN, "=", OFFER) is replies.BAD_RECIPIENT


@pytest.mark.parametrize(
    "parameters",
    [
        *("", "NOTIFY=NEVER", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=delay"),
        *("ORCPT=rfc822;ann+2Bx@a.test", "NOTIFY=FAILURE ORCPT=utf-8;x\\x{E4}@a.test"),
        "ORCPT=" + "x" * 9 + ";" + "y" * 490,
    ],
)
def test_rcpt_carries_its_parameters(parameters: str) -> None:
    event = recipient_event(ANN, parameters, OFFER)
    assert isinstance(event, Recipient)
    assert (event.mailbox, event.dsn) == (ANN, parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        *("NOTIFY", "NOTIFY=NEVER,DELAY", "NOTIFY=SUCCESS,", "NOTIFY=ALWAYS"),
        *("ORCPT", "ORCPT=ann@a.test", "ORCPT=rfc822;", "ORCPT=rfc822;a+zz"),
        "ORCPT=" + "x" * 9 + ";" + "y" * 491,
    ],
)
def test_bad_values_of_rcpt(parameters: str) -> None:
    assert recipient_event(ANN, parameters, OFFER) is replies.BAD_PARAMETER


@pytest.mark.parametrize("parameters", ["NOTIFY=NEVER", "ORCPT=rfc822;a@b.test", "SIZE=1"])
def test_rcpt_has_no_parameters_where_dsn_is_not_offered(parameters: str) -> None:
    assert recipient_event(ANN, parameters, Offer(1000)) is replies.UNKNOWN_PARAMETER
