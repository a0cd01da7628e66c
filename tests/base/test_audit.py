import pytest

from gwsmtp.base.audit import Audit, AuditEvent, MessageEnded, SessionEnded
from tests.support.fields import fields


def test_every_reader_gets_the_same_event_in_order() -> None:
    seen: list[tuple[str, AuditEvent]] = []
    audit = Audit(lambda e: seen.append(("log", e)), lambda e: seen.append(("counters", e)))
    event = SessionEnded("bcdfghjklm", "smtp", "192.0.2.1", 1025)
    assert (event.tls, event.sni) == ("", "")
    audit.emit(event)
    assert seen == [("log", event), ("counters", event)]


def test_no_reader_is_fine() -> None:
    Audit().emit(MessageEnded("bcdfghjklm", 1, "192.0.2.1", "c.test"))


def test_a_message_is_lost_until_somebody_says_otherwise() -> None:
    event = MessageEnded("bcdfghjklm", 1, "192.0.2.1", "c.test")
    assert event.outcome == "lost"
    assert event.scan_s < 0 > event.delivery_s  # "did not happen" differs from "took no time"


@pytest.mark.parametrize(
    "event",
    [SessionEnded("s", "smtp", "::1", 1), MessageEnded("s", 1, "::1", "h")],
    ids=["session", "message"],
)
def test_every_field_is_set_from_the_start(event: AuditEvent) -> None:
    assert all(hasattr(event, name) for name in fields(type(event)))
