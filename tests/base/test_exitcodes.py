from gwsmtp.base.exitcodes import EXIT_CODE_MEANING, ExitCode


def test_every_code_is_explained() -> None:
    assert set(EXIT_CODE_MEANING) == set(ExitCode)
    assert all(EXIT_CODE_MEANING.values())


def test_codes_are_distinct_and_no_shell_takes_them_for_signals() -> None:
    assert len({int(code) for code in ExitCode}) == len(ExitCode.__members__)
    assert all(0 <= code < 126 for code in ExitCode)
