"""bench.report: medians, spreads and ratios taken inside a round."""

import io

import pytest
from rich.console import Console

from bench.report import (
    document,
    noise,
    peer_verdicts,
    print_report,
    ratio,
    spread,
    spread_of,
    summary,
    systems_of,
    verdict,
)
from bench.runs import Run


def run(
    system: str,
    number: int,
    *,
    seconds: float = 1.0,
    cpu: float | None = None,
    engine: float = 0.0,
    mode: str = "new",
) -> Run:
    return Run(
        mode=mode,
        system=system,
        round=number,
        messages=1000,
        seconds=seconds,
        gateway_cpu=cpu,
        engine_cpu=None if cpu is None else engine,
        others_cpu=0.4 * seconds,
    )


def three_rounds() -> list[Run]:
    """A machine that gets slower: absolute figures wander, ratios hold."""
    runs = []
    for number, slowness in enumerate((1.0, 2.0, 4.0)):
        runs += [
            run("smtp-sink", number, seconds=0.1 * slowness),
            run("bare_proxy", number, seconds=0.2 * slowness, cpu=0.2 * slowness, engine=0.1),
            run("gateway", number, seconds=0.4 * slowness, cpu=0.3 * slowness, engine=0.15),
        ]
    return runs


def test_spread_has_median_ends_and_quartiles() -> None:
    found = spread_of([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.low, found.quartile_1, found.median, found.quartile_3, found.high) == (
        1.0,
        2.0,
        3.0,
        4.0,
        5.0,
    )
    assert found.count == 5
    assert found.text(1) == "3.0 (1.0–5.0)"


def test_spread_of_one_value_is_that_value_everywhere() -> None:
    found = spread_of([7.0])
    assert {found.low, found.quartile_1, found.median, found.quartile_3, found.high} == {7.0}


def test_spread_of_nothing_is_an_error_not_a_zero() -> None:
    with pytest.raises(ValueError, match="no values"):
        spread_of([])


def test_cpu_per_message_adds_gateway_and_engine() -> None:
    one = run("gateway", 0, cpu=0.3, engine=0.05)
    assert one.gateway_us == pytest.approx(300)
    assert one.engine_us == pytest.approx(50)
    assert one.total_us == pytest.approx(350)
    assert one.rate == pytest.approx(1000)


def test_ratio_is_taken_within_each_round() -> None:
    found = ratio(three_rounds(), "gateway", "smtp-sink", "rate")
    assert found is not None
    assert found.low == found.median == found.high == pytest.approx(0.25)


def test_ratio_needs_rounds_that_have_both() -> None:
    runs = [run("gateway", 0, cpu=0.3), run("bare_proxy", 1, cpu=0.2)]
    assert ratio(runs, "gateway", "bare_proxy", "total_us") is None
    assert ratio(three_rounds(), "gateway", "smtp-sink", "total_us") is None


def test_a_system_without_cpu_figures_shows_none() -> None:
    assert spread(three_rounds(), "smtp-sink", "total_us") is None
    assert spread(three_rounds(), "smtp-sink", "rate") is not None


def test_systems_come_in_the_order_of_the_first_round() -> None:
    runs = [run("b", 0), run("a", 0), run("a", 1), run("b", 1)]
    assert systems_of(runs) == ["b", "a"]


def test_noise_is_the_share_of_all_processors() -> None:
    assert noise(three_rounds(), 2) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("cpu", "word"), [(0.29, "goal met"), (0.35, "must met"), (0.37, "missed")]
)
def test_verdict_names_goal_and_must(cpu: float, word: str) -> None:
    runs = [run("bare_proxy", 0, cpu=0.2), run("gateway", 0, cpu=cpu)]
    assert word in verdict(runs)


def test_verdict_is_silent_without_the_yardstick() -> None:
    assert verdict([run("gateway", 0, cpu=0.2)]) == ""


@pytest.mark.parametrize(
    ("mode", "peer", "times", "says"),
    [
        ("new", "postfix_filter", 2.0, "(goal 2, must 1.5): goal met"),
        ("new", "postfix_filter", 1.6, "(goal 2, must 1.5): must met"),
        ("persistent", "postfix_filter", 1.6, "(goal 2, must 2): missed"),
        ("new", "haraka", 8.5, "(goal 8, must 6): goal met"),
        ("persistent", "haraka", 6.5, "(goal 8, must 6): must met"),
        ("persistent", "haraka", 5.9, "(goal 8, must 6): missed"),
    ],
)
def test_a_peer_is_judged_by_the_rate_of_its_mode(
    mode: str, peer: str, times: float, says: str
) -> None:
    runs = []
    for number, slowness in enumerate((1.0, 3.0)):  # ratios are taken inside a round
        runs += [
            run("gateway", number, seconds=slowness, cpu=0.3, mode=mode),
            run(peer, number, seconds=times * slowness, cpu=0.6, mode=mode),
        ]
    (line,) = peer_verdicts(runs)
    figure = f"{times:.2f} ({times:.2f}–{times:.2f})"
    assert line.startswith(f"gateway: {figure} times {peer}'s rate {says}; CPU 0.50 (")
    assert summary(runs)[mode]["gateway"][f"rate_to_{peer}"]["median"] == pytest.approx(times)


def test_peers_that_were_not_run_are_not_judged() -> None:
    assert peer_verdicts(three_rounds()) == []


def test_document_holds_every_run_and_the_summary() -> None:
    made = document(three_rounds(), {"pairs": 3})
    assert made["settings"] == {"pairs": 3}
    assert len(made["runs"]) == 9
    figures = made["summary"]["new"]["gateway"]
    assert figures["rate_to_smtp_sink"]["median"] == pytest.approx(0.25)
    assert figures["cpu_to_bare_proxy"]["count"] == 3


def test_summary_compares_with_the_other_checkout() -> None:
    runs = [run("gateway-before", 0, cpu=0.4), run("gateway", 0, cpu=0.3)]
    found = summary(runs)["new"]["gateway"]["total_us_to_before"]
    assert found["median"] == pytest.approx(0.75)


def test_printed_report_has_no_escape_codes_away_from_a_terminal() -> None:
    out = io.StringIO()
    console = Console(file=out, width=120, force_terminal=False)
    runs = [*three_rounds(), *(run("gateway-before", n, cpu=0.3) for n in range(3))]
    print_report(console, runs, 2, "main")
    text = out.getvalue()
    assert "\x1b" not in text
    assert "new session per message" in text
    assert "this tree ÷ main" in text
    assert "other programs took 20% of the machine" in text
