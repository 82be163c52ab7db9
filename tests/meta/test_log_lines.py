"""Every line that a process logs is one JSON object: our own, a library's, and one with a traceback."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import pytest

_LINES = """
import logging, structlog
{set_up}
log = structlog.get_logger()
log.info("ours", name="a\\nb")
log.debug("below the level")
logging.getLogger("a.library").warning("theirs: %s", "x\\ny")
logging.getLogger("a.library").info("below a warning")
try:
    1 / 0
except ZeroDivisionError:
    log.exception("ours_failed")
    logging.getLogger("asyncio").exception("theirs failed")
"""
_SET_UP = {
    "control plane": "from controlplane.telemetry.logs import set_up_logs; set_up_logs('info')",
    "agent": "from agents.log import configure; configure('info')",
}


@pytest.mark.parametrize("process", _SET_UP)
async def test_every_line_is_json(process: str) -> None:
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _LINES.format(set_up=_SET_UP[process]), stderr=asyncio.subprocess.PIPE
    )
    _, output = await asyncio.wait_for(running.communicate(), 30)
    lines: list[dict[str, Any]] = [json.loads(line) for line in output.splitlines()]
    assert [each["event"] for each in lines] == ["ours", "theirs: x\ny", "ours_failed", "theirs failed"]
    assert [each["level"] for each in lines] == ["info", "warning", "error", "error"]
    assert all("ZeroDivisionError" in each["exception"] for each in lines[2:])
    assert all({"at", "timestamp"} & set(each) for each in lines)
