"""Each client's share of the day, exact over all who count."""

import random
import threading
from pathlib import Path

from gwsmtp.spool.quota import DailyQuota, client_key

DAY = 86_400.0


def test_messages_and_octets_of_a_day(tmp_path: Path) -> None:
    quota = DailyQuota(tmp_path / "q", 3, 100)
    assert [quota.take("192.0.2.1", 10, 0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert quota.take("192.0.2.2", 60, 0)
    assert not quota.take("192.0.2.2", 41, 0), "too much is not counted"
    assert quota.take("192.0.2.2", 40, DAY - 1)
    assert not quota.take("192.0.2.2", 1, DAY - 1)
    assert quota.take("192.0.2.2", 100, DAY), "the next day begins anew"


def test_who_is_one_client() -> None:
    assert client_key("2001:db8::1") == client_key("2001:db8::ffff:0:1")
    assert client_key("2001:db8::1") != client_key("2001:db8:0:1::1")
    keys = {client_key(ip) for ip in ("192.0.2.1", "192.0.2.2", "::1", "nonsense", "::ffff:0:1")}
    assert len(keys) == 4


def test_a_million_clients_take_a_fixed_size(tmp_path: Path) -> None:
    path, rng = tmp_path / "q", random.Random(1)
    quota = DailyQuota(path, 3, 100)
    for _ in range(20_000):
        assert quota.take(f"2001:db8:{rng.getrandbits(16):x}:{rng.getrandbits(16):x}::1", 1, 0)
    assert path.stat().st_size <= 8192 * 8 * 32


def test_a_full_bucket_forgets_who_has_least(tmp_path: Path) -> None:
    path = tmp_path / "q"
    quota = DailyQuota(path, 3, 100)
    for _ in range(3):
        assert quota.take("192.0.2.1", 1, 0)
    path_size = path.stat().st_size
    for n in range(70_000):
        quota.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 1, 0)
    assert path.stat().st_size > path_size
    assert not quota.take("192.0.2.1", 1, 0), "the one that counts is still known"


def test_many_count_at_the_same_time(tmp_path: Path) -> None:
    taken: list[bool] = []

    def take() -> None:
        quota = DailyQuota(tmp_path / "q", 50, 10**9)
        taken.extend(quota.take("192.0.2.1", 1, 0) for _ in range(30))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 50
