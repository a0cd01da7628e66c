"""Drives one target with atheris: ``python -m tests.fuzz.run TARGET --runs N --seed N``.

    --corpus DIR      begin with the inputs in DIR and keep new ones there
    --folder DIR      seeds, dictionary and what libFuzzer stopped at; else a temporary one, which
                      stays, as does what libFuzzer found worth keeping if there is no --corpus
    --hex INPUT       no fuzzing and no atheris: runs the target once on INPUT, to see it fail
    --plant BUG       plants a bug of ``planted`` first, to see that it is found

Exit code 0 = all inputs passed, else a finding: its input, its seed and the command that repeats it
stand on standard output. All of gwsmtp that a target imports is instrumented, which is why this
module imports nothing of it before.
"""

import argparse
import importlib
import shlex
import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

FINDINGS = "findings"
PROGRESS = 1 << 13
"""Inputs between two lines of progress."""
SLOWEST_S = 30
"""An input that takes longer is a finding of libFuzzer's own (a loop, a hopeless regex)."""
MOST_MEMORY_MB = 1024


def main(arguments: list[str]) -> None:
    """Reads the command line and fuzzes."""
    options = _options(arguments)
    if options.hex is not None:
        _targets(options.plant)[options.target].check(bytes.fromhex(options.hex))
        print(f"fuzz: {options.target} passes this input")
        return
    import atheris

    with atheris.instrument_imports(include=["gwsmtp"]):
        target = _targets(options.plant)[options.target]
    seeds = importlib.import_module("tests.fuzz.seeds").seeds(options.target)
    flags = _flags(options, target, seeds)
    atheris.Setup([sys.argv[0], *flags], _watched(target.check, options))
    atheris.Fuzz()  # ends the process; nothing registered with atexit is called


def _options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    parser.add_argument("target")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--hex")
    parser.add_argument("--plant")
    return parser.parse_args(arguments)


def _targets(plant: str | None) -> Any:
    targets = importlib.import_module("tests.fuzz.targets").TARGETS
    planted = importlib.import_module("tests.fuzz.planted").PLANTED
    bug = planted[plant][1]() if plant else nullcontext()
    bug.__enter__()  # for as long as the process lives
    return targets


def _flags(options: argparse.Namespace, target: Any, seeds: list[bytes]) -> list[str]:
    folder = options.folder or Path(tempfile.mkdtemp(prefix="gwsmtp-fuzz-"))
    for name in ("seeds", "corpus", FINDINGS):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (folder / "seeds" / f"{number:03}").write_bytes(seed)
    flags = [
        f"-runs={options.runs}",
        # 0 would be a seed of libFuzzer's own choice.
        f"-seed={options.seed % (1 << 32 - 1) + 1}",
        f"-max_len={target.max_len}",
        f"-timeout={SLOWEST_S}",
        f"-rss_limit_mb={MOST_MEMORY_MB}",
        f"-artifact_prefix={folder / FINDINGS}/",
    ]
    if not target.is_fragments:
        words = importlib.import_module("tests.fuzz.fragments").dictionary(target.fragments)
        (folder / "words").write_text(words, encoding="ascii")
        flags.append(f"-dict={folder / 'words'}")
    return [*flags, str(options.corpus or folder / "corpus"), str(folder / "seeds")]


def _watched(check: Callable[[bytes], None], options: argparse.Namespace) -> Any:
    """``check`` that counts, and says what it stumbled over before libFuzzer does."""
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % PROGRESS == 0:
            print(f"fuzz: {options.target} {count}", flush=True)
        try:
            check(data)
        except BaseException as error:
            print(report(options, data, error), flush=True)
            raise

    return one


def report(options: argparse.Namespace, data: bytes, error: BaseException) -> str:
    """A finding in words, with the command that repeats it."""
    return (
        f"fuzz: finding in {options.target}, seed {options.seed}, input {data.hex()}\n"
        f"fuzz: {type(error).__name__}: {str(error)[:1000]}\n"
        f"fuzz: repeat it: {repetition(options.target, data, options.plant)}"
    )


def repetition(target: str, data: bytes, plant: str | None = None) -> str:
    """The command that runs ``target`` on ``data`` alone."""
    command = [".venv/bin/python", "-m", "tests.fuzz.run", target, "--hex", data.hex()]
    return shlex.join([*command, "--plant", plant] if plant else command)


if __name__ == "__main__":
    main(sys.argv[1:])
