"""Who this node is: a join token is exchanged for a node id and a node token, once, and both are kept on disk.

The nonce is on disk before the first question. When the reply is lost, the same token and nonce may ask again.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec
import structlog

from agents import AGENT_VERSION
from agents.backoff import asked_delay, full_jitter
from agents.errors import IdentityError, JoinRefusedError
from agents.files import write_atomically
from agents.link import Answered, Link, Refused, Unreachable
from agents.settings import PREFIX, AgentSettings
from controlplane.wire.agent_api import JoinRequest
from controlplane.wire.redacted import Redacted

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

_dice = random.SystemRandom()
RETRY_BASE_SECONDS = 0.5
RETRY_CAP_SECONDS = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    node_id: str
    token: Redacted
    """The newest that it was given."""
    region: str
    realm: str
    former_token: Redacted | None = None
    """The one before: good until the newest was shown, and again if the control plane goes back to a backup of its database."""


class _Kept(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    node_id: str
    node_token: str
    region: str
    realm: str
    former_node_token: str | None = None


class _Asking(msgspec.Struct, frozen=True, kw_only=True):
    join_nonce: str


def load(state_dir: Path) -> Identity | None:
    """The identity on disk; None before the node joined."""
    try:
        kept = msgspec.json.decode(_file(state_dir).read_bytes(), type=_Kept)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise IdentityError(
            f"The node's identity in {_file(state_dir)} cannot be read ({type(error).__name__}): "
            "restore it, or remove it and join again."
        ) from None
    former = None if kept.former_node_token is None else Redacted(kept.former_node_token)
    return Identity(
        node_id=kept.node_id, token=Redacted(kept.node_token), region=kept.region, realm=kept.realm, former_token=former
    )


def save(state_dir: Path, identity: Identity) -> None:
    """Raises OSError: then what was there before is there still."""
    kept = _Kept(
        node_id=identity.node_id,
        node_token=identity.token.reveal(),
        region=identity.region,
        realm=identity.realm,
        former_node_token=None if identity.former_token is None else identity.former_token.reveal(),
    )
    write_atomically(_file(state_dir), msgspec.json.encode(kept), mode=0o600)


async def load_or_join(settings: AgentSettings, link: Link) -> Identity:
    """Asks until there is an answer. JoinRefusedError when the control plane says no: a human has to look."""
    known = load(settings.state_dir)
    if known is not None:
        return known
    request = JoinRequest(
        join_token=_join_token(settings).reveal(),
        join_nonce=_nonce(settings.state_dir),
        name=settings.name,
        agent_version=AGENT_VERSION,
    )
    failures = 0
    while True:
        match await link.join(request):
            case Answered(reply=reply):
                identity = Identity(node_id=reply.node_id, token=Redacted(reply.node_token), region=reply.region, realm=reply.realm)
                try:
                    save(settings.state_dir, identity)
                    _asking_file(settings.state_dir).unlink(missing_ok=True)
                except OSError as error:
                    raise IdentityError(
                        f"The node joined, but its identity cannot be written to {settings.state_dir} ({error.strerror}): "
                        "start the agent again once it can, with the same join token."
                    ) from None
                log.info("node_joined", node_id=identity.node_id, region=identity.region)
                return identity
            case Refused(status=status, reason=reason):
                raise JoinRefusedError(
                    f"The control plane refused this join token (status {status}{': ' + reason if reason else ''}): "
                    "ask for a new one, as each is good for one node only."
                )
            case Unreachable(reason=reason, retry_after_seconds=asked):
                failures += 1
                delay = full_jitter(failures, _dice.random(), base_seconds=RETRY_BASE_SECONDS, cap_seconds=RETRY_CAP_SECONDS)
                delay = max(delay, asked_delay(asked, _dice.random()))
                log.warning("join_failed", reason=reason, failures=failures, retry_in_seconds=round(delay, 2))
                await asyncio.sleep(delay)


def _join_token(settings: AgentSettings) -> Redacted:
    if settings.join_token is not None:
        return settings.join_token
    if settings.join_token_file is None:
        raise JoinRefusedError(f"This node has not joined yet: {PREFIX}JOIN_TOKEN or {PREFIX}JOIN_TOKEN_FILE must be set.")
    try:
        text = settings.join_token_file.read_text().strip()
    except OSError as error:
        raise JoinRefusedError(f"The join token in {settings.join_token_file} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise JoinRefusedError(f"The join token in {settings.join_token_file} cannot be read: it is no text.") from None
    return Redacted(text)


def _nonce(state_dir: Path) -> str:
    """The nonce of an earlier try, else a new one that is on disk when this returns."""
    path = _asking_file(state_dir)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Asking).join_nonce
    except (OSError, msgspec.MsgspecError):
        asking = _Asking(join_nonce=secrets.token_urlsafe(24))
    try:
        write_atomically(path, msgspec.json.encode(asking), mode=0o600)
    except OSError as error:
        raise IdentityError(f"The node's folder {state_dir} cannot be written to, so it does not join: {error.strerror}.") from None
    return asking.join_nonce


def _file(state_dir: Path) -> Path:
    return state_dir / "node.json"


def _asking_file(state_dir: Path) -> Path:
    return state_dir / "joining.json"
