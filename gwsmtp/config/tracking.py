"""Message Tracking Services, rows 80-85 of the manual: what is recorded, and for whom."""

from gwsmtp.config.setting import Applies, Group, setting
from gwsmtp.config.types import OuName, Switch


class MessageTrackingGroup(Group):
    """Records of SMTP transactions; a failure here never touches mail."""

    enabled: Switch = setting(
        False,
        row=80,
        title="Enable message tracking",
        description="Record transactions; store_in_default_ou or store_in_owning_ou must be on.",
        applies=Applies.RESTART,
    )
    store_in_default_ou: Switch = setting(
        False,
        row=81,
        title="Store in default OU",
        description="One full record per transaction in default_ou.",
    )
    default_ou: OuName = setting(
        "root",
        row=82,
        title="Default OU for message tracking",
        description="Organisation that gets the full records.",
    )
    store_in_owning_ou: Switch = setting(
        False,
        row=83,
        title="Store in owning OU",
        description="One record per owning organisation, each with its own recipients only; wants "
        "connection_drop.delayed_rejection_state data.",
    )
    only_if_not_tracked_by_engine: Switch = setting(
        False,
        row=84,
        title="Track only if NOT tracked by the scan engine",
        description="No record of ours where the scan engine made one.",
    )
    only_if_dropped: Switch = setting(
        False,
        row=85,
        title="Track only if connection dropped",
        description="Only sessions that a test or limit ended.",
    )
