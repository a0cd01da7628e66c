"""A real ``gwsmtp run`` in a process of its own, with the smallest configuration that works.

    with Gateway(folder, next_hop=sink.address, settings={"workers": {"count": 4}}) as gateway:
        client = RawClient(gateway.address)

The configuration file is ``folder/gwsmtp.yaml``; everything it writes goes to ``folder/var``. As
root, the workers run as nobody, so the folder must be open to others: ``open_folder`` makes one.
"""

import copy
import json
import os
import select
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from tests.support.running import Running

_RUN = "import sys\nfrom gwsmtp.cli.main import main\n\nsys.exit(main())\n"


def open_folder() -> Path:
    """A new folder of mode 0755 directly under the system's temporary one; the caller removes it.
    (pytest's own tmp_path is 0700 and closed to workers that are not root.)
    """
    folder = Path(tempfile.mkdtemp(prefix="gwsmtp-test-"))
    folder.chmod(0o755)
    return folder


def smallest_settings(next_hop: str, recipients: str = "any") -> dict[str, Any]:
    """What every test's configuration begins with; all that is not here has its default."""
    workers: dict[str, Any] = {"count": 2}
    if os.geteuid() == 0:
        workers |= {"user": "nobody", "group": "nogroup"}
    domain = {"name": "example.test", "smtp_host": next_hop, "recipients": recipients}
    return {
        "interface": {"name": "test"},
        "server": {"listen": ["127.0.0.1:0"]},
        "protocol": {"host_domain": "gw.example.test"},
        # 127.0.0.1 is a relay source by default and skips most tests: not here.
        "relay_protection": {"allowed_sources": []},
        # Rows 86 and 59: what tests of SMTP do is counted, and nothing comes of it.
        "dos_protection": {"enabled": False},
        "exploit_detection": {"hide_addresses": False},
        "organizations": [{"name": "root", "domains": [domain]}],
        "workers": workers,
        "paths": {"base": "./var"},
    }


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``: mappings key by key, anything else replaced, None removed."""
    result = copy.deepcopy(dict(base))
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping) and isinstance(result.get(key), dict):
            result[key] = merged(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


class Gateway(Running):
    """``addresses`` are those it listens on, from its line of readiness; ``address`` the first."""

    def __init__(
        self,
        folder: Path,
        next_hop: str,
        settings: Mapping[str, Any] | None = None,
        *,
        recipients: str = "any",
        ready_within_s: float = 20,
    ) -> None:
        self.folder = folder
        self.base = folder / "var"
        self.config_path = folder / "gwsmtp.yaml"
        self.addresses: list[str] = []
        self.ssl_addresses: list[str] = []
        self.ready_line: dict[str, Any] = {}
        self.run_code = _RUN
        self._settings = merged(smallest_settings(next_hop, recipients), settings or {})
        self._ready_within_s = ready_within_s
        super().__init__("gateway", [], folder / "gateway.log")

    @property
    def address(self) -> str:
        """The first address it listens on, as host:port."""
        assert self.addresses, "the gateway is not ready"
        return self.addresses[0]

    @property
    def ssl_address(self) -> str:
        """The first address of its SSL listener, as host:port."""
        assert self.ssl_addresses, "the gateway has no SSL listener"
        return self.ssl_addresses[0]

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Lays ``settings`` over the configuration and writes the file (takes effect by HUP)."""
        self._settings = merged(self._settings, settings)
        unfinished = self.config_path.with_suffix(".new")
        unfinished.write_text(yaml.safe_dump(self._settings, sort_keys=False), encoding="utf-8")
        unfinished.rename(self.config_path)

    def start(self) -> Self:
        """Starts it and waits for its line of readiness."""
        self.base.mkdir(mode=0o755, exist_ok=True)
        self.configure({})
        read_end, write_end = os.pipe()
        try:
            options = ["-c", str(self.config_path), "--ready-fd", str(write_end)]
            self._command = [str(self._install()), "run", *options]
            self.spawn(pass_fds=(write_end,))
            os.close(write_end)
            write_end = -1
            self.ready_line = self._read_ready_line(read_end)
        finally:
            os.close(read_end)
            if write_end >= 0:
                os.close(write_end)
        self.addresses = list(self.ready_line["listen"])
        self.ssl_addresses = list(self.ready_line.get("ssl", ()))
        if self.ready_line["pid"] != self.pid:
            self.fail(f"says pid {self.ready_line['pid']}, but {self.pid} was started")
        return self

    def _install(self) -> Path:
        """The command as an installed one would be: a file that can be executed, and again."""
        program = self.folder / "gwsmtp"
        program.write_text(f"#!{sys.executable}\n{self.run_code}", encoding="utf-8")
        program.chmod(0o755)
        return program

    def _read_ready_line(self, fd: int) -> dict[str, Any]:
        ends_at = time.monotonic() + self._ready_within_s
        line = b""
        while not line.endswith(b"\n"):
            left_s = ends_at - time.monotonic()
            if left_s <= 0 or not select.select([fd], [], [], left_s)[0]:
                self.fail(f"was not ready within {self._ready_within_s:g} s")
            data = os.read(fd, 4096)
            if not data:
                self.fail(f"closed its ready descriptor without being ready; said {line!r}")
            line += data
        ready = json.loads(line)
        assert isinstance(ready, dict), f"no object on the ready descriptor: {line!r}"
        return ready
