"""Whom a probe believes."""

from __future__ import annotations

import ssl
from pathlib import Path


def trust(ca_file: Path | None) -> ssl.SSLContext:
    """What a client would verify a listener's certificate with: the system's authorities, and the operator's own beside them.

    Reads files. Raises OSError (ssl.SSLError is one) for one that cannot be read.
    """
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=str(ca_file))
    return context
