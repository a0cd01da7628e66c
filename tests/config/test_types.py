"""Types of settings: one clause of explanation for every refusal."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from gwsmtp.config import types
from gwsmtp.config.types import domain_name, only_lines, split_lines


def read(kind: Any, value: Any, directory: str = "/etc/gw") -> Any:
    adapter: TypeAdapter[Any] = TypeAdapter(kind)
    return adapter.validate_python(value, context={"directory": Path(directory)})


@pytest.mark.parametrize(
    ("kind", "value", "result"),
    [
        ("FilePath", "a/b", Path("/etc/gw/a/b")),
        ("FilePath", "../a", Path("/etc/a")),
        ("FilePath", "../../../..", Path("/")),
        ("FilePath", "//a//b/.", Path("/a/b")),
        ("FilePath", Path("/x"), Path("/x")),
        ("OptionalPath", None, None),
        ("OptionalPath", "", None),
        ("TargetHost", "MX.Example.com", "mx.example.com"),
        ("TargetHost", "mx.example.com:26", "mx.example.com:26"),
        ("TargetHost", "::1", "[::1]"),
        ("TargetHost", "[::1]:26", "[::1]:26"),
        ("ServiceAddress", "unix:/a", "unix:/a"),
        ("OuNames", "a, b", ("a", "b")),
        ("HostName", "", ""),
        ("OptionalIp", "", ""),
        ("Ratio", 1, 1.0),
        ("LineLimit", 0, 0),
        ("LineLimit", 78, 78),
        ("Lines", "a\nb", "a\nb"),
    ],
)
def test_accepted(kind: str, value: Any, result: Any) -> None:
    assert read(getattr(types, kind), value) == result


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("Whole", True), ("Whole", "1"), ("Whole", 1.0), ("Whole", None), ("Switch", 1),
        ("Switch", "on"), ("Ratio", True), ("Ratio", "0.1"), ("Text", "a\nb"), ("Text", 1),
        ("Text", "a\x85b"), ("Lines", "a\x1bb"), ("FilePath", ""), ("FilePath", None),
        ("FilePath", "a\0"), ("OptionalPath", 7), ("OptionalPath", ["a"]), ("LineLimit", 77),
        ("HostName", "a b"), ("DomainName", ""), ("OuName", "a,b"), ("TargetHost", "a:b:c"),
        ("ListenAddresses", ["x"]), ("ServiceAddress", "a"),
    ],
)  # fmt: skip
def test_refused(kind: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(getattr(types, kind), value)


def test_lists_written_as_text() -> None:
    assert split_lines("a, b\n# c\nd # e\n\n,") == ["a", "b", "d"]
    assert split_lines(None) == ()
    assert split_lines(["a"]) == ["a"]
    assert split_lines(7) == 7
    assert only_lines("a, b\n\n c ") == ["a, b", "c"]
    assert only_lines(None) == ()
    assert only_lines(["a"]) == ["a"]


def test_domains_become_a_labels() -> None:
    assert domain_name(" BÜCHER.example. ") == "xn--bcher-kva.example"
    for bad in ("ü" * 70, "a..b", "..", "\u3002"):
        with pytest.raises(ValueError, match="is no domain name"):
            domain_name(bad)
