"""Settings with mistakes in them: every mistake is a finding, and the rest is examined as if the bad ones were not set."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from agents.errors import SettingsError
from agents.settings import FIELDS, PREFIX, AgentSettings
from controlplane.wire.findings import Finding, ok, wrong

_VARIABLE = re.compile(rf"{PREFIX}\w*")
_URL = f"{PREFIX}URL"
_STAND_INS = {_URL: "http://control-plane.invalid", f"{PREFIX}NAME": "unnamed"}
"""For what has no default, so that the rest can be looked at."""
_MOST_TRIES = 2 * len(FIELDS)


def settings_of(
    environment: Mapping[str, str], read: Callable[[Mapping[str, str]], AgentSettings]
) -> tuple[AgentSettings | None, list[Finding]]:
    """None when there is too little to go on. `read` is what the agent itself reads its settings with."""
    left = dict(environment)
    found: list[Finding] = []
    gone: set[str] = set()
    for _ in range(_MOST_TRIES):
        try:
            settings = read(left)
        except (SettingsError, OSError) as error:
            named = _VARIABLE.findall(str(error))
            if not gone.intersection(named):
                found.append(_finding(str(error), named, environment))
            culprit = next((one for one in named if one in left), None)
            if culprit is not None:
                del left[culprit]
                gone.add(culprit)
            elif named and named[0] in _STAND_INS:
                left[named[0]] = _STAND_INS[named[0]]
                gone.add(named[0])
            else:
                break
        else:
            if _URL in gone and left.get(_URL) == _STAND_INS[_URL]:
                settings = replace(settings, urls=())
            return settings, found or [_all_good(environment)]
    return None, found


def _finding(words: str, named: list[str], environment: Mapping[str, str]) -> Finding:
    is_set = [one for one in named if one in environment]
    remedy = "Correct it where the agent's environment is set" if is_set else "Set it in the agent's environment"
    also = "; what else is shown here is as if it were not set." if is_set else "."
    return wrong("settings", words, f"{remedy} (turnfleet-agent --help lists all){also}")


def _all_good(environment: Mapping[str, str]) -> Finding:
    number = sum(1 for one in environment if one.startswith(PREFIX))
    who = f"user id {os.geteuid()}" if os.geteuid() else "root"
    return ok("settings", f"{number} variables are set, and all can be used. This is {who}.")
