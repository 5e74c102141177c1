"""What runs, and what lies on disk: a bundle that is changed while it runs changes nothing until the next restart.

Infer says in its note which bundle it has open. Ingest judges arrivals by that very bundle, so that no image is judged
by one and run by another; what came on disk meanwhile is said, and waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from edgeai.api.errors import EdgeaiError
from edgeai.api.results import Result
from edgeai.bundle.admission import deciding_files, open_admitted, read_admitted
from edgeai.bundle.manifest import MANIFEST_NAME, Eligibility, decode_manifest, digest_of
from edgeai.bundle.reader import Bundle
from edgeai.bundle.stamps import Stamps, stamps
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.remedies import remedy_for
from edgeai.slots import SlotFolder, standing
from edgeai.spool import Job, Spool, is_held

LOOK_EVERY_S: Final = 1.0
RESTART: Final = "restart the service to run what is there now, or put the old file back"

Rules: TypeAlias = Mapping[str, Eligibility | None]
log = Log("edgeai.roles")


def unpacked(config: DeviceConfig, digest: str) -> Path:
    """Where infer keeps the bundle of this digest."""
    return config.device.data_dir / "bundles" / digest.removeprefix("sha256:")


def running_digests(spool: Spool) -> dict[str, str]:
    """Deployment -> digest of what a living infer has open."""
    running: dict[str, str] = {}
    for role, note in spool.notes().items():
        kind, _, name = role.partition(":")
        digest = note.detail.get("digest")
        if kind == "infer" and note.state == "ready" and digest and is_held(spool.roles / f"{role}.note"):
            running[name] = str(digest)
    return running


class OnDisk:
    """Of one deployment, as infer sees it: whether the next start would run what runs now.

    Attributes:
        detail: for the heartbeat; empty while it would, else ``digest`` of what would run, or ``code`` and ``why``.
    """

    def __init__(self, config: DeviceConfig, deployment: Deployment, event: Callable[..., None]) -> None:
        self.detail: dict[str, str] = {}
        self._config = config
        self._deployment = deployment
        self._event = event
        self._digest = ""
        self._judged: Stamps = ()
        self._seen: Stamps = ()
        self._look_at = 0.0

    def stamps(self) -> Stamps:
        """Of everything that decides which bundle runs."""
        return stamps(*deciding_files(self._config, self._deployment))

    def differs(self, seen: Stamps) -> bool:
        """Whether what lies there may be something else than what was opened."""
        return bool(self.detail) or seen != self._judged

    def opened(self, digest: str, seen: Stamps) -> None:
        """This is open now; ``seen`` are the stamps from before it was read."""
        if digest != self._digest:  # opened anew it is as it was, and what came on disk meanwhile is still to be seen
            self._digest, self._judged, self._seen, self.detail = digest, seen, seen, {}

    def open_bundle(self, seen: Stamps, running: str) -> tuple[Deployment, Bundle]:
        """The deployment and its bundle, verified: the one that had been open, whatever came on disk meanwhile.

        Raises:
            EdgeaiError: as ``open_admitted``.
        """
        deployment = reopened(self._config, self._deployment, running if self.differs(seen) else "")
        return deployment, open_admitted(self._config, deployment)

    is_on_probation = False

    def gave_up(self, error: EdgeaiError) -> bool:
        """Whether something else is to be opened at once in the place of what did not open; never here."""
        return False

    def is_due(self, is_open: bool) -> bool:
        """Whether something else is to be opened in the place of what is open; never here."""
        return False

    def ended(self, result: Result) -> None:
        """An image came to its end; nobody counts them here."""

    def lends(self, job: Job, result: Result) -> bool:
        """Whether another model is shown this image too; never here."""
        return False

    def lent(self, job: Job, result: Result) -> None:
        """The answer to an image that another model is shown is kept; never here."""

    def is_news(self) -> bool:
        """Look now and then; whether ``detail`` has changed. Files that are just being written are left to settle."""
        now = time.monotonic()
        if not self._digest or now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY_S
        before, self._seen = self._seen, self.stamps()
        if self._seen == self._judged or self._seen != before:
            return False
        self._judged = self._seen
        detail, message, remedy = self._judge()
        if detail == self.detail:
            return False
        self.detail = detail
        if detail:
            self._say(message, remedy)
        return True

    def _judge(self) -> tuple[dict[str, str], str, str]:
        name = self._deployment.name
        try:
            manifest, digest = read_admitted(self._config, self._deployment)
        except EdgeaiError as error:
            message = f"{name} could not open its bundle after the next restart, and goes on with the old one: {error}"
            return {"code": error.code, "why": str(error)[:500]}, message, error.remedy or remedy_for(error.code)
        if digest == self._digest:
            return {}, "", ""
        message = (
            f"the bundle of {name} changed on disk: {manifest.name} {manifest.version} runs after the next restart,"
            " and until then what is open"
        )
        return {"digest": digest}, message, RESTART

    def _say(self, message: str, remedy: str) -> None:
        on_disk, code = self.detail.get("digest"), self.detail.get("code")
        log.warning("deployment.bundle-changed", message=message, digest=self._digest, on_disk=on_disk, code=code)
        facts = {"digest": self._digest, "on_disk": on_disk, "code": code, "remedy": remedy}
        self._event("deployment.bundle-changed", message, **facts)


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one deployment: the bundle, whom it is for, or why that cannot be read."""

    digest: str = ""
    rule: Eligibility | None = None
    error: EdgeaiError | None = None


class Eligible:
    """Which instance each deployment is meant for: by the bundle that infer has open, else by the file on disk.

    Args:
        config: the profile.
        spool: whose notes say what runs.
        say: told once a reason of a bundle that cannot be read while nothing of the deployment runs.
    """

    def __init__(self, config: DeviceConfig, spool: Spool, say: Callable[[str, EdgeaiError], None]) -> None:
        self._config = config
        self._spool = spool
        self._say = say
        self._known: dict[str, _Known] = {}
        self._files: dict[str, Stamps] = {}

    def __call__(self) -> Rules:
        """The rules as they were last read; of deployments in slots, as they are."""
        for deployment in self._config.deployments:
            if deployment.updates:
                self._look_at_file(deployment)
        return {deployment.name: self._of(deployment.name).rule for deployment in self._config.deployments}

    def _of(self, name: str) -> _Known:
        return self._known.get(name) or _Known()

    def refresh(self) -> None:
        """Look what runs, and whether files changed of what does not."""
        running = running_digests(self._spool)
        for deployment in self._config.deployments:
            name = deployment.name
            digest = running.get(name, "") if not deployment.updates else ""
            if digest and (self._of(name).digest == digest or self._take_running(name, digest)):
                self._files.pop(name, None)  # once it does not run any more, the file counts again
            else:
                self._look_at_file(deployment)

    def _take_running(self, name: str, digest: str) -> bool:
        """The rule of what runs, from where infer unpacked it; False where it does not lie there."""
        try:
            data = (unpacked(self._config, digest) / MANIFEST_NAME).read_bytes()
            if digest_of(data) != digest:
                return False
            self._known[name] = _Known(digest, decode_manifest(data).eligibility)
        except (OSError, EdgeaiError):
            return False
        return True

    def _look_at_file(self, deployment: Deployment) -> None:
        name = deployment.name
        stamp = stamps(*_deciding(self._config, deployment))
        if self._files.get(name) == stamp:
            return
        self._files[name] = stamp
        before, self._known[name] = self._of(name).error, _read(self._config, deployment)
        error = self._of(name).error
        if error is not None and (before is None or before.code != error.code):
            self._say(name, error)


def _deciding(config: DeviceConfig, deployment: Deployment) -> Iterator[Path]:
    """What decides whom a deployment is for; the active slot of one that takes updates is named in their state."""
    yield from deciding_files(config, deployment)
    if deployment.updates:
        yield SlotFolder.of_device(config, deployment).state


def _read(config: DeviceConfig, deployment: Deployment) -> _Known:
    try:
        manifest, digest = read_admitted(config, standing(config, deployment))
    except EdgeaiError as error:
        return _Known(error=error)
    return _Known(digest, manifest.eligibility)


def eligibilities(config: DeviceConfig) -> tuple[Rules, dict[str, EdgeaiError]]:
    """By the files on disk: deployment -> eligibility (``None`` where it cannot be read or admitted), and why not."""
    known = {deployment.name: _read(config, deployment) for deployment in config.deployments}
    faults = {name: item.error for name, item in known.items() if item.error is not None}
    return {name: item.rule for name, item in known.items()}, faults


def reopened(config: DeviceConfig, deployment: Deployment, digest: str) -> Deployment:
    """The deployment with the bundle that it had open, where that lies unpacked: it is opened anew, and not changed."""
    kept: Any = unpacked(config, digest)
    return deployment.model_copy(update={"bundle": kept}) if digest and kept.is_dir() else deployment


def would_run(config: DeviceConfig, deployment: Deployment, spool: Spool) -> Deployment:
    """The deployment with the bundle that infer would open now: what it has open, else what lies on disk."""
    digest = running_digests(spool).get(deployment.name, "")
    if deployment.updates or not digest:
        return standing(config, deployment)
    try:
        is_there = read_admitted(config, deployment)[1] == digest
    except EdgeaiError:
        is_there = False
    return deployment if is_there else reopened(config, deployment, digest)
