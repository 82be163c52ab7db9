"""Whether a node may be selected for new credentials, and if not, why. The one definition; never stored."""

from __future__ import annotations

from controlplane.fleet.health import Verdict
from controlplane.fleet.model import Health, Ineligibility, Intent, Node, NodeRecord
from controlplane.fleet.policy import Policy


def signing_version(node: Node, record: NodeRecord | None) -> int | None:
    """The newest secret version that coturn holds, that it shall hold, and whose master key is known here.

    None: nothing can be signed for this node.
    """
    if record is None:
        return None
    usable = set(node.wanted_versions) - node.unknown_versions
    return max((version for version in record.report.secret_versions if version in usable), default=None)


def derive_ineligibility(
    node: Node, record: NodeRecord | None, verdict: Verdict, *, utilisation: float, policy: Policy
) -> tuple[Ineligibility, ...]:
    """All reasons why the node is not selected, none when it is eligible.

    `utilisation` is that of load.utilisation(), placements in flight included. A suspect node is eligible: the selection
    uses it only when its region has nothing better.
    """
    reasons: list[Ineligibility] = []
    if verdict.health is Health.UNKNOWN:
        reasons.append(Ineligibility.UNKNOWN)
    elif verdict.health is Health.DOWN:
        reasons.append(Ineligibility.DOWN)
    if node.intent is Intent.CORDONED:
        reasons.append(Ineligibility.CORDONED)
    elif node.intent is Intent.DRAINING:
        reasons.append(Ineligibility.DRAINING)
    if record is not None:
        if signing_version(node, record) is None:
            reasons.append(Ineligibility.SECRET_MISSING)
        if not record.report.listeners:
            reasons.append(Ineligibility.LISTENER_MISSING)
    if utilisation >= policy.overload_limit_utilisation:
        reasons.append(Ineligibility.SATURATED)
    return tuple(reasons)
