"""Credentials: issue them, see who got which, end them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from controlplane.client.call import Answer, Call, Pages, get, given, json_of, nothing, part
from controlplane.client.errors import ArgumentError
from controlplane.client.methods import Driver, Group, call, pages
from controlplane.wire.ice_api import IceReply
from controlplane.wire.records_api import CredentialView
from controlplane.wire.revocation_api import RevokeBody


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCredential:
    """Credentials for one client. Its `repr` does not show the password."""

    credential_id: str
    region: str
    node_ids: tuple[str, ...]
    selection: str
    """Why that region; a reason of docs/concepts.md."""
    degraded: bool
    """Chosen while the control plane could not see the whole fleet."""
    expires_at: datetime
    """From then on new allocations are refused."""
    reply: IceReply = field(repr=False)
    """`ice_servers`, and `selection` when it was to be explained."""
    body: bytes = field(repr=False)
    """The answer as it came, JSON: hand it to the browser, where RTCPeerConnection takes the whole of it."""


def _issued(answer: Answer) -> IssuedCredential:
    selection, _, degraded = answer.headers.get("x-turn-selection", "").partition("; ")
    reply = json_of(IceReply)(answer)
    return IssuedCredential(
        credential_id=answer.headers.get("x-credential-id", ""),
        region=answer.headers.get("x-turn-region", ""),
        node_ids=tuple(node for node in answer.headers.get("x-turn-node", "").split(", ") if node),
        selection=selection,
        degraded=degraded == "degraded",
        expires_at=datetime.fromisoformat(reply.expires_at),
        reply=reply,
        body=answer.body,
    )


class Credentials(Group[Driver]):
    @call
    @staticmethod
    def issue(
        *,
        room: str | None = None,
        initiator_client: str | None = None,
        receiver_client: str | None = None,
        ttl_seconds: int | None = None,
        fixed_region: str | None = None,
        preferred_region: str | None = None,
        client_address: str | None = None,
        servers: int | None = None,
        explain: bool = False,
    ) -> Call[IssuedCredential]:
        """Credentials for one client on a selected relay. `client_address` is that client's, for finding the nearest one.

        `explain` needs an operator token. Issuing twice harms nobody, so it is repeated when a connection breaks.
        """
        return Call(
            method="POST",
            path="/credentials/ice",
            query={"servers": servers, "explain": True if explain else None},
            headers={} if client_address is None else {"x-turn-client-ip": client_address},
            body=given(
                room=room,
                initiator_client=initiator_client,
                receiver_client=receiver_client,
                ttl=ttl_seconds,
                fixed_region=fixed_region,
                preferred_region=preferred_region,
            ),
            read=_issued,
            repeat="always",
        )

    @pages
    @staticmethod
    def list(
        *,
        room: str | None = None,
        client: str | None = None,
        region: str | None = None,
        node: str | UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Pages[CredentialView]:
        """What was issued, the newest first. `client` is initiator or receiver; times are those of the issue."""
        return Pages(
            path="/credentials",
            item=CredentialView,
            query={"room": room, "client": client, "region": region, "node": node, "from": since, "to": until},
        )

    @call
    @staticmethod
    def show(credential_id: str | UUID) -> Call[CredentialView]:
        """One issue: who, when, where, and why there. Never the password."""
        return get(f"/credentials/{part(credential_id)}", CredentialView)

    @call
    @staticmethod
    def revoke(credential_id: str | UUID) -> Call[None]:
        """End one credential at every relay, and the calls that are made with it. Raises NotFoundError."""
        return Call(method="DELETE", path=f"/credentials/{part(credential_id)}", read=nothing, repeat="refused")

    @call
    @staticmethod
    def revoke_room(room: str) -> Call[None]:
        """End every credential that was issued for this room until now."""
        return _revoke(RevokeBody(room=room))

    @call
    @staticmethod
    def revoke_client(client: str) -> Call[None]:
        """End every credential that names this client, as initiator or as receiver."""
        return _revoke(RevokeBody(client=client))

    @call
    @staticmethod
    def revoke_ids(credential_ids: Iterable[str | UUID]) -> Call[None]:
        """End these, 500 at most. Those that are not the project's are passed over."""
        return _revoke(RevokeBody(ids=[_uuid(each) for each in credential_ids]))


def _revoke(body: RevokeBody) -> Call[None]:
    return Call(method="POST", path="/credentials/revoke", body=body, read=nothing, repeat="refused")


def _uuid(text: str | UUID) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise ArgumentError(f"{text!r} is no credential's id.") from None
