"""What speaks for and against each listener of a node, as `turnfleet node show` prints it."""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.cli.tables import columns, print_line, print_table
from controlplane.cli.words import clean, say_seconds
from controlplane.wire.evidence_api import ListenerEvidence, OutsideWitness, Witness


def print_evidence(evidence: Sequence[ListenerEvidence]) -> None:
    if evidence:
        print_line("")
        print_table(
            columns("listener!0 heartbeat:2 agent:1 from_outside:0"),
            [[clean(each.url), _said(each.heartbeat), _said(each.agent), _said(each.outside)] for each in evidence],
        )


def _said(witness: Witness) -> str:
    words = clean(witness.words)
    if witness.ok:
        words = "good"
    elif isinstance(witness, OutsideWitness) and witness.expected:
        words = f"as it should: {words}"
    return words if witness.age_seconds is None else f"{words}, {say_seconds(round(witness.age_seconds))} ago"
