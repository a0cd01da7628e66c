"""``gwsmtp explain``: from rings and log, each decision once, of a session or of a client."""

from pathlib import Path

import pytest

from gwsmtp.base.audit import Decided, MessageEnded, SessionEnded
from gwsmtp.base.clock import SystemClock
from gwsmtp.base.decision import Action, Reason
from gwsmtp.base.eventlog import EventLog
from gwsmtp.base.exitcodes import ExitCode
from gwsmtp.base.lines import LineWriter
from gwsmtp.cli.decisions import RULES
from gwsmtp.limits.policy import Offence
from gwsmtp.limits.slots import Role, claim_slot, free_slot
from gwsmtp.process.decisionlog import DecisionLog
from tests.support.tablehouse import TableHouse

ID = "bcdfghjklm"
OTHER = "mlkjhgfdcb"


def log(
    path: Path, *events: Decided | SessionEnded | MessageEnded, process: str = "worker-4"
) -> None:
    """Writes events as a worker does."""
    with path.open("ab") as file:
        writer = LineWriter(file.fileno())
        for event in events:
            EventLog(writer, "worker-4", SystemClock())(event)
            DecisionLog(writer, "worker-4", SystemClock())(event)
        writer.flush()


def decision(session: str, ip: str, reason: Reason = Reason.CONNECTION_RATE) -> Decided:
    event = Decided(session, ip, 1, reason, Action.WOULD_REFUSE)
    event.counter, event.threshold, event.window_s = 101, 100, 60
    return event


def test_a_reference_is_explained_from_the_ring(tables: TableHouse) -> None:
    tables.decide(ID, "192.0.2.7", age_ms=90_000)
    tables.decide(OTHER, "192.0.2.7")
    done = tables.gwsmtp("explain", ID)
    assert (done.code, done.err) == (ExitCode.OK, "")
    first, *rest = done.out.splitlines()
    stamp, _, said = first.partition(" ")
    assert said == "refused by rule concurrency: 25 of 25 at one time"
    (found,) = tables.gwsmtp("explain", f"[{ID}]", "--json").json["decisions"]
    assert SystemClock().now() - found["at"] == pytest.approx(90, abs=5)
    assert "T" in stamp
    assert rest == [
        "    connections of the client at one time; dos_protection.limits.concurrency",
        f"    client 192.0.2.7, plain listener, worker-0, session {ID} (from the table)",
    ]


def test_a_worker_that_is_gone_is_not_mistaken_for_the_next_in_its_slot(
    tables: TableHouse,
) -> None:
    tables.decide(ID, "192.0.2.7", age_ms=60_000)
    free_slot(tables.table, tables.slot)
    assert "listener, slot 0, session" in tables.gwsmtp("explain", ID).out
    claim_slot(tables.table, Role.WORKER, 7, 2, (1, 1), tables.now_ms)
    assert "listener, slot 0, session" in tables.gwsmtp("explain", ID).out


def test_a_client_is_explained_with_its_row(tables: TableHouse) -> None:
    tables.offend("192.0.2.7", Offence.MALWARE)
    tables.decide(ID, "192.0.2.7", Reason.PENALTY)
    tables.decide(OTHER, "192.0.2.8")
    done = tables.gwsmtp("explain", "192.0.2.7")
    assert done.code == ExitCode.OK
    assert "refused by rule penalty: 25 s left" in done.out
    assert "score                   10.00 points" in done.out or "9.99 points" in done.out
    assert OTHER not in done.out
    assert "network 192.0.2.0/24" in done.out


def test_an_ipv6_client_is_explained_by_any_address_of_its_64(tables: TableHouse) -> None:
    tables.decide(ID, "2001:db8:1:2::7", age_ms=5000)
    tables.decide(OTHER, "2001:db8:1:3::7")
    log(tables.log_path, decision("z" * 10, "2001:db8:1:2::ffff"))
    log(tables.log_path, decision("x" * 10, "2001:db8:1:3::ffff"))
    found = tables.gwsmtp("explain", "2001:db8:1:2::1", "--json").json
    assert [one["session"] for one in found["decisions"]] == [ID, "z" * 10]
    assert {one["client"] for one in found["decisions"]} == {"2001:db8:1:2::/64"}


def test_the_log_adds_what_rings_have_forgotten(tables: TableHouse) -> None:
    ended = SessionEnded(ID, "plain", "192.0.2.7", 1234)
    ended.reason = "quit"
    message = MessageEnded(ID, 1, "192.0.2.7", "client.example")
    message.sender = "a@b.example event=decision sid=zzzzzzzzzz"
    log(tables.log_path, decision(ID, "192.0.2.7"), ended, message, decision(OTHER, "192.0.2.9"))
    done = tables.gwsmtp("explain", ID)
    assert done.code == ExitCode.OK
    lines = done.out.splitlines()
    assert lines[0].endswith(" would-refuse by rule connection-rate: 101 of 100 in 60 s")
    assert lines[2].endswith(f"ssl listener, worker-4, session {ID} (from the log)")
    assert [line.split(" event=")[1].split()[0] for line in lines[3:]] == ["session", "message"]


def test_what_stands_in_ring_and_log_is_told_once_and_names_its_worker(
    tables: TableHouse,
) -> None:
    event = tables.decide(ID, "192.0.2.7")
    log(tables.log_path, event)
    for what in (ID, "192.0.2.7"):
        (found,) = tables.gwsmtp("explain", what, "--json").json["decisions"]
        assert (found["source"], found["worker"]) == ("table", "worker-4")


def test_the_rotated_log_is_read_too_and_both_only_at_their_end(tables: TableHouse) -> None:
    rotated = tables.log_path.with_name("gateway.log.1")
    log(rotated, decision(ID, "192.0.2.7"))
    log(tables.log_path, decision(OTHER, "192.0.2.7"))
    found = tables.gwsmtp("explain", "192.0.2.7", "--json").json
    assert [one["session"] for one in found["decisions"]] == [ID, OTHER]
    with rotated.open("a") as file:
        file.write("x" * 1023 + "\n")
        file.write(("x" * 1023 + "\n") * 1024)
    near = tables.gwsmtp("explain", "192.0.2.7", "--log-mib", "1", "--json").json
    assert [one["session"] for one in near["decisions"]] == [OTHER]
    far = tables.gwsmtp("explain", "192.0.2.7", "--log-mib", "2", "--json").json
    assert len(far["decisions"]) == 2
    assert tables.gwsmtp("explain", ID, "--log-mib", "0").code == ExitCode.FAILED


def test_lines_of_other_programs_and_cut_ones_are_no_decisions(tables: TableHouse) -> None:
    whole = decision(ID, "192.0.2.7")
    log(tables.log_path, whole)
    line = tables.log_path.read_text()
    with tables.log_path.open("ab") as file:
        file.write(line.replace("counter=101", "counter=many").encode())
        file.write(b"event=decision sid= \xff peer=192.0.2.7 \n")
        file.write(line[:-30].encode())
    (found,) = tables.gwsmtp("explain", "192.0.2.7", "--json").json["decisions"]
    assert found["counter"] == 101


def test_nobody_forges_a_decision_by_what_is_quoted_in_a_log_line(tables: TableHouse) -> None:
    forged = (
        f"250 event=decision sid={OTHER} peer=192.0.2.9 listener=plain reason=penalty "
        "action=refused counter=1 threshold=1 window=0"
    )
    message = MessageEnded(ID, 1, "192.0.2.7", "client.example")
    message.reply = forged
    log(tables.log_path, message)
    with tables.log_path.open("a") as file:
        file.write(f'2026-01-01T00:00:00+00:00 worker-0 level=INFO logger=x msg="{forged} "\n')
    assert tables.gwsmtp("explain", OTHER).code == ExitCode.FAILED
    assert tables.gwsmtp("explain", "192.0.2.9").code == ExitCode.FAILED
    found = tables.gwsmtp("explain", ID, "--json").json
    assert (found["decisions"], len(found["log"])) == ([], 1)


def test_only_the_last_are_shown(tables: TableHouse) -> None:
    for number in range(5):
        tables.decide("bcdfghjkl" + "bcdfg"[number], "192.0.2.7", age_ms=5000 - number)
    done = tables.gwsmtp("explain", "192.0.2.7", "--last", "2")
    assert done.out.startswith("3 earlier decisions left out (--last)\n")
    assert done.out.count("session bcdfghjkl") == 2
    assert "session bcdfghjklg " in done.out


def test_an_unknown_id_is_one_line_and_exit_code_1(tables: TableHouse) -> None:
    tables.decide(OTHER, "192.0.2.7")
    done = tables.gwsmtp("explain", ID)
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert done.err == f"gwsmtp: nothing is known of {ID} in the table and the log\n"
    done = tables.gwsmtp("explain", "192.0.2.99")
    assert (done.code, done.out) == (ExitCode.FAILED, "")
    assert tables.gwsmtp("explain", ID, "--json").json["known"] is False


def test_a_client_that_was_seen_and_never_refused_is_known(tables: TableHouse) -> None:
    tables.enter("192.0.2.7")
    done = tables.gwsmtp("explain", "192.0.2.7")
    assert done.code == ExitCode.OK
    assert done.out.startswith("no decision about 192.0.2.7\nclient 192.0.2.7\n")


@pytest.mark.parametrize("what", ["aeiouaeiou", "bcdfghjkl", "mail.example", "192.0.2.0/24", ""])
def test_neither_id_nor_address_is_a_usage_error(tables: TableHouse, what: str) -> None:
    assert tables.gwsmtp("explain", what).code == ExitCode.USAGE


def test_without_a_table_the_log_is_enough(tables: TableHouse) -> None:
    log(tables.log_path, decision(ID, "192.0.2.7"))
    tables.path.unlink()
    assert tables.gwsmtp("explain", ID).code == ExitCode.OK
    found = tables.gwsmtp("explain", "192.0.2.7")
    assert (found.code, found.err) == (ExitCode.OK, "")
    assert tables.gwsmtp("explain", OTHER).code == ExitCode.UNAVAILABLE


def test_a_log_that_cannot_be_read_is_said_and_the_table_shown(tables: TableHouse) -> None:
    tables.decide(ID, "192.0.2.7")
    tables.log_path.mkdir()
    done = tables.gwsmtp("explain", ID)
    assert done.code == ExitCode.OK
    assert done.err == f"gwsmtp: {tables.log_path}: cannot be read: Is a directory\n"


def test_every_rule_is_explained() -> None:
    assert set(RULES) == set(Reason) - {Reason.NONE}
