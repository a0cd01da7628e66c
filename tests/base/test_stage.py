from itertools import pairwise

from gwsmtp.base.stage import Stage


def test_stages_are_spelled_as_the_log_spells_them() -> None:
    assert f"after={Stage.END_OF_DATA}" == "after=END-OF-DATA"
    assert all(stage.value == stage.name.replace("_", "-") for stage in Stage)


def test_order_is_that_of_a_session() -> None:
    places = {stage: place for place, stage in enumerate(Stage)}
    life = (Stage.CONNECT, Stage.HELO, Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA)
    assert all(places[one] < places[next_one] for one, next_one in pairwise(life))
