"""Writers pause for longer than ``settle_s``: what is not whole yet is neither taken nor moved."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from edgeai.dicom.folder import FolderOptions, WatchedFolder
from edgeai.dicom.unfinished import is_open_for_writing
from edgeai.testing.dicom_peers import Receiving, radiograph, save
from edgeai.testing.waiting import until

SETTLE_S = 0.05
WRITER = """
import sys
with open(sys.argv[1], "ab") as out:
    for line in sys.stdin:
        out.write(bytes.fromhex(line)); out.flush(); print("written", flush=True)
"""
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a file open")


class Watch:
    """A watched folder that can be looked at, and what it said."""

    def __init__(self, station: Receiving, folder: Path, **options: Any) -> None:
        self.path = folder / "inbox"
        self.path.mkdir()
        self.events: list[tuple[str, dict[str, object]]] = []
        settings = FolderOptions(**{"path": self.path, "settle_s": SETTLE_S} | options)
        self.watched = WatchedFolder(settings, station.intake, lambda kind, _, facts: self.events.append((kind, facts)))

    def look_often(self, times: int = 4) -> int:
        """What many looks take, each after time to settle, all within the patience of a folder that has it."""
        taken = 0
        for _ in range(times):
            taken += self.watched.scan()
            time.sleep(SETTLE_S)
        return taken

    def look_until(self, true: Callable[[], bool]) -> None:
        def look() -> bool:
            self.watched.scan()
            return true()

        until(look)

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.path)) for path in self.path.rglob("*") if path.is_file())


@contextmanager
def writer(path: Path) -> Iterator[Callable[[bytes], None]]:
    """Another process that has the file open, and appends to it."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def write(data: bytes) -> None:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(data.hex() + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "written\n"

        try:
            yield write
        finally:
            process.stdin.close()
            process.wait(600)


def compressed(path: Path) -> bytes:
    dataset = radiograph(JPEGBaseline8Bit)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.PixelData = encapsulate([b"\xff\xd8\xff" + bytes(3000) + b"\xff\xd9"])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return save(dataset, path).read_bytes()


def whole(kind: str, tmp_path: Path) -> bytes:
    path = tmp_path / "whole.dcm"
    return compressed(path) if kind == "compressed" else save(radiograph(), path).read_bytes()


PARTS = {
    "nothing yet": lambda size: 0,
    "in the preamble": lambda size: 100,
    "in File Meta": lambda size: 160,
    "in the header": lambda size: 600,
    "in the pixels": lambda size: size // 2,
    "but for the last byte": lambda size: size - 1,
}


AFTER, KINDS = ("move", "leave", "delete"), ("native", "compressed")
CASES = [
    pytest.param(kind, part, after, marks=pytest.mark.torture if (row + column + place) % 2 else ())
    for row, kind in enumerate(KINDS)
    for column, part in enumerate(PARTS)
    for place, after in enumerate(AFTER)
]
"""Each two of these together; all three for `make torture`."""


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "part", "after"), CASES)
def test_a_part_is_not_taken_while_more_may_come(
    station: Receiving, tmp_path: Path, kind: str, part: str, after: str
) -> None:
    """The writer closes it in between, as one does over a network: only the file itself tells."""
    watch = Watch(station, tmp_path, after=after, settle_s=0.5)  # ten times that is waited for the rest
    content = whole(kind, tmp_path)
    target = watch.path / "image.dcm"
    target.write_bytes(content[: PARTS[part](len(content))])
    deadline = time.monotonic() + 0.7
    while time.monotonic() < deadline:
        assert watch.watched.scan() == 0
        time.sleep(0.1)
    assert (watch.names(), watch.events, station.arriving) == (["image.dcm"], [], [])
    target.write_bytes(content)
    watch.look_until(lambda: station.jobs == 1)
    assert station.files[0].read_bytes() == content
    assert watch.names() == {"move": ["done/image.dcm"], "leave": ["image.dcm"], "delete": []}[after]
    assert watch.events == []


def test_room_that_is_taken_before_it_is_filled(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path, settle_s=0.5)
    content = whole("native", tmp_path)
    target = watch.path / "image.dcm"
    target.write_bytes(bytes(len(content)))
    for _ in range(5):
        assert watch.watched.scan() == 0
        time.sleep(0.1)
    target.write_bytes(content)
    watch.look_until(lambda: station.jobs == 1)
    assert watch.events == []


@pytest.mark.parametrize(
    ("end", "names", "jobs"),
    [
        (600, ["rejected/image.dcm", "rejected/image.dcm.reason"], 0),  # no header: refused
        (5000, ["done/image.dcm"], 1),  # an instance that is cut short: it fails with its own code
    ],
)
def test_what_stays_a_part_is_taken_for_what_it_is(
    station: Receiving, tmp_path: Path, end: int, names: list[str], jobs: int
) -> None:
    watch = Watch(station, tmp_path)
    content = whole("native", tmp_path)
    assert end < len(content)
    (watch.path / "image.dcm").write_bytes(content[:end])
    watch.look_until(lambda: watch.names() == names)
    assert station.jobs == jobs
    if not jobs:
        assert (watch.path / names[1]).read_text().startswith("dicom.truncated")


@pytest.mark.slow
def test_each_growth_is_waited_for_anew(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path, settle_s=0.4)
    content = whole("native", tmp_path)
    target = watch.path / "image.dcm"
    for end in (700, 1500, 3000, len(content)):  # in all longer than what is waited for one
        target.write_bytes(content[:end])
        deadline = time.monotonic() + 1.5
        while end < len(content) and time.monotonic() < deadline:
            assert watch.watched.scan() == 0
            time.sleep(0.1)
    watch.look_until(lambda: station.jobs == 1)
    assert station.files[0].read_bytes() == content


@pytest.mark.slow
def test_a_whole_file_does_not_wait(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path, settle_s=5)
    for number, kind in enumerate(("native", "compressed")):
        (watch.path / f"{number}.dcm").write_bytes(whole(kind, tmp_path))
    (watch.path / "no-image.dcm").write_bytes(b"hello" * 100)
    started = time.monotonic()
    watch.look_until(lambda: station.jobs == 2)
    watch.look_until(lambda: "rejected/no-image.dcm" in watch.names())
    assert time.monotonic() - started < 40  # ten times five seconds for what is a part


@pytest.mark.slow
@linux
def test_what_somebody_has_open_is_not_taken_however_whole_it_looks(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    content = whole("native", tmp_path)
    target = watch.path / "image.dcm"
    with writer(target) as write:
        write(content[:-100])
        assert watch.look_often(20) == 0  # twice as long as a part is waited for
        write(content[-100:])
        assert watch.look_often() == 0
        assert watch.names() == ["image.dcm"]
    watch.look_until(lambda: station.jobs == 1)
    assert station.files[0].read_bytes() == content
    assert watch.names() == ["done/image.dcm"]


@pytest.mark.slow
@linux
def test_a_file_that_stays_open_is_said_once_and_stops_no_other(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    with writer(watch.path / "a.dcm") as write:
        write(whole("native", tmp_path))
        watch.look_until(lambda: bool(watch.events))
        watch.look_often(20)
        assert [(kind, facts["code"]) for kind, facts in watch.events] == [("folder.trouble", "ingest.folder")]
        save(radiograph(), watch.path / "b.dcm")
        watch.look_until(lambda: station.jobs == 1)
        assert watch.names() == ["a.dcm", "done/b.dcm"]
    watch.look_until(lambda: station.jobs == 2)


@linux
def test_a_reader_does_not_hold_a_file_up(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    target = save(radiograph(), watch.path / "image.dcm")
    with target.open("rb"):
        watch.look_until(lambda: station.jobs == 1)


@pytest.mark.slow
@linux
def test_asking_disturbs_no_writer_and_ends_nobody(tmp_path: Path) -> None:
    """A lease that a writer breaks sends its holder a signal, which by default ends a process."""
    target = tmp_path / "image.dcm"
    target.touch()
    program = (
        "import os, sys, threading\n"
        "from edgeai.dicom.unfinished import is_open_for_writing\n"
        "reader, stopping = os.open(sys.argv[1], os.O_RDONLY), threading.Event()\n"
        "threading.Thread(target=lambda: (sys.stdin.read(), stopping.set()), daemon=True).start()\n"
        "print('asking', flush=True)\n"
        "while not stopping.is_set(): is_open_for_writing(reader)\n"
        "print('alive')\n"
    )
    command = [sys.executable, "-c", program, str(target)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as asking:
        assert asking.stdout is not None
        assert asking.stdout.readline() == "asking\n"
        for number in range(2000):
            with target.open("ab") as out:
                out.write(b"x")
            if number % 100 == 0:
                assert asking.poll() is None
        printed, _ = asking.communicate(timeout=600)
    assert (printed, asking.returncode, target.stat().st_size) == ("alive\n", 0, 2000)


def test_where_nobody_can_tell_nothing_is_held_up(tmp_path: Path) -> None:
    reader, out = os.pipe()
    try:
        assert not is_open_for_writing(reader)
    finally:
        os.close(reader)
        os.close(out)
