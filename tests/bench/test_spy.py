"""bench.spy: collapsed stacks."""

from bench.spy import read_profile


def test_self_and_total_samples() -> None:
    profile = read_profile("run;serve;recv 6\nrun;serve 3\nrun 1\n")
    assert profile.samples == 10
    assert profile.own == {"recv": 6, "serve": 3, "run": 1}
    assert profile.total == {"run": 10, "serve": 9, "recv": 6}


def test_recursion_counts_once() -> None:
    assert read_profile("a;b;a;b 4\n").total == {"a": 4, "b": 4}


def test_frames_may_hold_blanks_and_other_lines_are_passed_over() -> None:
    profile = read_profile("run (gevent/hub.py);recv (socket.py) 2\n\nnonsense\n")
    assert profile.own == {"recv (socket.py)": 2}
    assert profile.samples == 2
