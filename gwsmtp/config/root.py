"""The whole file: one attribute per top-level key, in the manual's order, then our own groups."""

import os
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, Field, model_validator

from gwsmtp.config.auth import AuthGroup
from gwsmtp.config.delivery import DeliveryGroup
from gwsmtp.config.diagnostic import DiagnosticGroup
from gwsmtp.config.dos import DosProtectionGroup
from gwsmtp.config.drop import ConnectionDropGroup
from gwsmtp.config.exploit import ExploitDetectionGroup
from gwsmtp.config.external import ExternalDeliveryGroup
from gwsmtp.config.fault import ScannerFaultToleranceGroup
from gwsmtp.config.holding import HoldGroup
from gwsmtp.config.interface import InterfaceGroup
from gwsmtp.config.log import LoggingGroup
from gwsmtp.config.organizations import Domain, Organization
from gwsmtp.config.paths import PathsGroup
from gwsmtp.config.protocol import ProtocolGroup
from gwsmtp.config.relay import RelayProtectionGroup
from gwsmtp.config.scan import ScanGroup
from gwsmtp.config.server import ServerGroup
from gwsmtp.config.setting import Group, is_row_list, model_in
from gwsmtp.config.tls import ServerSslGroup, SslGroup, TlsPlan, tls_plan
from gwsmtp.config.tracking import MessageTrackingGroup
from gwsmtp.config.transformation import AddressTransformationGroup
from gwsmtp.config.workers import WorkersGroup

OrganizationAt = tuple[tuple[str | int, ...], Organization]


class Config(Group):
    """A valid configuration. Frozen; whoever needs a part is handed that group."""

    interface: InterfaceGroup
    server: ServerGroup = Field(default_factory=ServerGroup)
    external_delivery: ExternalDeliveryGroup = Field(default_factory=ExternalDeliveryGroup)
    ssl: SslGroup = Field(default_factory=SslGroup)
    protocol: ProtocolGroup = Field(default_factory=ProtocolGroup)
    exploit_detection: ExploitDetectionGroup = Field(default_factory=ExploitDetectionGroup)
    relay_protection: RelayProtectionGroup = Field(default_factory=RelayProtectionGroup)
    connection_drop: ConnectionDropGroup = Field(default_factory=ConnectionDropGroup)
    message_tracking: MessageTrackingGroup = Field(default_factory=MessageTrackingGroup)
    dos_protection: DosProtectionGroup = Field(default_factory=DosProtectionGroup)
    scanner_fault_tolerance: ScannerFaultToleranceGroup = Field(
        default_factory=ScannerFaultToleranceGroup
    )
    address_transformation: AddressTransformationGroup = Field(
        default_factory=AddressTransformationGroup
    )
    diagnostic: DiagnosticGroup = Field(default_factory=DiagnosticGroup)
    organizations: tuple[Organization, ...] = ()
    server_ssl: ServerSslGroup = Field(default_factory=ServerSslGroup)
    scan: ScanGroup = Field(default_factory=ScanGroup)
    workers: WorkersGroup = Field(default_factory=WorkersGroup)
    paths: PathsGroup = Field(default_factory=PathsGroup)
    delivery: DeliveryGroup = Field(default_factory=DeliveryGroup)
    hold: HoldGroup = Field(default_factory=HoldGroup)
    auth: AuthGroup = Field(default_factory=AuthGroup)
    logging: LoggingGroup = Field(default_factory=LoggingGroup)

    @property
    def tls(self) -> TlsPlan | None:
        """What TLS is made of; None where neither STARTTLS nor the SSL listener is wanted."""
        wanted = self.ssl.enable_tls or self.ssl.enabled
        return tls_plan(self.ssl, self.server_ssl) if wanted else None

    @model_validator(mode="before")
    @classmethod
    def _empty_groups(cls, value: Any) -> Any:
        return without_empty_groups(cls, value)


def without_empty_groups(model: type[BaseModel], value: Any) -> Any:
    """``value`` without groups that hold nothing, as when all their keys are commented out."""
    if not isinstance(value, dict):
        return value
    kept: dict[str, Any] = {}
    for name, inner in value.items():
        field = model.model_fields.get(name)
        group = model_in(field.annotation) if field is not None else None
        if group is None or field is None or is_row_list(field.annotation):
            kept[name] = () if group is not None and inner is None else inner
        elif inner is not None:
            kept[name] = without_empty_groups(group, inner)
    return kept


def walk_organizations(
    organizations: tuple[Organization, ...],
) -> Iterator[OrganizationAt]:
    """Every organisation of the tree with its path in the file, parents first; no recursion."""
    stack: list[OrganizationAt] = [
        (("organizations", index), unit) for index, unit in enumerate(organizations)
    ]
    stack.reverse()
    while stack:
        path, unit = stack.pop()
        yield path, unit
        last = len(unit.children) - 1
        stack.extend(
            ((*path, "children", last - index), child)
            for index, child in enumerate(reversed(unit.children))
        )


def served_domains(config: Config) -> Iterator[Domain]:
    """The domains of the serviced organisations (row 4), children included, in file order."""
    chosen = set(config.interface.serviced_ou_set)
    served_paths: list[tuple[str | int, ...]] = []
    for path, unit in walk_organizations(config.organizations):
        inside = any(path[: len(above)] == above for above in served_paths)
        if inside or not chosen or unit.name in chosen:
            if not inside:
                served_paths.append(path)
            yield from unit.domains


def with_host_domain(config: Config) -> Config:
    """Row 48 is never blank at run time: the first served domain, else this machine's name."""
    if config.protocol.host_domain:
        return config
    first = next(served_domains(config), None)
    name = first.name if first is not None else os.uname().nodename
    protocol = config.protocol.model_copy(update={"host_domain": name.lower()})
    # a value we filled in is not one the file sets
    protocol.model_fields_set.discard("host_domain")
    return config.model_copy(update={"protocol": protocol})
