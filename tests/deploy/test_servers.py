"""The private PostgreSQL and Redis: they start, are killed, come back on the same port, and freeze."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from controlplane.postgres_store.database import UNAVAILABLE
from deploy.local.folders import FolderRefused
from deploy.local.postgres import PostgresServer, private_postgres
from deploy.local.redis_server import RedisServer, private_redis


@pytest.fixture
async def postgres() -> AsyncIterator[PostgresServer]:
    async with private_postgres() as server:
        yield server


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer]:
    async with private_redis() as server:
        yield server


async def test_postgres_keeps_what_was_committed_through_a_kill(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE TABLE kept (value integer); INSERT INTO kept VALUES (7)")
    await postgres.kill()
    assert postgres.pid is None
    with pytest.raises(UNAVAILABLE):
        await connection.fetchval("SELECT value FROM kept")
    connection.terminate()
    await postgres.start()
    connection = await asyncpg.connect(postgres.url)
    assert await connection.fetchval("SELECT value FROM kept") == 7
    await connection.close()


async def test_a_paused_postgres_holds_its_connections_and_answers_after_resume(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url)
    postgres.pause()
    query = asyncio.create_task(connection.fetchval("SELECT 1"))
    done, _ = await asyncio.wait({query}, timeout=0.2)
    assert not done
    postgres.resume()
    async with asyncio.timeout(10):
        assert await query == 1
    await connection.close()


async def test_the_role_may_make_databases_and_is_no_superuser(postgres: PostgresServer) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute("CREATE DATABASE another")
    assert not await connection.fetchval("SELECT usesuper FROM pg_user WHERE usename = current_user")
    await connection.close()
    other = await asyncpg.connect(postgres.url_of("another"))
    await other.close()


@pytest.mark.usefixtures("strict_umask")
async def test_postgres_starts_under_a_umask_that_shuts_its_account_out(state: Path) -> None:
    async with private_postgres(state / "made" / "here") as server:
        await (await asyncpg.connect(server.url)).close()


async def test_with_a_password_nobody_else_of_the_machine_gets_in() -> None:
    async with private_postgres() as trusting:
        directory = trusting.socket_folder.parent.parent / f"{trusting.port}-guarded"
        directory.mkdir(mode=0o755)
        port = trusting.port
        await trusting.stop()
        guarded = PostgresServer(directory, port, durable=False, password=True)
        try:
            await guarded.start()
            await (await asyncpg.connect(guarded.url)).close()
            for user in ("turnfleet", "postgres"):
                with pytest.raises(asyncpg.InvalidPasswordError):
                    await asyncpg.connect(host="127.0.0.1", port=port, user=user, password="guess", database="turnfleet")
            assert (directory / "password").stat().st_mode & 0o077 == 0
        finally:
            await guarded.stop()
            await asyncio.to_thread(remove, directory)


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL under another account")
def test_a_folder_that_its_account_cannot_reach_is_refused_before_anything_starts(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(FolderRefused, match="cannot reach"):
        PostgresServer(tmp_path / "below", 15_000, durable=False)


async def test_redis_comes_back_empty_on_the_same_port_after_a_kill(redis: RedisServer) -> None:
    async with Redis.from_url(redis.url) as client:
        await client.set("key", "value")
    await redis.kill()
    assert redis.pid is None
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", redis.port)
    await redis.start()
    async with Redis.from_url(redis.url) as client:
        assert await client.get("key") is None


async def test_a_paused_redis_accepts_and_does_not_answer_until_resumed(redis: RedisServer) -> None:
    redis.pause()
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(b"PING\r\n")
    answer = asyncio.create_task(reader.readline())
    done, _ = await asyncio.wait({answer}, timeout=0.2)
    assert not done
    redis.resume()
    async with asyncio.timeout(10):
        assert await answer == b"+PONG\r\n"
    writer.close()
    await writer.wait_closed()
