"""Three clients that others wrote, each sending one file of the corpus as one message.

What they put on the wire is theirs to decide (the recorder knows): swaks and smtp-source turn LF
into CRLF and end every message with one empty line more; smtplib is given CRLF and adds nothing.
All three leave bare CRs alone. Each fails unless the message was accepted.
"""

import smtplib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.running import tool

_PATIENCE_S = 60


def send_by_swaks(address: str, sender: str, recipients: Sequence[str], path: Path) -> None:
    """swaks --data, a process of its own (about 0.1 s)."""
    host, _, port = address.rpartition(":")
    _run(
        *(tool("swaks"), "--silent", "2", "--server", host, "--port", port),
        *("--helo", "client.example", "--from", sender, "--to", ",".join(recipients)),
        *("--data", f"@{path}"),
    )


def send_by_smtp_source(address: str, sender: str, recipients: Sequence[str], path: Path) -> None:
    """Postfix's smtp-source -F; it takes one recipient."""
    (recipient,) = recipients
    _run(
        *(tool("smtp-source"), "-M", "client.example", "-f", sender, "-t", recipient),
        *("-F", path, address),
    )


def send_by_smtplib(address: str, sender: str, recipients: Sequence[str], path: Path) -> None:
    """The standard library's client, with the file's line ends made CRLF."""
    host, _, port = address.rpartition(":")
    content = path.read_bytes().replace(b"\n", b"\r\n")
    with smtplib.SMTP(host, int(port), "client.example", _PATIENCE_S) as smtp:
        refused = smtp.sendmail(sender, recipients, content)
    assert not refused, refused


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=_PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stdout!r} {done.stderr!r}"
