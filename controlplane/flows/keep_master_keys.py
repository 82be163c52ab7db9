"""This process says which master keys it has, and hears which one the fleet uses.

The key in use is PostgreSQL's to say, so that processes with different settings do not pull in different directions: it changes
when every process that was seen lately has the new one as its current key and the old one beside it. In whichever order they
are restarted, until then nothing changes.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import structlog
from uuid_utils.compat import uuid7

from controlplane.flows.master_keys import MasterKeys
from controlplane.flows.webhook_secrets import WebhookSecrets
from controlplane.postgres_store.database import Database
from controlplane.postgres_store.errors import DatabaseUnavailableError
from controlplane.postgres_store.master_keys import announce_keys, leave_keys, seal_webhooks_again

_PERIOD_SECONDS = 5.0
_BEFORE_ALL = UUID(int=0)

log = structlog.get_logger()


class MasterKeyKeeper:
    """One per process that has a master key. Run `run()` as a task; `leave()` at its end."""

    def __init__(self, database: Database, keys: MasterKeys) -> None:
        self._database = database
        self._keys = keys
        self._process_id: UUID = uuid7()

    async def announce(self) -> None:
        """Without PostgreSQL everything stays as it is."""
        try:
            in_use = await announce_keys(self._database, self._process_id, current=self._keys.current, known=self._keys.known)
        except DatabaseUnavailableError:
            return
        if in_use not in self._keys.known and self._keys.missed != in_use:
            log.error("master_key_missing", key=in_use, reason="The fleet uses it: set it as TURNFLEET_MASTER_KEY_PREVIOUS.")
        if in_use != self._keys.in_use and in_use in self._keys.known:
            log.info("master_key_in_use", key=in_use, before=self._keys.in_use)
        self._keys.use(in_use)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(_PERIOD_SECONDS)
            await self.announce()

    async def leave(self) -> None:
        """So that nobody waits for this process to agree."""
        try:
            await leave_keys(self._database, self._process_id)
        except DatabaseUnavailableError as error:
            log.warning("master_keys_not_left", reason=str(error))


class WebhookSealer:
    """The leader's: after a change of the master key every webhook's secret is sealed with the new one."""

    def __init__(self, database: Database, keys: MasterKeys | None, secrets: WebhookSecrets | None, *, epoch: int) -> None:
        """Without them nothing is done."""
        self._database = database
        self._keys = keys
        self._secrets = secrets
        self._epoch = epoch
        self._unopened = 0

    async def seal(self) -> None:
        """Raises DatabaseUnavailableError."""
        if self._keys is None or self._secrets is None:
            return
        sealed = unopened = 0
        after: UUID | None = _BEFORE_ALL
        while after is not None:
            some = await seal_webhooks_again(
                self._database,
                self._secrets.seal_again,
                key_id=self._keys.in_use,
                known=self._keys.known,
                after=after,
                epoch=self._epoch,
            )
            sealed, unopened, after = sealed + some.webhooks, unopened + some.unopened, some.next_after
        if sealed:
            log.info("webhooks_sealed_again", key=self._keys.in_use, count=sealed)
        if unopened and unopened != self._unopened:
            log.warning("webhooks_not_sealed_again", count=unopened, reason="A secret of theirs does not open: rotate it.")
        self._unopened = unopened
