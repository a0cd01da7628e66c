"""A configuration as it is in effect, for people and for programs; secrets are masked."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.reference import yaml_value
from gwsmtp.config.root import Config
from gwsmtp.config.secret import Secret


def plain(value: Any) -> Any:
    """``value`` as dicts, lists, text, numbers, booleans and None, ready for JSON."""
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Secret | Endpoint | Path):
        return str(value)
    return value


def as_yaml(config: Config) -> str:
    """The effective configuration as YAML."""
    lines: list[str] = []
    for name in type(config).model_fields:
        _block(lines, name, getattr(config, name), "")
    return "\n".join(lines) + "\n"


def _block(lines: list[str], name: str, value: Any, margin: str) -> None:
    if isinstance(value, BaseModel):
        lines.append(f"{margin}{name}:")
        for inner in type(value).model_fields:
            _block(lines, inner, getattr(value, inner), margin + "  ")
    elif isinstance(value, tuple) and any(isinstance(row, BaseModel) for row in value):
        lines.append(f"{margin}{name}:")
        for row in value:
            inside: list[str] = []
            for inner in type(row).model_fields:
                _block(inside, inner, getattr(row, inner), f"{margin}    ")
            inside[0] = f"{margin}  - {inside[0].lstrip()}"
            lines.extend(inside)
    else:
        lines.append(f"{margin}{name}: {yaml_value(value)}")
