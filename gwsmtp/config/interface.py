"""General, rows 2-7 of the manual: whose interface this is and what happens without a verdict."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from gwsmtp.base.endpoint import is_host_name, parse_service_address
from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import Lines, OuNames, Text, split_lines

FailureAction = Literal["delay", "allow", "reject"]
_PROMETHEUS = "prometheus"


def _sink(text: str) -> str:
    if text == _PROMETHEUS:
        return text
    if text.startswith(f"{_PROMETHEUS}:"):
        return f"{_PROMETHEUS}:{parse_service_address(text[len(_PROMETHEUS) + 1 :])}"
    return str(parse_service_address(text))


def _server_name(text: str) -> str:
    if text and not is_host_name(text):
        raise ValueError("must be the machine's host name, or blank for any machine")
    return text.lower()


class InterfaceGroup(Group):
    """One interface is one instance is one file."""

    name: Annotated[str, StringConstraints(strict=True, pattern=r"^[a-z0-9-]+$", max_length=40)] = (
        setting(
            title="Name",
            description="Name of this interface, a-z 0-9 and -; required. It names the instance in "
            "logs, in tracking, to the scan engines and in the files under paths.run.",
            applies=Applies.RESTART,
            enforced=True,
        )
    )
    host_server: Annotated[Text, AfterValidator(_server_name)] = setting(
        "",
        row=2,
        title="Host server",
        description="Name of the machine that runs this interface; blank: any. On another machine "
        "the instance refuses to start, so that nodes can share one configuration tree.",
        applies=Applies.RESTART,
    )
    stats_module: Annotated[
        tuple[Annotated[Text, AfterValidator(_sink)], ...], BeforeValidator(split_lines)
    ] = setting(
        (),
        row=3,
        title="Stats module",
        description="Where counters go besides the shared table: prometheus (an HTTP endpoint; "
        "prometheus:ADDRESS:PORT to choose where) and statistics engines as HOST:PORT or "
        "unix:/PATH. A sink that is down never delays mail.",
        applies=Applies.RESTART,
    )
    serviced_ou_set: OuNames = setting(
        (),
        row=4,
        title="Serviced OU set",
        description="Organisations served here, by name, children included; empty: all. A domain "
        "of any other organisation is answered like a foreign one (550 5.7.1).",
    )
    scan_failure_action: FailureAction = setting(
        "delay",
        row=5,
        title="Scan failure action",
        description="Reply to a message that no engine gave a verdict on. delay: 451, the sender "
        "retries. allow: 250, delivered unscanned and marked so. reject: 554, which loses mail in "
        "an outage.",
        enforced=True,
    )
    license_failsafe_mode: FailureAction = setting(
        "delay",
        row=6,
        title="License Failsafe mode",
        description="Reply at DATA while an engine reports its licence as invalid. delay: 451. "
        "allow: pass unscanned. reject: 554. Judged anew for every message.",
    )
    notes: Lines = setting(
        "",
        row=7,
        title="Notes",
        description="Free text; no effect.",
        max_length=65536,
    )
