"""Whatever happens to the disk at whatever point: one good slot, the right one, and nothing that failed comes back.

The first half goes through every point of every step of an update, each with a kill, a power cut (of each kind) and a
full disk. The second lets Hypothesis make up histories of them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from edgeai.api import EdgeaiError
from edgeai.bundle.floors import FLOORS_NAME, Floors
from edgeai.bundle.manifest import ArtifactDecl, FileDecl, TaskUse, TensorDecl, digest_of, encode_manifest
from edgeai.bundle.reader import verify_folder
from edgeai.bundle.releases import Floor, Numbered
from edgeai.slots import SLOTS_NAME, Order, SlotFolder, Slots
from edgeai.slots.record import OTHER
from edgeai.testing.bundles import small_manifest
from edgeai.testing.faulty_disk import Cut, Fault, FaultyDisk, Killed

pytestmark = pytest.mark.slow

NAME = "tiny"
WEIGHTS = (b"one", b"two", b"three", b"other three", b"four", b"none")
RELEASES = (1, 2, 3, 3, 4, 0)
CUTS = [Cut(names=names, contents=contents) for names in (False, True) for contents in (False, True)]
HARSH = [cut for cut in CUTS if not cut.contents]
FAULTS: list[tuple[Fault, Cut | None]] = [("kill", None), *(("cut", cut) for cut in HARSH), ("full", None)]


def manifest_of(number: int) -> bytes:
    weights = WEIGHTS[number]
    tensor = TensorDecl(name="x", dtype="float32", shape=(1, 2))
    return encode_manifest(
        small_manifest(
            name=NAME,
            release=RELEASES[number],
            task=TaskUse(name="fake"),
            inputs=(tensor,),
            outputs=(tensor,),
            artifacts=(ArtifactDecl(id="fake", format="fake", precision="fp32", path="models/m.fake"),),
            files={"models/m.fake": FileDecl(sha256=hashlib.sha256(weights).hexdigest(), bytes=len(weights))},
        )
    )


MANIFESTS = [manifest_of(number) for number in range(len(WEIGHTS))]
BUNDLES = [
    Numbered(name=NAME, release=release, digest=digest_of(data))
    for release, data in zip(RELEASES, MANIFESTS, strict=True)
]


def fill(number: int) -> Callable[[Path], None]:
    """By way of ``os``, so that each write is a point."""

    def write(folder: Path) -> None:
        for name, data in (("manifest.json", MANIFESTS[number]), ("models/m.fake", WEIGHTS[number])):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(file, data)
            finally:
                os.close(file)

    return write


class Cart:
    """Slots and floors on a disk that may fail, and what must hold of them whatever was done."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "data").mkdir()
        self.disk = FaultyDisk(root)

    @property
    def floors(self) -> Floors:
        return Floors(self.root / "data" / FLOORS_NAME)

    @property
    def slots(self) -> SlotFolder:
        """As a process has them that has just started."""
        return SlotFolder(self.root / "data" / SLOTS_NAME / "guard", self.floors, now=lambda: "now")

    def do(
        self, step: Callable[[SlotFolder], Slots], fault: Fault | None = None, at: int = 0, cut: Cut | None = None
    ) -> str:
        """Do it, on a disk that fails, and look at what the next process finds; ``done``, ``killed`` or a code."""
        before, floor = self.slots.read(), self.floors.of(NAME)
        end, after = "done", None
        try:
            with self.disk.armed(fault, at):
                after = step(self.slots)
        except Killed:
            end = "killed"
        except EdgeaiError as error:
            end = error.code
        if fault == "cut" and end == "killed":
            self.disk.restart(cut)
        state = self.slots.read()
        assert after is None or state == after, "what was said to be done is what is there"
        self._hold(before, state, floor)
        return end

    def _hold(self, before: Slots, state: Slots, floor: Floor | None) -> None:
        slots = self.slots
        may_run = {slot.digest for slot in (before.running, before.before, before.of(before.spare)) if slot}
        if before.running is not None:
            assert state.running is not None, "there was a good slot, and there is none"
            assert state.running.digest in may_run
        for name in OTHER:
            slot = state.of(name)
            if slot is not None and slot.stage in ("installed", "good"):
                held = verify_folder(slots.content(name))
                assert Numbered.of(held.manifest, held.digest) == slot.number
        for slot in (state.running, state.before):
            assert slot is None or slots.admit(state, slot.number) in ("runs", "exception")
            assert slot is None or slot.digest not in state.bad
        assert set(before.bad) - set(state.bad) == set() or state.history[-1].move == "pardoned"
        now = self.floors.of(NAME)
        assert floor is None or (now is not None and (now == floor or now.release > floor.release))
        assert state.sequence >= before.sequence
        assert state.order >= before.order


@contextmanager
def a_cart() -> Iterator[Cart]:
    root = Path(tempfile.mkdtemp())
    cart = Cart(root)
    try:
        yield cart
    finally:
        cart.disk.close()
        shutil.rmtree(root)


# --- every point of every step ------------------------------------------------------------------------

STEPS: dict[str, list[Callable[[SlotFolder], Slots]]] = {
    "goes well": [
        lambda slots: slots.adopt(BUNDLES[0], fill(0)),
        lambda slots: slots.install(BUNDLES[1], fill(1)),
        lambda slots: slots.rehearsed(),
        lambda slots: slots.activate(1),
        lambda slots: slots.counted(completed=1),
        lambda slots: slots.prove(),
        lambda slots: slots.install(BUNDLES[2], fill(2)),
        lambda slots: slots.recover(),
    ],
    "goes back by itself": [
        lambda slots: slots.adopt(BUNDLES[0], fill(0)),
        lambda slots: slots.install(BUNDLES[1], fill(1)),
        lambda slots: slots.rehearsed(),
        lambda slots: slots.activate(1),
        lambda slots: slots.roll_back("a.b", "so"),
        lambda slots: slots.recover(),
        lambda slots: slots.install(BUNDLES[2], fill(2)),
        lambda slots: slots.fail("a.b", "so"),
        lambda slots: slots.pardon(BUNDLES[1].digest),
    ],
    "is ordered back": [
        lambda slots: slots.adopt(BUNDLES[2], fill(2)),
        lambda slots: slots.install(BUNDLES[0], fill(0), ORDER),
        lambda slots: slots.rehearsed(),
        lambda slots: slots.go_back(ORDER),
    ],
    "gives way": [
        lambda slots: slots.adopt(BUNDLES[0], fill(0)),
        lambda slots: slots.install(BUNDLES[1], fill(1)),
        lambda slots: slots.rehearsed(),
        lambda slots: slots.activate(1),
        lambda slots: slots.supersede(BUNDLES[2]),
        lambda slots: slots.install(BUNDLES[2], fill(2)),
    ],
    "is damaged": [
        lambda slots: slots.adopt(BUNDLES[0], fill(0)),
        lambda slots: slots.install(BUNDLES[1], fill(1)),
        lambda slots: slots.rehearsed(),
        lambda slots: slots.activate(1),
        lambda slots: slots.damaged("b", "so"),
    ],
}
ORDER = Order(number=3, leaves=BUNDLES[2].digest, to=BUNDLES[0].digest, why="so")
NEW = {
    "goes well": (0, 1, 2, 3, 4, 5, 7),
    "goes back by itself": (4, 5, 7, 8),
    "is ordered back": (1, 3),
    "gives way": (4, 5),
    "is damaged": (4,),
}
"""Steps that no story before them has."""
CASES = [(story, number) for story, numbers in NEW.items() for number in numbers]


@pytest.mark.parametrize(("story", "number"), CASES, ids=[f"{story}, {number}" for story, number in CASES])
def test_every_point_of_a_step(story: str, number: int, tmp_path: Path) -> None:
    """After a fault at any point the step can be done again, and ends as if nothing had happened."""
    *earlier, step = STEPS[story][: number + 1]
    with a_cart() as cart:
        before = [Slots(), *(done(cart, each) for each in earlier)][-1]
        kept = shutil.copytree(cart.root / "data", tmp_path / "kept")
        wanted = done(cart, step)
        points = cart.disk.points
        for fault, cut in FAULTS:
            for at in range(1, points + 1):
                shutil.rmtree(cart.root / "data")
                shutil.copytree(kept, cart.root / "data")
                cart.disk.restart()
                end = cart.do(step, fault, at, cut)
                assert end == "killed" if fault != "full" else end in ("done", "slots.unwritable")
                assert cart.slots.read().running in (before.running, wanted.running)
                done(cart, lambda slots: slots.recover())
                assert cart.do(step) in ("done", "slots.out-of-turn", "slots.order-refused")
                state = cart.slots.read()
                assert (state.running, state.bad, state.order) == (wanted.running, wanted.bad, wanted.order)
                assert bool(state.probation) == bool(wanted.probation)
    assert points > 3 or wanted == before, "there was something to fail"


def done(cart: Cart, step: Callable[[SlotFolder], Slots]) -> Slots:
    assert cart.do(step) == "done"
    return cart.slots.read()


# --- histories ----------------------------------------------------------------------------------------

FAULTY = st.one_of(
    st.just((None, 0, None)),
    st.tuples(st.sampled_from(["kill", "full"]), st.integers(1, 25), st.none()),
    st.tuples(st.just("cut"), st.integers(1, 25), st.sampled_from(CUTS)),
)
REFUSALS = {"slots.bad", "slots.out-of-turn", "slots.order-refused", "bundle.rolled-back", "bundle.release-reused"}
NUMBERS = st.integers(0, len(BUNDLES) - 1)


class SlotsMachine(RuleBasedStateMachine):
    """Any moves in any order, on a disk that fails at any point of any of them."""

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.cart = Cart(self.root)

    def teardown(self) -> None:
        self.cart.disk.close()
        shutil.rmtree(self.root)

    def _do(self, step: Callable[[SlotFolder], Slots], faulty: tuple[Fault | None, int, Cut | None]) -> None:
        fault, at, cut = faulty
        end = self.cart.do(step, fault, at, cut)
        refusals = {
            "slots.bad",
            "slots.out-of-turn",
            "slots.order-refused",
            "bundle.rolled-back",
            "bundle.release-reused",
        }
        assert end in {"done", "killed", "slots.unwritable"} | refusals

    @initialize(number=NUMBERS, faulty=FAULTY)
    def adopt(self, number: int, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.adopt(BUNDLES[number], fill(number)), faulty)

    @precondition(lambda self: self.cart.slots.read().active is None)
    @rule(number=NUMBERS, faulty=FAULTY)
    def adopt_again(self, number: int, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.adopt(BUNDLES[number], fill(number)), faulty)

    @rule(number=NUMBERS, faulty=FAULTY)
    def install(self, number: int, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.install(BUNDLES[number], fill(number)), faulty)

    @rule(number=NUMBERS, faulty=FAULTY, needed=st.integers(1, 3))
    def update(self, number: int, faulty: tuple[Fault | None, int, Cut | None], needed: int) -> None:
        """Most histories would never come so far by themselves."""
        self._do(lambda slots: slots.install(BUNDLES[number], fill(number)), (None, 0, None))
        self._do(lambda slots: slots.rehearsed(), (None, 0, None))
        self._do(lambda slots: slots.activate(needed), faulty)

    @rule(faulty=FAULTY)
    def rehearsed(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.rehearsed(), faulty)

    @rule(faulty=FAULTY, needed=st.integers(1, 3))
    def activate(self, faulty: tuple[Fault | None, int, Cut | None], needed: int) -> None:
        self._do(lambda slots: slots.activate(needed), faulty)

    @rule(faulty=FAULTY, completed=st.integers(0, 3), failed=st.integers(0, 1))
    def counted(self, faulty: tuple[Fault | None, int, Cut | None], completed: int, failed: int) -> None:
        self._do(lambda slots: slots.counted(completed=completed, failed=failed), faulty)

    @rule(faulty=FAULTY)
    def prove(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.prove(), faulty)

    @rule(faulty=FAULTY)
    def roll_back(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.roll_back("a.b", "so"), faulty)

    @rule(faulty=FAULTY)
    def fail(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.fail("a.b", "so"), faulty)

    @rule(faulty=FAULTY)
    def abandon(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.abandon("so"), faulty)

    @rule(faulty=FAULTY, step=st.integers(0, 1), to=NUMBERS, fetched=st.booleans())
    def go_back(self, faulty: tuple[Fault | None, int, Cut | None], step: int, to: int, fetched: bool) -> None:
        state = self.cart.slots.read()
        leaves = state.running.digest if state.running else BUNDLES[0].digest
        order = Order(number=state.order + step, leaves=leaves, to=BUNDLES[to].digest, why="so")
        if fetched:
            self._do(lambda slots: slots.install(BUNDLES[to], fill(to), order), (None, 0, None))
            self._do(lambda slots: slots.rehearsed(), (None, 0, None))
        self._do(lambda slots: slots.go_back(order), faulty)

    @rule(faulty=FAULTY, name=st.sampled_from(sorted(OTHER)))
    def damaged(self, faulty: tuple[Fault | None, int, Cut | None], name: str) -> None:
        self._do(lambda slots: slots.damaged(name, "so"), faulty)  # type: ignore[arg-type]

    @rule(faulty=FAULTY, number=NUMBERS)
    def pardon(self, faulty: tuple[Fault | None, int, Cut | None], number: int) -> None:
        self._do(lambda slots: slots.pardon(BUNDLES[number].digest), faulty)

    @rule(faulty=FAULTY)
    def recover(self, faulty: tuple[Fault | None, int, Cut | None]) -> None:
        self._do(lambda slots: slots.recover(), faulty)

    @rule(number=NUMBERS)
    def another_deployment_proves(self, number: int) -> None:
        self.cart.floors.raise_to(BUNDLES[number])
        self.cart.disk.restart()


SlotsMachine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSlotsMachine = SlotsMachine.TestCase
