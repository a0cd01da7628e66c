"""The hold: how long and how much is kept of what is neither delivered nor refused."""

from typing import Annotated

from pydantic import Field

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Ratio, Whole


class HoldGroup(Group):
    """The oldest items go first when one of the limits is reached."""

    keep_for: Whole = setting(
        2592000,
        title="Keep for",
        description="Seconds an item is kept.",
        enforced=True,
        ge=3600,
        le=315360000,
    )
    max_share: Annotated[Ratio, Field(ge=0, le=0.5)] = setting(
        0.05,
        title="Largest share",
        description="Share of the file system that dictionary-attack items may fill together.",
        enforced=True,
    )
    max_items: Whole = setting(
        20000,
        title="Most items",
        description="Dictionary-attack items kept together.",
        enforced=True,
        ge=0,
        le=10**7,
    )
