"""The secrets that deliveries are signed with: made here, shown once, sealed at rest."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from standardwebhooks import Webhook as Signer

from controlplane.postgres_store.webhooks import Webhook
from controlplane.wire.redacted import Redacted

_INFO = b"turnfleet/webhook-secrets"
_SECRET_BYTES = 32
"""Standard Webhooks: 24 to 64 bytes."""
_NONCE_BYTES = 12
"""AES-GCM's own size (NIST SP 800-38D §5.2.1.1); random, as a key seals far fewer than 2^32 secrets."""


class SecretSealedError(Exception):
    """The secret was sealed under another master key."""


class WebhookSecrets:
    """AES-256-GCM under HKDF-SHA256 of the master key, bound to the webhook's id: a row copied to another webhook does not open."""

    def __init__(self, master_key: Redacted) -> None:
        key = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(base64.b64decode(master_key.reveal()))
        self._cipher = AESGCM(key)

    def make(self, webhook_id: UUID) -> tuple[Redacted, bytes]:
        """(a new secret as its owner sees it, the same sealed)."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, secret, webhook_id.bytes)
        return Redacted("whsec_" + base64.b64encode(secret).decode("ascii")), sealed

    def sign(self, webhook: Webhook, *, event_id: UUID, sent_at: datetime, body: str) -> dict[str, str]:
        """The headers of one attempt, signed with the secret and, after a rotation, with the one before it too.

        Raises SecretSealedError.
        """
        sealed = [webhook.sealed_secret]
        if webhook.sealed_old_secret is not None and webhook.old_secret_until is not None and webhook.old_secret_until > sent_at:
            sealed.append(webhook.sealed_old_secret)
        sent_at = sent_at.astimezone(UTC)
        return {
            "webhook-id": str(event_id),
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": " ".join(
                Signer(self._open(each, webhook.webhook_id)).sign(str(event_id), sent_at, body) for each in sealed
            ),
        }

    def _open(self, sealed: bytes, webhook_id: UUID) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], webhook_id.bytes)
        except InvalidTag:
            raise SecretSealedError("The webhook's secret was sealed under another master key: rotate it.") from None
