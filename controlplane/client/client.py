"""Client and AsyncClient: the same calls, blocking or awaited."""

from __future__ import annotations

from types import TracebackType
from typing import Generic, Self

from controlplane.client.configuration import Configuration, configure
from controlplane.client.credentials import Credentials
from controlplane.client.drivers import Awaiting, Blocking
from controlplane.client.exchange import Retries
from controlplane.client.fleet import Fleet, Regions
from controlplane.client.methods import Driver
from controlplane.client.records import Allocations, Clients, Rooms, Usage
from controlplane.client.tenants import Organizations, Projects
from controlplane.client.tokens import Tokens
from controlplane.client.webhooks import Webhooks
from controlplane.wire.redacted import Redacted


class _Calls(Generic[Driver]):
    """What both clients can do."""

    def __init__(self, driver: Driver) -> None:
        self._driver: Driver = driver
        self.credentials = Credentials(driver)
        self.allocations = Allocations(driver)
        self.rooms = Rooms(driver)
        self.clients = Clients(driver)
        self.usage = Usage(driver)
        self.organizations = Organizations(driver)
        self.projects = Projects(driver)
        self.tokens = Tokens(driver)
        self.regions = Regions(driver)
        self.fleet = Fleet(driver)
        self.webhooks = Webhooks(driver)

    @property
    def configuration(self) -> Configuration:
        return self._driver.configuration


class Client(_Calls[Blocking]):
    """The API, blocking. Threads may share one. What is not given comes from TURNFLEET_CLIENT_URL, …_TOKEN, …_PROJECT, …_CA_FILE.

    Raises ConfigurationError.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | Redacted | None = None,
        *,
        project: str | None = None,
        ca_file: str | None = None,
        timeout_seconds: float = 10.0,
        retries: Retries | None = None,
        user_agent: str = "",
    ) -> None:
        from controlplane.client.transport import BlockingTransport

        configuration = configure(
            url=url,
            token=token,
            project=project,
            ca_file=ca_file,
            timeout_seconds=timeout_seconds,
            retries=retries,
            user_agent=user_agent,
        )
        super().__init__(Blocking(configuration, BlockingTransport(configuration)))

    @property
    def driver(self) -> Blocking:
        """Runs calls that a group describes, such as `client.driver.answer(Tokens.list())`: for answers as they came."""
        return self._driver

    def in_project(self, project: str | None) -> Client:
        """The same client acting in another project. They share their connections; closing one closes both."""
        other = Client.__new__(Client)
        _Calls.__init__(other, Blocking(self.configuration.in_project(project), self._driver.transport))
        return other

    def close(self) -> None:
        self._driver.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class AsyncClient(_Calls[Awaiting]):
    """The API on an event loop. What is not given comes from TURNFLEET_CLIENT_URL, …_TOKEN, …_PROJECT, …_CA_FILE.

    Raises ConfigurationError.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | Redacted | None = None,
        *,
        project: str | None = None,
        ca_file: str | None = None,
        timeout_seconds: float = 10.0,
        retries: Retries | None = None,
        user_agent: str = "",
    ) -> None:
        from controlplane.client.transport import AwaitingTransport

        configuration = configure(
            url=url,
            token=token,
            project=project,
            ca_file=ca_file,
            timeout_seconds=timeout_seconds,
            retries=retries,
            user_agent=user_agent,
        )
        super().__init__(Awaiting(configuration, AwaitingTransport(configuration)))

    @property
    def driver(self) -> Awaiting:
        """Runs calls that a group describes, such as `await client.driver.answer(Tokens.list())`: for answers as they came."""
        return self._driver

    def in_project(self, project: str | None) -> AsyncClient:
        """The same client acting in another project. They share their connections; closing one closes both."""
        other = AsyncClient.__new__(AsyncClient)
        _Calls.__init__(other, Awaiting(self.configuration.in_project(project), self._driver.transport))
        return other

    async def close(self) -> None:
        await self._driver.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()
