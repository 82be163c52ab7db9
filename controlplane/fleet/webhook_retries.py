"""When a webhook that did not take an event is tried again, and when it is left alone. Times in seconds."""

from __future__ import annotations

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86_400.0
RETRY_SECONDS = (5.0, 5 * _MINUTE, 30 * _MINUTE, 2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR)
"""After the first, second … failed attempt, as the Standard Webhooks specification recommends: three days in all."""
JITTER = 0.2
LONGEST_RETRY_AFTER_SECONDS = _DAY
FIRST_REST_SECONDS = 5.0
LONGEST_REST_SECONDS = 5 * _MINUTE
FAILING_SECONDS = 5 * _DAY
"""A webhook that took nothing for so long is switched off: longer than one delivery is tried, so that each had its chance."""


def retry_delay_seconds(attempts: int, *, draw: float, retry_after_seconds: float | None = None) -> float | None:
    """How long to wait after that many failed attempts; None: give up. `draw` from [0, 1) spreads what failed together.

    The target may ask for longer, up to a day.
    """
    if attempts > len(RETRY_SECONDS):
        return None
    planned = RETRY_SECONDS[attempts - 1] * (1 + JITTER * draw)
    return max(planned, min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS))


def rest_seconds(failures: int, *, retry_after_seconds: float | None = None) -> float:
    """How long nothing at all is sent to a target that failed so many times in a row: new events wait, too.

    So a dead target with many events does not take the places of those that work.
    """
    planned = min(FIRST_REST_SECONDS * 2.0 ** min(failures - 1, 20), LONGEST_REST_SECONDS)
    return max(planned, min(retry_after_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS))
