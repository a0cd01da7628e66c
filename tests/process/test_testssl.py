"""testssl.sh finds nothing of MEDIUM or worse in the defaults (SETTINGS rows 26-34).

The manual's defaults leave TLS 1.1 and CBC suites allowed: of those it finds LOW ones only, as
OpenSSL 3 negotiates no TLS 1.1 at its level of security. About a minute.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from gwsmtp.config.loader import check_file
from tests.process.conftest import StartGateway
from tests.support.gateway import Gateway
from tests.support.pki import Authority
from tests.support.rawsink import RawSink
from tests.support.running import tool

pytestmark = [pytest.mark.full, pytest.mark.timeout(300)]

WORST = ("MEDIUM", "HIGH", "CRITICAL", "FATAL")


def test_nothing_of_medium_or_worse(
    start_gateway: StartGateway, sink: RawSink, folder: Path
) -> None:
    # ROBOT and its like are about RSA keys; the name is the one testssl.sh connects to.
    files = Authority().issue(folder, "gw", kind="rsa", names=("localhost",))
    settings = {"ssl": {"enable_tls": True, **files.settings}}
    gateway: Gateway = start_gateway(sink.address, settings)
    found = folder / "testssl.json"
    program = tool("testssl")
    done = subprocess.run(
        [
            *(str(program), "--starttls", "smtp", "--add-ca", str(files.ca), "--ip", "127.0.0.1"),
            *("--color", "0", "--quiet", "--warnings", "off", "--nodns", "min"),
            *("-p", "-s", "-f", "-P", "-S", "-U", "--jsonfile", str(found)),
            f"localhost:{gateway.address.rpartition(':')[2]}",
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={
            **os.environ,
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "TESTSSL_INSTALL_DIR": str(program.resolve().parent.parent / "root/etc/testssl"),
        },
    )
    assert found.exists(), done.stdout + done.stderr
    rows = json.loads(found.read_text())
    bad = [f"{row['id']}: {row['finding']}" for row in rows if row["severity"] in WORST]
    assert bad == []
    seen = {row["id"]: row["severity"] for row in rows}
    for needed in ("TLS1_2", "TLS1_3", "cert_chain_of_trust", "secure_renego", "ROBOT", "SWEET32"):
        assert seen.get(needed) == "OK", (needed, seen.get(needed))
    assert not any("level=ERROR" in line for line in gateway.log_lines())


def test_what_the_defaults_allow_beyond_is_said_by_the_check(tmp_path: Path) -> None:
    files = Authority().issue(tmp_path, "gw")
    file = tmp_path / "gw.yaml"
    file.write_text(
        "interface: {name: a}\nssl: {enable_tls: on, "
        + ", ".join(f"{key}: {path}" for key, path in files.settings.items())
        + "}\n"
    )
    (warning,) = [line for line in check_file(file).warnings if "ssl." in line]
    assert "TLSv1.1 not disabled, yet OpenSSL 3 needs @SECLEVEL=0" in warning
