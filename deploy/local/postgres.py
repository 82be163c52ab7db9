"""A private PostgreSQL: its own data folder, its own port on loopback, its own socket.

`postgres` itself is run, not `pg_ctl`: so its pid and its log are ours. It refuses to run as root; then it runs as the account
that its package created.
"""

import contextlib
import re
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from signal import Signals

import asyncpg

from deploy.local.files import keep_private, make_folder
from deploy.local.folders import FolderRefused, can_be_entered, short_folder
from deploy.local.ports import HOST, reserve_ports
from deploy.local.process import Process, Program, account_when_root, base_environment, said_exit
from deploy.local.service import Served, Service, ServiceFailed, ignore

__all__ = ["PostgresServer", "find_postgres", "private_postgres"]

USER = "turnfleet"
SUPERUSER = "postgres"
READY_DEADLINE = timedelta(seconds=30)
# Without these a commit costs a disk write: only for data that nobody wants back. `synchronous_commit` stays on, so that what was
# committed survives at least the death of the process, which tests bring about.
FORGETFUL = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}


def find_postgres() -> Path:
    """The folder with `postgres` and `initdb`: from PATH, else Debian's, else Homebrew's; the newest of several."""
    candidates: list[Path] = []
    if found := shutil.which("postgres", path=base_environment()["PATH"]):
        candidates.append(Path(found).resolve().parent)
    for pattern in ("usr/lib/postgresql/*/bin", "opt/homebrew/opt/postgresql@*/bin", "usr/local/opt/postgresql@*/bin"):
        candidates += sorted(Path("/").glob(pattern), key=_major_version, reverse=True)
    for folder in candidates:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise FileNotFoundError("PostgreSQL's server binaries (postgres, initdb) were not found")


def _major_version(folder: Path) -> int:
    return int((re.findall(r"\d+", folder.parent.name) or ["0"])[-1])


class PostgresServer(Served):
    """One cluster with the role and the database `turnfleet`.

    `durable` keeps what was committed through a power cut, as production does. With `password`, connections over TCP must
    know it (any account of the machine can reach loopback); the socket lies in a folder that only its owner enters.
    """

    def __init__(
        self,
        directory: Path,
        port: int,
        *,
        durable: bool,
        password: bool = False,
        restart: bool = False,
        say: Callable[[str], None] = ignore,
        changed: Callable[[], None] = lambda: None,
        log_file: Path | None = None,
    ) -> None:
        self.port = port
        # Whether the cluster was made by this run, so that whatever refers to its content elsewhere is void.
        self.is_fresh = False
        self._durable = durable
        self._bin = find_postgres()
        self._account = account_when_root("postgres")
        make_folder(directory)
        if self._account is not None and not can_be_entered(directory):
            raise FolderRefused(f"the account {self._account.name!r} cannot reach {directory}: use a folder all may enter")
        self._data = directory / "data"
        self._log_file = log_file or directory / "postgres.log"
        self.socket_folder = short_folder(directory / "socket")
        self._socket_is_temporary = self.socket_folder.parent != directory
        if self._account is not None:
            self._account.take(self.socket_folder)
        self._password = keep_private(directory / "password", lambda: secrets.token_urlsafe(24)) if password else None
        self.service = Service(
            self._program, ready=self._answers, ready_deadline=READY_DEADLINE, restart=restart, say=say, changed=changed
        )

    @property
    def url(self) -> str:
        """The application's own role: it owns its database and may create others, but is no superuser."""
        return self.url_of(USER)

    def url_of(self, database: str) -> str:
        password = f":{self._password}" if self._password else ""
        return f"postgresql://{USER}{password}@{HOST}:{self.port}/{database}"

    async def start(self) -> None:
        """Makes the cluster when there is none yet."""
        if not (self._data / "PG_VERSION").exists():
            await self._initialize()
        await self.service.start()
        await self._ensure_database()

    def remove_socket_folder(self) -> None:
        """After the last stop: what lies in our own state folder stays, what had to go elsewhere is removed."""
        if self._socket_is_temporary:
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    async def connect_as_superuser(self, database: str = SUPERUSER) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(
            host=str(self.socket_folder), port=self.port, user=SUPERUSER, database=database, timeout=5, ssl=False
        )

    async def _initialize(self) -> None:
        # A run that was interrupted half-way leaves a folder that initdb would refuse. It is moved into place when whole.
        fresh = self._data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        if self._account is not None:
            self._account.take(fresh)
        over_tcp = "scram-sha-256" if self._password else "trust"
        arguments = [str(self._bin / "initdb"), "--pgdata", str(fresh), "--username", SUPERUSER]
        arguments += ["--auth-local", "trust", "--auth-host", over_tcp, "--encoding", "UTF8", "--no-locale"]
        # A cluster that a power cut tears right after it was made can be made again; syncing it takes seconds on a busy disk.
        arguments += ["--no-instructions", "--no-sync"]
        program = Program(name="initdb", arguments=tuple(arguments), log_file=self._log_file, account=self._account)
        process = Process(program)
        try:
            code = await process.exited()
        except BaseException:
            await process.kill()
            raise
        if code != 0:
            raise ServiceFailed(program, said_exit(code))
        fresh.rename(self._data)
        self.is_fresh = True

    async def _ensure_database(self) -> None:
        connection = await self.connect_as_superuser()
        try:
            if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", USER):
                await connection.execute(f"CREATE ROLE {USER} LOGIN CREATEDB")
            if self._password:
                # The password is made of URL-safe base64, so it needs no quoting.
                await connection.execute(f"ALTER ROLE {USER} PASSWORD '{self._password}'")
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", USER):
                await connection.execute(f"CREATE DATABASE {USER} OWNER {USER}")
        finally:
            await connection.close()

    def _program(self) -> Program:
        settings = {
            "listen_addresses": HOST,
            "port": str(self.port),
            "unix_socket_directories": str(self.socket_folder),
            "shared_buffers": "64MB",
            "max_connections": "100",
            "log_checkpoints": "off",
            **({} if self._durable else FORGETFUL),
        }
        arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return Program(
            name="postgres",
            arguments=(str(self._bin / "postgres"), "-D", str(self._data), *arguments),
            log_file=self._log_file,
            account=self._account,
            # "Fast": open connections are ended. The default would wait for every client to leave by itself.
            stop_signal=Signals.SIGINT,
            scattered=True,
        )

    async def _answers(self) -> bool:
        try:
            connection = await self.connect_as_superuser()
        except (TimeoutError, asyncpg.PostgresError):
            return False
        await connection.close()
        return True


@contextlib.asynccontextmanager
async def private_postgres(
    directory: Path | None = None, *, port: int | None = None, durable: bool = False
) -> AsyncIterator[PostgresServer]:
    """A started PostgreSQL for tests; a folder or port that is not named is made, and given back at the end."""
    with contextlib.ExitStack() as cleanup:
        if directory is None:
            directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="turnfleet-postgres-")))
            directory.chmod(0o755)
        if port is None:
            port = cleanup.enter_context(reserve_ports()).base
        server = PostgresServer(directory, port, durable=durable)
        cleanup.callback(server.remove_socket_folder)
        try:
            await server.start()
            yield server
        finally:
            await server.stop()
