"""The ingest role: images arrive by C-STORE and in watched folders, and are in the spool before anyone is thanked."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.api.instances import InstanceRef
from edgeai.config import DeviceConfig, Folder, Scp
from edgeai.dicom.arrival import sweep
from edgeai.dicom.folder import FolderOptions, WatchedFolder
from edgeai.dicom.negotiation import AssociationRules, PeerRule
from edgeai.dicom.scp import ScpOptions, StorageScp, server_tls
from edgeai.logs import Log
from edgeai.ports import own_address
from edgeai.privacy import UidMask
from edgeai.remedies import remedy_for
from edgeai.roles.on_disk import Eligible, Rules
from edgeai.selftest import AE_TITLE as SELFTEST_AE_TITLE
from edgeai.spool import Spool
from edgeai.tls_files import TlsFiles

ROLE = "ingest"
GRACE_S = 5.0
"""How long instances that are arriving may go on after SIGTERM."""
QUIET_S = 10.0
"""Of one kind of event with one code, one in so many seconds: a port scan must not fill the spool."""
SPOOL_THREADS = 4
_REFUSALS = ("instance.refused", "spool.full")
_NO_ROOM = frozenset({"spool.full", "spool.disk-reserve", "spool.backlog", "spool.held", "spool.set-aside"})
"""Codes of files in a folder that wait for room; senders are told by the event ``spool.full``, whatever the code."""

_T = TypeVar("_T")
log = Log("edgeai.ingest")


class Reporter:
    """Events of arrival to the spool, and never more than the spool can take."""

    def __init__(self, spool: Spool, run: Callable[[Callable[[], object]], object]) -> None:
        self._spool = spool
        self._run = run
        self._guard = threading.Lock()
        self._last: dict[tuple[str, object], float] = {}
        self._held_back: dict[tuple[str, object], int] = {}
        self._room_at = -QUIET_S
        self.owes_room = self._owed()
        """Whether it was said that there is no room, in this life or a former one, and not yet that there is."""

    def _owed(self) -> bool:
        try:
            return self._run(self._spool.owes_room) is True
        except EdgeaiError:  # the spool's own trouble, which is said elsewhere
            return False

    def __call__(self, kind: str, message: str, facts: dict[str, object]) -> None:
        """Queue the event, or count it to the next of its kind; every refusal is counted in any case."""
        if kind in _REFUSALS:
            self._count(str(facts.get("code", "")))
        key = (kind, facts.get("code", facts.get("reason")))
        with self._guard:
            now = time.monotonic()
            if now - self._last.get(key, -QUIET_S) < QUIET_S:
                self._held_back[key] = self._held_back.get(key, 0) + 1
                return
            self._last[key] = now
            held_back = self._held_back.pop(key, 0)
        if held_back:
            facts = {**facts, "held_back": held_back}
        self.say(kind, message, facts)

    def _count(self, code: str) -> None:
        try:
            self._run(lambda: self._spool.count_refused(code))
        except EdgeaiError as error:  # a spool that cannot count it now is no reason to answer otherwise
            log.error("count.lost", code=error.code, why=str(error))

    def say(self, kind: str, message: str, facts: Mapping[str, object]) -> None:
        """Queue the event in any case. A spool that cannot take it is logged: the arrival goes on."""
        is_full = kind == "spool.full" or (kind == "folder.trouble" and facts.get("code") in _NO_ROOM)
        tell = self._spool.say_full if is_full else self._spool.event
        try:
            self._run(lambda: tell(kind, message, **facts))
            self.owes_room = self.owes_room or is_full
        except EdgeaiError as error:
            log.error("event.lost", kind=kind, code=error.code, why=str(error))

    def room(self) -> bool:
        """Say that there is room again; False while that was said just before. A refusal after it is said at once."""
        now = time.monotonic()
        if now - self._room_at < QUIET_S:
            return False
        self._run(self._spool.say_room)
        self._room_at, self.owes_room = now, False
        with self._guard:
            self._last = {key: at for key, at in self._last.items() if key[0] != "spool.full"}
        return True


class SpoolIntake:
    """The spool as arriving images see it: which deployments an instance is for is decided here.

    Args:
        rules: gives deployment -> eligibility; ``None`` where the bundle cannot be read, and then every instance
            becomes a job, which is held until it can.
        mask: what the log shows of UIDs.
    """

    def __init__(self, spool: Spool, rules: Callable[[], Rules], mask: UidMask | None = None) -> None:
        self.tmp: Path = spool.tmp
        self._spool = spool
        self._rules = rules
        self._mask = mask or UidMask()
        # The spool keeps a connection a thread; associations come and go, so they borrow these threads.
        self._threads = ThreadPoolExecutor(SPOOL_THREADS, thread_name_prefix="spool")
        self.report = Reporter(spool, self._run)
        self.refusing: Mapping[str, str] | None = None
        """Why nothing is accepted at present: code and sentence."""
        self._lacking: int | None = None
        self.received = 0

    def _run(self, work: Callable[[], _T]) -> _T:
        return self._threads.submit(work).result()

    def check_room(self, extra_bytes: int = 0) -> None:
        """Raises ``SpoolFull``; that there is room again is said by ``look_for_room``."""
        try:
            self._run(lambda: self._spool.check_room(extra_bytes))
        except EdgeaiError as error:
            self.refusing = {"code": error.code, "why": str(error)}
            self._lacking = extra_bytes if self._lacking is None else min(extra_bytes, self._lacking)
            raise

    def look_for_room(self) -> None:
        """Say once that there is room again after an image was refused for want of it, whatever was lacking.

        Call now and then: nobody may be sending, and what a deployment holds ends without any arrival.
        """
        if not self.report.owes_room and self.refusing is None:
            return
        try:
            self._run(lambda: self._spool.check_takes(self._lacking or 0))
            if not self.report.owes_room or self.report.room():
                self.refusing = self._lacking = None
        except EdgeaiError:
            return  # not yet

    def admit(self, instance: InstanceRef, received: Path, *, content: Callable[[], str], source: str) -> bool:
        """Keep the instance, with a job for every deployment that it is eligible for."""
        rules = self._rules()
        reasons = {name: rule.why_not(instance) if rule else None for name, rule in rules.items()}
        eligible = [name for name, why in reasons.items() if why is None]
        # A result that said "not eligible" is done again where the rule that is read now says otherwise.
        again = ("input.not-eligible",) if all(rules[name] for name in eligible) else ()
        admitted = self._run(
            lambda: self._spool.admit(
                instance, received, content=content, deployments=eligible, source=source, again=again
            )
        )
        if admitted.is_new:
            self.received += 1
        if admitted.is_new and not eligible:
            why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items()) or "there are no deployments"
            facts: dict[str, object] = {
                "modality": instance.modality,
                "sop_class_uid": instance.sop_class_uid,
                "why": why,
            }
            self.report("instance.not-eligible", "an instance that no deployment is meant for", {**facts, "why": why})
        uid = self._mask.uid(instance.sop_instance_uid)
        log.debug("instance.admitted", sop_instance_uid=uid, kind=admitted.kind, jobs=len(admitted.jobs))
        return admitted.is_new

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown()


def _own_rule(scp: Scp) -> tuple[PeerRule, ...]:
    """Where only known peers may send, the device's own self-test may too, from its own address."""
    return (PeerRule(ae_title=SELFTEST_AE_TITLE, host=own_address(scp.host)),) if scp.peers else ()


def scp_options(scp: Scp, max_instance_bytes: int) -> ScpOptions:
    """The configuration's table as the SCP wants it.

    Raises:
        ConfigError: ``config.tls``.
    """
    tls = None
    if scp.tls is not None:
        if scp.tls.certificate is None or scp.tls.key is None:
            raise ConfigError(
                "ingest.scp.tls has no certificate and key, and a server cannot do without",
                code="config.tls",
                remedy="name both, or take the table away: nothing is served in the clear by mistake",
            )
        make = partial(server_tls, scp.tls.certificate, scp.tls.key, scp.tls.ca)
        files = {"certificate": scp.tls.certificate, "key": scp.tls.key, "ca": scp.tls.ca}
        tls = TlsFiles("ingest.scp.tls", make, **files)
    rules = AssociationRules(
        ae_title=scp.ae_title,
        require_called_ae_title=scp.require_called_ae_title,
        peers=(*(PeerRule(ae_title=peer.ae_title, host=peer.host) for peer in scp.peers), *_own_rule(scp)),
    )
    return ScpOptions(
        rules=rules,
        host=scp.host,
        port=scp.port,
        max_associations=scp.max_associations,
        max_associations_per_host=scp.max_associations_per_host,
        idle_timeout_s=scp.idle_timeout_s,
        max_instance_bytes=max_instance_bytes,
        tls=tls,
    )


def folder_options(folder: Folder, config: DeviceConfig) -> FolderOptions:
    """The configuration's table as the watcher wants it; what it remembers lies beside the spool."""
    name = hashlib.sha256(str(folder.path).encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return FolderOptions(
        path=folder.path,
        settle_s=folder.settle_s,
        after=folder.after,
        done_dir=folder.done_dir,
        rejected_dir=folder.rejected_dir,
        max_instance_bytes=config.spool.max_instance_bytes,
        memory=config.device.data_dir / "folders" / f"{name}.jsonl",
    )


class Ingest:
    """The role's parts, from start to stop."""

    def __init__(self, config: DeviceConfig, spool: Spool) -> None:
        self._config = config
        self._spool = spool
        self._eligible = Eligible(config, spool, self._say_unreadable)
        self._intake = SpoolIntake(spool, self._eligible, UidMask.of(config.privacy))
        self._eligible.refresh()
        self._stopping = threading.Event()
        self._scp: StorageScp | None = None
        self._closed: dict[str, str] | None = None
        """Why the DICOM port is not open: code, sentence and remedy."""
        if config.ingest.scp.enabled:
            options = scp_options(config.ingest.scp, config.spool.max_instance_bytes)
            self._scp = StorageScp(options, self._intake, self._intake.report)
        self._folders = [self._watcher(folder) for folder in config.ingest.folders]

    def _say_unreadable(self, name: str, error: EdgeaiError) -> None:
        log.error("deployment.bundle-unreadable", deployment=name, code=error.code, why=str(error))
        facts = {"deployment": name, "code": error.code, "remedy": error.remedy or remedy_for(error.code)}
        self._intake.report.say("deployment.bundle-unreadable", f"{name}: {error}", facts)

    def _watcher(self, folder: Folder) -> threading.Thread:
        if folder.path.is_relative_to(self._config.device.data_dir):
            folder.path.mkdir(parents=True, exist_ok=True)  # ours to make; elsewhere it may be a share not mounted
        watched = WatchedFolder(folder_options(folder, self._config), self._intake, self._intake.report)
        return threading.Thread(
            target=watched.run, args=(self._stopping,), name=f"folder-{folder.path.name}", daemon=True
        )

    def run(self, stopping: threading.Event) -> None:
        """Receive until ``stopping`` is set."""
        try:
            self._listen()
            for thread in self._folders:
                thread.start()
            while not stopping.wait(self._config.supervise.heartbeat_s):
                self.beat()
        finally:
            self.stop()

    def _listen(self) -> None:
        """Open the DICOM port. One that is taken is tried again with each heartbeat, and folders are watched on."""
        if self._scp is None:
            return
        try:
            self._scp.start()
        except ConfigError as error:
            closed = {"code": error.code, "why": str(error), "remedy": error.remedy or ""}
            if closed != self._closed:
                log.error("scp.not-listening", code=error.code, why=str(error), remedy=error.remedy)
            self._closed = closed
            return
        self._closed = None
        log.info("scp.listening", host=self._config.ingest.scp.host, port=self._scp.port)

    def beat(self) -> None:
        """Say that the role lives, and what it does; with a listener or watcher that died it does not."""
        if self._closed is not None:
            self._listen()
        dead = [thread.name for thread in self._folders if not thread.is_alive()]
        if self._scp is not None and self._closed is None and not self._scp.is_listening:
            dead.append("scp")
        if dead:
            raise RuntimeError(f"died: {', '.join(dead)}")  # the supervisor starts a new one
        self._eligible.refresh()
        self._intake.look_for_room()
        self._spool.beat(
            ROLE,
            "ready",
            connections=self._scp.connections if self._scp else 0,
            rejections=dict(self._scp.rejections) if self._scp else {},
            received=self._intake.received,
            refusing=dict(self._intake.refusing) if self._intake.refusing else None,
            tls=self._scp.tls_detail() if self._scp else None,
            port=self._closed,
        )

    def stop(self) -> None:
        """No new associations; what is arriving may arrive."""
        self._stopping.set()
        if self._scp is not None:
            self._scp.stop(GRACE_S)
        for thread in self._folders:
            if thread.is_alive():
                thread.join(GRACE_S)
        self._intake.close()


def main(config: DeviceConfig) -> int:
    """Run the role until SIGTERM.

    Raises:
        ConfigError: ``config.tls``, ``config.hmac-key``.
        SpoolError: the spool cannot be opened, or another process runs this role.
    """
    # pydicom warns of every odd UID in a peer's request, on stderr and in its own form.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom\.")
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    spool = Spool.of(config)
    try:
        spool.beat(ROLE, "starting")
        sweep(spool.tmp)
        ingest = Ingest(config, spool)
        ingest.run(stopping)
    finally:
        spool.close()
    return 0
