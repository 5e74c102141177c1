"""The identity of an arrival by its content: the same by C-STORE and from a folder, and another for any other byte."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from edgeai.dicom.content import ContentDigest
from edgeai.dicom.header import data_set_start

STEP = 1024 * 1024


def digest_of(path: Path) -> str:
    digest = ContentDigest.of_file(path)
    try:
        return digest.result()
    finally:
        digest.close()


def test_it_is_the_transfer_syntax_and_what_follows_file_meta(make_dicom: Callable[..., Path]) -> None:
    path = make_dicom()
    start, syntax = data_set_start(path)
    body = path.read_bytes()[start:]
    assert syntax == ExplicitVRLittleEndian
    assert digest_of(path) == "sha256:" + hashlib.sha256(syntax.encode() + b"\0" + body).hexdigest()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere niceness is of the whole process")
def test_whoever_receives_has_the_processor_before_what_hashes(make_dicom: Callable[..., Path]) -> None:
    digest_of(make_dicom())
    here = os.getpriority(os.PRIO_PROCESS, 0)
    hashing = [t.native_id for t in threading.enumerate() if t.name.startswith("content") and t.native_id is not None]
    assert hashing
    assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in hashing} == {min(here + 10, 19)}


def test_file_meta_does_not_count_and_everything_else_does(make_dicom: Callable[..., Path], tmp_path: Path) -> None:
    path = make_dicom()
    dataset = pydicom.dcmread(path)
    dataset.file_meta.ImplementationVersionName = "ANOTHER_WRITER"
    dataset.preamble = b"x" * 128
    dataset.save_as(tmp_path / "other_meta.dcm")
    assert digest_of(tmp_path / "other_meta.dcm") == digest_of(path)
    changed: list[Callable[[Any], None]] = [
        lambda d: setattr(d, "PixelData", b"\1" + d.PixelData[1:]),
        lambda d: setattr(d, "BodyPartExamined", "CHEST"),
        lambda d: setattr(d.file_meta, "TransferSyntaxUID", ImplicitVRLittleEndian),
    ]
    digests = {digest_of(path)}
    for number, change in enumerate(changed):
        other = pydicom.dcmread(path)
        change(other)
        if number == 2:
            other.save_as(tmp_path / "changed.dcm", implicit_vr=True, little_endian=True)
        else:
            other.save_as(tmp_path / "changed.dcm")
        digests.add(digest_of(tmp_path / "changed.dcm"))
    assert len(digests) == 4


@pytest.mark.parametrize("size", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP + 5])
@pytest.mark.parametrize("piece", [7_001, STEP, 5 * STEP])
def test_a_file_that_grows_has_the_digest_of_the_whole(tmp_path: Path, size: int, piece: int) -> None:
    body = os.urandom(size)
    with (tmp_path / "growing").open("w+b") as file:
        file.write(b"meta")
        file.flush()
        digest = ContentDigest(os.dup(file.fileno()), "1.2", start=4)
        for at in range(0, size, piece):
            file.write(body[at : at + piece])
            file.flush()
            digest.reach(file.tell())
        digest.finish(4 + size)
    assert digest.result() == "sha256:" + hashlib.sha256(b"1.2\0" + body).hexdigest()


def test_many_at_once_do_not_mix(tmp_path: Path) -> None:
    answers: dict[int, str] = {}

    def one(number: int) -> None:
        path = tmp_path / str(number)
        path.write_bytes(bytes([number]) * (2 * STEP + number))
        digest = ContentDigest(os.open(path, os.O_RDONLY), "1.2", start=0)
        digest.reach(STEP)
        digest.finish(2 * STEP + number)
        answers[number] = digest.result()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, answer in answers.items():
        body = bytes([number]) * (2 * STEP + number)
        assert answer == "sha256:" + hashlib.sha256(b"1.2\0" + body).hexdigest()


def test_what_was_given_up_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 3 * STEP)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        digest = ContentDigest(os.open(tmp_path / "one", os.O_RDONLY), "1.2", start=0)
        digest.reach(2 * STEP)
        digest.close()
        digest.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_that_is_shorter_than_what_was_written_is_an_error_and_no_digest(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x")
    digest = ContentDigest(os.open(tmp_path / "one", os.O_RDONLY), "1.2", start=0)
    digest.finish(2)
    with pytest.raises(OSError, match="ends before"):
        digest.result()
