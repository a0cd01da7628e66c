"""Rules about organisations and their domains."""

from pathlib import Path

import pytest

from gwsmtp.config.loader import check_file
from tests.config.helpers import check, errors, warnings

OU = (
    "organizations:\n"
    "  - name: root\n"
    "    domains:\n"
    '      - {name: a.example, smtp_host: "192.0.2.1"}\n'
    "    children:\n"
    '      - {name: sales, domains: [{name: b.example, smtp_host: "192.0.2.2"}]}\n'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "message_tracking: {enabled: true, store_in_default_ou: true, default_ou: x}",
            "message_tracking.default_ou: x is no organisation here",
        ),
        (OU.replace("sales", "root"), "organizations[0].children[0].name: root is another"),
        (OU.replace("b.example", "A.Example."), "a.example is a domain of root already"),
        (
            OU.replace('"192.0.2.2"', '"127.0.0.1"'),
            "7 organizations[0].children[0].domains[0].smtp_host: is an address this interface",
        ),
    ],
)
def test_errors(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(tmp_path, text)
    assert any(expected in line for line in found), found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "address_transformation: {definitions: "
            "[{name: x, match: '*@*', replace: '*@elsewhere.example'}]}",
            "replace: sends every address to a domain that is not hosted here",
        ),
        ("organizations: []", "organizations: no organisation: everything"),
        (
            "organizations: [{name: r, domains: [{name: a.example, smtp_host: h.example, "
            "recipients: 'file:/no/such'}]}]",
            "domains[0].recipients: /no/such: No such file",
        ),
        (
            "organizations: [{name: r, domains: [{name: a.example, smtp_host: h.example, "
            "require_auth: true}]}]",
            "require_auth: cannot be met",
        ),
    ],
)
def test_warnings(tmp_path: Path, text: str, expected: str) -> None:
    found = warnings(tmp_path, text + "\n")
    assert any(expected in line for line in found), found


def test_names_of_organisations_must_exist(tmp_path: Path) -> None:
    text = "diagnostic: {}\n" + OU
    report = check(tmp_path, text)
    assert report.problems == []
    report = check(tmp_path, OU.replace("sales", "sale"), 0o600)
    assert report.problems == []
    path = tmp_path / "gw.yaml"
    path.write_text(f"interface: {{name: a, serviced_ou_set: [root, sales, nobody]}}\n{OU}")
    assert len(check_file(path).problems) == 1
    assert "serviced_ou_set[2]: nobody is no organisation here" in check_file(path).problems[0]


def test_a_list_of_recipients_that_is_no_text_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / "list").write_bytes(b"j\xfcrgen\n")
    (tmp_path / "good").write_bytes(b"ann\n" * 500_000)  # any size
    text = "organizations: [{name: root, domains: ["
    for name in ("list", "good"):
        text += f'{{name: {name}.test, smtp_host: "192.0.2.9:25", recipients: "file:{name}"}}, '
    (line,) = check(tmp_path, text + "]}]\n").warnings
    assert "list: is not UTF-8" in line
