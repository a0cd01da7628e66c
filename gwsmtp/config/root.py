"""The whole file: one attribute per top-level key, in the manual's order, then our own groups."""

from pydantic import Field

from gwsmtp.config.delivery import DeliveryGroup
from gwsmtp.config.interface import InterfaceGroup
from gwsmtp.config.log import LoggingGroup
from gwsmtp.config.organizations import Organization
from gwsmtp.config.paths import PathsGroup
from gwsmtp.config.protocol import ProtocolGroup
from gwsmtp.config.scan import ScanGroup
from gwsmtp.config.server import ServerGroup
from gwsmtp.config.setting import Group
from gwsmtp.config.workers import WorkersGroup


class Config(Group):
    """A valid configuration. Frozen; whoever needs a part is handed that group."""

    interface: InterfaceGroup
    server: ServerGroup = Field(default_factory=ServerGroup)
    protocol: ProtocolGroup = Field(default_factory=ProtocolGroup)
    organizations: tuple[Organization, ...] = ()
    scan: ScanGroup = Field(default_factory=ScanGroup)
    workers: WorkersGroup = Field(default_factory=WorkersGroup)
    paths: PathsGroup = Field(default_factory=PathsGroup)
    delivery: DeliveryGroup = Field(default_factory=DeliveryGroup)
    logging: LoggingGroup = Field(default_factory=LoggingGroup)
