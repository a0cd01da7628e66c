"""The hot lines of a gateway's log read back: one dictionary a line, values unquoted.

    events(gateway, "message")               all lines of event=message
    wait_for_events(gateway, "message", 3)   the same once there are three

Reads what ``gwsmtp.base.logs`` promises, by its documentation and not by its code.
"""

import re

from tests.support.running import Running
from tests.support.wait import wait_for

_PAIR = re.compile(r' (?P<key>[a-z_]+)=(?P<value>"(?:[^"\\]|\\.)*"|[^ ]*)')

Line = dict[str, str]


def events(program: Running, name: str) -> list[Line]:
    """All lines so far of the event ``name``, in their order."""
    found = (_pairs(line) for line in program.log_lines())
    return [pairs for pairs in found if pairs.get("event") == name]


def wait_for_events(program: Running, name: str, count: int, deadline_s: float = 10) -> list[Line]:
    """The lines of the event ``name`` once there are ``count``; fails if there are more."""
    wait_for(
        lambda: len(events(program, name)) >= count,
        lambda: (
            f"{count} lines event={name}, there are {len(events(program, name))}\n"
            + program.log_tail()
        ),
        deadline_s,
    )
    found = events(program, name)
    if len(found) > count:
        program.fail(f"has logged {len(found)} lines event={name} instead of {count}")
    return found


def _pairs(line: str) -> Line:
    return {found["key"]: _bare(found["value"]) for found in _PAIR.finditer(line)}


def _bare(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
