"""Whoever was told that there is no room is told when there is some again, whatever the lack was."""

from __future__ import annotations

from typing import Any

import pytest

from edgeai.config import load_config
from edgeai.health import read_health
from edgeai.testing.broker import free_port
from edgeai.testing.dicom_peers import FULL, SUCCESS, radiograph, save, send

QUICK = "[supervise]\nheartbeat_s = 0.1\nrestart_min_s = 0.05\nrestart_max_s = 0.5\n"


class Held:
    """A cart whose bundle is no bundle, and that may hold two jobs."""

    def __init__(self, cart: Any, until: Any) -> None:
        self.cart, self.until, self.port = cart, until, free_port()
        self.configure(max_held=2)
        self.bundle = cart.folder / "guard.edgeai"
        self.whole = self.bundle.read_bytes()
        self.bundle.write_bytes(b"no bundle")

    def configure(self, max_held: int, folder: str = "") -> None:
        spool = f"[spool]\nreserve_bytes = 0\nmax_held = {max_held}\n"
        port = f"[ingest.scp]\nport = {self.port}\n"
        self.cart.configure(more=f"{port}{folder}{spool}{QUICK}")

    def start(self) -> None:
        self.cart.start()
        self.until(lambda: self.cart.spool.holds())
        self.until(lambda: "role.not-running" not in self._codes() and "role.starting" not in self._codes())

    def _codes(self) -> list[str]:
        return [item.code for item in read_health(self.cart.spool, load_config(self.cart.profile)).problems]

    def send(self, count: int = 1) -> list[int]:
        return [status.Status for status in send(self.port, *[radiograph() for _ in range(count)])]

    def beats(self) -> None:
        """Until ingest has looked for room a few times."""
        for _ in range(3):
            before = self.cart.spool.notes()["ingest"].beat_at
            self.until(lambda before=before: self.cart.spool.notes()["ingest"].beat_at > before)


@pytest.fixture
def held(cart: Any, until: Any) -> Held:
    return Held(cart, until)


def test_what_a_deployment_holds_at_its_bound_ends_and_that_is_said(held: Held, until: Any) -> None:
    held.start()
    assert held.send(3) == [SUCCESS, SUCCESS, FULL]
    [full] = until(lambda: held.cart.events("spool.full"))
    assert full["facts"]["code"] == "spool.held"
    held.beats()
    assert held.cart.events("spool.room") == [], "there is none yet"
    held.bundle.write_bytes(held.whole)
    until(lambda: held.cart.events("spool.room"))  # nobody sends: it is seen all the same
    assert held.send() == [SUCCESS]
    held.beats()
    assert len(held.cart.events("spool.room")) == 1


def test_room_that_a_restart_makes_is_said_too(held: Held, until: Any) -> None:
    held.start()
    assert held.send(3)[-1] == FULL
    until(lambda: held.cart.events("spool.full"))
    assert held.cart.stop() == 0
    held.configure(max_held=20)
    held.bundle.write_bytes(b"no bundle")
    held.start()
    until(lambda: held.cart.events("spool.room"))
    assert held.send() == [SUCCESS]
    assert held.cart.stop() == 0
    held.start()
    held.beats()
    assert len(held.cart.events("spool.room")) == 1


def test_a_folders_files_that_wait_for_room_are_told_of_it(held: Held, until: Any) -> None:
    inbox = held.cart.folder / "inbox"
    inbox.mkdir()
    held.configure(2, f'[[ingest.folders]]\npath = "{inbox}"\nsettle_s = 0.1\n')
    held.bundle.write_bytes(b"no bundle")
    held.start()
    for number in range(3):
        save(radiograph(), inbox / f"{number}.dcm")
    [trouble] = until(lambda: held.cart.events("folder.trouble"))
    assert trouble["facts"]["code"] == "spool.held"
    held.beats()
    assert held.cart.events("spool.room") == []
    held.bundle.write_bytes(held.whole)
    until(lambda: held.cart.events("spool.room"))
    until(lambda: len(held.cart.results()) == 3)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")  # which is sent so on purpose
def test_a_source_is_called_the_same_in_every_record(cart: Any, until: Any) -> None:
    port = free_port()
    cart.configure(more=f"[ingest.scp]\nport = {port}\n{QUICK}")
    cart.start()
    cart.ready()
    until(lambda: "scp.listening" in cart.log.read_text())
    first, other, broken = radiograph(), radiograph(), radiograph()
    other.SOPInstanceUID = other.file_meta.MediaStorageSOPInstanceUID = first.SOPInstanceUID
    other.PixelData = bytes(reversed(other.PixelData))
    del broken.Rows
    broken.file_meta.MediaStorageSOPInstanceUID = broken.SOPInstanceUID = "1.2.840.x"
    assert [status.Status for status in send(port, first, other)] == [SUCCESS, SUCCESS]
    send(port, broken)
    [differs] = until(lambda: cart.events("instance.differs"))
    [refused] = until(lambda: cart.events("instance.refused"))
    with cart.spool.db.read() as db:
        rows = {row[0] for row in db.execute("SELECT source FROM instances")}
    assert {differs["facts"]["source"], refused["facts"]["source"], *rows} == {"SENDER@127.0.0.1"}
