"""The wire: what goes in comes out, and nothing that comes in raises."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gwsmtp.scan.messages import (
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
from gwsmtp.scan.outcome import Action, ScanRequest
from gwsmtp.scan.parse import WireError, parse_from_engine, parse_from_gateway
from gwsmtp.scan.wire import Decoder, Encoder, engine_side, gateway_side
from tests.scan.support import MemoryBody, request
from tests.support.fields import fields

MAX_BODY = 1024 * 1024
keys = st.sampled_from(["type", "id", "action", "text", "headers", "license"])
encoder = Encoder()

text = st.text(st.characters(codec="utf-8"), max_size=60)
ids = st.integers(1, 2**63 - 1)
printable = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)
header_names = st.text(st.sampled_from("ABCabc-!~"), min_size=1, max_size=20)
licenses = st.sampled_from(["", "ok", "grace", "invalid"])
verdicts = st.builds(
    Verdict,
    ids,
    st.sampled_from(list(Action)),
    text,
    text,
    st.lists(st.tuples(header_names, printable), max_size=4).map(tuple),
    licenses,
)
requests = st.builds(
    ScanRequest,
    text,
    st.integers(0, 1000),
    text,
    text,
    st.integers(0, 65535),
    text,
    text,
    st.lists(text, max_size=20).map(tuple),
    st.binary(max_size=2000).map(MemoryBody),
    st.binary(max_size=100),
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | text | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text | st.binary(), inner),
    max_leaves=10,
)


def state(message: object) -> tuple[object, ...]:
    """A message by value."""
    return (type(message), *(getattr(message, name, None) for name in fields(type(message))))


def one_from_engine(data: bytes) -> FromEngine:
    decoder = gateway_side()
    (message,) = decoder.feed(data)
    assert decoder.error is None
    return message


def error_of(decoder: Decoder[FromEngine] | Decoder[FromGateway], data: bytes) -> str:
    assert decoder.feed(data) == []
    assert isinstance(decoder.error, WireError)
    assert decoder.feed(b"\x80") == [], "nothing may follow an error"
    return str(decoder.error)


def pack_request(asked: ScanRequest, id_: int = 1, interface: str = "demo") -> bytes:
    body = asked.body.data or b""
    return encoder.request(id_, 5000, interface, asked, len(body)) + body


@given(requests, ids, text)
def test_a_request_arrives_as_it_was_asked(asked: ScanRequest, id_: int, interface: str) -> None:
    (got,) = engine_side(MAX_BODY).feed(pack_request(asked, id_, interface))
    assert isinstance(got, Request)
    assert (got.id, got.deadline_ms, got.interface) == (id_, 5000, interface)
    assert (got.session, got.number) == (asked.session_id, asked.number)
    assert (got.client_ip, got.client_port, got.helo) == (
        asked.client_ip,
        asked.client_port,
        asked.helo,
    )
    assert (got.sender, got.recipients) == (asked.sender, asked.recipients)
    assert (got.received, got.body, got.size) == (
        asked.received,
        asked.body.data,
        asked.body.size,
    )


@pytest.mark.parametrize("size", [0, 1, 255, 256, 65535, 65536, 300_000])
def test_a_body_of_any_size_follows_its_head(size: int) -> None:
    (got,) = engine_side(MAX_BODY).feed(pack_request(request(bytes(size))))
    assert isinstance(got, Request)
    assert got.body == bytes(size)


def test_a_request_by_descriptor_has_a_size_and_no_body() -> None:
    data = encoder.request_by_descriptor(7, 1, "demo", request(), 12345)
    (got,) = engine_side(MAX_BODY).feed(data)
    assert isinstance(got, Request)
    assert (got.body, got.size) == (None, 12345)


@given(verdicts)
def test_a_verdict_arrives_as_it_was_given(given_verdict: Verdict) -> None:
    assert state(one_from_engine(encoder.verdict(given_verdict))) == state(given_verdict)


def test_the_small_messages_arrive() -> None:
    assert state(one_from_engine(encoder.busy(3))) == state(Busy(3))
    assert state(one_from_engine(encoder.failure(3, "why"))) == state(Failure(3, "why"))
    assert state(one_from_engine(encoder.pong(3, "grace"))) == state(Pong(3, "grace"))
    assert isinstance(one_from_engine(encoder.draining()), Draining)
    (ping,) = engine_side(MAX_BODY).feed(encoder.ping(9))
    assert state(ping) == state(Ping(9))


def test_hello_arrives_both_ways() -> None:
    ours = Hello(1, "gateway", "g", frozenset(("fd", "accept")))
    (got,) = engine_side(MAX_BODY).feed(encoder.hello(ours))
    assert isinstance(got, Hello)
    assert (got.name, got.capabilities) == ("g", frozenset(("fd", "accept")))
    theirs = one_from_engine(
        encoder.hello(Hello(1, "engine", "e", frozenset(), "invalid", max_body=99))
    )
    assert isinstance(theirs, Hello)
    assert (theirs.license, theirs.max_body) == ("invalid", 99)


def test_a_lone_surrogate_does_not_stop_a_message() -> None:
    (got,) = engine_side(MAX_BODY).feed(pack_request(request(sender="a\udcff@example.org")))
    assert isinstance(got, Request)
    assert got.sender == "a?@example.org"


@settings(max_examples=30)
@given(st.lists(requests, min_size=1, max_size=4), st.data())
def test_any_portions_give_the_same_messages(asked: list[ScanRequest], data: st.DataObject) -> None:
    wire = b"".join(pack_request(one, number) for number, one in enumerate(asked, 1))
    whole = engine_side(MAX_BODY).feed(wire)
    decoder = engine_side(MAX_BODY)
    pieces: list[FromGateway] = []
    while wire:
        size = data.draw(st.integers(1, len(wire)))
        pieces += decoder.feed(wire[:size])
        wire = wire[size:]
    assert decoder.error is None
    assert [state(message) for message in pieces] == [state(message) for message in whole]


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_octets_raise_nothing(first: bytes, second: bytes) -> None:
    for decoder in (engine_side(1000), gateway_side()):
        decoder.feed(first)
        decoder.feed(second)
        assert decoder.error is None or isinstance(decoder.error, WireError)


@given(st.dictionaries(keys, junk))
def test_any_values_give_a_message_or_a_wire_error(fields: dict[object, object]) -> None:
    for kind in ("verdict", "scan", "hello", "pong", "error", "ping", "busy", fields.get("type")):
        value = msgpack.unpackb(msgpack.packb({**fields, "type": kind}), use_list=False)
        for parse in (parse_from_engine, parse_from_gateway):
            try:
                parse(value)
            except WireError:
                pass


def test_unknown_keys_are_ignored() -> None:
    message = {"type": "verdict", "id": 1, "action": "accept", "mood": [1, {"x": b"y"}]}
    assert isinstance(one_from_engine(msgpack.packb(message)), Verdict)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ([], "a map was expected"),
        ({}, "unknown message type None"),
        ({"type": "dance"}, "unknown message type"),
        ({"type": "verdict", "id": 1, "action": "hold"}, "unknown action"),
        ({"type": "verdict", "id": 1, "action": {}}, "unknown action"),
        ({"type": "verdict", "id": 0, "action": "accept"}, "id is not"),
        ({"type": "verdict", "id": True, "action": "accept"}, "id is not"),
        ({"type": "verdict", "id": 1, "action": "accept", "text": "x" * 2001}, "text is not"),
        ({"type": "verdict", "id": 1, "action": "accept", "text": b"x"}, "text is not"),
        ({"type": "verdict", "id": 1, "action": "accept", "license": "free"}, "license is not"),
        ({"type": "verdict", "id": 1, "action": "accept", "headers": [["X"]]}, "not a pair"),
        ({"type": "verdict", "id": 1, "action": "accept", "headers": [["X Y", ""]]}, "name has"),
        ({"type": "verdict", "id": 1, "action": "accept", "headers": [["", "x"]]}, "name is not"),
        (
            {"type": "verdict", "id": 1, "action": "accept", "headers": [["X", "a\r\nTo: b"]]},
            "not printable",
        ),
        (
            {"type": "verdict", "id": 1, "action": "accept", "headers": [["X", "y"]] * 33},
            "headers is not",
        ),
        ({"type": "hello", "version": 2}, "speaks version 2"),
        ({"type": "hello", "version": 1, "role": "gateway"}, "not one of a engine"),
        ({"type": "hello", "version": 1, "role": "engine", "capabilities": [1]}, "capability"),
        ({"type": "hello", "version": 1, "role": "engine", "capabilities": "fd"}, "capabilities"),
    ],
)
def test_what_an_engine_may_not_say(message: object, reason: str) -> None:
    assert reason in error_of(gateway_side(), msgpack.packb(message))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"body": "text"}, "neither a binary body nor fd"),
        ({"fd": True}, "both body and fd"),
        ({"body": None}, "neither"),
        ({"body": None, "fd": True}, "size is not"),
        ({"client": {"ip": "x", "port": 70000, "helo": ""}}, "port is not"),
        ({"client": 5}, "a map was expected"),
        ({"envelope": {"from": "", "to": "x"}}, "not an array"),
        ({"envelope": {"from": "", "to": ["x" * 4097]}}, "a recipient"),
        ({"envelope": {"from": b"", "to": []}}, "from is not"),
        ({"received": "text"}, "received is not"),
        ({"deadline_ms": -1}, "deadline_ms is not"),
        ({"deadline_ms": 1.5}, "deadline_ms is not"),
    ],
)
def test_what_a_gateway_may_not_say(change: dict[str, object], reason: str) -> None:
    fields = msgpack.unpackb(pack_request(request())) | change
    assert reason in error_of(engine_side(MAX_BODY), msgpack.packb(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"\xc1",
        b"\xa1\xff",  # a string that is no UTF-8
        b"\x91" * 3000,  # nested without end
        b"\xdd\xff\xff\xff\xff",  # an array of 4 billion
        b"\xdf\xff\xff\xff\xff",
        b"\xd4\x01\x00",  # an extension type
        b"\xd6\xff\x00\x00\x00\x00",  # a timestamp
        b"\x81\x90\x00",  # a key that is an array
        b"\x05",
    ],
)
def test_sizes_and_types_are_refused_before_they_cost_anything(data: bytes) -> None:
    error_of(gateway_side(), data)
    error_of(engine_side(1000), data)


@pytest.mark.parametrize("head", [b"\xc6\x7f\xff\xff\xff", b"\xdb\x7f\xff\xff\xff"])
def test_an_endless_value_is_stopped_at_the_limit_of_a_message(head: bytes) -> None:
    decoder = gateway_side()
    decoder.feed(head)
    fed = 0
    while decoder.error is None:
        decoder.feed(bytes(65536))
        fed += 65536
    assert fed <= 512 * 1024


def test_a_message_that_never_ends_is_too_large() -> None:
    decoder = gateway_side()
    decoder.feed(b"\x82\xa1a\xdc\x01\x00")
    for _ in range(300):
        decoder.feed(b"\xda\x10\x00" + b"x" * 4096)
    assert "large" in str(decoder.error)


def test_messages_before_nonsense_are_still_given() -> None:
    decoder = gateway_side()
    assert len(decoder.feed(encoder.busy(1) + encoder.busy(2) + b"\xc1")) == 2
    assert decoder.error is not None


def test_the_memory_of_a_large_body_is_given_back() -> None:
    decoder = engine_side(4 * MAX_BODY)
    assert len(decoder.feed(pack_request(request(bytes(3 * MAX_BODY))))) == 1
    assert len(decoder.feed(pack_request(request(b"small")))) == 1
    assert decoder.error is None
