"""A cart that takes updates: what comes into a slot is rehearsed, switched to, watched, and undone by itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.floors import FLOORS_NAME
from edgeai.bundle.manifest import Eligibility, GoldenCase
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Numbered
from edgeai.config import load_config
from edgeai.slots import SlotFolder, Slots
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.fakes import Misbehaviour, answer_of

DULL, BRIGHT = 60, 250
pytestmark = pytest.mark.slow

QUICK = "[supervise]\nheartbeat_s = 0.1\nrestart_min_s = 0.05\nrestart_max_s = 0.5\n"
CASE = GoldenCase(id="grey", inputs={"image": "golden/in.npy"}, outputs={"scores": "golden/out.npy"})


@dataclass
class Updated:
    """A cart with slots, and bundles that come into them as the update role brings them."""

    cart: Any
    until: Any

    def configure(self, updates: str = "", deployment: str = "", more: str = "") -> str:
        """Profile and first bundle, release 1; its digest."""
        rules = f"[updates]\nquiet_s = 0.1\nprobation_results = 3\n{updates}\n"
        self.cart.configure(deployment=f"updates = true\n{deployment}", more=f"{more}\n{rules}\n{QUICK}")
        return self.make(1, self.cart.folder / "guard.edgeai")

    def make(
        self,
        release: int,
        out: Path,
        *,
        misbehave: Misbehaviour | None = None,
        golden: float | None = None,
        modality: tuple[str, ...] = (),
    ) -> str:
        """Pack a bundle; ``golden``: by how much its golden case is off. Its digest."""
        folder = self.cart.folder / f"content-{out.stem}"
        (folder / "golden").mkdir(parents=True, exist_ok=True)
        pack_fake_bundle(folder, out, name="guard-model", release=release, misbehave=misbehave)
        manifest = read_manifest(out)[0]
        image = np.full((1, 8, 8, 1), 0.25, np.float32)
        scores = answer_of(folder / "model.fake", 0.25, manifest.output_specs()[0]) + np.float32(golden or 0.0)
        np.save(folder / "golden/in.npy", image)
        np.save(folder / "golden/out.npy", scores)
        changed = msgspec.structs.replace(
            manifest, files={}, golden=(CASE,), eligibility=Eligibility(modality=modality)
        )
        return pack(folder, changed, out)

    @property
    def folder(self) -> SlotFolder:
        config = load_config(self.cart.profile)
        return SlotFolder.of_device(config, config.deployments[0])

    @property
    def state(self) -> Slots:
        return self.folder.read()

    def bring(self, release: int, **facts: Any) -> str:
        """A new bundle into the spare slot; its digest."""
        out = self.cart.folder / f"new-{release}.edgeai"
        digest = self.make(release, out, **facts)
        manifest = read_manifest(out)[0]

        def fill(folder: Path) -> None:
            folder.mkdir()
            with Archive(out) as archive:
                archive.unpack(folder)

        self.folder.install(Numbered.of(manifest, digest), fill)
        return digest

    def start(self) -> None:
        self.cart.start()
        self.cart.ready()

    def running(self) -> str:
        slot = self.state.running
        return slot.digest if slot else ""

    def runs(self, digest: str) -> None:
        """Wait until infer has this open."""
        note = lambda: self.cart.spool.notes()["infer:guard"]  # noqa: E731
        self.until(lambda: note().state == "ready" and note().detail.get("digest") == digest)

    def digest_of(self, phantom: Any) -> str:
        return str(self.cart.result_of(phantom)["model"]["digest"])

    def event(self, kind: str) -> dict[str, Any]:
        """The first of a kind, once it is there."""
        found: dict[str, Any] = self.until(lambda: self.cart.events(kind))[0]
        return found

    def floors(self) -> dict[str, Any]:
        path: Path = self.cart.folder / "data" / FLOORS_NAME
        return json.loads(path.read_text())["floors"] if path.exists() else {}  # type: ignore[no-any-return]

    def codes(self, digest: str) -> str:
        return self.state.bad[digest].code


@pytest.fixture
def updated(cart: Any, until: Any) -> Updated:
    return Updated(cart, until)


def test_an_update_is_rehearsed_switched_to_and_stays(updated: Updated) -> None:
    old = updated.configure()
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.event("update.adopted")["facts"]["digest"] == old
    (updated.cart.folder / "guard.edgeai").unlink()  # it is not looked at again
    new = updated.bring(2)
    updated.runs(new)
    assert updated.event("update.rehearsed")["facts"]["digest"] == new
    assert updated.event("update.activated")["facts"]["digest"] == new
    assert "guard-model" not in updated.floors() or updated.floors()["guard-model"]["digest"] == old
    for _ in range(2):
        assert updated.digest_of(updated.cart.admit()) == new
    assert updated.floors().get("guard-model", {}).get("digest") != new, "a first result does not raise it"
    assert updated.state.probation is not None
    assert updated.digest_of(updated.cart.admit()) == new
    updated.event("update.proven")
    assert updated.floors()["guard-model"]["digest"] == new
    assert updated.state.probation is None
    assert updated.cart.stop() == 0
    updated.start()
    assert updated.digest_of(updated.cart.admit()) == new
    assert len(updated.cart.events("update.activated")) == 1


# --- what is refused ------------------------------------------------------------------------------


def stays_on(updated: Updated, old: str, new: str) -> dict[str, Any]:
    """The new one has failed before it ran; what ran was not disturbed, and takes images. The event."""
    event = updated.event("update.failed")
    assert event["facts"]["digest"] == new
    assert updated.running() == old
    assert updated.digest_of(updated.cart.admit()) == old
    assert updated.cart.events("update.activated") == []
    assert not any(kind in str(updated.cart.logged("role.died")) for kind in ("infer:guard", "ingest"))
    return event


@pytest.mark.parametrize(
    ("facts", "code", "told"),
    [
        ({"golden": 0.25}, "backend.golden-mismatch", "grey: off by 0.25"),
        ({"misbehave": Misbehaviour(how="nan")}, "tensor.not-finite", "not finite"),
        ({"misbehave": Misbehaviour(how="wrong-shape")}, "tensor.mismatch", "do not match"),
        ({"misbehave": Misbehaviour(how="raise")}, "plugin.fault", "ZeroDivisionError"),
        ({"misbehave": Misbehaviour(how="abort")}, "slots.rehearsal-died", "signal-SIGABRT) at run of fakes"),
        ({"misbehave": Misbehaviour(how="abort", at="open")}, "slots.rehearsal-died", "SIGABRT) at open of fakes"),
        ({"misbehave": Misbehaviour(how="hang")}, "slots.rehearsal-died", "(deadline)"),
        ({"misbehave": Misbehaviour(how="hang-holding-the-gil")}, "slots.rehearsal-died", "(deadline)"),
    ],
    ids=["disagrees", "nan", "other shape", "raises", "aborts", "aborts at open", "hangs", "hangs holding the GIL"],
)
def test_what_does_not_pass_its_rehearsal_never_runs(
    updated: Updated, facts: dict[str, Any], code: str, told: str
) -> None:
    old = updated.configure(deployment="deadline_s = 2.0\nopen_deadline_s = 60.0")
    updated.start()
    updated.runs(old)
    pid = updated.cart.pid("infer:guard")
    new = updated.bring(2, **facts)
    event = stays_on(updated, old, new)
    assert event["facts"]["code"] == code == updated.codes(new)
    assert told in event["message"]
    assert updated.cart.pid("infer:guard") == pid
    with pytest.raises(Exception, match="failed on this device") as caught:
        updated.bring(2, **facts)
    assert caught.value.code == "slots.bad"  # type: ignore[attr-defined]
    assert updated.cart.spool.quarantined() == []


HOGS = """
_die = fakes._die
_held = []
def _eats(how):
    import time
    for _ in range(400):
        _held.append(bytearray(4 << 20))
        time.sleep(0.01)
    time.sleep(3600)
fakes._die = _eats
"""


def test_a_rehearsal_that_eats_memory_is_ended_and_what_runs_is_not(updated: Updated) -> None:
    updated.cart.add_backend("hog", "hang", prelude=HOGS)
    old = updated.configure(deployment="max_memory_bytes = 600_000_000")
    updated.start()
    updated.runs(old)
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace('backends = ["fake-works"]', 'backends = ["hog"]'))
    new = updated.bring(2)
    event = stays_on(updated, old, new)
    assert "memory, over" in event["message"]
    assert updated.codes(new) == "slots.rehearsal-died"


def test_what_the_device_lacks_is_not_laid_on_the_bundle(updated: Updated) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace('backends = ["fake-works"]', 'backends = ["fake-absent"]'))
    new = updated.bring(2)
    assert "backend.no-candidate" in updated.event("update.abandoned")["message"]
    assert updated.state.bad == {}
    assert updated.running() == old != new
    profile.write_text(profile.read_text().replace('backends = ["fake-absent"]', 'backends = ["fake-works"]'))
    assert updated.bring(2) == new
    updated.runs(new)


# --- what goes back -------------------------------------------------------------------------------


def test_a_model_that_fails_on_real_images_is_left_again_and_its_engine_is_not_blamed(updated: Updated) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    updated.runs(new)
    assert updated.digest_of(updated.cart.admit()) == new
    failed = updated.cart.result_of(updated.cart.admit(BRIGHT))
    assert (failed["outcome"], failed["reason"]["code"]) == ("failed", "tensor.not-finite")
    assert updated.running() == new, "one may fail"
    updated.cart.result_of(updated.cart.admit(BRIGHT))
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert event["facts"]["digest"] == new
    assert event["facts"]["runs"] == old
    assert event["facts"]["code"] == "slots.failures" == updated.codes(new)
    assert "2 failed results, and 1 may be (the last: tensor.not-finite" in event["message"]
    assert updated.floors().get("guard-model", {}).get("digest") != new
    assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    assert updated.cart.spool.quarantined() == []


@pytest.mark.parametrize("how", ["abort", "hang"])
def test_a_model_that_kills_its_process_is_left_again_and_every_image_ends(updated: Updated, how: str) -> None:
    old = updated.configure(deployment=f"deadline_s = {3.0 if how == 'hang' else 60.0}")
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how=how, mean_above=0.8))
    updated.runs(new)
    phantoms = [updated.cart.admit(BRIGHT) for _ in range(4)]
    digests = [updated.digest_of(phantom) for phantom in phantoms]
    assert set(digests) <= {old, new}
    updated.runs(old)
    event = updated.event("update.rolled-back")
    assert "2 deaths of its process" in event["message"]
    assert {"abort": "signal-SIGABRT at run of fakes", "hang": "deadline at run of fakes"}[how] in event["message"]
    assert updated.digest_of(updated.cart.admit(BRIGHT)) == old
    assert updated.cart.spool.quarantined() == [], "what the model did is not its engine's doing"
    assert updated.cart.spool.faults(plugin="fakes", version="1.0", deployment="guard", step="run") == 0
    outcomes = [updated.cart.result_of(phantom)["outcome"] for phantom in phantoms]
    assert outcomes == ["completed"] * 4, "each was done again by what stood before"
