"""How ``gwsmtp table suggest`` writes its proposals."""

from typing import Any

from gwsmtp.cli.opened import span
from gwsmtp.limits.peaks import Peak
from gwsmtp.limits.policy import Policy
from gwsmtp.limits.suggest import BURSTS_A_MINUTE, Proposal, Survey

_FEW_CLIENTS = 100
_SHORT_S = 86400


def as_dict(seen: Survey, proposals: list[Proposal], seconds: float) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "clients": seen.clients,
        "left_out": seen.left_out,
        "seen_s": round(seconds, 1),
        "limits": {
            proposal.peak.name.lower(): {
                "p50": proposal.median,
                "p95": proposal.p95,
                "p99": proposal.p99,
                "most": proposal.most,
                "beyond": proposal.beyond,
                **_threshold(proposal),
            }
            for proposal in proposals
        },
    }


def as_yaml(seen: Survey, proposals: list[Proposal], policy: Policy, seconds: float) -> str:
    """YAML to paste, with what it stands on as comments."""
    lines = [
        f"# Proposed by gwsmtp table suggest from {seen.clients} clients seen in {span(seconds)}"
        f" ({seen.left_out} banned or restricted ones left out).",
        "# Per client: the most it used at one time (concurrency) or of a burst.",
    ]
    if seen.clients < _FEW_CLIENTS or seconds < _SHORT_S:
        lines.append("# That is little to go by: ask again after a busy day.")
    lines += ["dos_protection:", "  limits:"]
    for proposal in proposals:
        values = ", ".join(f"{key}: {value}" for key, value in _threshold(proposal).items())
        lines.append(f"    {proposal.peak.name.lower()}: {{{values}}}")
        lines.append(
            f"    # half {proposal.median}, 95 % {proposal.p95}, 99 % {proposal.p99}, the most "
            f"{proposal.most}; beyond the proposal: {proposal.beyond}; now {_now(proposal, policy)}"
        )
    return "\n".join(lines) + "\n"


def _threshold(proposal: Proposal) -> dict[str, int]:
    if proposal.peak is Peak.CONCURRENCY:
        return {"limit": proposal.proposed}
    return {"limit": BURSTS_A_MINUTE * proposal.proposed, "burst": proposal.proposed}


def _now(proposal: Proposal, policy: Policy) -> str:
    if proposal.peak is Peak.CONCURRENCY:
        return f"{policy.concurrency[0]}, {policy.concurrency_mode.name.lower()}"
    rate = {
        Peak.CONNECTIONS: policy.connections,
        Peak.MESSAGES: policy.messages,
        Peak.RECIPIENTS: policy.recipients,
    }[proposal.peak]
    return f"burst {rate.rate.burst}, {rate.mode.name.lower()}"
