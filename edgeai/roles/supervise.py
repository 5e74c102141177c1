"""The supervisor: starts the roles, ends those that hang, starts again those that died, and says whose fault it was.

It imports no plugin, no image code and no network code: nothing that a role can die of can take it along. If it is
killed itself, the kernel kills its roles, and its next life begins by putting the spool right.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from edgeai import logs, systemd
from edgeai.api.errors import ConfigError, SpoolError
from edgeai.logs import Log
from edgeai.roles import STOPPING, SUPERVISOR
from edgeai.roles.child import Child
from edgeai.roles.deaths import Death
from edgeai.roles.plan import Plan, read_plan
from edgeai.roles.rehearsals import Rehearsals, Shadows
from edgeai.roles.tray import FOLDER
from edgeai.roles.trials import Trials
from edgeai.spool import NOT_DEPLOYED, SWEEP_ROWS, Note, Spool, Station, check_access, read_note
from edgeai.spool.planes import remove_tree
from edgeai.spool.wal import reason_to_doubt

ROLE = SUPERVISOR
STOP_ROLES_S = 15.0
"""For ingest and infer to finish what they hold after SIGTERM; then publish gets ``STOP_PUBLISH_S``."""
STOP_PUBLISH_S = 7.0
SILENCE_S = 15.0
"""How long a former life's roles may take to die."""
SWEEP_EVERY_S = 600.0
STOOD_STILL_S = 5.0
"""A gap in the loop longer than this means the machine slept: deadlines start anew."""

log = Log("edgeai.roles.supervise")


def main(config_path: Path) -> int:
    """Supervise until SIGTERM or SIGINT.

    Raises:
        ConfigError: the profile cannot be used.
        SpoolError: ``run.already-running``, or the spool cannot be used.
    """
    plan = read_plan(config_path.resolve())
    logs.configure(ROLE, level=plan.log_level, form=plan.log_format)
    check_access(plan.data_dir)
    doubt = reason_to_doubt(plan.data_dir / "spool")  # before it is opened
    before = read_note(plan.data_dir / "spool" / "roles" / f"{ROLE}.note")
    spool = Spool(plan.data_dir / "spool", plan, site=plan.site, device_id=plan.device_id)
    try:
        station = _only_one(spool)
        _begin(spool, plan, doubt or _fell_behind(spool, before))
        return Supervisor(plan, spool, station).run()
    finally:
        spool.close()


def _only_one(spool: Spool) -> Station:
    try:
        return spool.station(ROLE)
    except SpoolError as error:
        if error.code != "spool.locked":
            raise
        raise SpoolError(
            f"edgeai runs already on {spool.folder.parent}",
            code="run.already-running",
            remedy="stop that one first, or give this one a data_dir of its own",
        ) from error


def _fell_behind(spool: Spool, before: Note | None) -> str:
    """Why the database may be an older one, or an empty one; nothing when it knows all that the last life knew."""
    known = before.detail.get("instances", 0) if before else 0
    if not isinstance(known, int) or known <= spool.last_instance():
        return ""
    return f"the service had taken {known} images when it ended, and the database knows of {spool.last_instance()}"


def _begin(spool: Spool, plan: Plan, doubt: str) -> None:
    """Put right what a former life left. With ``doubt`` no received file is thrown away."""
    held = spool.await_silence(SILENCE_S)
    if held:
        raise SpoolError(
            f"processes of a former run still hold: {', '.join(held)}",
            code="run.roles-left",
            remedy="end them: they have `edgeai.roles` in their command line",
        )
    if doubt:
        log.error("spool.commits-lost", why=doubt)
    spool.recover(keep_strays=bool(doubt))
    remove_tree(spool.folder / FOLDER)
    released = spool.release()
    for note in spool.roles.glob("*.note"):
        if note.stem != ROLE:
            note.unlink(missing_ok=True)
    log.info("run.started", released=released)
    for deployment, waiting in spool.queue_lengths().items():
        if f"infer:{deployment}" not in plan.roles:
            told = f"{waiting} jobs wait for {deployment}, which the profile no longer has"
            spool.event("deployment.removed", told, deployment=deployment, jobs=waiting)
            spool.hold(deployment, ConfigError(told, code=NOT_DEPLOYED, remedy="put it back into the profile"))


class Supervisor:
    """The loop over the roles."""

    def __init__(self, plan: Plan, spool: Spool, station: Station) -> None:
        self._plan = plan
        self._spool = spool
        self._station = station
        self._children = [
            Child(
                role,
                plan.config_path,
                spool.roles,
                pause_min_s=plan.restart_min_s,
                pause_max_s=plan.restart_max_s,
                max_memory_bytes=plan.max_memory_bytes.get(role.partition(":")[2], 0),
            )
            for role in plan.roles
        ]
        self._apart = (Trials(plan, spool), Rehearsals(plan, spool), Shadows(plan, spool))
        self._unaccounted: dict[str, Death] = {}
        self._instances = 0
        self._stops = 0
        self._ready = False
        self._awake_since = self._looped_at = time.monotonic()
        self._swept_at = -SWEEP_EVERY_S
        self._watchdog_s = systemd.watchdog_s()
        self._signals, wakeup = socket.socketpair()
        for end in (self._signals, wakeup):
            end.setblocking(False)
        self._wakeup = wakeup

    def run(self) -> int:
        """Until asked to stop; 0."""
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        while not self._stops:
            self._look()
            self._sleep(self._pause())
        self._stop()
        return 0

    def _on_stop(self, number: int, frame: object) -> None:
        self._stops += 1

    # --- one round ------------------------------------------------------------------------------

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looped_at > STOOD_STILL_S:
            self._awake_since = now
        self._looped_at = now
        for child in self._children:
            child.check(now, awake_since=self._awake_since, silent_s=self._plan.silent_s)
            if child.has_ended():
                self._bury(child)
            if child.role in self._unaccounted:
                self._account(child)
            if child.process is None and child.role not in self._unaccounted and now >= child.start_at:
                self._start(child)
        for apart in self._apart:
            apart.look(now, awake_since=self._awake_since)
        self._tell()
        self._sweep(now)

    def _start(self, child: Child) -> None:
        try:
            if child.role == "ingest":
                self._spool.recover()  # its last life may have left half a file, and nobody writes now
            child.start()
        except (SpoolError, OSError) as error:
            log.error("role.not-started", of=child.role, message=str(error))
            child.start_at = time.monotonic() + self._plan.restart_max_s
            return
        assert child.process is not None
        log.info("role.started", of=child.role, pid=child.process.pid)

    def _bury(self, child: Child) -> None:
        death = child.bury()
        self._unaccounted[child.role] = death
        pause = child.schedule(death)
        log.warning(
            "role.died",
            of=child.role,
            cause=death.cause,
            how=death.how,
            step=death.step.step if death.step else None,
            plugin=death.step.plugin if death.step else None,
            job=death.job_id,
            jobs=death.suspects or None,
            memory_bytes=child.memory_bytes or None,
            restart_in_s=round(pause, 3),
        )
        report = child.crash_report()
        if death.cause == "crashed" and report:
            log.warning("role.crash-report", of=child.role, report=report[:4000])

    def _account(self, child: Child) -> None:
        """Write a death into the spool. The role does not start again before that is done."""
        death = self._unaccounted[child.role]
        try:
            record(self._spool, child.role, death, self._plan)
        except SpoolError as error:
            log.error("spool.trouble", code=error.code, message=str(error))
            return
        del self._unaccounted[child.role]

    def _tell(self) -> None:
        """Say to ``status`` and to systemd how things stand."""
        roles = {
            child.role: {"pid": child.process.pid if child.process else 0, "restarts": child.restarts}
            for child in self._children
        }
        with suppress(SpoolError):  # said elsewhere; what was known stays known
            self._instances = max(self._instances, self._spool.last_instance())
        self._station.beat("running", roles=roles, instances=self._instances)
        if not self._ready and all(child.note() is not None for child in self._children):
            self._ready = True
            systemd.notify("READY=1")
            log.info("run.ready")
        if self._watchdog_s:
            systemd.notify("WATCHDOG=1")

    def _sweep(self, now: float) -> None:
        if now - self._swept_at < SWEEP_EVERY_S:
            return
        try:
            # More than one sweep takes: the next one comes with the next second.
            self._swept_at = now if self._spool.sweep() < SWEEP_ROWS else now - SWEEP_EVERY_S + 1.0
        except SpoolError as error:
            self._swept_at = now
            log.error("spool.trouble", code=error.code, message=str(error))

    def _pause(self) -> float:
        """Until something is due: a look at the notes, a restart, systemd's watchdog."""
        pause = min(0.5, self._plan.heartbeat_s, self._watchdog_s or 0.5)
        now = time.monotonic()
        due = [child.start_at - now for child in self._children if child.process is None]
        return max(0.01, min([pause, *due]))

    def _sleep(self, pause_s: float) -> None:
        """Sleep until the pause is over, a role ends, or a signal comes."""
        poll = select.poll()
        poll.register(self._signals, select.POLLIN)
        for child in (*self._children, *(apart.child for apart in self._apart)):
            if child is not None and child.pidfd >= 0:
                poll.register(child.pidfd, select.POLLIN)
        poll.poll(pause_s * 1000.0)
        with suppress(BlockingIOError):
            self._signals.recv(64)

    # --- the end --------------------------------------------------------------------------------

    def _stop(self) -> None:
        """Ingest and infer finish what they hold; then publish sends what that gave. A second signal ends all now."""
        systemd.notify("STOPPING=1")
        log.info("run.stopping")
        self._station.beat(STOPPING)  # before any role ends: publish tells a planned stop from trouble by it
        for child in (apart.child for apart in self._apart):
            if child is not None:
                child.signal_group(signal.SIGKILL)
                child.bury()
        last = [child for child in self._children if child.role == "publish"]
        self._stop_all([child for child in self._children if child.role != "publish"], STOP_ROLES_S)
        self._stop_all(last, STOP_PUBLISH_S)
        with suppress(SpoolError):
            self._spool.release()
        log.info("run.stopped")

    def _stop_all(self, children: list[Child], timeout_s: float) -> None:
        end = time.monotonic() + timeout_s
        for child in children:
            child.terminate()
        while any(child.process for child in children):
            for child in children:
                if child.has_ended():
                    child.bury()
                elif time.monotonic() > end or self._stops > 1:
                    child.signal_group(signal.SIGKILL)
            self._station.beat(STOPPING)
            if self._watchdog_s:
                systemd.notify("WATCHDOG=1")
            self._sleep(0.1)


def record(spool: Spool, role: str, death: Death, plan: Plan) -> None:
    """What a death means for its job, its plugin and its claims, and the event that says so.

    Raises:
        SpoolError: it could not be written; nothing is lost by doing it again.
    """
    deployment = role.partition(":")[2]
    if death.job_id is not None and death.cause in ("crashed", "deadline", "memory"):
        times = f"{plan.job_attempts} times"
        reason = f"its process ended ({death.how}) {times}"
        if death.cause == "memory":
            budget = plan.max_memory_bytes.get(deployment, 0)
            reason = f"its process was ended {times} for holding over {budget} bytes (max_memory_bytes of {deployment})"
        spool.blame(death.job_id, death.cause, reason, max_attempts=plan.job_attempts)
    if deployment:
        spool.release(deployment)
    step = death.step
    if step is not None:
        spool.fault(
            plugin=step.plugin,
            version=step.version,
            deployment=deployment,
            step=step.step,
            cause=death.how,
            quarantine_after=plan.quarantine_after,
            job_id=death.job_id,
        )
    spool.count("restarts", role=role, cause=death.cause)
    at = f" at {step.step} of {step.plugin}" if step else ""
    budget = plan.max_memory_bytes.get(deployment, 0)
    facts = {"max_memory_bytes": budget} if death.cause == "memory" else {}
    over = f", over {budget / 1e6:.0f} MB" if facts else ""
    spool.event(f"role.{death.cause}", f"{role}: {death.how}{over}{at}", role=role, how=death.how, **facts)


__all__ = ["Supervisor", "main", "record"]
