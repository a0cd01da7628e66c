"""External Delivery, rows 14-24 of the manual: mail that leaves for domains not hosted here."""

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.smtptarget import RelayTarget, Security
from gwsmtp.config.types import LineLimit, Switch


class ExternalDeliveryGroup(Group):
    """Only for domains that are not hosted; a hosted one has SMTP hosts of its own."""

    connection_security: Security = setting(
        "none",
        row=14,
        title="Connection Security",
        description="Towards MX hosts. none: never TLS. auto: STARTTLS if offered, in clear where "
        "it fails. tls: STARTTLS or defer. ssl: TLS from the first byte. Certificates are not "
        "verified.",
    )
    line_limit: LineLimit = setting(
        1000,
        row=15,
        title="Line Limit",
        description="Octets per line, CRLF included, sent to MX hosts; longer lines are split, "
        "never cut. 0: off.",
        ge=0,
        le=1048576,
    )
    use_relay_server: Switch = setting(
        False,
        row=16,
        title="Use relay server",
        description="All external mail goes to relay_targets, no MX is looked up; with none usable "
        "it waits.",
    )
    relay_targets: tuple[RelayTarget, ...] = setting(
        (),
        row=17,
        title="Relay targets",
        description="Relays for external mail, each with the keys below.",
        max_length=64,
    )
