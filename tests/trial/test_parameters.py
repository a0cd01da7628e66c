"""Which parameters of MAIL and RCPT the built-in next hop takes."""

import pytest

from gwsmtp.trial.parameters import mail_refusal, rcpt_refusal


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        *(
            ("", 0),
            ("SIZE=10", 0),
            ("SIZE=", 501),
            ("SIZE=99999999999", 552),
            ("SIZE=1 SIZE=1", 501),
        ),
        *(("BODY=7BIT", 0), ("body=8bitmime", 0), ("BODY=BINARYMIME", 501)),
        *(("SMTPUTF8", 0), ("smtputf8", 0), ("SMTPUTF8=1", 501)),
        *(("RET=FULL", 0), ("RET=hdrs", 0), ("RET", 501), ("RET=FULL RET=FULL", 501)),
        *(("ENVID=x+2By", 0), ("ENVID=", 501), ("ENVID=x+2y", 501), ("ENVID=a=b", 501)),
        *(("ENVID=" + "x" * 100, 0), ("ENVID=" + "x" * 101, 501)),
        *(("NOTIFY=NEVER", 555), ("AUTH=<>", 555), ("=", 555)),
    ],
)
def test_of_mail(parameters: str, code: int) -> None:
    refusal = mail_refusal("a@b.test", parameters)
    assert (refusal.code if refusal else 0) == code


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        *(("", 0), ("NOTIFY=NEVER", 0), ("NOTIFY=SUCCESS,failure,DELAY", 0)),
        *(("NOTIFY=", 501), ("NOTIFY=NEVER,DELAY", 501), ("NOTIFY=SUCCESS,", 501)),
        *(("ORCPT=rfc822;a+2Bb@c.test", 0), ("ORCPT=rfc822;", 501), ("ORCPT=a@b.test", 501)),
        *(("ORCPT=rfc822;" + "x" * 493, 0), ("ORCPT=rfc822;" + "x" * 494, 501)),
        *(("ORCPT=utf-8;\u00fc@c.test", 501), ("SIZE=1", 555)),
    ],
)
def test_of_rcpt(parameters: str, code: int) -> None:
    refusal = rcpt_refusal("a@b.test", parameters, is_utf8=False)
    assert (refusal.code if refusal else 0) == code


def test_what_is_not_ascii_needs_smtputf8() -> None:
    assert str(mail_refusal("\u00fc@b.test", "")).startswith("553 5.6.7")
    assert mail_refusal("\u00fc@b.test", "SMTPUTF8") is None
    assert str(rcpt_refusal("\u00fc@b.test", "", is_utf8=False)).startswith("553 5.6.7")
    assert rcpt_refusal("\u00fc@b.test", "", is_utf8=True) is None
    assert rcpt_refusal("u@b.test", "ORCPT=utf-8;\u00fc@b.test", is_utf8=True) is None


def test_what_is_no_utf8_is_refused_with_it_too() -> None:
    half = b"\xff@b.test".decode("utf-8", "surrogateescape")
    assert str(mail_refusal(half, "SMTPUTF8")).startswith("501")
    assert str(rcpt_refusal("u@b.test", f"ORCPT=utf-8;{half}", is_utf8=True)).startswith("501")
