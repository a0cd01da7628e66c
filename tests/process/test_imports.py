"""What the master loads: nothing cooperative, and its children's code not at all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import gwsmtp.cli.main, gwsmtp.cli.run, gwsmtp.master.master
loaded = {name.split(".")[0] for name in sys.modules}
print(sorted(loaded & {"gevent", "greenlet", "dns", "sqlalchemy", "rich"}))
print(sorted(m for m in sys.modules if m.startswith("gwsmtp.process")))
"""


def test_what_run_imports_before_the_fork_is_not_cooperative() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True
    )
    cooperative, process = done.stdout.splitlines()
    assert cooperative == "[]"
    assert process == str(
        [
            "gwsmtp.process",
            "gwsmtp.process.context",
            "gwsmtp.process.control",
            "gwsmtp.process.privileges",
        ]
    )
