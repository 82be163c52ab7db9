"""Keeps one coturn running with the wanted configuration: start, adopt, notice its death, tell, start again.

States: stopped → starting → running → dead → starting … In mode `attached` another supervisor starts it, and this one only
watches the process that coturn's pidfile names.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from agents.backoff import ceiling
from agents.coturn import capabilities, logfile, processes
from agents.coturn.certificate import Certificate
from agents.coturn.command_line import CommandLine
from agents.coturn.config import CLI_ADDRESS, digest
from agents.coturn.folder import Folder, Owner, make_log, refuse_links
from agents.coturn.logfile import last_lines
from agents.coturn.orphans import adopt_or_stop, port_fault
from agents.coturn.process import BootRecord, Process, spawn, watched, write_boot
from agents.coturn.restarts import Restarts
from agents.errors import CoturnError
from agents.files import write_atomically
from agents.settings import AgentSettings
from agents.usage.lines import boot_line
from controlplane.wire.agent_api import Coturn, CoturnState

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()

FIRST_RESTART_SECONDS = 0.5
LONGEST_RESTART_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A coturn that lived this long failed for a new reason: the back-off begins anew."""
GREETING_RETRY_SECONDS = 0.02
"""coturn is ready 30 to 60 ms after its start."""
LONGEST_GREETING_RETRY_SECONDS = 1.0
GREETING_SECONDS = 5.0
"""Without a greeting for this long somebody should look: another program may answer on the command line's port."""
REPORT_SECONDS = 3.2
"""How long a restart waits for the death to be reported: two tries of a heartbeat."""
ATTACHED_LOOK_SECONDS = 0.5


class Supervisor:
    """`on_change` is called after every change of `state`, from within the event loop."""

    def __init__(
        self,
        *,
        settings: AgentSettings,
        folder: Folder,
        owner: Owner,
        command_line: CommandLine,
        log_tag: str,
        certificate: Certificate,
        restarts: Restarts,
        on_change: Callable[[CoturnState], None],
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._owner = owner
        self._command_line = command_line
        self._log_tag = log_tag
        self._on_change = on_change
        self._text: str | None = None
        self._wake = asyncio.Event()
        self._reported = asyncio.Event()
        self._process: Process | None = None
        self._failures = 0
        self._certificate = certificate
        self.restarts = restarts
        self.state: CoturnState = "stopped"
        self.version: str | None = None
        self.lives = 0
        """How many coturns this run of the agent has seen."""
        self.is_over = False
        """None is alive, and that is known: what its log says now is all that it will say."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.state in {"starting", "running"} else None

    def want(self, text: str) -> None:
        """Writes the configuration, and sees to it that coturn runs with it. The same text again changes nothing."""
        if text == self._text:
            return
        mode = 0o640 if self._owner.gid is not None else 0o600
        if not self._folder.config.is_file() or self._folder.config.read_text() != text:
            write_atomically(self._folder.config, text.encode(), mode=mode, group=self._owner.gid)
            log.info("coturn_config_written", path=str(self._folder.config))
            if self._process is not None and self._settings.coturn == "attached":
                log.warning("coturn_restart_needed", command="systemctl restart coturn")
        if self._text is not None and self._settings.coturn == "own":
            log.info("coturn_restart_asked", reason="its configuration changed")
        # Only now: after a failed write the same wish must be a new one.
        self._text = text
        self._wake.set()

    def restart(self, generation: int) -> None:
        """Sees to it that coturn starts anew, once for each generation: of a newer program, after the host's own preparation."""
        self.restarts.ask(generation)
        self._wake.set()

    @property
    def may_rotate(self) -> bool:
        """Under another supervisor the log is the host's own business (logrotate). Before it greets, coturn may not know the
        signal yet, and would die of it.
        """
        return self._settings.coturn == "own" and self.state == "running"

    def rotate_log(self, *, all_read: bool) -> bool:
        """Moves a log away that has grown too big. True when coturn has to be told. OSError when it cannot.

        For the disk's thread.
        """
        path = self._folder.log_file
        if logfile.rotation_is_due(path, all_read=all_read):
            logfile.rotate(path, self._owner)
            log.info("coturn_log_rotated", path=str(path), all_read=all_read)
            return True
        if not path.exists():
            # The disk refused the new one after the old one was moved.
            make_log(path, self._owner)
        # It opens the new one with its next line only; and the agent may have died between the rotation and the signal.
        return path.stat().st_size == 0 and path.with_name(f"{path.name}.1").exists()

    def reopen_log(self) -> None:
        if self.may_rotate and self._process is not None:
            self._process.signal(signal.SIGHUP)

    async def look_after_files(self) -> None:
        """Has a renewed certificate loaded: live sessions go on. Under another supervisor that is the host's (a renewal hook)."""
        await self._certificate.look()
        process = self._process
        # Before it greets, coturn may not know the signal yet, and would die of it.
        if self._certificate.reload_is_due and self.state == "running" and process is not None:
            self._certificate.reload_is_due = False
            process.signal(signal.SIGUSR2)
            log.info("coturn_certificate_reloaded", path=str(self._settings.tls_cert))

    def death_reported(self) -> None:
        """The dead state went out, or could not: coturn may start again."""
        self._reported.set()

    def snapshot(self) -> Coturn:
        process = self._process
        alive = process is not None and self.state in {"starting", "running"}
        return Coturn(
            state=self.state,
            version=self.version,
            boot_id=process.boot_id if process is not None else None,
            started_age_seconds=max(0.0, time.time() - process.started_at) if process is not None and alive else None,
        )

    async def run(self) -> None:
        """Never returns; ends by cancellation, which leaves coturn as it is."""
        try:
            while True:
                if self._text is None:
                    await self._woken(None)
                elif self._settings.coturn == "own":
                    await self._one_life(self._text)
                else:
                    await self._one_attachment()
        finally:
            if self._process is not None:
                self._process.close()

    async def stop(self) -> None:
        """Ends an own coturn and returns when it is gone. Only after run() has ended. CoturnError when it does not end."""
        process = self._process
        if process is None or self._settings.coturn != "own" or process.died.is_set():
            return
        again = watched(process.pid, boot_id=process.boot_id, started_at=process.started_at, on_death=lambda: None)
        await again.stop()
        self.is_over = True
        self._change("stopped")
        log.info("coturn_stopped", pid=process.pid, exit_code=again.exit_code)

    async def _one_life(self, text: str) -> None:
        """From obtaining a coturn to its end."""
        process = await self._obtained(text)
        if process is None:
            await self._died("could not be started", alive_seconds=0.0)
            return
        self._begun(process)
        self._certificate.read_by_coturn(process.started_at)
        began = time.monotonic()
        self._change("starting")
        await self._await_greeting(process, text)
        while not process.died.is_set() and self._text == text and not self.restarts.due:
            await self._woken(None)
        self._command_line.drop()
        if process.died.is_set():
            await self._died("died", alive_seconds=time.monotonic() - began)
            return
        self._change("starting")
        try:
            await process.stop()
        except CoturnError as error:
            # The next life looks for it, and does not begin beside it.
            log.error("coturn_not_stopped", pid=process.pid, reason=str(error))  # noqa: TRY400 - a sentence
            return
        log.info("coturn_stopped", pid=process.pid, reason="restart wanted" if self.restarts.due else "configuration changed")

    async def _obtained(self, text: str) -> Process | None:
        try:
            return await self._obtain(text)
        except CoturnError as error:
            log.error("coturn_not_started", reason=str(error))  # noqa: TRY400 - a sentence
            return None

    async def _obtain(self, text: str) -> Process | None:
        if self.restarts.due:
            # No digest is that of a running one: what another run of the agent left is stopped, not adopted.
            await adopt_or_stop(self._folder, binary=self._settings.coturn_binary, config_digest="", on_death=self._wake.set)
            self.is_over = True
            await self.restarts.prepare()
        adopted = await adopt_or_stop(
            self._folder, binary=self._settings.coturn_binary, config_digest=digest(text), on_death=self._wake.set
        )
        if adopted is not None:
            return adopted
        self.is_over = True
        if self._port_is_taken():
            return None
        refuse_links(self._folder.database)
        boot_id = secrets.token_urlsafe(12)
        # The old one is gone: what follows in the log is the new one's.
        self._mark_log(boot_id)
        pid = self._spawn()
        if pid is None:
            return None
        record = BootRecord(
            pid=pid,
            start_mark=processes.start_mark(pid),
            boot_id=boot_id,
            config_digest=digest(text),
            started_at=time.time(),
        )
        process = watched(pid, boot_id=record.boot_id, started_at=record.started_at, on_death=self._wake.set)
        try:
            write_boot(self._folder.boot, record)
        except OSError as error:
            # It runs all the same; without the record it is stopped rather than adopted after a death of the agent.
            log.warning("coturn_boot_record_failed", reason=error.strerror)
        log.info("coturn_started", pid=pid, boot_id=record.boot_id)
        return process

    def _mark_log(self, boot_id: str) -> None:
        try:
            logfile.append(self._folder.log_file, boot_line(self._log_tag, boot_id, at=time.time()))
        except OSError as error:
            # Its first lines tell as well that another one began, only not under which name.
            log.warning("coturn_log_not_marked", path=str(self._folder.log_file), reason=error.strerror)

    def _port_is_taken(self) -> bool:
        address = self._settings.listen_address
        # Without DTLS the TLS listener has no UDP side.
        needed = [(address, self._settings.port, socket.SOCK_DGRAM), (address, self._settings.port, socket.SOCK_STREAM)]
        if self._settings.serves_tls:
            needed.append((address, self._settings.tls_port, socket.SOCK_STREAM))
        needed.append((CLI_ADDRESS, self._settings.cli_port, socket.SOCK_STREAM))
        for where, port, kind in needed:
            fault = port_fault(where, port, kind)
            transport = "udp" if kind == socket.SOCK_DGRAM else "tcp"
            if fault is None:
                continue
            if fault.errno == errno.EADDRINUSE:
                command = f"ss -lpn{transport[0]} sport = :{port}"
                log.error("coturn_port_taken", address=where, port=port, transport=transport, command=command)
                return True
            # coturn may be allowed what the agent is not (a low port); if it is not either, the probe tells.
            log.warning("coturn_port_not_tried", address=where, port=port, transport=transport, reason=fault.strerror)
        return False

    def _spawn(self) -> int | None:
        try:
            return spawn(self._settings.coturn_binary, self._folder.config)
        except OSError as error:
            log.warning("coturn_start_failed", binary=self._settings.coturn_binary, reason=error.strerror)
            return None

    async def _await_greeting(self, process: Process, text: str | None) -> None:
        """Running is what greets on its command line. Given up when another configuration than `text`, or a restart, is wanted.

        `text` is None where that changes nothing: another supervisor started it.
        """
        pause = GREETING_RETRY_SECONDS
        warn_at: float | None = time.monotonic() + GREETING_SECONDS
        while not process.died.is_set() and text in {None, self._text} and not self.restarts.due:
            if await self._command_line.log_in():
                self.version = self._command_line.version
                can = capabilities.of_version(self.version)
                log.info("coturn_greeted", pid=process.pid, version=self.version, signal_drain=can.signal_drain)
                self._change("running")
                return
            if warn_at is not None and time.monotonic() >= warn_at:
                warn_at = None
                port = self._settings.cli_port
                log.warning("coturn_not_greeting", pid=process.pid, port=port, command=f"ss -lpnt sport = :{port}")
            await self._woken(pause)
            pause = min(pause * 2, LONGEST_GREETING_RETRY_SECONDS)

    async def _died(self, what: str, *, alive_seconds: float) -> None:
        """Tells, lets the news go out, then waits longer with each death in a row. The first restart is immediate."""
        process = self._process
        self.is_over = self.is_over or (process is not None and process.died.is_set())
        self._failures = 0 if alive_seconds >= STEADY_SECONDS else self._failures
        delay = ceiling(self._failures, base_seconds=FIRST_RESTART_SECONDS, cap_seconds=LONGEST_RESTART_SECONDS)
        self._failures += 1
        log.error(
            "coturn_died",
            what=what,
            pid=process.pid if process is not None else None,
            exit_code=process.exit_code if process is not None else None,
            restart_in_seconds=delay,
            last_lines=last_lines(self._folder.log_file),
        )
        self._reported.clear()
        self._change("dead")
        with suppress(TimeoutError):
            async with asyncio.timeout(REPORT_SECONDS):
                await self._reported.wait()
        await asyncio.sleep(delay)

    async def _one_attachment(self) -> None:
        pid = processes.read_pid(self._folder.pid_file)
        started_at = self._pid_written_at()
        if pid is None or started_at is None or not processes.is_coturn(pid, binary=self._settings.coturn_binary):
            self.is_over = True
            await self._woken(ATTACHED_LOOK_SECONDS)
            return
        mark = processes.start_mark(pid)
        # The same process is the same boot, whichever run of the agent looks at it.
        boot_id = digest(f"{pid}/{mark}")[:16]
        process = watched(pid, boot_id=boot_id, started_at=started_at, on_death=self._wake.set)
        self._begun(process)
        self._change("starting")
        await self._await_greeting(process, None)
        while not process.died.is_set():
            await self._woken(None)
        self._command_line.drop()
        log.error("coturn_died", pid=pid, last_lines=last_lines(self._folder.log_file))
        self._change("dead")

    def _pid_written_at(self) -> float | None:
        """When coturn started, in Unix seconds; None when its pidfile went meanwhile."""
        try:
            return self._folder.pid_file.stat().st_mtime
        except OSError:
            return None

    async def _woken(self, seconds: float | None) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        self._wake.clear()

    def _begun(self, process: Process) -> None:
        self._process = process
        self.lives += 1
        self.is_over = False

    def _change(self, state: CoturnState) -> None:
        if state != self.state:
            self.state = state
            self._on_change(state)
