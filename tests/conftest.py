"""Fixtures that start the real Redis and PostgreSQL, once per test process, on free ports."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from controlplane.postgres_store.migrate import migrate
from deploy.local.postgres import PostgresServer, private_postgres
from deploy.local.redis_server import RedisServer, private_redis

_numbers = count(1)
_LONG = "long: run with --full"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long tests: kill schedules, soaks, big fleets")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What shares a module's or a package's fixtures, or the lock of what deploy/dev installs, runs in one process of several."""
    as_one = {item.path.parent for item in items if "package_database_url" in getattr(item, "fixturenames", ())}
    as_one.add(config.rootpath / "tests" / "deploy")
    for item in items:
        place = item.path.parent if item.path.parent in as_one else item.path
        item.add_marker(pytest.mark.xdist_group(str(place.relative_to(config.rootpath))))
    if not config.getoption("--full"):
        skip = pytest.mark.skip(reason=_LONG)
        for item in items:
            if "full" in item.keywords:
                item.add_marker(skip)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI everything can run, so a test that was skipped for any reason but its length is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None:
        return
    skipped = [report for report in reporter.stats.get("skipped", []) if _LONG not in str(report.longrepr)]
    if skipped and exitstatus == 0:
        for report in skipped:
            reporter.write_line(f"skipped in CI: {report.nodeid}: {report.longrepr[2]}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_configure(config: pytest.Config) -> None:
    # What the caller's shell has set must not reach the code under test.
    for name in [name for name in os.environ if name.startswith("TURNFLEET_")]:
        del os.environ[name]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres() -> AsyncIterator[PostgresServer]:
    """One cluster per test process, with a migrated template."""
    async with private_postgres() as server:
        connection = await server.connect_as_superuser()
        await connection.execute("CREATE DATABASE template_turnfleet OWNER turnfleet")
        await connection.close()
        await asyncio.to_thread(migrate, server.url_of("template_turnfleet"))
        yield server


async def fresh_database(server: PostgresServer) -> str:
    """A migrated database of its own; its URL."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    connection = await server.connect_as_superuser()
    try:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE template_turnfleet OWNER turnfleet")
    finally:
        await connection.close()
    return server.url_of(name)


@pytest_asyncio.fixture(loop_scope="session")
async def database_url(postgres: PostgresServer) -> str:
    return await fresh_database(postgres)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def module_database_url(postgres: PostgresServer) -> str:
    return await fresh_database(postgres)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def package_database_url(postgres: PostgresServer) -> str:
    return await fresh_database(postgres)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def redis() -> AsyncIterator[RedisServer]:
    async with private_redis() as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def redis_url(redis: RedisServer) -> str:
    """An empty Redis."""
    async with Redis.from_url(redis.url) as client:
        await client.flushall()
    return redis.url


@pytest.fixture
def folder() -> Iterator[Path]:
    """An empty folder that every account may enter."""
    path = Path(tempfile.mkdtemp(prefix="turnfleet-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of 1 MiB, mounted for this test."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    path = Path(tempfile.mkdtemp(prefix="turnfleet-disk-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)
    shutil.rmtree(path)
