"""One look at a repository: what is offered to each deployment, fetched and installed beside what runs.

The order is that of cost: what can be known from the manifest alone is asked before anything big is fetched, and
nothing in a slot is touched before every blob is here. Whatever goes wrong, what runs runs on.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.honour import hold_to_honoured
from edgeai.bundle.offers import Offer
from edgeai.bundle.partial import Held, absent_files, read_held
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Floor, Numbered, hold_to_floor
from edgeai.bundle.trust import TrustPolicy
from edgeai.durable import make_folder
from edgeai.slots import Asked, Order, SlotFolder, Slots, moves
from edgeai.slots.given_up import hold_to_given_up
from edgeai_update.adopting import adopted
from edgeai_update.blobs import Blobs
from edgeai_update.engines import needed
from edgeai_update.errors import UpdateError, altered, told_of_disk
from edgeai_update.members import Lent, Wanted, assemble, lying_here
from edgeai_update.outcomes import Look, Outcome, Tell
from edgeai_update.repository import Listed, Repository
from edgeai_update.signed import Signed
from edgeai_update.sources import Counted

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.rollouts import RollBack
    from edgeai.slots import Stage
    from edgeai_update.sources import Source

FOLDER: Final = "update"
"""Of ``data_dir``: what is known of the repository, and what is on its way."""


@dataclass(frozen=True, slots=True)
class _Case:
    """One deployment, as a look finds it."""

    repository: Repository
    deployment: Deployment
    folder: SlotFolder
    slots: Slots
    runs: Numbered
    outcome: Outcome
    install: bool

    def has_ready(self, digest: str, *stages: Stage) -> bool:
        """Whether it lies in the other slot, and came so far."""
        spare = self.slots.of(self.slots.spare)
        return spare is not None and spare.digest == digest and spare.stage in (stages or ("installed", "good"))


class Updating:
    """Looks for updates of the deployments that take them.

    Args:
        config: the profile.
        source: where the repository is read from.
        root: metadata of the repository's root that the device was given.
        tell: told how far it is.
        sleep: before another try.
    """

    def __init__(
        self,
        config: DeviceConfig,
        source: Source,
        root: Path,
        *,
        tell: Tell | None = None,
        sleep: Callable[[float], None] | None = None,
    ) -> None:
        self._config = config
        self._source = Counted(source)
        self._root = root
        self._tell = tell or (lambda step: None)
        self._folder = config.device.data_dir / FOLDER
        self._blobs = Blobs(self._folder / "blobs", **({"sleep": sleep} if sleep is not None else {}))
        self._lent = Lent(self._folder / "members")
        self._waiting: list[Wanted] = []

    def look(self, *, install: bool) -> Look:
        """Ask what is offered; fetch and install it, or only say what would be.

        Raises:
            UpdateError: ``update.busy``, ``update.unwritable``, and what ``Repository.refreshed`` refuses: then nothing
                is known of what is offered.
            ConfigError: ``update.root-unusable``.
        """
        with self._alone():
            self._tidy()
            self._tell("asking what is offered")
            with Repository(self._source, self._folder / "metadata", self._root).refreshed() as repository:
                outcomes = [self._answer(repository, each, install=install) for each in taking(self._config)]
            if install:
                self._tidy_after()
        return Look(outcomes=tuple(outcomes))

    def _answer(self, repository: Repository, deployment: Deployment, *, install: bool) -> Outcome:
        before = self._source.bytes
        outcome = Outcome(deployment=deployment.name, outcome="refused")
        try:
            return self._one(repository, deployment, outcome, install=install)
        except EdgeaiError as error:
            outcome.refuse(error)
            return outcome
        finally:
            outcome.fetched_bytes = self._source.bytes - before

    def _one(self, repository: Repository, deployment: Deployment, outcome: Outcome, *, install: bool) -> Outcome:
        folder = SlotFolder.of_device(self._config, deployment)
        slots = folder.recover() if install else folder.read()
        if slots.active is None and install:
            slots = adopted(self._config, deployment, folder)
        runs = slots.running.number if slots.running else self._of_profile(deployment)
        outcome.model = runs.name
        mine = Signed.of(repository, self._config, runs, slots)
        if install:
            slots = mine.forgive(folder, mine.give_up(folder, slots))
        case = _Case(repository, deployment, folder, slots, runs, outcome, install)
        choice = mine.choice()
        if choice.back is not None:
            return self._ordered(case, choice.back, mine.listed(choice.back.to))
        if choice.offered is None:
            return outcome.ends("none")
        listed = mine.listed(choice.offered.digest)
        assert listed is not None
        outcome.of(listed, choice.turn.rollout)
        if choice.turn.word != "taken":
            return outcome.waits(choice.turn)
        if listed.digest == runs.digest and not self._lacks(deployment, folder, slots):
            return outcome.ends("current")
        return (
            outcome.ends("ready")
            if case.has_ready(listed.digest)
            else self._taken(case, listed, asked=mine.asked(choice))
        )

    def _ordered(self, case: _Case, back: RollBack, listed: Listed | None) -> Outcome:
        """Follow an order back: at once where the other slot has it, else when it was fetched and rehearsed."""
        if listed is None:
            raise UpdateError(
                f"order {back.number} wants release {back.release} of {back.model} to run, and it is not offered",
                code="update.order-unmet",
                remedy="offer that release, or sign an order to one that is offered",
            )
        outcome = case.outcome
        outcome.of(listed, f"order {back.number}")
        order = Order(number=back.number, leaves=case.runs.digest, to=back.to, why=back.why)
        if case.has_ready(back.to, "good"):
            if case.install:
                case.folder.go_back(order)
            return outcome.ends("ordered-back" if case.install else "ready")
        outcome.soon = True
        if case.slots.probation is not None:
            return self._left_first(case, order)
        return outcome.ends("ready") if case.has_ready(back.to) else self._taken(case, listed, order)

    def _left_first(self, case: _Case, order: Order) -> Outcome:
        """What is on probation is left at once; what is wanted is fetched after that, since it takes the slot."""
        moves.hold_to_order(case.slots, order)
        after = moves.roll_back(case.slots, moves.ORDERED, order.why, _now())
        if case.install:
            after = case.folder.roll_back(moves.ORDERED, order.why)
        assert after.running is not None
        case.outcome.goes_to(after.running.number)
        return case.outcome.ends("ordered-back" if case.install else "ready")

    def _taken(self, case: _Case, listed: Listed, order: Order | None = None, asked: Asked | None = None) -> Outcome:
        wanted = self._wanted(case, listed, order)
        case.outcome.takes(wanted, self._blobs, listed.target.length)
        if not case.install:
            return case.outcome.ends("offered")
        self._waiting.append(wanted)
        self._install(case, wanted, order, asked)
        self._waiting.remove(wanted)
        return case.outcome.ends("installed")

    # --- before anything big is fetched -----------------------------------------------------------

    def _wanted(self, case: _Case, listed: Listed, order: Order | None) -> Wanted:
        deployment, folder, slots, runs = case.deployment, case.folder, case.slots, case.runs
        offer = case.repository.offer(listed, TrustPolicy.of(self._config.trust))
        if listed.digest not in ("", offer.digest):
            raise altered(listed.target.path, "it offers another bundle than the list says")
        hold_to_honoured(offer.manifest)
        number = Numbered.of(offer.manifest, offer.digest)
        # Would it be let in? What failed here, or is not its turn, is not fetched.
        moves.begin(moves.supersede(slots, number, _now()), number, _now())
        if runs.release and order is None:
            floor = Floor(release=runs.release, digest=runs.digest, since=_since(slots))
            hold_to_floor(number, floor, (deployment.allow_release,) if deployment.allow_release else ())
        folder.admit(slots, number, order)
        hold_to_given_up(slots, number, self._config, deployment)
        folder.hold_to_plan(
            moves.supersede(slots, number, _now()), offer.manifest, offer.envelope, offer.manifest_bytes
        )
        held = self._held(deployment, offer)
        names = Wanted(offer=offer, held=held, here={}).names
        every = [SlotFolder.of_device(self._config, each) for each in taking(self._config)]
        return Wanted(offer=offer, held=held, here=lying_here(offer, names, every, self._lent))

    def _held(self, deployment: Deployment, offer: Offer) -> Held | None:
        """Which artifacts are taken; ``None`` for all."""
        artifacts, guard = needed(self._config, deployment, offer.manifest)
        held = Held(digest=offer.digest, artifacts=artifacts, guard=guard)
        return held if absent_files(offer.manifest, held) else None

    def _lacks(self, deployment: Deployment, folder: SlotFolder, slots: Slots) -> bool:
        """Whether what runs has not all artifacts that the profile now asks for."""
        if slots.active is None:
            return False
        root = folder.content(slots.active)
        manifest, digest = read_manifest(root)
        held = read_held(root, manifest, digest)
        if held is None:
            return False
        artifacts, guard = needed(self._config, deployment, manifest)
        return not (set(artifacts) <= set(held.artifacts) and set(guard) <= set(held.guard))

    def _of_profile(self, deployment: Deployment) -> Numbered:
        return Numbered.of(*read_manifest(deployment.bundle, trust=TrustPolicy.of(self._config.trust)))

    # --- fetching and installing ------------------------------------------------------------------

    def _install(self, case: _Case, wanted: Wanted, order: Order | None, asked: Asked | None) -> None:
        offer, folder, name = wanted.offer, case.folder, case.deployment.name
        number = Numbered.of(offer.manifest, offer.digest)
        spare = folder.content(moves.supersede(case.slots, number, _now()).spare)
        self._hold_to_room(wanted, spare)
        lacking = sum(self._blobs.lacking(packed) for packed in wanted.to_fetch.values())
        came = 0

        def tell(count: int) -> None:
            nonlocal came
            came += count
            share = f"{came:,} of {lacking:,} bytes" + (f", {100 * came // lacking} %" if lacking else "")
            self._tell(f"{name}: fetching {offer.manifest.name} {offer.manifest.version}, {share}")

        for sha256, packed in wanted.to_fetch.items():
            self._blobs.fetch(self._source, sha256, packed, tell)
        self._tell(f"{name}: installing {offer.manifest.name} {offer.manifest.version}")
        with told_of_disk(self._folder):
            kept = Wanted(offer=offer, held=wanted.held, here=self._lent.take(wanted.here, spare))
            folder.supersede(number)
            folder.install(number, lambda target: assemble(kept, self._blobs, target), order, asked)
        for packed in wanted.to_fetch.values():
            self._blobs.drop(packed)

    def _hold_to_room(self, wanted: Wanted, spare: Path) -> None:
        """Both what comes and what is written of it, beside what must stay free.

        Raises:
            UpdateError: ``update.no-room``.
        """
        packed = sum(self._blobs.lacking(each) for each in wanted.to_fetch.values())
        with told_of_disk(self._folder):
            free = shutil.disk_usage(self._folder).free - self._config.spool.reserve_bytes
            most = max(packed, packed + wanted.written_bytes() - _own_bytes(spare))
        if most > free:
            raise UpdateError(
                f"{wanted.offer.manifest.name} {wanted.offer.manifest.version} needs {most:,} bytes of disk, and "
                f"{max(0, free):,} are free beside the {self._config.spool.reserve_bytes:,} of spool.reserve_bytes",
                code="update.no-room",
                remedy="free space on the volume of data_dir; it is tried again",
            )

    # --- one at a time ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with told_of_disk(self._folder):
            make_folder(self._folder)
            file = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UpdateError(
                    "this device is being updated by another process already",
                    code="update.busy",
                    remedy="wait until it has ended",
                ) from error
            yield
        finally:
            os.close(file)

    def _tidy_after(self) -> None:
        """Nothing is kept that no deployment waits for: a release may be followed by another before it came."""
        self._blobs.keep_only([packed for each in self._waiting for packed in each.to_fetch.values()])
        files = [each.offer.manifest.files for each in self._waiting]
        self._lent.keep_only({declared.sha256 for each in files for declared in each.values()})

    def _tidy(self) -> None:
        """What a kill left of a look."""
        with told_of_disk(self._folder):
            for path in self._folder.glob(".refresh-*"):
                shutil.rmtree(path)


def taking(config: DeviceConfig) -> tuple[Deployment, ...]:
    """The deployments that take updates."""
    return tuple(each for each in config.deployments if each.updates)


def _own_bytes(folder: Path) -> int:
    """What is free once a folder is gone: files that lie nowhere else too."""
    facts = [path.lstat() for path in folder.rglob("*")] if folder.is_dir() else []
    return sum(each.st_size for each in facts if each.st_nlink == 1)


def _since(slots: Slots) -> str:
    return slots.running.since if slots.running else _now()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
