"""Scan engines of our own configuration: the embedded one, or external ones by address."""

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import OptionalPath, ServiceAddress, Switch, Text, Whole


class Engine(Group):
    """An external scan engine that speaks the protocol of scan/PROTOCOL.md."""

    name: Text = setting(
        title="Engine",
        description="The engine's name in logs and in scanner_fault_tolerance.",
        enforced=True,
        min_length=1,
        max_length=64,
    )
    address: ServiceAddress = setting(
        title="Engine address", description="unix:/PATH or HOST:PORT.", enforced=True
    )
    priority: Whole = setting(
        1,
        title="Engine priority",
        description="1 is highest; engines of equal priority take turns.",
        enforced=True,
        ge=1,
        le=1000,
    )


class ScanGroup(Group):
    """How messages are scanned."""

    embedded: Switch = setting(
        True,
        title="Embedded engine",
        description="Run the built-in scan engine while no external one is named in engines.",
        enforced=True,
    )
    rules_file: OptionalPath = setting(
        None,
        title="Rules of the embedded engine",
        description="YAML file with the embedded engine's rules; blank: its built-in ones.",
    )
    deadline: Whole = setting(
        120,
        title="Scan deadline",
        description="Seconds a message may take to be scanned, all engines tried together; then "
        "interface.scan_failure_action.",
        enforced=True,
        ge=1,
        le=600,
    )
    engines: tuple[Engine, ...] = setting(
        (),
        title="Scan engines",
        description="External scan engines; with any here the embedded one does not run.",
        enforced=True,
        max_length=64,
    )

    @property
    def runs_embedded(self) -> bool:
        """The master starts the embedded engine."""
        return self.embedded and not self.engines
