"""What an unpacked message of the scan protocol must look like; pure.

Called by ``wire.Decoder`` with what msgpack made of the octets. Every field's type and size is
looked at here; keys nobody knows are ignored, everything else that is not allowed is a WireError
with a reason, and nothing but that is ever raised.
"""

from typing import Any, Literal

from gwsmtp.base.errors import GatewayError
from gwsmtp.scan.messages import (
    MAX_BODY,
    MAX_CAPABILITIES,
    MAX_DEADLINE_MS,
    MAX_HEADER_NAME,
    MAX_HEADERS,
    MAX_ID,
    MAX_NAME,
    MAX_STRING,
    MAX_TEXT,
    MAX_TRACE,
    VERSION,
    Busy,
    Draining,
    Failure,
    FromEngine,
    FromGateway,
    Hello,
    Ping,
    Pong,
    Request,
    Verdict,
)
from gwsmtp.scan.outcome import Action

_LICENSES = frozenset(("ok", "grace", "invalid"))
_ACTIONS = {action.value: action for action in Action}
_HEADER_NAME = frozenset(chr(code) for code in range(33, 127)) - {":"}


class WireError(GatewayError):
    """The other side sent what the protocol does not allow; the text says what."""


def parse_from_gateway(value: object) -> FromGateway:
    """One unpacked value as a gateway's message, or WireError."""
    fields = _map(value)
    kind = fields.get("type")
    if kind == "scan":
        return _request(fields)
    if kind == "ping":
        return Ping(_integer(fields, "id", 0, MAX_ID))
    if kind == "hello":
        return _hello(fields, "gateway")
    raise WireError(f"unknown message type {kind!r:.60}")


def parse_from_engine(value: object) -> FromEngine:
    """One unpacked value as an engine's message, or WireError."""
    fields = _map(value)
    kind = fields.get("type")
    if kind == "verdict":
        return _verdict(fields)
    if kind == "pong":
        return Pong(_integer(fields, "id", 0, MAX_ID), _license(fields, ""))
    if kind == "busy":
        return Busy(_integer(fields, "id", 1, MAX_ID))
    if kind == "error":
        return Failure(
            _integer(fields, "id", 1, MAX_ID), _text(fields, "reason", MAX_TEXT, "no reason given")
        )
    if kind == "draining":
        return Draining()
    if kind == "hello":
        return _hello(fields, "engine")
    raise WireError(f"unknown message type {kind!r:.60}")


def _hello(fields: dict[Any, Any], role: Literal["gateway", "engine"]) -> Hello:
    version = _integer(fields, "version", 0, MAX_ID)
    if version != VERSION:
        # Nothing else is looked at: another version may have other fields.
        raise WireError(f"speaks version {version}, we speak {VERSION}")
    if _text(fields, "role", MAX_NAME) != role:
        raise WireError(f"hello is not one of a {role}")
    names = fields.get("capabilities", ())
    if type(names) is not tuple or len(names) > MAX_CAPABILITIES:
        raise WireError("capabilities is not a short array")
    for name in names:
        if type(name) is not str:
            raise WireError("a capability is not a string")
    max_body = MAX_BODY
    if role == "engine" and "max_body" in fields:
        max_body = min(_integer(fields, "max_body", 0, MAX_ID), MAX_BODY)
    return Hello(
        version,
        role,
        _text(fields, "name", MAX_NAME, ""),
        frozenset(names),
        _license(fields, "ok"),
        max_body,
    )


def _request(fields: dict[Any, Any]) -> Request:
    client = _map(fields.get("client"))
    envelope = _map(fields.get("envelope"))
    recipients = envelope.get("to")
    if type(recipients) is not tuple:
        raise WireError("envelope.to is not an array")
    for recipient in recipients:
        if type(recipient) is not str or len(recipient) > MAX_STRING:
            raise WireError("a recipient is not a string of at most 4096 characters")
    received = fields.get("received", b"")
    if type(received) is not bytes or len(received) > MAX_TRACE:
        raise WireError("received is not binary of at most 16384 octets")
    body = fields.get("body")
    if type(body) is bytes:
        if "fd" in fields:
            raise WireError("both body and fd")
        size = len(body)
    elif body is None and fields.get("fd") is True:
        size = _integer(fields, "size", 0, MAX_ID)
    else:
        raise WireError("neither a binary body nor fd: true")
    return Request(
        _integer(fields, "id", 1, MAX_ID),
        _integer(fields, "deadline_ms", 0, MAX_DEADLINE_MS),
        _text(fields, "interface", MAX_NAME),
        _text(fields, "session", MAX_NAME),
        _integer(fields, "number", 0, MAX_ID),
        (
            _text(client, "ip", MAX_NAME),
            _integer(client, "port", 0, 65535),
            _text(client, "helo", MAX_STRING),
        ),
        _text(envelope, "from", MAX_STRING),
        recipients,
        received,
        body,
        size,
    )


def _verdict(fields: dict[Any, Any]) -> Verdict:
    action = fields.get("action")
    known = _ACTIONS.get(action) if type(action) is str else None
    if known is None:
        raise WireError(f"unknown action {action!r:.60}")
    id_ = _integer(fields, "id", 1, MAX_ID)
    if len(fields) == 3:  # type, id, action: the verdict on almost every message
        return Verdict(id_, known)
    return Verdict(
        id_,
        known,
        _text(fields, "text", MAX_TEXT, ""),
        _text(fields, "rule", MAX_NAME, ""),
        _headers(fields.get("headers", ())),
        _license(fields, ""),
        _text(fields, "category", MAX_NAME, ""),
    )


def _headers(value: object) -> tuple[tuple[str, str], ...]:
    # What stands here ends up in the header of a message: no line end may hide in it.
    if type(value) is not tuple or len(value) > MAX_HEADERS:
        raise WireError(f"headers is not an array of at most {MAX_HEADERS}")
    for pair in value:
        if type(pair) is not tuple or len(pair) != 2:
            raise WireError("a header is not a pair")
        name, text = pair
        if type(name) is not str or not 0 < len(name) <= MAX_HEADER_NAME:
            raise WireError(f"a header's name is not a string of 1 to {MAX_HEADER_NAME}")
        if not _HEADER_NAME.issuperset(name):
            raise WireError("a header's name has a character that is not allowed")
        if type(text) is not str or len(text) > MAX_TEXT:
            raise WireError(f"a header's value is not a string of at most {MAX_TEXT}")
        if not (text.isascii() and text.isprintable()):
            raise WireError("a header's value is not printable ASCII")
    return value


def _map(value: object) -> dict[Any, Any]:
    if type(value) is not dict:
        raise WireError(f"a map was expected, not {type(value).__name__}")
    return value


def _integer(fields: dict[Any, Any], key: str, low: int, high: int) -> int:
    value = fields.get(key)
    if type(value) is not int or not low <= value <= high:  # bool is no int here
        raise WireError(f"{key} is not an integer of {low} to {high}")
    return value


def _text(fields: dict[Any, Any], key: str, limit: int, default: str | None = None) -> str:
    value = fields.get(key, default)
    if type(value) is not str or len(value) > limit:
        raise WireError(f"{key} is not a string of at most {limit} characters")
    return value


def _license(fields: dict[Any, Any], default: str) -> str:
    value = fields.get("license", default)
    if type(value) is not str or (value != default and value not in _LICENSES):
        raise WireError("license is not ok, grace or invalid")
    return value
