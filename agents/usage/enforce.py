"""Which live allocations have to end, and why. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from agents.usage.book import Allocation, CutReason
from agents.usage.username import credential
from controlplane.wire.agent_api import CredentialRule

MEASURED_SECONDS = 10.0
"""Between two judgements of a credential's rate."""
STRIKES = 2
"""In a row. One is a burst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    session_id: str
    username: str
    reason: CutReason


def denied_users(usernames: Iterable[str], denied: Container[str]) -> list[str]:
    """Of those who have live allocations."""
    return [one for one in usernames if (found := credential(one)) is not None and found.id in denied]


@dataclass(slots=True)
class _Judged:
    at: float
    windows: int
    strikes: int = 0


@dataclass(slots=True)
class RuleBook:
    """The rules, and how often in a row each credential was found too fast."""

    rules: dict[str, CredentialRule] = field(default_factory=dict)
    _judged: dict[str, _Judged] = field(default_factory=dict)

    def due(self, living: Mapping[str, Mapping[str, Allocation]], *, now: float) -> list[Cut]:
        """`living` is by credential, each credential's allocations in the order in which they began."""
        found: list[Cut] = []
        for credential_id, allocations in living.items():
            rule = self.rules.get(credential_id)
            if rule is not None:
                found += self._of(rule, allocations, now)
        for credential_id in [one for one in self._judged if one not in living]:
            del self._judged[credential_id]
        return found

    def _of(self, rule: CredentialRule, allocations: Mapping[str, Allocation], now: float) -> Iterator[Cut]:
        living = allocations.values()
        first = next(iter(living), None)
        if first is None or first.credential is None:
            return
        if rule.end_at_expiry and first.credential.expires_at <= now:
            yield from _cuts(living, "expired")
        elif rule.max_bits_per_second is not None and self._too_fast(rule.max_bits_per_second, rule.credential_id, living, now):
            yield from _cuts(living, "quota")
        elif rule.max_allocations is not None:
            yield from _cuts(islice(living, rule.max_allocations, None), "quota")

    def _too_fast(self, most: int, credential_id: str, living: Iterable[Allocation], now: float) -> bool:
        windows = sum(one.meter.windows for one in living)
        judged = self._judged.setdefault(credential_id, _Judged(at=now, windows=windows if windows == 0 else -1))
        # Only what was measured since the last judgement is news.
        if windows == judged.windows or (judged.strikes and now - judged.at < MEASURED_SECONDS):
            return judged.strikes >= STRIKES
        rate = sum(one.meter.bits_per_second(now) for one in living)
        judged.strikes = judged.strikes + 1 if rate > most else 0
        judged.at, judged.windows = now, windows
        return judged.strikes >= STRIKES


def _cuts(allocations: Iterable[Allocation], reason: CutReason) -> Iterator[Cut]:
    return (Cut(session_id=one.session_id, username=one.username, reason=reason) for one in allocations)
