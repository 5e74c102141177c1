"""The slots of a deployment: what may follow what, what stands, and what is written where."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from edgeai.api import BundleRejected, ConfigError, EdgeaiError
from edgeai.bundle.archive import pack
from edgeai.bundle.floors import FLOORS_NAME, Floors
from edgeai.bundle.manifest import Manifest, encode_manifest
from edgeai.bundle.reader import open_bundle
from edgeai.bundle.releases import Numbered
from edgeai.bundle.trust import TrustPolicy
from edgeai.config import load_config
from edgeai.slots import SLOTS_NAME, Order, SlotFolder, Slots, SlotsError
from edgeai.slots.record import MAX_HISTORY, MAX_WHY
from edgeai.slots.schema import json_schema
from edgeai.slots.telling import last_end

NOW = "2026-11-29T12:00:00Z"


class Shelf:
    """Bundles as folders, by release and content."""

    def __init__(self, folder: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> None:
        self._folder, self._write, self._tiny = folder, write_tiny, tiny
        self._made: dict[tuple[int, bytes], tuple[Numbered, Path]] = {}

    def __call__(self, release: int, content: bytes = b"weights") -> tuple[Numbered, Path]:
        if (release, content) not in self._made:
            manifest = msgspec.structs.replace(self._tiny, release=release)
            archive = self._folder / f"{release}-{content.hex()}.edgeai"
            pack(self._write(content), manifest, archive)
            bundle = open_bundle(archive, cache_dir=self._folder / "unpacked")
            self._made[release, content] = Numbered.of(bundle.manifest, bundle.digest), bundle.root
        return self._made[release, content]

    def fill(self, release: int, content: bytes = b"weights") -> Callable[[Path], Any]:
        root = self(release, content)[1]
        return lambda target: shutil.copytree(root, target)


@pytest.fixture
def shelf(tmp_path: Path, write_tiny: Callable[[bytes], Path], tiny: Manifest) -> Shelf:
    return Shelf(tmp_path, write_tiny, tiny)


@pytest.fixture
def floors(tmp_path: Path) -> Floors:
    (tmp_path / "data").mkdir()
    return Floors(tmp_path / "data" / FLOORS_NAME)


@pytest.fixture
def slots(tmp_path: Path, floors: Floors) -> SlotFolder:
    return SlotFolder(tmp_path / "data" / SLOTS_NAME / "guard", floors, now=lambda: NOW)


def adopted(slots: SlotFolder, shelf: Shelf, release: int) -> None:
    slots.adopt(shelf(release)[0], shelf.fill(release))


def ready(slots: SlotFolder, shelf: Shelf, release: int, content: bytes = b"weights") -> str:
    """Installed and rehearsed; its digest."""
    slots.install(shelf(release, content)[0], shelf.fill(release, content))
    slots.rehearsed()
    return shelf(release, content)[0].digest


def on_probation(slots: SlotFolder, shelf: Shelf, *, needed: int = 2) -> tuple[str, str]:
    """Release 1 stood before, release 2 is on probation; their digests."""
    adopted(slots, shelf, 1)
    new = ready(slots, shelf, 2)
    slots.activate(needed)
    return shelf(1)[0].digest, new


def proven(slots: SlotFolder, shelf: Shelf) -> tuple[str, str]:
    digests = on_probation(slots, shelf, needed=1)
    slots.counted(completed=1)
    slots.prove()
    return digests


def running(slots: SlotFolder) -> str:
    slot = slots.read().running
    return slot.digest if slot else ""


def code_of(call: Callable[[], object]) -> str:
    with pytest.raises(EdgeaiError) as caught:
        call()
    assert str(caught.value)
    code = caught.value.code
    assert caught.value.remedy or not code.startswith("slots.")
    return code


# --- an update, and its ends --------------------------------------------------------------------------


def test_nothing_is_there_before_something_is_installed(slots: SlotFolder) -> None:
    assert slots.read() == Slots()
    assert not slots.folder.exists(), "looking makes nothing"


def test_an_update_that_goes_well(slots: SlotFolder, shelf: Shelf, floors: Floors) -> None:
    old, new = on_probation(slots, shelf)
    assert running(slots) == new
    assert slots.read().standing == {old, new}
    assert open_bundle(slots.content("b")).digest == new
    slots.counted(completed=1, failed=1, withheld=1)
    assert code_of(slots.prove) == "slots.out-of-turn"
    assert floors.of("tiny") is None, "on probation it has shown nothing yet"
    slots.counted(completed=1)
    slots.prove()
    floor = floors.of("tiny")
    assert floor is not None
    assert (floor.release, floor.digest) == (2, new)
    state = slots.read()
    assert state.probation is None
    assert state.history[-1].why == "2 results completed, 1 failed, 1 withheld"
    moves = ["begun", "installed", "adopted", "begun", "installed", "rehearsed", "activated", "proven"]
    assert [move.move for move in state.history] == moves
    assert slots.admit(state, shelf(1)[0]) == "exception", "what stood before may run below the floor"


def test_probation_that_ends_badly_goes_back_and_remembers(slots: SlotFolder, shelf: Shelf, floors: Floors) -> None:
    old, new = on_probation(slots, shelf)
    slots.roll_back("model.slow", "ten times slower than its gate\x1b[31m\n" + "x" * 2000)
    assert running(slots) == old
    failed = slots.read().bad[new]
    assert (failed.code, failed.release, len(failed.why)) == ("model.slow", 2, MAX_WHY)
    assert failed.why.isprintable()
    assert floors.of("tiny") is None
    assert code_of(lambda: slots.install(shelf(2)[0], shelf.fill(2))) == "slots.bad"
    repaired = ready(slots, shelf, 2, b"repaired")
    slots.activate(1)
    assert running(slots) == repaired, "its number is not burnt"


def test_a_floor_that_rose_lets_what_stood_before_run(slots: SlotFolder, shelf: Shelf, floors: Floors) -> None:
    """A crash between the floor and the state, and probation that then ends badly after all."""
    old, new = on_probation(slots, shelf)
    floors.raise_to(shelf(2)[0])
    slots.roll_back("backend.failed", "it failed")
    assert running(slots) == old
    assert slots.admit(slots.read(), shelf(1)[0]) == "exception"
    floor = floors.of("tiny")
    assert floor is not None
    assert floor.digest == new, "and it never falls"


@pytest.mark.parametrize("stage", ["installed", "good"])
def test_a_bundle_that_fails_before_it_is_active_changes_nothing(slots: SlotFolder, shelf: Shelf, stage: str) -> None:
    adopted(slots, shelf, 1)
    slots.install(shelf(2)[0], shelf.fill(2))
    if stage == "good":
        slots.rehearsed()
    slots.fail("backend.golden-mismatch", "case phantom-1 is off by 0.2")
    assert running(slots) == shelf(1)[0].digest
    assert code_of(lambda: slots.activate(1)) == "slots.out-of-turn"
    assert code_of(lambda: slots.install(shelf(2)[0], shelf.fill(2))) == "slots.bad"
    slots.recover()
    assert not slots.content("b").exists(), "and is removed"
    ended = last_end(slots.read())
    assert ended is not None
    assert (ended["move"], ended["stands"]) == ("failed", True)
    slots.pardon(shelf(2)[0].digest)
    assert last_end(slots.read()) is None, "what may come again has not ended"
    slots.install(shelf(2)[0], shelf.fill(2))


def test_other_artifacts_of_what_runs_can_fail_without_its_digest(slots: SlotFolder, shelf: Shelf) -> None:
    adopted(slots, shelf, 1)
    digest = ready(slots, shelf, 1)
    slots.activate(1)
    slots.roll_back("backend.failed", "the other engine fails")
    assert running(slots) == digest
    assert slots.read().bad == {}
    assert slots.read().b is None


def test_what_was_rehearsed_and_never_ran_can_be_given_up_and_what_stood_before_cannot(
    slots: SlotFolder, shelf: Shelf
) -> None:
    adopted(slots, shelf, 1)
    new = ready(slots, shelf, 2)
    state = slots.abandon("its rollout is paused", new)
    assert (state.candidate, state.bad, state.history[-1].why) == (None, {}, "its rollout is paused")
    ready(slots, shelf, 2)
    slots.activate(1)
    assert code_of(lambda: slots.abandon("so")) == "slots.out-of-turn"
    assert slots.read().before is not None


# --- what is refused ----------------------------------------------------------------------------------


def test_what_is_out_of_turn(slots: SlotFolder, shelf: Shelf) -> None:
    order = Order(number=1, leaves=shelf(1)[0].digest, to=shelf(2)[0].digest, why="so")
    for call in (
        slots.rehearsed,
        slots.prove,
        lambda: slots.activate(1),
        lambda: slots.abandon("so"),
        lambda: slots.fail("a.b", "so"),
        lambda: slots.roll_back("a.b", "so"),
        lambda: slots.counted(completed=1),
        lambda: slots.damaged("a", "so"),
        lambda: slots.pardon(shelf(1)[0].digest),
    ):
        assert code_of(call) == "slots.out-of-turn"
    assert code_of(lambda: slots.go_back(order)) == "slots.order-refused"
    assert slots.read() == Slots()


def test_nothing_is_activated_before_there_is_something_to_go_back_to(slots: SlotFolder, shelf: Shelf) -> None:
    ready(slots, shelf, 1)
    assert code_of(lambda: slots.activate(1)) == "slots.out-of-turn"
    adopted(slots, shelf, 1)
    assert code_of(lambda: adopted(slots, shelf, 2)) == "slots.out-of-turn"


def test_probation_keeps_the_other_slot(slots: SlotFolder, shelf: Shelf) -> None:
    old, new = on_probation(slots, shelf)
    for call in (lambda: slots.install(shelf(3)[0], shelf.fill(3)), lambda: slots.fail("a.b", "so")):
        assert code_of(call) == "slots.out-of-turn"
    assert slots.read().standing == {old, new}
    slots.counted(completed=2)
    slots.prove()
    assert code_of(lambda: slots.activate(1)) == "slots.out-of-turn", "going back takes an order"
    assert code_of(lambda: slots.fail("a.b", "so")) == "slots.out-of-turn"


@pytest.mark.parametrize("counts", [{"completed": -1}, {"failed": 2**60}])
def test_what_could_not_be_read_again_is_not_written(slots: SlotFolder, shelf: Shelf, counts: dict[str, int]) -> None:
    on_probation(slots, shelf)
    before = slots.read()
    with pytest.raises(SlotsError, match="could not be read again") as caught:
        slots.counted(**counts)
    assert caught.value.code == "slots.error"
    assert slots.read() == before


def test_the_floor_is_asked_when_a_bundle_comes_and_again_when_it_is_activated(
    slots: SlotFolder, shelf: Shelf, floors: Floors
) -> None:
    adopted(slots, shelf, 2)
    floors.raise_to(shelf(2)[0])
    assert code_of(lambda: slots.install(shelf(1)[0], shelf.fill(1))) == "bundle.rolled-back"
    other = shelf(2, b"other")[0]
    assert code_of(lambda: slots.install(other, shelf.fill(2, b"other"))) == "bundle.release-reused"
    assert slots.read().b is None
    ready(slots, shelf, 3)
    floors.raise_to(shelf(4)[0])  # another deployment of the same model
    assert code_of(lambda: slots.activate(1)) == "bundle.rolled-back"
    assert running(slots) == shelf(2)[0].digest


def test_another_bundle_than_was_said_is_not_installed(slots: SlotFolder, shelf: Shelf) -> None:
    adopted(slots, shelf, 1)
    for named in (shelf(2)[0], Numbered(name="tiny", release=9, digest=shelf(3)[0].digest)):
        assert code_of(lambda named=named: slots.install(named, shelf.fill(3))) == "slots.other-bundle"
    assert slots.read().b is None
    assert not slots.content("b").exists()


def test_a_damaged_bundle_and_one_that_nobody_signed_are_not_installed(
    slots: SlotFolder, shelf: Shelf, floors: Floors, tmp_path: Path
) -> None:
    def fill(target: Path) -> None:
        shelf.fill(2)(target)
        next(path for path in target.rglob("*") if path.is_file() and path.parent != target).write_bytes(b"other")

    assert code_of(lambda: slots.install(shelf(2)[0], fill)) == "bundle.wrong-size"
    assert slots.read().history[-1].move == "abandoned"
    (tmp_path / "keys").mkdir()
    strict = SlotFolder(slots.folder, floors, trust=TrustPolicy(keys=(tmp_path / "keys",)))
    with pytest.raises((BundleRejected, ConfigError)):
        strict.install(shelf(2)[0], shelf.fill(2))
    assert slots.read().a is None


def test_a_newer_release_does_not_wait_for_one_that_has_completed_nothing(slots: SlotFolder, shelf: Shelf) -> None:
    old, new = on_probation(slots, shelf)
    slots.counted(failed=1, withheld=12)
    assert running(slots) == new
    state = slots.supersede(shelf(3)[0])
    assert (state.running.digest, state.b, state.probation, state.bad) == (old, None, None, {})  # type: ignore[union-attr]
    assert (state.history[-1].move, state.history[-1].digest) == ("superseded", new)
    assert state.history[-1].why == "it had completed no image when tiny release 3 came"
    slots.install(shelf(3)[0], shelf.fill(3))
    assert running(slots) == old
    slots.rehearsed()
    slots.activate(2)
    assert slots.read().before.digest == old  # type: ignore[union-attr]


def test_nothing_gives_way_that_has_shown_something_or_to_what_is_not_newer(slots: SlotFolder, shelf: Shelf) -> None:
    adopted(slots, shelf, 1)
    assert slots.supersede(shelf(3)[0]) == slots.read(), "nothing is on probation"
    slots.install(shelf(3)[0], shelf.fill(3))
    slots.rehearsed()
    slots.fail("a.b", "so")
    ready(slots, shelf, 2)
    slots.activate(2)
    before = slots.read()
    other = dataclasses.replace(shelf(4)[0], name="other")
    for coming in (shelf(1)[0], shelf(2)[0], shelf(2, b"another")[0], shelf(3)[0], other):
        assert slots.supersede(coming) == before == slots.read()
    slots.counted(completed=1)
    assert slots.supersede(shelf(4)[0]) == slots.read()
    assert code_of(lambda: slots.install(shelf(4)[0], shelf.fill(4))) == "slots.out-of-turn"


# --- orders -------------------------------------------------------------------------------------------


def test_an_order_goes_back_at_once_to_what_stood_before(slots: SlotFolder, shelf: Shelf, floors: Floors) -> None:
    old, new = proven(slots, shelf)
    order = Order(number=7, leaves=new, to=old, why="misses small lesions")
    slots.go_back(order)
    assert running(slots) == old
    assert slots.read().bad[new].why == "misses small lesions"
    assert code_of(lambda: slots.install(shelf(2)[0], shelf.fill(2))) == "slots.bad"
    floor = floors.of("tiny")
    assert floor is not None
    assert floor.release == 2
    assert slots.admit(slots.read(), shelf(1)[0]) == "exception"


def test_an_order_that_is_played_again_proves_nothing(slots: SlotFolder, shelf: Shelf) -> None:
    old, new = proven(slots, shelf)
    order = Order(number=7, leaves=new, to=old, why="so")
    slots.go_back(order)
    slots.pardon(new)
    newer = ready(slots, shelf, 3)
    slots.activate(1)
    for again in (
        order,
        Order(number=7, leaves=newer, to=old, why="its number was seen"),
        Order(number=8, leaves=new, to=old, why="it leaves what does not run"),
        Order(number=8, leaves=newer, to=newer, why="it leads nowhere"),
    ):
        assert code_of(lambda again=again: slots.go_back(again)) == "slots.order-refused"
    assert running(slots) == newer


def test_an_order_fetches_what_is_below_the_floor(slots: SlotFolder, shelf: Shelf, floors: Floors) -> None:
    adopted(slots, shelf, 3)
    floors.raise_to(shelf(3)[0])
    older, fill = shelf(1)[0], shelf.fill(1)
    assert code_of(lambda: slots.install(older, fill)) == "bundle.rolled-back"
    order = Order(number=1, leaves=shelf(3)[0].digest, to=older.digest, why="so")
    assert code_of(lambda: slots.install(shelf(2)[0], shelf.fill(2), order)) == "bundle.rolled-back"
    slots.install(older, fill, order)
    slots.rehearsed()
    assert code_of(lambda: slots.activate(1)) == "bundle.rolled-back", "only the order may"
    slots.go_back(order)
    assert running(slots) == older.digest
    assert slots.read().before is None, "what was left is bad"


def test_an_order_to_what_failed_here_is_refused(slots: SlotFolder, shelf: Shelf) -> None:
    old, new = on_probation(slots, shelf)
    slots.roll_back("a.b", "so")
    order = Order(number=1, leaves=old, to=new, why="so")
    assert code_of(lambda: slots.go_back(order)) == "slots.bad"


# --- a disk that damages ------------------------------------------------------------------------------


def test_a_damaged_slot_gives_way_to_what_stood_before(slots: SlotFolder, shelf: Shelf) -> None:
    old, new = proven(slots, shelf)
    slots.damaged("b", "the content of 'model.fake' is not what the manifest says")
    assert running(slots) == old
    assert slots.read().bad == {}
    assert code_of(lambda: slots.damaged("a", "so")) == "slots.out-of-turn", "nothing better is known"
    assert ready(slots, shelf, 2) == new, "it may come again"


def test_what_was_being_written_is_given_up_at_the_next_start(slots: SlotFolder, shelf: Shelf) -> None:
    adopted(slots, shelf, 1)

    def killed(target: Path) -> None:
        shelf.fill(2)(target)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slots.install(shelf(2)[0], killed)
    spare = slots.read().b
    assert spare is not None
    assert spare.stage == "pending"
    assert code_of(slots.rehearsed) == "slots.out-of-turn"
    slots.recover()
    assert slots.read().b is None
    assert {path.name for path in slots.folder.iterdir()} == {"a", "slots.json", ".lock"}


SOUND = {"schema": 1, "a": {"digest": "sha256:" + "a" * 64, "model": "m", "release": 1, "stage": "good", "since": NOW}}
DAMAGED: list[Any] = [
    b"",
    b"{",
    b"[]",
    b"\xff",
    b'{"schema":1,"schema":1}',
    b'{"schema":1,"a":' + b"[" * 100_000,
    {},
    {"schema": 2},
    {**SOUND, "more": 1},
    {**SOUND, "active": "c"},
    {**SOUND, "active": "b"},
    {**SOUND, "active": "a"},
    {**SOUND, "a": {**SOUND["a"], "stage": "bad"}},  # type: ignore[dict-item]
    {**SOUND, "a": {**SOUND["a"], "digest": "sha256:abc"}},  # type: ignore[dict-item]
    {**SOUND, "probation": {"since": NOW, "needed": 1}},
    {**SOUND, "probation": {"since": NOW, "needed": 0}},
    {**SOUND, "bad": {"sha256:" + "a" * 64: {"model": "m", "release": 1, "code": "a.b", "why": "x", "since": NOW}}},
]


@pytest.mark.parametrize("body", DAMAGED, ids=range(len(DAMAGED)))
def test_a_record_that_cannot_be_is_no_empty_one(slots: SlotFolder, shelf: Shelf, body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    slots.folder.mkdir(parents=True)
    (slots.folder / "slots.json").write_bytes(data)
    asked = (slots.read, slots.recover, lambda: slots.install(shelf(1)[0], shelf.fill(1)), lambda: slots.pardon("x"))
    for call in asked:
        assert code_of(call) == "slots.unreadable"
    assert (slots.folder / "slots.json").read_bytes() == data, "what may still be mended is left alone"


def test_a_folder_that_may_not_be_written_says_so(slots: SlotFolder, shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "data" / SLOTS_NAME).write_bytes(b"")
    assert code_of(lambda: slots.install(shelf(1)[0], shelf.fill(1))) == "slots.unwritable"


# --- the record ---------------------------------------------------------------------------------------


def test_the_published_schema_is_that_of_the_types_and_takes_what_is_written(
    repo_root: Path, slots: SlotFolder, shelf: Shelf
) -> None:
    published = json.loads((repo_root / "edgeai/schemas/slots-1.json").read_text())
    assert published == json_schema(), "run: python -m edgeai.slots.schema > edgeai/schemas/slots-1.json"
    Draft202012Validator.check_schema(published)
    valid = Draft202012Validator(published)
    on_probation(slots, shelf)
    valid.validate(json.loads((slots.folder / "slots.json").read_text()))
    slots.roll_back("a.b", "so")
    body = json.loads((slots.folder / "slots.json").read_text())
    valid.validate(body)
    assert body["history"][-1]["schema"] == 1
    for wrong in ({**body, "more": 1}, {**body, "active": "c"}, {**body, "schema": 2}):
        assert not valid.is_valid(wrong)


def test_the_history_is_bounded_and_what_is_bad_is_not_forgotten_with_it(slots: SlotFolder, shelf: Shelf) -> None:
    adopted(slots, shelf, 1)
    slots.install(shelf(2)[0], shelf.fill(2))
    slots.fail("a.b", "so")
    while (state := slots.read()).sequence < MAX_HISTORY + 5:
        slots.install(shelf(3)[0], shelf.fill(3))
        slots.abandon("so")
    assert len(state.history) == MAX_HISTORY
    assert [move.sequence for move in state.history][-1] == state.sequence
    assert list(state.bad) == [shelf(2)[0].digest]


def test_the_slots_of_a_device_lie_in_its_data_and_know_its_exception(
    tmp_path: Path, shelf: Shelf, write_tiny: Callable[[bytes], Path], tiny: Manifest
) -> None:
    (tmp_path / "data").mkdir()
    profile = tmp_path / "profile.toml"
    profile.write_text(
        '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[trust]\nunsigned = "accept"\n'
        f'[[deployments]]\nname = "guard"\nbundle = "x.edgeai"\nallow_release = "{shelf(1)[0].digest}"\n'
    )
    config = load_config(profile)
    slots = SlotFolder.of_device(config, config.deployments[0])
    assert slots.folder == tmp_path / "data" / SLOTS_NAME / "guard"
    Floors.of_device(config).raise_to(shelf(2)[0])
    slots.install(shelf(1)[0], shelf.fill(1))
    assert slots.folder.stat().st_mode & 0o777 == 0o700
    assert encode_manifest(open_bundle(slots.content("a")).manifest)
