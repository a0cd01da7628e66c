"""Diagnostic, rows 90-93 of the manual (94 and 95 are figures to read: ``gwsmtp stats``)."""

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import OptionalIp, Switch


class DiagnosticGroup(Group):
    """For testing and support."""

    client_ip_override: Switch = setting(
        False,
        row=90,
        title="Enable client IP address override",
        description="Treat every session as coming from the address below, for tests of the client "
        "and the scanner only; relay rights, limits and logs use the real one.",
    )
    client_ip_override_address: OptionalIp = setting(
        "",
        row=91,
        title="Client override IP address",
        description="The address used while client_ip_override is on.",
    )
    retain_decoded_messages: Switch = setting(
        False,
        row=92,
        title="Retain decoded message files",
        description="Copies of decoded parts go to paths.tmp. Fills the disk if left on.",
    )
    retain_raw_messages: Switch = setting(
        False,
        row=93,
        title="Retain raw message files",
        description="Copies of messages as received go to paths.tmp. Fills the disk if left on.",
    )
