"""The root: order of the groups, groups left empty."""

from gwsmtp.config.root import Config, without_empty_groups


def test_groups_stand_in_the_manuals_order() -> None:
    assert list(Config.model_fields) == [
        "interface", "server", "external_delivery", "ssl", "protocol", "exploit_detection",
        "relay_protection", "connection_drop", "message_tracking", "dos_protection",
        "scanner_fault_tolerance", "address_transformation", "diagnostic",
        "organizations", "server_ssl", "scan", "workers", "paths", "delivery", "hold", "auth",
        "logging",
    ]  # fmt: skip


def test_empty_groups_are_left_out_at_every_depth() -> None:
    value = {
        "server": None,
        "connection_drop": {"rbl": None, "budget": None},
        "organizations": None,
        "unknown": None,
        "protocol": 7,
    }
    assert without_empty_groups(Config, value) == {
        "connection_drop": {"budget": None},
        "organizations": (),
        "unknown": None,
        "protocol": 7,
    }
    assert without_empty_groups(Config, [1]) == [1]
