"""The order of rounds and the command line's choices."""

import json
from pathlib import Path

import click
import pytest
import yaml

from bench.cli import checkout_of, names_from
from bench.programs import gateway_configuration
from bench.runs import order_of


def test_every_round_runs_every_system_once() -> None:
    names = ["a", "b", "c"]
    assert all(sorted(order_of(number, names)) == names for number in range(12))


def test_no_system_always_comes_first_or_after_the_same_other() -> None:
    orders = [order_of(number, ["a", "b", "c"]) for number in range(6)]
    assert {order[0] for order in orders} == {"a", "b", "c"}
    assert {order[order.index("b") - 1] for order in orders if order[0] != "b"} == {"a", "c"}


def test_names_are_chosen_in_the_given_order() -> None:
    assert names_from(" b,a,b ", ["a", "b"], "--x") == ("b", "a")


@pytest.mark.parametrize("text", ["c", "a,c", ",", ""])
def test_unknown_or_no_names_are_refused(text: str) -> None:
    with pytest.raises(click.BadParameter):
        names_from(text, ["a", "b"], "--x")


def test_compare_takes_a_checkout_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "gwsmtp").mkdir()
    with checkout_of(str(tmp_path)) as folder:
        assert folder == tmp_path.resolve()


def test_compare_refuses_what_is_neither_checkout_nor_revision(tmp_path: Path) -> None:
    with pytest.raises(click.BadParameter, match="neither"), checkout_of(str(tmp_path)):
        pass


def test_the_benchmarked_client_is_not_exempt() -> None:
    made = yaml.safe_load(gateway_configuration(("127.0.0.1", 2600), Path("/x")))
    assert made["relay_protection"]["allowed_sources"] == []
    assert made["organizations"][0]["domains"][0]["smtp_host"] == "127.0.0.1:2600"
    assert json.dumps(made)  # plain values only
