"""Watched folders with a real spool: what settles is taken once, and nothing is lost or read for ever."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import SpoolError
from edgeai.api.instances import InstanceRef
from edgeai.dicom.folder import FolderOptions, WatchedFolder
from edgeai.testing.dicom_peers import Receiving, radiograph, save
from edgeai.testing.waiting import until

SETTLE_S = 0.05


class Watch:
    """A watched folder, and what came of it."""

    def __init__(self, station: Receiving, folder: Path, **options: Any) -> None:
        self.station = station
        self.path = folder / "inbox"
        self.path.mkdir(exist_ok=True)
        self.events: list[tuple[str, dict[str, object]]] = []
        settings = FolderOptions(path=self.path, settle_s=SETTLE_S, **options)
        self.watched = WatchedFolder(settings, station.intake, lambda kind, _, facts: self.events.append((kind, facts)))

    def look(self) -> int:
        """What two looks with time to settle in between take."""
        first = self.watched.scan()
        time.sleep(2 * SETTLE_S)
        return first + self.watched.scan()

    def names(self, below: str = "") -> list[str]:
        return sorted(str(p.relative_to(self.path / below)) for p in (self.path / below).rglob("*") if p.is_file())


def test_a_settled_file_is_taken_and_moved(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    (watch.path / "study").mkdir()
    sent = save(radiograph(), watch.path / "study" / "image.dcm").read_bytes()
    assert watch.look() == 1
    assert watch.names() == ["done/study/image.dcm"]
    assert [path.read_bytes() for path in station.files] == [sent]
    assert (station.jobs, station.arriving, watch.look()) == (1, [], 0)


def test_delete_and_own_done_folder(station: Receiving, tmp_path: Path) -> None:
    deleting = Watch(station, tmp_path, after="delete")
    save(radiograph(), deleting.path / "a.dcm")
    assert deleting.look() == 1
    assert deleting.names() == []
    moving = Watch(station, tmp_path, done_dir=tmp_path / "elsewhere")
    for _ in range(2):
        save(radiograph(), moving.path / "a.dcm")
        moving.look()
    assert sorted(path.name for path in (tmp_path / "elsewhere").iterdir()) == ["a-1.dcm", "a.dcm"]
    assert station.jobs == 3


def test_a_file_that_grows_is_not_taken_until_it_stands_still(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    whole = save(radiograph(), tmp_path / "whole.dcm").read_bytes()
    target = watch.path / "image.dcm"
    for end in range(1000, len(whole), 2000):
        target.write_bytes(whole[:end])
        assert watch.watched.scan() == 0
        time.sleep(SETTLE_S / 2)
    target.write_bytes(whole)
    assert watch.look() == 1
    assert station.files[0].read_bytes() == whole
    assert watch.events == []


def test_unfinished_hidden_linked_and_special_files_are_left_alone(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    outside = save(radiograph(), tmp_path / "outside.dcm")
    for name in (".hidden.dcm", "a.part", "a.DCM.TMP", "a~", ".git/a.dcm"):
        (watch.path / name).parent.mkdir(exist_ok=True)
        save(radiograph(), watch.path / name)
    (watch.path / "link.dcm").symlink_to(outside)
    (watch.path / "folder").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(watch.path / "pipe.dcm")
    assert watch.look() == 0
    assert (station.jobs, outside.exists()) == (0, True)


@pytest.mark.parametrize(
    ("content", "code"),
    [(b"", "dicom.not-dicom"), (b"hello" * 100, "dicom.not-dicom"), (bytes(128) + b"DICM", "dicom.truncated")],
)
def test_what_is_no_dicom_is_rejected_with_the_reason(
    station: Receiving, tmp_path: Path, content: bytes, code: str
) -> None:
    watch = Watch(station, tmp_path)
    (watch.path / "x.dcm").write_bytes(content)
    until(lambda: watch.look() == 1)  # what may be the beginning of a file is waited for
    assert watch.names() == ["rejected/x.dcm", "rejected/x.dcm.reason"]
    assert (watch.path / "rejected" / "x.dcm").read_bytes() == content
    reason = (watch.path / "rejected" / "x.dcm.reason").read_text()
    (kind, facts), *more = watch.events
    assert (kind, more) == ("instance.refused", [])
    assert facts["code"] in reason
    assert str(facts["code"]).split(".")[0] == code.split(".")[0]
    assert (station.jobs, station.arriving) == (0, [])


def test_reports_and_instances_too_large_are_rejected(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path, max_instance_bytes=20_000)
    report = radiograph(sop_class="1.2.840.10008.5.1.4.1.1.88.11")
    del report.PixelData, report.Rows, report.Columns
    save(report, watch.path / "report.dcm")
    save(radiograph(side=128), watch.path / "large.dcm")
    assert watch.look() == 2
    codes = {(watch.path / "rejected" / f"{n}.dcm.reason").read_text().split(":")[0] for n in ("report", "large")}
    assert codes == {"dicom.not-an-image", "dicom.too-large"}
    assert station.jobs == 0


def test_left_files_are_read_once_even_over_a_restart(station: Receiving, tmp_path: Path) -> None:
    options: dict[str, Any] = {"after": "leave", "memory": tmp_path / "memory" / "seen.jsonl"}
    watch = Watch(station, tmp_path, **options)
    save(radiograph(), watch.path / "a.dcm")
    (watch.path / "junk.dcm").write_bytes(b"junk")
    assert watch.look() == 2
    assert watch.look() == 0
    with (tmp_path / "memory" / "seen.jsonl").open("a") as torn:
        torn.write('["half a li')
    again = Watch(station, tmp_path, **options)
    assert again.look() == 0
    assert again.names() == ["a.dcm", "junk.dcm"]
    save(radiograph(side=32), watch.path / "a.dcm")  # another image under the same name
    assert again.look() == 1
    assert station.jobs == 2


def test_what_came_while_down_is_taken_and_a_known_instance_is_no_second_job(
    station: Receiving, tmp_path: Path
) -> None:
    dataset = radiograph()
    first = Watch(station, tmp_path)
    save(dataset, first.path / "a.dcm")
    first.look()
    save(dataset, first.path / "copy.dcm")
    save(radiograph(), first.path / "new.dcm")
    after_restart = Watch(station, tmp_path)
    assert after_restart.look() == 2
    assert station.jobs == 2
    assert after_restart.names("done") == ["a.dcm", "copy.dcm", "new.dcm"]


def test_a_full_disk_leaves_files_where_they_are_until_there_is_room(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    save(radiograph(), watch.path / "a.dcm")
    station.limits.reserve_bytes = 1 << 62
    assert (watch.look(), watch.look()) == (0, 0)
    assert watch.names() == ["a.dcm"]
    assert [(kind, facts["code"]) for kind, facts in watch.events] == [("folder.trouble", "spool.disk-reserve")]
    station.limits.reserve_bytes = 0
    assert watch.look() >= 1
    assert station.jobs == 1


def test_a_spool_that_fails_loses_nothing(station: Receiving, tmp_path: Path) -> None:
    class Broken:
        tmp = station.spool.tmp

        def check_room(self, extra_bytes: int = 0) -> None:
            """There is."""

        def admit(self, instance: InstanceRef, received: Path, *, content: Callable[[], str], source: str) -> bool:
            raise SpoolError("the database is gone", code="spool.io")

    watch = Watch(station, tmp_path, after="delete")
    broken = WatchedFolder(
        FolderOptions(path=watch.path, settle_s=SETTLE_S, after="delete"),
        Broken(),
        lambda kind, _, facts: watch.events.append((kind, facts)),
    )
    save(radiograph(), watch.path / "a.dcm")
    broken.scan()
    time.sleep(2 * SETTLE_S)
    assert (broken.scan(), watch.names(), station.arriving) == (0, ["a.dcm"], [])
    assert watch.events == [("folder.trouble", {"code": "spool.io"})]


def test_a_file_written_to_while_it_is_taken_is_taken_again(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path, after="delete")
    file = save(radiograph(), watch.path / "a.dcm")
    second = save(radiograph(side=32), tmp_path / "second.dcm").read_bytes()
    admit = station.intake.admit

    def admit_and_write(*arguments: Any, **named: Any) -> bool:
        new = admit(*arguments, **named)
        file.write_bytes(second)
        station.intake.admit = admit  # type: ignore[method-assign]
        return new

    station.intake.admit = admit_and_write  # type: ignore[method-assign]
    watch.look()
    assert watch.names() == ["a.dcm"]
    watch.look()
    assert (watch.names(), station.jobs) == ([], 2)


def test_a_folder_that_is_not_there_yet_is_trouble_said_once_and_then_served(
    station: Receiving, tmp_path: Path
) -> None:
    watch = Watch(station, tmp_path)
    watch.path.rmdir()
    assert (watch.look(), watch.look()) == (0, 0)
    assert [kind for kind, _ in watch.events] == ["folder.trouble"]
    watch.path.mkdir()
    save(radiograph(), watch.path / "a.dcm")
    assert watch.look() == 1


def test_run_takes_files_until_it_is_stopped(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    stopping = threading.Event()
    thread = threading.Thread(target=watch.watched.run, args=(stopping,))
    thread.start()
    for number in range(3):
        save(radiograph(), watch.path / f"{number}.dcm")
    until(lambda: station.jobs == 3)
    stopping.set()
    thread.join(240)
    assert not thread.is_alive()


@pytest.mark.parametrize("name", ["MR_small.dcm", "JPEG2000.dcm", "CT_small.dcm"])
def test_real_files_are_taken(station: Receiving, tmp_path: Path, name: str) -> None:
    from pydicom.data import get_testdata_file

    source = get_testdata_file(name)
    assert isinstance(source, str)
    watch = Watch(station, tmp_path)
    (watch.path / name).write_bytes(Path(source).read_bytes())
    assert watch.look() == 1
    assert station.jobs == 1
