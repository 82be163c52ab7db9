"""The relay agent: it runs on a relay host, drives coturn there, and answers to the control plane.

It imports nothing of the server but `controlplane.wire`.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__all__ = ["AGENT_VERSION"]


def _version() -> str:
    try:
        return version("turnfleet")
    except PackageNotFoundError:
        return "0.0.0+source"


AGENT_VERSION = _version()
