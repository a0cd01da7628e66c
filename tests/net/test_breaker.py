"""The circuit breaker."""

from gwsmtp.net.breaker import Breaker


def test_opens_after_failures_in_a_row_and_lets_one_trial_through() -> None:
    breaker = Breaker(3, 2.0)
    assert [breaker.failed(0.0) for _ in range(3)] == [False, False, True]
    assert breaker.is_open
    assert not breaker.allows(1.9)
    assert breaker.allows(2.0)
    assert not breaker.allows(2.1)
    assert not breaker.failed(2.5)
    assert not breaker.allows(4.4)
    assert breaker.allows(4.5)
    breaker.succeeded()
    assert breaker.allows(4.5)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = Breaker(2, 1.0)
    breaker.failed(0)
    breaker.succeeded()
    breaker.failed(0)
    assert breaker.allows(0)
