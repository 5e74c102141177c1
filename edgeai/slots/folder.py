"""Where a device keeps the slots of a deployment: ``data_dir/slots/<deployment>/``, beside the spool and not in it.

``slots.json`` is replaced whole for every move; ``a/`` and ``b/`` hold the bundles. The order of writing is the whole
art: nothing in a slot is touched before the state says ``pending``, and the state says ``installed`` only when every
byte is on the disk and was read back.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from edgeai.api.errors import EdgeaiError
from edgeai.bundle.approvals import Approvers, hold_to_change_control
from edgeai.bundle.floors import Floors
from edgeai.bundle.honour import hold_to_honoured
from edgeai.bundle.manifest import Manifest, digest_of
from edgeai.bundle.reader import read_manifest, read_signatures, verify_folder
from edgeai.bundle.releases import Numbered, Verdict, hold_to_floor
from edgeai.bundle.trust import TrustPolicy
from edgeai.durable import locked, make_folder, publish_folder, replace_file
from edgeai.slots import moves
from edgeai.slots.answered import read_answers
from edgeai.slots.moves import Order
from edgeai.slots.record import MAX_BYTES, OTHER, Asked, Name, Slot, Slots, SlotsError, decode, encode

if TYPE_CHECKING:
    from edgeai.bundle.envelope import Envelope
    from edgeai.config import Deployment, DeviceConfig

SLOTS_NAME: Final = "slots"
_STATE: Final = "slots.json"

Fill: TypeAlias = Callable[[Path], None]
"""Writes a bundle into a folder that is not there yet."""


class SlotFolder:
    """The slots of one deployment, read whenever they are asked for: other processes move them too.

    Args:
        folder: theirs alone.
        floors: of the device.
        trust: whose signatures a bundle must bear to be installed; without, nobody asks here, as at each start.
        allowed: digests that the profile lets run whatever the floor says.
        approvers: whose signature lets a release change what the one that runs does not let it change.
        now: for what people read.
    """

    def __init__(
        self,
        folder: Path,
        floors: Floors,
        *,
        trust: TrustPolicy | None = None,
        allowed: Collection[str] = (),
        approvers: Approvers | None = None,
        now: Callable[[], str] | None = None,
    ) -> None:
        self.folder = folder
        self._floors = floors
        self._trust = trust
        self._allowed = frozenset(allowed)
        self._approvers = approvers or Approvers()
        self._now = now or _now

    @classmethod
    def of_device(cls, config: DeviceConfig, deployment: Deployment) -> SlotFolder:
        """Those of a deployment of this profile."""
        return cls(
            config.device.data_dir / SLOTS_NAME / deployment.name,
            Floors.of_device(config),
            trust=TrustPolicy.of(config.trust),
            allowed=(deployment.allow_release,) if deployment.allow_release else (),
            approvers=Approvers.of(config.trust),
        )

    # --- what is ----------------------------------------------------------------------------------

    @property
    def state(self) -> Path:
        """The file of the state, which changes with every move."""
        return self.folder / _STATE

    def read(self) -> Slots:
        """The state as it was last written; an empty one where nothing was ever installed.

        Raises:
            SlotsError: ``slots.unreadable``.
        """
        try:
            with (self.folder / _STATE).open("rb") as file:
                return decode(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return Slots()
        except OSError as error:
            raise self._unreadable(error.strerror or str(error)) from error
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise self._unreadable(str(error)) from error

    def content(self, name: Name) -> Path:
        """Where a slot's bundle lies, as far as its stage says that it does."""
        return self.folder / name

    def admit(self, slots: Slots, bundle: Numbered, order: Order | None = None) -> Verdict:
        """Hold a bundle to the release floor: what stands may always run, and what a valid order wants.

        Raises:
            BundleRejected: ``bundle.rolled-back``, ``bundle.release-reused``, ``bundle.floors-unreadable``.
            SlotsError: ``slots.order-refused``, ``slots.bad``.
        """
        allowed = self._allowed | slots.standing
        if order is not None:
            moves.hold_to_order(slots, order)
            allowed |= {order.to}
        return hold_to_floor(bundle, self._floors.of(bundle.name), allowed)

    def hold_to_plan(self, slots: Slots, after: Manifest, envelope: Envelope | None, data: bytes) -> None:
        """Hold a bundle to the change control of the one that runs; what has answered here before may come back.

        Args:
            slots: as they are.
            after: the manifest of the bundle that is to follow.
            envelope: its signatures.
            data: the bytes of its manifest.

        Raises:
            BundleRejected: ``bundle.change-not-allowed``, ``bundle.bad-change-control``.
            ConfigError: an approver's key cannot be read.
        """
        if slots.active is None or any(answer.digest == digest_of(data) for answer in read_answers(self.folder)):
            return
        root = self.content(slots.active)
        hold_to_change_control(root, read_manifest(root)[0], after, envelope, data, self._approvers)

    # --- what happens -----------------------------------------------------------------------------

    def install(self, bundle: Numbered, fill: Fill, order: Order | None = None, asked: Asked | None = None) -> Slots:
        """Write a bundle to the spare slot, and read it back.

        Whatever goes wrong, the active slot is what it was, and the spare one counts for nothing.

        Args:
            bundle: which one; what is written must be that.
            fill: writes it, from wherever it is.
            order: to go back to it, where it is below the floor.
            asked: of it by whoever brings it, before it is switched to.

        Raises:
            SlotsError: ``slots.bad``, ``slots.out-of-turn``, ``slots.order-refused``, ``slots.unwritable``.
            SlotsError: ``slots.other-bundle``: it is another than was said.
            BundleRejected: below the floor, not sound, not signed as the device demands, not for this edgeai, or it
                changes what the one that runs does not let a later release change.
        """
        with self._held():
            slots = self.read()
            self.admit(slots, bundle, order)
            slots = self._write(moves.begin(slots, bundle, self._now(), asked))
            try:
                self._fill(slots, bundle, fill)
            except (OSError, EdgeaiError) as error:
                with contextlib.suppress(OSError, SlotsError):  # pending counts for nothing as well
                    self._write(moves.abandon(slots, str(error), self._now()))
                raise
            return self._write(moves.filled(slots, self._now()))

    def adopt(self, bundle: Numbered, fill: Fill) -> Slots:
        """Copy what runs from the profile's path into a slot, where nobody changes it, and run it from there.

        Raises: as ``install``.
        """
        if self.read().active is not None:  # asked before a copy is made
            raise moves.out_of_turn("there is an active slot already")
        self.install(bundle, fill)
        return self._move(moves.adopt)

    def recover(self) -> Slots:
        """After a start: what was being written is given up, and what counts for nothing is removed.

        Raises:
            SlotsError: ``slots.unreadable``, ``slots.unwritable``.
        """
        with self._held():
            slots = self.read()
            spare = slots.of(slots.spare)
            if spare is not None and spare.stage == "pending":
                slots = self._write(moves.abandon(slots, "it was interrupted", self._now()))
            for name in OTHER:
                slot = slots.of(name)
                if slot is None or slot.stage == "bad":
                    self._remove(self.content(name))
                self._remove(self._partial(name))
            return slots

    def rehearsed(self, digest: str = "", *, agreement: float = 0.0, most: int = 1) -> Slots:
        """The spare slot answered its golden cases; ``digest``, here and below: where it still holds that.

        ``agreement``, ``most``: to be shown beside what runs (``moves.rehearsed``).
        """
        return self._move(lambda slots, at: moves.rehearsed(slots, at, digest, agreement=agreement, most=most))

    def compared(self, digest: str, difference: str) -> Slots:
        """One more image was shown to what runs and to the spare slot; ``difference``: empty where they agree."""
        return self._move(lambda slots, _: moves.compared(slots, digest, difference))

    def shown(self, why: str, digest: str) -> Slots:
        """The spare slot need be shown beside what runs no longer."""
        return self._move(lambda slots, at: moves.shown(slots, why, at, digest))

    def abandon(self, why: str, digest: str = "", cause: str = "") -> Slots:
        """The spare slot is not wanted any more, for no fault of its bundle; ``cause``: as ``moves.abandon``."""
        return self._move(lambda slots, at: moves.abandon(slots, why, at, digest, cause))

    def fail(self, code: str, why: str, digest: str = "") -> Slots:
        """The spare slot failed before it was active."""
        return self._move(lambda slots, at: moves.fail(slots, code, why, at, digest))

    def activate(self, needed: int, digest: str = "", **before: Any) -> Slots:
        """The spare slot runs from now on, if the floor still lets it.

        Args:
            needed: completed results until its probation is over.
            digest: only where the slot still holds that.
            before: what is known of the time before (``Probation``).

        Raises:
            SlotsError: ``slots.out-of-turn``.
            BundleRejected: the floor rose meanwhile.
        """

        def change(slots: Slots, at: str) -> Slots:
            changed = moves.activate(slots, needed, at, digest, **before)
            self.admit(slots, _running(changed).number)
            return changed

        return self._move(change)

    def counted(
        self,
        *,
        completed: int = 0,
        failed: int = 0,
        withheld: int = 0,
        spent_ms: Sequence[float] = (),
        stated: Sequence[Collection[str]] = (),
    ) -> Slots:
        """So many more results of the active slot on probation, what the completed ones took, and what they stated."""
        numbers = {"completed": completed, "failed": failed, "withheld": withheld}
        return self._move(lambda slots, at: moves.counted(slots, at, **numbers, spent_ms=spent_ms, stated=stated))

    def prove(self) -> Slots:
        """Probation ended well: first the floor rises, then the state says so. Both may be done again after a crash.

        Raises:
            SlotsError: ``slots.out-of-turn``: it has not given enough results.
            BundleRejected: ``bundle.floors-unreadable``.
        """

        def change(slots: Slots, at: str) -> Slots:
            changed = moves.proven(slots, at)
            self._floors.raise_to(_running(changed).number)
            return changed

        return self._move(change)

    def supersede(self, bundle: Numbered) -> Slots:
        """What is on probation gives way to a newer release where it has completed no image; else nothing happens."""
        with self._held():
            slots = self.read()
            changed = moves.supersede(slots, bundle, self._now())
            return slots if changed is slots else self._write(changed)

    def roll_back(self, code: str, why: str) -> Slots:
        """Probation ended badly: what stood before runs again."""
        return self._move(lambda slots, at: moves.roll_back(slots, code, why, at))

    def go_back(self, order: Order) -> Slots:
        """Follow an order to what lies in the other slot; where it lies elsewhere, it is installed first."""
        return self._move(lambda slots, at: moves.go_back(slots, order, at))

    def damaged(self, name: Name, why: str) -> Slots:
        """What a slot holds is not what was written there."""
        return self._move(lambda slots, at: moves.damaged(slots, name, why, at))

    def pardon(self, digest: str) -> Slots:
        """A digest that failed may come again."""
        return self._move(lambda slots, at: moves.pardon(slots, digest, at))

    # --- files ------------------------------------------------------------------------------------

    def _move(self, change: Callable[[Slots, str], Slots]) -> Slots:
        with self._held():
            return self._write(change(self.read(), self._now()))

    def _write(self, slots: Slots) -> Slots:
        replace_file(self.folder / _STATE, encode(slots))
        return slots

    def _fill(self, slots: Slots, bundle: Numbered, fill: Fill) -> None:
        partial, target = self._partial(slots.spare), self.content(slots.spare)
        self._remove(partial)
        self._remove(target)
        try:
            fill(partial)
            held = verify_folder(partial, self._trust, lambda manifest, _: hold_to_honoured(manifest))
            if Numbered.of(held.manifest, held.digest) != bundle:
                raise SlotsError(
                    f"{Numbered.of(held.manifest, held.digest)} ({held.digest[:19]}...) was written, "
                    f"{bundle} ({bundle.digest[:19]}...) was meant",
                    code="slots.other-bundle",
                    remedy="fetch it again; if it happens twice, tell who offers it",
                )
            self.hold_to_plan(slots, held.manifest, *read_signatures(partial))
            publish_folder(partial, target)
        except (OSError, EdgeaiError):
            with contextlib.suppress(OSError):
                self._remove(partial)
            raise

    def _partial(self, name: Name) -> Path:
        return self.folder / f".{name}.partial"

    @staticmethod
    def _remove(folder: Path) -> None:
        if folder.exists():
            shutil.rmtree(folder)

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """One process at a time; what the disk refuses becomes an error with a code."""
        try:
            make_folder(self.folder)
            with locked(self.folder / ".lock"):
                yield
        except OSError as error:
            raise SlotsError(
                f"the slots in {self.folder} cannot be written: {error.strerror or error}",
                code="slots.unwritable",
                remedy="free space on the volume of data_dir, and let the service's user write there",
            ) from error

    def _unreadable(self, why: str) -> SlotsError:
        return SlotsError(
            f"{self.folder / _STATE} cannot be read, so that nobody knows which bundle may run: {why}",
            code="slots.unreadable",
            remedy="put it back from a backup; or remove the folder, and the bundle of the profile runs again",
        )


def _running(slots: Slots) -> Slot:
    assert slots.running is not None
    return slots.running


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
