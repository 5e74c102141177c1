"""Whether a large plane keeps to Bits Stored: two threads look, and miss nothing, whatever the second one does."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgeai.dicom import looking
from edgeai.dicom.looking import among_others, within
from edgeai.dicom.pixels import read_frames

PATIENT_S = 120.0
ROWS, COLUMNS = 1600, 1500
"""Of 16 bits: more than a plane that is worth a second thread, in more strips than two."""


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Also on a machine of one core."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    forget = looking._helper.cache_clear
    forget()
    yield
    forget()


def plane(dtype: str = "uint16", fill: int = 7) -> np.ndarray:
    return np.full((ROWS, COLUMNS), fill, dtype)


@pytest.mark.parametrize("row", [0, 349, 350, 699, 700, 1049, ROWS - 2, ROWS - 1])
def test_one_value_too_high_or_too_low_is_seen_wherever_it_is(row: int) -> None:
    for dtype, value in (("uint16", 4096), ("int16", 2048), ("int16", -2049)):
        pixels = plane(dtype)
        low, high = (None, 4095) if dtype == "uint16" else (-2048, 2047)
        assert within(pixels, low, high)
        pixels[row, COLUMNS - 1] = value
        assert not within(pixels, low, high)


def test_what_is_unsigned_has_no_lower_end() -> None:
    assert within(plane("int16", fill=-5), None, 4095)
    assert not within(plane("int16", fill=-5), 0, 4095)


def test_a_plane_that_is_no_whole_number_of_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    for strip in (1, 1000, 3001, 2**20, 2**40):
        monkeypatch.setattr(looking, "_STRIP", strip)
        pixels = plane()
        assert within(pixels, None, 4095)
        pixels[-1, 0] = 5000
        assert not within(pixels, None, 4095)


class Held:
    """A second thread that takes what it is given only when it is let go, if ever."""

    def __init__(self) -> None:
        self.looks: list[looking._Look] = []

    def put(self, look: looking._Look) -> None:
        self.looks.append(look)


def test_one_of_several_that_decode_looks_alone_and_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(looking, "_helper", lambda: held)
    pixels = plane()
    with among_others():
        assert within(pixels, None, 4095)
        pixels[-1, -1] = 4096
        assert not within(pixels, None, 4095)
    assert not held.looks
    assert not within(pixels, None, 4095)
    assert len(held.looks) == 1, "afterwards a second thread may look along again"


def test_nobody_waits_for_a_second_thread_that_comes_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    held = Held()
    monkeypatch.setattr(looking, "_helper", lambda: held)
    pixels = plane()
    assert within(pixels, None, 4095)
    pixels[-1, -1] = 4096
    assert not within(pixels, None, 4095)
    assert len(held.looks) == 2
    assert not any(look.turn.acquire(blocking=False) for look in held.looks), "it finds nothing to do"


def test_a_strip_that_the_second_thread_took_and_did_not_see_is_no_sound_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes one, fails, and whoever asked is told that something may be there."""
    began, may_fail = threading.Event(), threading.Event()
    see, asking = looking._within, threading.get_ident()

    def failing(values: np.ndarray, low: int | None, high: int) -> bool:
        if threading.get_ident() == asking:
            assert began.wait(PATIENT_S)
            may_fail.set()
            return see(values, low, high)
        began.set()
        assert may_fail.wait(PATIENT_S)
        raise MemoryError

    monkeypatch.setattr(looking, "_within", failing)
    assert not within(plane(), None, 4095)


def test_what_the_second_thread_sees_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its strips hold what should not be there, and it is slow to say so."""
    began = threading.Event()
    see, asking = looking._within, threading.get_ident()

    def slow(values: np.ndarray, low: int | None, high: int) -> bool:
        if threading.get_ident() == asking:
            assert began.wait(PATIENT_S)
            return True
        began.set()
        time.sleep(0.2)
        return see(values, low, high)

    monkeypatch.setattr(looking, "_within", slow)
    assert not within(plane(fill=4096), None, 4095)


def test_planes_of_several_threads_are_not_taken_for_one_another() -> None:
    sound, unsound = plane(), plane(fill=5000)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda pixels: within(pixels, None, 4095), [sound, unsound] * 20))
    assert answers == [True, False] * 20


def test_a_plane_is_not_kept() -> None:
    pixels = plane()
    kept = weakref.ref(pixels)
    assert within(pixels, None, 4095)
    del pixels
    until = time.monotonic() + PATIENT_S
    while kept() is not None and time.monotonic() < until:
        gc.collect()
        time.sleep(0.01)
    assert kept() is None


@pytest.mark.parametrize(
    "pixels", [np.full((8, 8), 7, np.uint16), np.full(4 * 2**20, 7, np.uint16)], ids=["small", "flat"]
)
def test_what_is_small_or_has_no_rows_has_one_thread(pixels: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "_helper", pytest.fail)
    assert within(pixels, None, 4095)
    assert not within(pixels, None, 6)


def test_one_core_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
    looking._helper.cache_clear()
    assert looking._helper() is None
    assert within(plane(), None, 4095)
    assert not within(plane(fill=5000), None, 4095)


def test_a_system_that_refuses_a_thread_leaves_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    assert within(plane(), None, 4095)
    assert not within(plane(fill=5000), None, 4095)


def test_a_forked_process_has_its_own_second_thread() -> None:
    assert within(plane(), None, 4095)
    child = os.fork()
    if not child:
        os._exit(0 if within(plane(), None, 4095) and not within(plane(fill=5000), None, 4095) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("row", [0, ROWS - 1])
def test_a_large_frame_is_cut_to_bits_stored_wherever_more_are_in_use(build: Callable[..., Path], row: int) -> None:
    pixels = plane()
    clean = build(pixels, BitsStored=12, HighBit=11)
    pixels[row, 3] |= 1 << 15
    dirty = build(pixels, BitsStored=12, HighBit=11)
    for path, codes in ((clean, []), (dirty, ["dicom.doubtful"])):
        (frame,) = read_frames(path)
        assert np.array_equal(frame.pixels, plane())
        assert [note.code for note in frame.notes] == codes
