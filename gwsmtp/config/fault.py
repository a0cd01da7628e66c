"""Scanner Fault Tolerance, row 87 of the manual: engine priorities of this interface."""

from gwsmtp.config.setting import Group, setting
from gwsmtp.config.types import Text, Whole


class EngineInfluence(Group):
    """An engine and its priority for this interface."""

    engine: Text = setting(
        title="Engine", description="Name of an engine of scan.engines.", min_length=1
    )
    priority: Whole = setting(
        title="Priority", description="1 is highest; replaces the engine's own.", ge=1, le=1000
    )


class ScannerFaultToleranceGroup(Group):
    """Which engine is asked first."""

    priority_influence: tuple[EngineInfluence, ...] = setting(
        (),
        row=87,
        title="Priority influence",
        description="Rows of {engine, priority}: the engine's priority for this interface.",
        max_length=64,
    )
