"""Organisations: both spellings of hosts, recipient rules, the tree, and 100,000 domains."""

import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gwsmtp.base.endpoint import Endpoint
from gwsmtp.config.organizations import Domain
from gwsmtp.config.root import served_domains, walk_organizations
from tests.config.helpers import HEAD, config_of, problem, problems, write


def domain_of(directory: Path, keys: str) -> Domain:
    text = f"organizations: [{{name: root, domains: [{{name: a.example, {keys}}}]}}]\n"
    return config_of(directory, text).organizations[0].domains[0]


def test_one_host_or_rows_of_hosts(tmp_path: Path) -> None:
    one = domain_of(tmp_path, 'smtp_host: "mx.example:26"')
    assert [host.endpoint for host in one.smtp_hosts] == [Endpoint("mx.example", 26)]
    assert one.smtp_hosts[0].line_limit == 0
    rows = domain_of(
        tmp_path,
        "smtp_hosts: [{host: mx.example, security: ssl, line_limit: 998}, {host: '::1'}]",
    )
    assert [str(host.endpoint) for host in rows.smtp_hosts] == ["mx.example:465", "[::1]:25"]
    assert rows.smtp_hosts[0].line_limit == 998


def test_equal_hosts_are_one_object(tmp_path: Path) -> None:
    text = (
        "organizations: [{name: r, domains: [{name: a.example, smtp_host: h.example}, "
        "{name: b.example, smtp_host: h.example}]}]\n"
    )
    a, b = config_of(tmp_path, text).organizations[0].domains
    assert a.smtp_hosts[0] is b.smtp_hosts[0]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("smtp_host: a.example, smtp_hosts: []", "smtp_host or smtp_hosts, not both"),
        ("recipients: any", "smtp_hosts: is required"),
        ("smtp_hosts: []", "must have at least 1 entries"),
        ("smtp_host: 'a b'", "host name is needed"),
        ("smtp_host: 'a:0'", "a port is a number"),
        ("smtp_host: 25", "must be text"),
        ("smtp_host: a.example, recipients: all", "must be callout, any or file:PATH"),
        ("smtp_host: a.example, recipients: 'file:'", "must be callout, any or file:PATH"),
        ("smtp_host: a.example, recipients: no", "must be text"),
        ("smtp_host: a.example, auth_exceptions: [x]", "no name"),
        ("smtp_host: a.example, require_auth: 'yes'", "must be true or false"),
        ("smtp_hosts: [{host: a.example, line_limit: 77}]", "at least 78"),
    ],
)
def test_problems_of_a_domain(tmp_path: Path, keys: str, expected: str) -> None:
    text = f"organizations: [{{name: root, domains: [{{name: a.example, {keys}}}]}}]"
    found = problem(tmp_path, text)
    assert expected in found
    assert "organizations[0].domains[0]" in found


def test_a_misspelt_short_form_is_recognised(tmp_path: Path) -> None:
    text = "organizations: [{name: r, domains: [{name: a.example, smtp_hots: h.example}]}]"
    found = problems(tmp_path, HEAD + text)
    assert found[0].endswith("domains[0].smtp_hosts: is required")
    assert 'smtp_hots: unknown key; did you mean "smtp_host' in found[1]


def test_recipient_rules(tmp_path: Path) -> None:
    assert domain_of(tmp_path, "smtp_host: h.example").recipients == "callout"
    assert domain_of(tmp_path, "smtp_host: h.example").recipients_file is None
    assert domain_of(tmp_path, "smtp_host: h.example, recipients: any").recipients == "any"
    listed = domain_of(tmp_path, "smtp_host: h.example, recipients: 'file:users/a'")
    assert listed.recipients_file == tmp_path / "users/a"


def test_names_of_domains(tmp_path: Path) -> None:
    text = "organizations: [{{name: r, domains: [{{name: '{}', smtp_host: h.example}}]}}]\n"
    for given_name, kept in (("Example.TEST.", "example.test"), ("bücher.example", None)):
        name = config_of(tmp_path, text.format(given_name)).organizations[0].domains[0].name
        assert name == (kept or "xn--bcher-kva.example")
    for bad in ("", "a b", "192.0.2.1", "a@b", "*.example", "ü" * 70 + ".example"):
        assert "is no domain name" in problem(tmp_path, text.format(bad))


def test_names_of_organisations(tmp_path: Path) -> None:
    assert "without / and comma" in problem(tmp_path, "organizations: [{name: a/b}]")
    assert "without / and comma" in problem(tmp_path, "organizations: [{name: ''}]")


TREE = """\
organizations:
  - name: one
    domains: [{name: a.example, smtp_host: h.example}]
    children:
      - name: two
        domains: [{name: b.example, smtp_host: h.example}]
        children: [{name: three, domains: [{name: c.example, smtp_host: h.example}]}]
      - name: four
  - name: five
    domains: [{name: d.example, smtp_host: h.example}]
"""


def test_the_tree_is_walked_parents_first(tmp_path: Path) -> None:
    config = config_of(tmp_path, TREE)
    walked = list(walk_organizations(config.organizations))
    assert [unit.name for _, unit in walked] == ["one", "two", "three", "four", "five"]
    assert walked[2][0] == ("organizations", 0, "children", 0, "children", 0)
    assert walked[4][0] == ("organizations", 1)


@pytest.mark.parametrize(
    ("chosen", "domains"),
    [("[]", "abcd"), ("[two]", "bc"), ("[one]", "abc"), ("'three, five'", "cd"), ("four", "")],
)
def test_the_served_set_holds_children(tmp_path: Path, chosen: str, domains: str) -> None:
    path = write(tmp_path, f"interface: {{name: x, serviced_ou_set: {chosen}}}\n{TREE}")
    from gwsmtp.config.loader import load_config

    config = load_config(path)
    assert "".join(domain.name[0] for domain in served_domains(config)) == domains


def test_deep_trees_are_refused_not_crashed(tmp_path: Path) -> None:
    text = "organizations: " + "[{name: x, children: " * 5000
    assert "nested more than" in problems(tmp_path, HEAD + text)[0]


@pytest.mark.full
def test_100_000_domains_load_in_seconds(tmp_path: Path) -> None:
    """Measured: 3.3 s of CPU and 175 MB at the peak on a 2-core machine; the bound is generous."""
    rows = "".join(
        f'      - {{name: d{i}.example.test, smtp_host: "10.0.{i % 200}.1:25", recipients: any}}\n'
        for i in range(100_000)
    )
    path = write(tmp_path, f"{HEAD}organizations:\n  - name: root\n    domains:\n{rows}")
    script = (
        "import sys, re, pathlib\n"
        "from gwsmtp.config.loader import load_config\n"
        "config = load_config(pathlib.Path(sys.argv[1]))\n"
        "assert len(config.organizations[0].domains) == 100_000\n"
        # Not ru_maxrss: it begins with what the forking process had.
        "status = pathlib.Path('/proc/self/status').read_text()\n"
        "print(int(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1]) // 1024)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        check=True,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=110,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime - before.ru_utime
    print(f"{cpu_s:.1f} s CPU, {time.monotonic() - start:.1f} s, {result.stdout.strip()} MB")
    assert cpu_s < 20, cpu_s
    assert int(result.stdout) < 400, result.stdout
