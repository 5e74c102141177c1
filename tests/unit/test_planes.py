"""Planes that deployments leave for one another: whole or not there, bounded, and nobody waits for the dead."""

from __future__ import annotations

import os
import resource
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.spool.planes import Place, Plane, Planes, Turn, part_of

PIXELS = bytes(range(256)) * 40
PATIENT_S = 60.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "planes"


@pytest.fixture
def planes(folder: Path) -> Planes:
    return Planes(folder, max_bytes=1_000_000, sharers=2)


@pytest.fixture
def place(planes: Planes) -> Place:
    return planes.place("image.dcm", PATIENT_S)


def left(place: Place, name: str = "plane", pixels: bytes = PIXELS) -> bool:
    turn = place.take(name)
    assert isinstance(turn, Turn)
    return turn.leave(b'{"a": 1}', memoryview(pixels))


def test_what_one_leaves_another_maps(planes: Planes, place: Place, folder: Path) -> None:
    assert place.get("plane") is None
    assert left(place)
    other = Planes(folder, max_bytes=1_000_000, sharers=2).place("image.dcm", PATIENT_S)
    for plane in (other.get("plane"), other.take("plane")):
        assert isinstance(plane, Plane)
        assert (plane.head.rstrip(), bytes(plane.pixels)) == (b'{"a": 1}', PIXELS)
        assert plane.pixels.readonly
    assert other.get("another") is None
    assert planes.place("another.dcm", 0.0).get("plane") is None


def test_nobody_else_may_read_them(place: Place, folder: Path) -> None:
    previous = os.umask(0)
    try:
        assert left(place)
    finally:
        os.umask(previous)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
    assert modes == {"image.dcm": 0o700, "plane": 0o600}


@pytest.mark.parametrize("place_of_damage", [0, 9, 12, 20, 24, 70, -1])
def test_a_damaged_one_is_as_good_as_none_and_is_made_again(place: Place, folder: Path, place_of_damage: int) -> None:
    assert left(place)
    file = folder / "image.dcm" / "plane"
    data = bytearray(file.read_bytes())
    data[place_of_damage] ^= 0x40
    file.write_bytes(data)
    assert place.get("plane") is None
    assert not file.exists()
    assert left(place)
    assert isinstance(place.get("plane"), Plane)


@pytest.mark.parametrize(
    "change", [lambda b: b[:-1], lambda b: b[:30], lambda b: b"", lambda b: b + b"\0", lambda b: b * 2]
)
def test_one_of_another_length_is_none_either(place: Place, folder: Path, change: object) -> None:
    assert left(place)
    file = folder / "image.dcm" / "plane"
    file.write_bytes(change(file.read_bytes()))  # type: ignore[operator]
    assert place.get("plane") is None


def test_what_is_mapped_stays_when_it_is_removed(place: Place, folder: Path) -> None:
    assert left(place)
    plane = place.get("plane")
    assert isinstance(plane, Plane)
    (folder / "image.dcm" / "plane").unlink()
    assert bytes(plane.pixels) == PIXELS


# --- turns --------------------------------------------------------------------------------------


def test_one_at_a_time_and_patience_ends(planes: Planes, place: Place) -> None:
    turn = place.take("plane")
    assert isinstance(turn, Turn)
    impatient = planes.place("image.dcm", 0.05)
    assert impatient.take("plane") is None, "it makes the plane itself"
    began = time.monotonic()
    assert impatient.take("another-plane") is not None, "a turn that is free is taken at once"
    assert impatient.take("plane") is None
    assert time.monotonic() - began < PATIENT_S / 2, "patience is the job's, not each plane's"
    turn.close()
    turn.close()
    assert isinstance(impatient.take("plane"), Turn)


def test_a_turn_that_is_not_used_leaves_nothing(place: Place, folder: Path) -> None:
    turn = place.take("plane")
    assert isinstance(turn, Turn)
    turn.close()
    assert not turn.leave(b"{}", memoryview(PIXELS)), "it is over"
    assert list((folder / "image.dcm").iterdir()) == []


MAKER = """
import sys
from pathlib import Path
from edgeai.spool.planes import Planes, part_of
turn = Planes(Path(sys.argv[1]), max_bytes=1_000_000, sharers=2).place("image.dcm", 0.0).take("plane")
part_of(Path(sys.argv[1]) / "image.dcm" / "plane").write_bytes(b"half a plane, and longer than the whole" * 1000)
print("at work", flush=True)
sys.stdin.readline()
turn.leave(b"{}", memoryview(b"by another process"))
print("left", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def maker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has the turn for ``plane``, half-way through writing it."""
    command = [sys.executable, "-c", MAKER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"at work\n"
        yield process
        process.kill()


def test_who_comes_second_gets_what_the_first_makes(planes: Planes, maker: subprocess.Popen[bytes]) -> None:
    assert maker.stdin is not None
    assert planes.place("image.dcm", 0.01).take("plane") is None, "at work"
    maker.stdin.write(b"\n")
    maker.stdin.flush()
    plane = planes.place("image.dcm", PATIENT_S).take("plane")
    assert isinstance(plane, Plane)
    assert bytes(plane.pixels) == b"by another process"


def test_nobody_waits_for_the_dead(planes: Planes, maker: subprocess.Popen[bytes], folder: Path) -> None:
    maker.send_signal(signal.SIGKILL)
    maker.wait()
    assert part_of(folder / "image.dcm" / "plane").exists()
    place = planes.place("image.dcm", 0.0)  # no patience at all
    assert left(place)
    plane = place.get("plane")
    assert isinstance(plane, Plane)
    assert bytes(plane.pixels) == PIXELS, "nothing of the half one"
    assert not part_of(folder / "image.dcm" / "plane").exists()


# --- bounds -------------------------------------------------------------------------------------


def test_a_job_leaves_no_more_than_its_part(planes: Planes, folder: Path) -> None:
    place = planes.place("image.dcm", PATIENT_S)
    assert planes.quota_bytes == 125_000
    assert left(place, "1", bytes(80_000))
    assert not left(place, "2", bytes(80_000))
    assert left(place, "3", bytes(40_000))
    assert sorted(path.name for path in (folder / "image.dcm").iterdir()) == ["1", "3"]


def test_the_oldest_go_when_there_are_too_many_bytes(planes: Planes, folder: Path) -> None:
    for number in range(20):
        assert left(planes.place(f"{number:02}.dcm", PATIENT_S), pixels=bytes(100_000))
        os.utime(folder / f"{number:02}.dcm", (number, number))
    assert sum(path.stat().st_size for path in folder.rglob("plane")) <= 1_000_000
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [f"{number:02}.dcm" for number in range(20 - len(kept), 20)]
    assert len(kept) >= 6


def test_the_oldest_go_when_there_are_too_many_images(planes: Planes, folder: Path) -> None:
    for number in range(100):
        assert left(planes.place(f"{number:03}.dcm", PATIENT_S), pixels=b"x")
        os.utime(folder / f"{number:03}.dcm", (number, number))
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [f"{number:03}.dcm" for number in range(36, 100)]


def test_without_room_on_the_disk_nothing_is_left(folder: Path) -> None:
    planes = Planes(folder, max_bytes=1_000_000, sharers=2, reserve_bytes=1 << 62)
    assert planes.place("image.dcm", PATIENT_S).take("plane") is None
    assert list(folder.iterdir()) == []


def test_a_write_that_fails_half_way_is_a_miss(place: Place, folder: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # Python ignores SIGXFSZ: the write comes back short
    try:
        assert not left(place)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((folder / "image.dcm").iterdir()) == []
    assert left(place)


def test_a_folder_that_went_meanwhile_is_a_miss(place: Place, folder: Path) -> None:
    turn = place.take("plane")
    assert isinstance(turn, Turn)
    part_of(folder / "image.dcm" / "plane").unlink()
    (folder / "image.dcm").rmdir()
    assert not turn.leave(b"{}", memoryview(PIXELS))
    assert place.take("plane") is None


def test_what_no_job_needs_goes(planes: Planes, folder: Path) -> None:
    for name in ("done.dcm", "waiting.dcm"):
        assert left(planes.place(name, PATIENT_S))
    planes.tell("guard", b"recipe")
    planes.tidy(lambda name: name == "waiting.dcm")
    assert sorted(path.name for path in folder.iterdir()) == ["guard.recipe", "waiting.dcm"]


def test_recipes_are_heard_as_they_are_told(planes: Planes, folder: Path) -> None:
    other = Planes(folder, max_bytes=1_000_000, sharers=2)
    assert other.recipes() == {}
    planes.tell("guard", b"one")
    assert other.recipes() == {"guard": b"one"}
    planes.tell("guard", b"two")
    planes.tell("x-ray.1", b"three")
    assert other.recipes() == {"guard": b"two", "x-ray.1": b"three"}
