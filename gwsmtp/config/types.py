"""The types settings are made of, with validators that say what is wrong in one plain clause.

Numbers come from numbers only (no text, no booleans), booleans from booleans only, text from text
only. Lists may be written as a YAML list or as one text separated by commas or lines.
"""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    PlainValidator,
    Strict,
    ValidationInfo,
)

from gwsmtp.base.endpoint import (
    Endpoint,
    is_host_name,
    parse_endpoint,
    parse_service_address,
)

SMTP_PORT = 25
SMTPS_PORT = 465
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_BUT_LINES = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_OU_NAME = re.compile(r"[^\x00-\x1f\x7f/,]{1,100}\Z")


def _one_line(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("must be one line without control characters")
    return text


def _some_lines(text: str) -> str:
    if _CONTROL_BUT_LINES.search(text):
        raise ValueError("must not hold control characters")
    return text


def resolve_path(value: str | Path, info: ValidationInfo) -> Path:
    """``value`` as an absolute path, relative ones from the configuration file on."""
    text = str(value)
    if not text or _CONTROL.search(text):
        raise ValueError("must be a path")
    base = (info.context or {}).get("directory", Path.cwd())
    # normalised without touching the disk: a link in the middle stays a link
    path = Path(base) / text
    return Path(re.sub(r"^//+", "/", str(_without_dots(path))))


def _without_dots(path: Path) -> Path:
    parts: list[str] = []
    for part in path.parts:
        if part == ".." and len(parts) > 1:
            parts.pop()
        elif part not in ("..", "."):
            parts.append(part)
    return Path(*parts)


def _optional_path(value: Any, info: ValidationInfo) -> Path | None:
    if value is None or value == "":
        return None
    if not isinstance(value, str | Path):
        raise ValueError("must be a path in quotes")
    return resolve_path(value, info)


def _needed_path(value: Any, info: ValidationInfo) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("must be a path")
    return resolve_path(value, info)


def split_lines(value: Any) -> Any:
    """A text becomes its entries, separated by commas or lines; ``#`` starts a comment."""
    if value is None:
        return ()
    if not isinstance(value, str):
        return value
    lines = (line.partition("#")[0] for line in value.splitlines())
    return [entry.strip() for line in lines for entry in line.split(",") if entry.strip()]


def only_lines(value: Any) -> Any:
    """A text becomes its lines; commas are content."""
    if value is None:
        return ()
    if not isinstance(value, str):
        return value
    return [line.strip() for line in value.splitlines() if line.strip()]


def _host_name(text: str) -> str:
    if text and not is_host_name(text):
        raise ValueError("must be a host name, such as mail.example.com")
    return text.lower().rstrip(".")


def domain_name(text: str) -> str:
    """A domain in lower case and A-label form; raises ValueError where it is none."""
    name = text.strip().rstrip(".").lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode("ascii")
        except UnicodeError:
            raise ValueError("is no domain name") from None
    if not is_host_name(name):
        raise ValueError("is no domain name")
    return name


def _ip(text: str) -> str:
    if not text:
        return ""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("must be an IP address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _ou_name(text: str) -> str:
    if not _OU_NAME.match(text):
        raise ValueError("must be a name of 1 to 100 characters without / and comma")
    return text


def _listen(default_port: int) -> Any:
    def parse(value: Any) -> Endpoint:
        if isinstance(value, Endpoint):
            return value
        if not isinstance(value, str):
            raise ValueError('must be an address in quotes, such as "0.0.0.0:25" or "[::1]:25"')
        return parse_endpoint(value, default_port, any_port=True)

    return PlainValidator(parse)


def _target(text: str) -> str:
    endpoint = parse_endpoint(text, 1, names=True)
    host = f"[{endpoint.host}]" if endpoint.is_ipv6 else endpoint.host
    given = text.strip()
    has_port = not given.endswith("]") and (given.startswith("[") or given.count(":") == 1)
    return f"{host}:{endpoint.port}" if has_port else host


def _service(text: str) -> str:
    return str(parse_service_address(text))


def _octets_per_line(value: int) -> int:
    if 0 < value < 78:
        raise ValueError("must be 0 (off) or at least 78")
    return value


Whole = Annotated[int, Strict()]
Switch = Annotated[bool, Strict()]
Ratio = Annotated[float, Strict()]
Text = Annotated[str, Strict(), AfterValidator(_one_line)]
Lines = Annotated[str, Strict(), AfterValidator(_some_lines)]
TextLines = Annotated[tuple[Text, ...], BeforeValidator(only_lines)]
HostName = Annotated[Text, AfterValidator(_host_name)]
DomainName = Annotated[Text, AfterValidator(domain_name)]
OuName = Annotated[Text, AfterValidator(_ou_name)]
OuNames = Annotated[tuple[OuName, ...], BeforeValidator(split_lines)]
OptionalIp = Annotated[Text, AfterValidator(_ip)]
FilePath = Annotated[Path, PlainValidator(_needed_path)]
OptionalPath = Annotated[Path | None, PlainValidator(_optional_path)]
ListenAddresses = Annotated[
    tuple[Annotated[Endpoint, _listen(SMTP_PORT)], ...], BeforeValidator(split_lines)
]
ListenAddressesSsl = Annotated[
    tuple[Annotated[Endpoint, _listen(SMTPS_PORT)], ...], BeforeValidator(split_lines)
]
# host, host:port, address, [v6]:port; the port stays open where none is written
TargetHost = Annotated[Text, AfterValidator(_target)]
ServiceAddress = Annotated[Text, AfterValidator(_service)]
LineLimit = Annotated[int, Strict(), AfterValidator(_octets_per_line)]
