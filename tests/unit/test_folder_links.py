"""Watched folders whose writers mean harm: links in the way, folders that are swapped, names that are no text."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from edgeai import logs
from edgeai.config import Folder
from edgeai.dicom.folder import FolderOptions, WatchedFolder
from edgeai.testing.dicom_peers import Receiving, radiograph, save

SETTLE_S = 0.05
LINK = "ingest.folder-link"


class Watch:
    """A watched folder, what came of it, and a folder beside it that is none of its business."""

    def __init__(self, station: Receiving, folder: Path, **options: Any) -> None:
        self.station = station
        self.path = folder / "inbox"
        self.path.mkdir(exist_ok=True)
        self.outside = folder / "outside"
        self.outside.mkdir(exist_ok=True)
        self.events: list[tuple[str, object]] = []
        settings = FolderOptions(**{"path": self.path, "settle_s": SETTLE_S, **options})
        self.watched = WatchedFolder(settings, station.intake, self._report)

    def _report(self, kind: str, _: str, facts: dict[str, object]) -> None:
        self.events.append((kind, facts["code"]))

    def look(self) -> int:
        """What two looks with time to settle in between take."""
        first = self.watched.scan()
        time.sleep(2 * SETTLE_S)
        return first + self.watched.scan()

    @property
    def codes(self) -> list[object]:
        """Of the trouble that was said."""
        return [code for kind, code in self.events if kind == "folder.trouble"]

    def names(self) -> list[str]:
        """Regular files, links not followed."""
        paths = []
        for folder, _, files in os.walk(self.path):
            paths += [os.path.relpath(os.path.join(folder, name), self.path) for name in files]
        return sorted(name for name in paths if not (self.path / name).is_symlink())


# --- links that stand in the way ------------------------------------------------------------------


@pytest.mark.parametrize("link", ["done", "done/study", "done/study/deeper"])
def test_a_link_where_taken_files_go_is_not_followed(station: Receiving, tmp_path: Path, link: str) -> None:
    watch = Watch(station, tmp_path)
    (watch.path / "study" / "deeper").mkdir(parents=True)
    save(radiograph(), watch.path / "study" / "deeper" / "image.dcm")
    (watch.path / link).parent.mkdir(parents=True, exist_ok=True)
    (watch.path / link).symlink_to(watch.outside, target_is_directory=True)
    assert watch.look() == 1
    assert station.jobs == 1  # the image is taken all the same
    assert list(watch.outside.iterdir()) == []
    assert watch.names() == ["study/deeper/image.dcm"]
    assert watch.codes == [LINK]
    assert watch.look() == 0  # and not read for ever


@pytest.mark.parametrize("link", ["rejected", "rejected/study"])
def test_a_link_where_refused_files_go_is_not_followed(station: Receiving, tmp_path: Path, link: str) -> None:
    watch = Watch(station, tmp_path)
    (watch.path / "study").mkdir()
    (watch.path / "study" / "x.dcm").write_bytes(b"junk")
    (watch.path / link).parent.mkdir(parents=True, exist_ok=True)
    (watch.path / link).symlink_to(watch.outside, target_is_directory=True)
    watch.look()
    assert list(watch.outside.iterdir()) == []
    assert watch.names() == ["study/x.dcm"]
    assert watch.codes == [LINK]


@pytest.mark.parametrize("target", ["victim", "absent"])
@pytest.mark.parametrize("link", ["done/x.dcm", "rejected/x.dcm", "rejected/x.dcm.reason"])
def test_a_link_in_the_place_of_a_file_is_not_written_through(
    station: Receiving, tmp_path: Path, link: str, target: str
) -> None:
    watch = Watch(station, tmp_path)
    (watch.outside / "victim").write_bytes(b"precious")
    (watch.path / link).parent.mkdir()
    (watch.path / link).symlink_to(watch.outside / target)
    if link.startswith("done"):
        save(radiograph(), watch.path / "x.dcm")
    else:
        (watch.path / "x.dcm").write_bytes(b"junk")
    assert watch.look() == 1
    assert [(path.name, path.read_bytes()) for path in watch.outside.iterdir()] == [("victim", b"precious")]
    where = link.split("/")[0]
    reason = ["rejected/x-1.dcm.reason"] if where == "rejected" else []
    assert watch.names() == [f"{where}/x-1.dcm", *reason]
    assert watch.codes == [LINK]


def test_a_reason_alone_is_not_written_through_a_link(station: Receiving, tmp_path: Path) -> None:
    rejected = tmp_path / "rejected"
    rejected.mkdir()
    watch = Watch(station, tmp_path, after="leave", rejected_dir=rejected)
    (watch.outside / "victim").write_bytes(b"precious")
    (rejected / "x.dcm.reason").symlink_to(watch.outside / "victim")
    (watch.path / "x.dcm").write_bytes(b"junk")
    assert watch.look() == 1
    assert (watch.outside / "victim").read_bytes() == b"precious"
    assert "dicom.not-dicom" in (rejected / "x-1.dcm.reason").read_text()
    assert watch.codes == [LINK]


def test_what_the_integrator_configured_may_be_a_link(station: Receiving, tmp_path: Path) -> None:
    (tmp_path / "archive").symlink_to(tmp_path / "outside", target_is_directory=True)
    watch = Watch(station, tmp_path, done_dir=tmp_path / "archive")
    (watch.path / "study").mkdir()
    save(radiograph(), watch.path / "study" / "image.dcm")
    assert watch.look() == 1
    assert (watch.outside / "study" / "image.dcm").is_file()
    assert watch.codes == []


def test_a_configured_folder_inside_the_watched_one_may_not(station: Receiving, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "processed").symlink_to(tmp_path / "outside", target_is_directory=True)
    folder = Folder.model_validate({"path": "inbox", "done_dir": "inbox/processed"}, context={"base": tmp_path})
    watch = Watch(station, tmp_path, done_dir=folder.done_dir)
    save(radiograph(), watch.path / "image.dcm")
    assert watch.look() == 1
    assert list(watch.outside.iterdir()) == []
    assert watch.codes == [LINK]


def test_a_watched_folder_that_becomes_a_link_is_not_followed(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    save(radiograph(), watch.outside / "image.dcm")
    watch.path.rmdir()
    watch.path.symlink_to(watch.outside, target_is_directory=True)
    assert watch.look() == 0
    assert (station.jobs, len(list(watch.outside.iterdir()))) == (0, 1)
    assert watch.codes == [LINK]


# --- links that appear while a file is taken ------------------------------------------------------


def swapped(folder: Path, target: Path) -> None:
    """The folder is another's from now on: a link stands in its place."""
    folder.rename(folder.with_name(folder.name + ".aside.tmp"))
    folder.symlink_to(target, target_is_directory=True)


def twin(of: Path, path: Path) -> Path:
    """A file that looks the same from outside: its size and time."""
    shutil.copy2(of, path)
    return path


@pytest.fixture
def before(station: Receiving, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Callable[[], object]], None]:
    """Have something done once, right before the intake is called."""

    def arrange(call: str, act: Callable[[], object]) -> None:
        todo = [act]
        original = getattr(station.intake, call)

        def acting(*arguments: Any, **named: Any) -> Any:
            if todo:
                todo.pop()()
            return original(*arguments, **named)

        monkeypatch.setattr(station.intake, call, acting)

    return arrange


@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_folder_swapped_after_its_file_was_taken_costs_no_other_file(
    station: Receiving, tmp_path: Path, before: Any, after: str
) -> None:
    watch = Watch(station, tmp_path, after=after)
    study = watch.path / "study"
    study.mkdir()
    victim = twin(save(radiograph(), study / "image.dcm"), watch.outside / "image.dcm")
    before("admit", lambda: swapped(study, watch.outside))
    watch.look()
    assert victim.is_file()
    assert station.jobs == 1
    assert watch.look() == 0


def test_a_folder_swapped_before_its_file_is_read_gives_away_no_other_file(
    station: Receiving, tmp_path: Path, before: Any
) -> None:
    watch = Watch(station, tmp_path)
    study = watch.path / "study"
    study.mkdir()
    save(radiograph(), study / "image.dcm")
    victim = save(radiograph(), watch.outside / "image.dcm")
    facts = (study / "image.dcm").stat()
    os.utime(victim, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    before("check_room", lambda: swapped(study, watch.outside))
    watch.look()
    content = victim.read_bytes()
    assert [path for path in station.files if path.read_bytes() == content] == []


def test_a_file_swapped_for_a_link_before_it_is_read_is_not_followed(
    station: Receiving, tmp_path: Path, before: Any
) -> None:
    watch = Watch(station, tmp_path)
    file = save(radiograph(), watch.path / "image.dcm")
    victim = save(radiograph(), watch.outside / "image.dcm")

    def swap() -> None:
        file.unlink()
        file.symlink_to(victim)

    before("check_room", swap)
    watch.look()
    assert (station.jobs, victim.is_file()) == (0, True)
    assert watch.codes == [LINK]


def test_a_done_folder_swapped_while_a_file_is_taken_is_not_followed(
    station: Receiving, tmp_path: Path, before: Any
) -> None:
    watch = Watch(station, tmp_path)
    (watch.path / "done").mkdir()
    save(radiograph(), watch.path / "image.dcm")
    before("admit", lambda: swapped(watch.path / "done", watch.outside))
    assert watch.look() == 1
    assert list(watch.outside.iterdir()) == []
    assert (station.jobs, watch.codes) == (1, [LINK])


def test_a_folder_swapped_between_listing_and_opening_is_not_followed(
    station: Receiving, tmp_path: Path, before: Any
) -> None:
    watch = Watch(station, tmp_path)
    study = watch.path / "study"
    study.mkdir()
    save(radiograph(), watch.path / "first.dcm")
    save(radiograph(), study / "image.dcm")
    victim = save(radiograph(), watch.outside / "image.dcm")
    facts = (study / "image.dcm").stat()
    os.utime(victim, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    before("check_room", lambda: swapped(study, watch.outside))
    assert watch.look() == 1
    assert (station.jobs, victim.is_file(), watch.codes) == (1, True, [LINK])


@pytest.mark.slow
@pytest.mark.parametrize("after", ["move", "delete"])
def test_a_writer_that_swaps_folders_all_the_time_reaches_nothing_outside(
    station: Receiving, tmp_path: Path, after: str
) -> None:
    watch = Watch(station, tmp_path, after=after, settle_s=1e-9)
    victims = {f"{number}.dcm" for number in range(5)}
    for name in victims:
        (watch.outside / name).write_bytes(b"precious")
        os.utime(watch.outside / name, ns=(10**18, 10**18))
    study, aside, done = watch.path / "a", tmp_path / "aside", watch.path / "rejected"
    study.mkdir()
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            for name in victims:
                if not (study / name).exists():  # the same to look at, and taken now and then
                    twin(watch.outside / name, tmp_path / "fresh").rename(study / name)
            study.rename(aside)
            study.symlink_to(watch.outside, target_is_directory=True)
            time.sleep(0.0002)
            study.unlink()
            aside.rename(study)
            with contextlib.suppress(OSError):
                done.rmdir() if not done.is_symlink() else done.unlink()
                done.symlink_to(watch.outside, target_is_directory=True)
            time.sleep(0.0002)

    thread = threading.Thread(target=swap)
    thread.start()
    until = time.monotonic() + 4
    while time.monotonic() < until:
        watch.watched.scan()
    stop.set()
    thread.join()
    assert {path.name for path in watch.outside.iterdir()} == victims
    assert {path.read_bytes() for path in watch.outside.iterdir()} == {b"precious"}


# --- another file system --------------------------------------------------------------------------


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    folder = Path(tempfile.mkdtemp(dir=shm))
    yield folder
    shutil.rmtree(folder)


def test_files_move_to_another_file_system_whole(station: Receiving, tmp_path: Path, elsewhere: Path) -> None:
    watch = Watch(station, tmp_path, done_dir=elsewhere / "done", rejected_dir=elsewhere / "rejected")
    sent = save(radiograph(side=1024), watch.path / "image.dcm")
    sent.chmod(0o640)
    content, facts = sent.read_bytes(), sent.stat()
    (watch.path / "x.dcm").write_bytes(b"junk")
    assert watch.look() == 2
    moved = elsewhere / "done" / "image.dcm"
    assert moved.read_bytes() == content
    assert (moved.stat().st_mtime_ns, stat.S_IMODE(moved.stat().st_mode)) == (facts.st_mtime_ns, 0o640)
    assert sorted(path.name for path in (elsewhere / "rejected").iterdir()) == ["x.dcm", "x.dcm.reason"]
    assert (watch.names(), watch.codes) == ([], [])


def test_a_link_on_another_file_system_is_not_followed(station: Receiving, tmp_path: Path, elsewhere: Path) -> None:
    watch = Watch(station, tmp_path, done_dir=elsewhere)
    (watch.outside / "victim").write_bytes(b"precious")
    (elsewhere / "image.dcm").symlink_to(watch.outside / "victim")
    save(radiograph(), watch.path / "image.dcm")
    assert watch.look() == 1
    assert (watch.outside / "victim").read_bytes() == b"precious"
    assert (elsewhere / "image-1.dcm").is_file()
    assert (watch.names(), watch.codes) == ([], [LINK])


# --- odd names ------------------------------------------------------------------------------------

ODD = [b"two\nlines.dcm", b"\xff\xfe.dcm", b"\x1b[2J\r.dcm", "\u2028\u00e9.dcm".encode(), b'"quoted\\".dcm', b"-rf"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_odd_names_break_neither_logs_nor_memory(station: Receiving, tmp_path: Path, form: Any) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    logs.configure("ingest", level="debug", form=form)
    stream = StringIO()
    root.handlers[0].setStream(stream)  # type: ignore[attr-defined]
    try:
        options: dict[str, Any] = {"after": "leave", "memory": tmp_path / "memory" / "seen.jsonl"}
        watch = Watch(station, tmp_path, rejected_dir=tmp_path / "rejected", **options)
        for name in ODD:
            folder = os.path.join(os.fsencode(watch.path), b"in " + name)
            os.mkdir(folder)
            save(radiograph(), Path(os.fsdecode(os.path.join(folder, name))))
            Path(os.fsdecode(os.path.join(folder, b"junk " + name))).write_bytes(b"junk")
        assert watch.look() == 2 * len(ODD)
        assert Watch(station, tmp_path, rejected_dir=tmp_path / "rejected", **options).look() == 0
    finally:
        root.handlers[:], root.level = before
    assert station.jobs == len(ODD)
    assert len(list((tmp_path / "rejected").rglob("*.reason"))) == len(ODD)
    for line in stream.getvalue().split("\n")[:-1]:
        assert line.isprintable()
        if form == "json":
            assert json.loads(line)["role"] == "ingest"


def test_odd_names_move_as_they_are(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    for name in ODD:
        save(radiograph(), Path(os.fsdecode(os.path.join(os.fsencode(watch.path), name))))
    assert watch.look() == len(ODD)
    assert sorted(os.listdir(os.fsencode(watch.path / "done"))) == sorted(ODD)


def test_names_as_long_as_may_be_are_cut_where_something_is_added(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    name = "n" * 251 + ".dcm"
    for _ in range(2):
        save(radiograph(), watch.path / name)
        watch.look()
    (watch.path / name).write_bytes(b"junk")
    watch.look()
    cut = "n" * 244 + ".dcm"
    assert watch.names() == sorted(
        [f"done/{name}", f"done/{'n' * 249}-1.dcm", f"rejected/{cut}", f"rejected/{cut}.reason"]
    )
    assert watch.codes == []


def test_folders_nested_without_end_are_trouble_and_others_are_served(station: Receiving, tmp_path: Path) -> None:
    watch = Watch(station, tmp_path)
    folder = watch.path / "a"
    for _ in range(200):
        folder.mkdir()
        folder = folder / "a"
    save(radiograph(), watch.path / "z.dcm")
    assert watch.look() == 1
    assert (station.jobs, watch.codes) == (1, ["ingest.folder"])
