"""The secrets that deliveries are signed with: made here, shown once, sealed at rest."""

from __future__ import annotations

import base64
import secrets
from datetime import UTC, datetime
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from standardwebhooks import Webhook as Signer

from controlplane.flows.master_keys import KEY_ID_HEX_DIGITS, MasterKeys
from controlplane.postgres_store.webhooks import Webhook
from controlplane.wire.redacted import Redacted

_INFO = b"turnfleet/webhook-secrets"
_SECRET_BYTES = 32
"""Standard Webhooks: 24 to 64 bytes."""
_KEY_ID_BYTES = KEY_ID_HEX_DIGITS // 2
_NONCE_BYTES = 12
"""AES-GCM's own size (NIST SP 800-38D §5.2.1.1); random, as a key seals far fewer than 2^32 secrets."""


class SecretSealedError(Exception):
    """The secret was sealed under a master key that this process does not have."""


class WebhookSecrets:
    """AES-256-GCM under HKDF-SHA256 of a master key, bound to the webhook's id: a row copied to another webhook does not open.

    Sealed: the master key's id, the nonce, ciphertext and tag.
    """

    def __init__(self, keys: MasterKeys) -> None:
        self._keys = keys
        self._ciphers = {key_id: AESGCM(keys.derive(key_id, _INFO)) for key_id in keys.known}

    def make(self, webhook_id: UUID) -> tuple[Redacted, bytes]:
        """(a new secret as its owner sees it, the same sealed)."""
        secret = secrets.token_bytes(_SECRET_BYTES)
        return Redacted("whsec_" + base64.b64encode(secret).decode("ascii")), self._seal(secret, webhook_id)

    def seal_again(self, sealed: bytes, webhook_id: UUID) -> bytes | None:
        """The same secret under the master key in use. None: it does not open."""
        try:
            return self._seal(self._open(sealed, webhook_id), webhook_id)
        except SecretSealedError:
            return None

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

    def _seal(self, secret: bytes, webhook_id: UUID) -> bytes:
        key_id, nonce = self._keys.in_use, secrets.token_bytes(_NONCE_BYTES)
        return bytes.fromhex(key_id) + nonce + self._ciphers[key_id].encrypt(nonce, secret, webhook_id.bytes)

    def _open(self, sealed: bytes, webhook_id: UUID) -> bytes:
        cipher, rest = self._ciphers.get(sealed[:_KEY_ID_BYTES].hex()), sealed[_KEY_ID_BYTES:]
        try:
            if cipher is not None:
                return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], webhook_id.bytes)
        except (InvalidTag, ValueError):
            pass
        raise SecretSealedError("The webhook's secret was sealed under another master key: rotate it.")
