"""Scanner Fault Tolerance, row 87."""

from pathlib import Path

from tests.config.helpers import problem, value_of


def test_rows_need_engine_and_priority(tmp_path: Path) -> None:
    text = "scanner_fault_tolerance: {priority_influence: [{engine: embedded, priority: 3}]}"
    assert value_of(tmp_path, text, "scanner_fault_tolerance.priority_influence.0.priority") == 3
    found = problem(tmp_path, text.replace(", priority: 3", ""))
    assert found.endswith("priority_influence[0].priority: is required")
