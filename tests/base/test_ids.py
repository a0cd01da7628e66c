import random

from gwsmtp.base.ids import SessionIds


def test_an_id_is_ten_small_letters_without_vowels() -> None:
    ids = SessionIds(random.Random(1))
    for _ in range(1000):
        made = ids.make()
        assert len(made) == 10
        assert made.isascii()
        assert made.isalpha()
        assert made.islower()
        assert not set(made) & set("aeiouy")


def test_ids_follow_from_the_generator_alone() -> None:
    one, same, other = (SessionIds(random.Random(seed)) for seed in (1, 1, 2))
    assert one.make() == same.make() != other.make()


def test_ids_do_not_repeat() -> None:
    ids = SessionIds(random.Random(3))
    assert len({ids.make() for _ in range(20_000)}) == 20_000
