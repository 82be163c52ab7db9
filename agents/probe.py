"""Is the relay good for a client? One real Allocate and one echoed packet through one of its own listeners, told in words."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ssl
import time

from controlplane.turn.client import CredentialPair
from controlplane.turn.relaying import EchoPeer, relay_packet
from controlplane.turn.target import Target
from controlplane.turn.username import probe_id
from controlplane.wire.agent_api import ListenerProbe
from controlplane.wire.probe_api import RelayFailure
from controlplane.wire.redacted import Redacted

DEADLINE_SECONDS = 2.0
CREDENTIAL_SECONDS = 30
_NOT_ACCEPTED = "401: coturn does not accept the newest loaded secret"


def credential(secret: Redacted, *, now: float) -> CredentialPair:
    """A TURN REST credential of the node's own, good for half a minute."""
    username = f"{int(now) + CREDENTIAL_SECONDS}:{probe_id()}"
    mac = hmac.new(secret.reveal().encode(), username.encode(), hashlib.sha1).digest()
    return username, Redacted(base64.b64encode(mac).decode())


async def probe(
    target: Target, *, secret: Redacted, echo: EchoPeer, context: ssl.SSLContext | None, deadline_seconds: float = DEADLINE_SECONDS
) -> ListenerProbe:
    """Never raises for what a relay can do wrong."""
    outcome = await relay_packet(
        target, credential=credential(secret, now=time.time()), context=context, echo=echo, deadline_seconds=deadline_seconds
    )
    if (failure := outcome.failure) is None:
        return ListenerProbe(transport=target.transport, ok=True, milliseconds=outcome.milliseconds)
    words = _NOT_ACCEPTED if failure.kind is RelayFailure.UNAUTHORIZED else failure.words
    return ListenerProbe(transport=target.transport, ok=False, failure=words)
