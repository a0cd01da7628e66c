"""Marks of settings, and the walk over all of them."""

from typing import Annotated

import pytest
from pydantic import BaseModel

from gwsmtp.config.organizations import Domain, Organization
from gwsmtp.config.root import Config
from gwsmtp.config.server import ServerGroup
from gwsmtp.config.setting import (
    Applies,
    is_row_list,
    mark_of,
    model_at,
    model_in,
    setting,
    settings_of,
)
from gwsmtp.config.smtptarget import RelayTarget


def test_what_acts_already() -> None:
    idle = {key for key, field in settings_of(Config) if (m := mark_of(field)) and not m.enforced}
    acting = {
        "interface.name", "interface.scan_failure_action", "server.enabled", "server.listen",
        "protocol.banner", "protocol.host_domain", "protocol.max_recipients",
        "protocol.bare_newline", "organizations[].domains[].recipients", "scan.deadline",
        "workers.count", "paths.spool", "delivery.inline_patience", "logging.to",
    }  # fmt: skip
    waiting = {"server.max_inbound_connections", "protocol.noop_interval", "delivery.min_free"}
    assert not acting & idle
    assert waiting <= idle


def test_listeners_rebind_and_paths_restart() -> None:
    kinds = {k: m.applies for k, f in settings_of(Config) if (m := mark_of(f)) is not None}
    for key in ("server.listen", "server.enabled", "ssl.listen", "ssl.enabled"):
        assert kinds[key] is Applies.REBIND
    for key in ("interface.name", "paths.run", "workers.user"):
        assert kinds[key] is Applies.RESTART
    assert kinds["protocol.banner"] is Applies.WORKERS


def test_a_field_that_is_a_mere_group_has_no_mark() -> None:
    assert mark_of(Config.model_fields["server"]) is None
    mark = mark_of(ServerGroup.model_fields["listen"])
    assert mark is not None
    assert (mark.row, mark.applies, mark.enforced) == (9, Applies.REBIND, True)


def test_models_inside_annotations() -> None:
    assert model_in(ServerGroup) is ServerGroup
    assert model_in(tuple[RelayTarget, ...]) is RelayTarget
    assert model_in(Annotated[tuple[RelayTarget, ...], "x"]) is RelayTarget
    assert model_in(RelayTarget | None) is RelayTarget
    assert model_in(int) is None
    assert model_in(tuple[int, ...]) is None
    assert is_row_list(Annotated[tuple[RelayTarget, ...], "x"])
    assert not is_row_list(RelayTarget)


def test_models_at_paths() -> None:
    assert model_at(Config, ()) is Config
    assert model_at(Config, ("organizations", 3)) is Organization
    assert model_at(Config, ("organizations", 3, "children", 0, "domains", 1)) is Domain
    assert model_at(Config, ("server", "listen", 0)) is None
    assert model_at(Config, ("server", "listen", 0, "x", "y")) is None
    assert model_at(Config, ("nothing",)) is None


def test_keys_are_in_the_files_order_and_unique() -> None:
    keys = [key for key, _ in settings_of(Config)]
    assert len(keys) == len(set(keys))
    assert keys[0] == "interface.name"
    assert keys[-1] == "logging.to"
    assert "external_delivery.relay_targets[].host" in keys
    assert "connection_drop.rbl.servers[].zone" in keys


def test_bounds_reach_pydantic() -> None:
    class Some(BaseModel):
        number: int = setting(1, title="t", description="d", ge=1)

    with pytest.raises(ValueError, match="greater"):
        Some(number=0)
