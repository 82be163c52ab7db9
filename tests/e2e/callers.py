"""Applications whose users call all the while, in one region: who is refused, and when."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator

from deploy.local.relay_check import RelayFailed, TurnServer
from tests.e2e.application import Application, server_of

TTL_SECONDS = 3
_PAUSE_SECONDS = 0.05
_CODE = re.compile(r"\(([0-9]{3}) - ")


def port_is_taken(failure: str) -> bool:
    """437: the port that this client drew has an allocation still, for a second after its release (RFC 8656 §7.4: use another)."""
    return "(437 - " in failure


class Callers:
    """Each asks for a credential, and allocates with it at once and again shortly before it expires, over UDP and TCP in turn. One
    that is refused asks for another credential and tries once more, as a browser's application does when it restarts ICE.
    """

    def __init__(self, application: Application, region: str) -> None:
        self.allocations = 0
        self.second_tries: list[str] = []
        self.failed: list[str] = []
        self._application = application
        self._region = region

    @property
    def refused(self) -> list[str]:
        """Answers that say no, and who did not come through at the second try either."""
        return [each for each in self.second_tries if _CODE.search(each) and not port_is_taken(each)] + self.failed

    @property
    def unanswered(self) -> list[str]:
        """Silence at the first try: on a busy machine, now and then."""
        return [each for each in self.second_tries if not _CODE.search(each)]

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(self._call("tcp" if number == 0 else "udp"))

    async def _call(self, transport: str) -> None:
        while True:
            server = await self._credential(transport)
            expires_at = int(server.username.split(":")[0])
            await self._allocate(server, transport)
            # coturn's clock ticks once a second: the last second of a credential is not promised.
            await asyncio.sleep(max(_PAUSE_SECONDS, min(expires_at - 1.2 - time.time(), TTL_SECONDS)))
            await self._allocate(server, transport)

    async def _credential(self, transport: str) -> TurnServer:
        while (answer := await self._application.issue(fixed_region=self._region, ttl=TTL_SECONDS)).status_code != 200:
            self.failed.append(answer.text)
            await asyncio.sleep(_PAUSE_SECONDS)
        return server_of(answer, transport)

    async def _allocate(self, server: TurnServer, transport: str) -> None:
        try:
            await self._application.relay(server)
        except RelayFailed as error:
            self.second_tries.append(f"{error!r} {time.time() - int(server.username.split(':')[0]):+.2f} s from its expiry")
            try:
                await self._application.relay(await self._credential(transport))
            except RelayFailed as again:
                self.failed.append(f"{again!r} after {error!r}")
                return
        self.allocations += 1


@contextlib.asynccontextmanager
async def calling(application: Application, region: str) -> AsyncIterator[Callers]:
    callers = Callers(application, region)
    task = asyncio.create_task(callers.run())
    try:
        yield callers
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
