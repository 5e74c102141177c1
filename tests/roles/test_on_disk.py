"""A bundle that is changed while it runs changes nothing until the next restart, for nobody, and is said."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeai.bundle.archive import pack
from edgeai.bundle.keys import make_keys
from edgeai.bundle.manifest import Eligibility
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.config import load_config
from edgeai.health import Health, read_health
from edgeai.testing.broker import free_port
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.dicom_peers import SUCCESS, radiograph, send

QUICK = "[supervise]\nheartbeat_s = 0.1\nrestart_min_s = 0.05\nrestart_max_s = 0.5\n"


@dataclass
class Device:
    """A cart that takes radiographs at its port, and whose bundle is swapped under it."""

    cart: Any
    until: Any
    port: int

    @property
    def bundle(self) -> Path:
        path: Path = self.cart.folder / "guard.edgeai"
        return path

    def put(self, *modalities: str) -> str:
        """Replace the bundle in place by one for these modalities (for all when none is named); its digest."""
        folder, fresh = self.cart.folder / "content", self.cart.folder / "fresh.edgeai"
        pack_fake_bundle(folder, fresh, name="guard-model")
        manifest = msgspec.structs.replace(
            read_manifest(fresh)[0], files={}, eligibility=Eligibility(modality=modalities)
        )
        digest = pack(folder, manifest, fresh)
        os.replace(fresh, self.bundle)
        return digest

    def start(self) -> None:
        self.cart.start()
        self.cart.ready()
        self.until(lambda: self.health().is_serving)

    def note(self, role: str) -> Any:
        return self.cart.spool.notes()[role]

    def restart(self) -> None:
        assert self.cart.stop() == 0
        self.start()

    def send(self) -> str:
        """A radiograph (CR); its SOP Instance UID."""
        dataset = radiograph()
        (status,) = send(self.port, dataset)
        assert status.Status == SUCCESS
        return str(dataset.SOPInstanceUID)

    def digest_of(self, uid: str) -> str:
        """Which bundle gave the result of this image."""
        [result] = self.until(
            lambda: [item for item in self.cart.results() if item["instance"]["sop_instance_uid"] == uid]
        )
        assert result["outcome"] == "completed"
        return str(result["model"]["digest"])

    def not_eligible(self) -> int:
        with self.cart.spool.db.read() as db:
            return int(
                db.execute("SELECT COUNT(*) FROM instances WHERE id NOT IN (SELECT instance FROM jobs)").fetchone()[0]
            )

    def health(self) -> Health:
        return read_health(self.cart.spool, load_config(self.cart.profile))

    def warning(self) -> Any:
        """The warning that it changed, or None."""
        codes = [item for item in self.health().warnings if item.code == "deployment.bundle-changed"]
        return codes[0] if codes else None

    def settled(self) -> None:
        """Until ingest has looked at everything again, twice."""
        for _ in range(2):
            before = self.note("ingest").beat_at
            self.until(lambda before=before: self.note("ingest").beat_at > before)


@pytest.fixture
def device(cart: Any, until: Any) -> Device:
    port = free_port()
    cart.configure(more=f"[ingest.scp]\nport = {port}\n{QUICK}")
    return Device(cart, until, port)


def test_what_comes_on_disk_is_for_nobody_until_the_next_restart(device: Device, until: Any) -> None:
    old = device.put()
    device.start()
    assert device.digest_of(device.send()) == old
    new = device.put("US")
    warning = until(device.warning)
    assert (warning.about, warning.cause, warning.stops) == ("guard", "", "")
    assert "changed on disk, and runs after the next restart" in warning.message
    assert device.health().is_serving
    assert device.health().state == "online"
    device.settled()
    assert device.digest_of(device.send()) == old, "ingest judges by what infer runs"
    pid = device.note("ingest").pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: device.note("ingest").pid != pid and device.health().is_serving)
    assert device.digest_of(device.send()) == old, "a new ingest too"
    [event] = until(lambda: device.cart.events("deployment.bundle-changed"))
    facts = {"deployment": "guard", "digest": old, "on_disk": new, "code": None}
    assert {name: event["facts"][name] for name in facts} == facts
    assert event["facts"]["remedy"]
    assert device.not_eligible() == 0
    device.restart()
    device.send()
    until(lambda: device.not_eligible() == 1)
    assert device.warning() is None
    assert device.cart.events("deployment.bundle-unreadable") == []


def test_a_wider_bundle_waits_too(device: Device, until: Any) -> None:
    device.put("US")
    device.start()
    device.put()
    until(device.warning)
    device.settled()
    device.send()
    until(lambda: device.not_eligible() == 1)
    device.put("US")
    until(lambda: device.warning() is None)
    new = device.put()
    device.restart()
    assert device.digest_of(device.send()) == new


def test_garbage_on_disk_is_said_by_who_runs_the_old_one_and_by_nobody_else(device: Device, until: Any) -> None:
    old = device.put()
    device.start()
    whole = device.bundle.read_bytes()
    device.bundle.write_bytes(b"half of a bund")
    warning = until(device.warning)
    assert (warning.cause, warning.about) == ("bundle.not-a-bundle", "guard")
    assert warning.remedy
    device.settled()
    assert device.digest_of(device.send()) == old
    assert device.cart.events("deployment.bundle-unreadable") == []
    [event] = until(lambda: device.cart.events("deployment.bundle-changed"))
    assert event["facts"]["code"] == "bundle.not-a-bundle"
    assert device.cart.events("deployment.held") == []
    device.bundle.write_bytes(whole)
    until(lambda: device.warning() is None)
    device.bundle.unlink()
    assert until(device.warning).cause == "bundle.missing"
    assert device.cart.stop() == 0
    device.cart.start()
    [held] = until(lambda: device.cart.events("deployment.held"))
    assert held["facts"]["code"] == "bundle.missing"
    assert until(lambda: device.cart.events("deployment.bundle-unreadable"))[0]["facts"]["remedy"]


def test_the_same_bundle_written_again_is_no_news(device: Device, until: Any) -> None:
    old = device.put()
    device.start()
    device.bundle.write_bytes(device.bundle.read_bytes())
    os.utime(device.bundle)
    beat = device.note("infer:guard").beat_at
    until(lambda: device.note("infer:guard").beat_at > beat + 5)
    assert device.warning() is None
    assert device.cart.events("deployment.bundle-changed") == []
    assert device.digest_of(device.send()) == old


def test_a_model_that_is_opened_anew_is_the_one_that_ran(cart: Any, until: Any) -> None:
    """A quarantine ends, memory runs short: what is opened again for that is no restart."""
    cart.add_backend("second")
    cart.backends = ("fake-works", "second")
    cart.configure()
    for _ in range(3):
        cart.spool.fault(
            plugin="fakes", version="1.0", deployment="guard", step="run", cause="test", quarantine_after=3
        )
    cart.start()
    first = cart.result_of(cart.admit())
    assert first["engine"]["backend"] == "second"
    (cart.folder / "content" / "note.txt").write_text("another")
    new = pack_fake_bundle(cart.folder / "content", cart.folder / "guard.edgeai", name="guard-model")
    until(lambda: cart.events("deployment.bundle-changed"))
    cart.spool.pardon("fakes")
    until(lambda: cart.spool.notes()["infer:guard"].detail.get("backend") == "fake-works")
    again = cart.result_of(cart.admit())
    assert again["model"]["digest"] == first["model"]["digest"] != new
    assert cart.spool.notes()["infer:guard"].detail["on_disk"] == {"digest": new}
    cart.stop()
    cart.start()
    assert cart.result_of(cart.admit())["model"]["digest"] == new


def test_a_key_that_is_taken_away_stops_nothing_before_the_restart_and_is_said(cart: Any, until: Any) -> None:
    pair = make_keys("release", cart.folder / "made")
    (cart.folder / "trust").mkdir()
    key = cart.folder / "trust" / "release.pub"
    key.write_bytes(pair.public.path.read_bytes())
    port = free_port()
    cart.configure(more=f"[trust]\nthreshold = 1\n[ingest.scp]\nport = {port}\n{QUICK}")
    sign_bundle(cart.folder / "guard.edgeai", signer_of(str(pair.private), str))
    device = Device(cart, until, port)
    device.start()
    key.unlink()
    warning = until(device.warning)
    assert warning.cause == "bundle.untrusted"
    device.settled()
    device.digest_of(device.send())
    assert cart.events("deployment.bundle-unreadable") == []
