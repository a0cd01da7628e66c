"""The effective configuration: complete, loadable, masked."""

import json
from pathlib import Path

from gwsmtp.config.loader import load_config
from gwsmtp.config.show import as_yaml, plain
from tests.config.helpers import ORGANIZATION, config_of, write


def test_what_is_shown_loads_as_the_same(tmp_path: Path) -> None:
    text = ORGANIZATION + (
        "server: {listen: ['[::1]:25', 127.0.0.1]}\n"
        "connection_drop:\n  rejected_addresses: |\n"
        "    # bad\n    192.0.2.0/24\n    198.51.100.* # worse\n"
        "protocol: {banner: 'a \"b\" # c'}\ndelivery: {schedule: 60}\n"
    )
    config = config_of(tmp_path, text)
    assert config.connection_drop.rejected_addresses == ("192.0.2.0/24", "198.51.100.0/24")
    assert load_config(write(tmp_path, as_yaml(config))) == config


def test_json_holds_the_same_keys(tmp_path: Path) -> None:
    config = config_of(tmp_path, ORGANIZATION)
    data = json.loads(json.dumps(plain(config)))
    assert list(data) == list(type(config).model_fields)
    assert data["server"]["listen"] == ["0.0.0.0:25"]
    assert data["paths"]["spool"] == "/opt/gwava/gwsmtp/private"
    assert data["organizations"][0]["domains"][0]["smtp_hosts"][0]["host"] == "192.0.2.9:25"
