"""Delivery of our own configuration: in line, then through the queue."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Whole

_SCHEDULE = (60, 300, 900, 1800, 3600, 7200, 14400)


def _one_to_list(value: object) -> object:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


def _not_empty(value: tuple[int, ...]) -> tuple[int, ...]:
    if not value:
        raise ValueError("needs at least one number of seconds")
    return value


class DeliveryGroup(Group):
    """How mail is handed on."""

    on_unavailable: Literal["queue", "defer"] = setting(
        "queue",
        title="Next hop unavailable",
        description="What happens to a message that cannot be handed on in line. queue: 250 and "
        "the queue goes on. defer: 451, the sender keeps it.",
    )
    recipients_unavailable: Literal["defer", "accept"] = setting(
        "defer",
        title="Recipients unknown for now",
        description="Reply to a recipient whose host cannot be asked and was not before. defer: "
        "451 4.4.3. accept: 250.",
        enforced=True,
    )
    inline_patience: Whole = setting(
        240,
        title="In-line patience",
        description="Seconds from the client's final dot, scan included, after which it gets 250 "
        "and the message goes on from the spool.",
        enforced=True,
        ge=1,
        le=600,
    )
    max_connections: Whole = setting(
        16,
        title="Connections per next hop",
        description="Connections to one next hop across all workers.",
        enforced=True,
        ge=1,
        le=1000,
    )
    schedule: Annotated[
        tuple[Annotated[Whole, Field(ge=1, le=86400)], ...],
        BeforeValidator(_one_to_list),
        AfterValidator(_not_empty),
    ] = setting(
        _SCHEDULE,
        title="Retry schedule",
        description="Seconds between tries of the queue, in order; the last repeats. Each is up to "
        "a quarter shorter or longer.",
        enforced=True,
        max_length=100,
    )
    give_up_after: Whole = setting(
        345600,
        title="Give up after",
        description="Seconds after which the queue stops trying, and the message is held.",
        enforced=True,
        ge=60,
        le=2592000,
    )
    delay_notice_after: Whole = setting(
        14400,
        title="Delay notice after",
        description="Seconds after which the sender is told that a message is late; 0: never.",
        ge=0,
        le=2592000,
    )
    min_free: Whole = setting(
        268435456,
        title="Minimum free space",
        description="Octets that stay free on the spool's file system; below, messages get "
        "452 4.3.1.",
        ge=0,
        le=2**50,
    )
