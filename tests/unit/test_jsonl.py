"""The JSON lines sink: durable appends, rotation, and honesty on a full or missing disk."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeai.api import Message, SinkFailed, SinkRequest
from edgeai.sinks.jsonl import JsonlSink


def _sink(path: Path, **settings: object) -> JsonlSink:
    return JsonlSink(SinkRequest(device_id="cart", site="lab", settings={"path": path, **settings}))


def _message(n: int, channel: str = "result/guard") -> Message:
    return Message(key=f"k{n}", channel=channel, body=json.dumps({"n": n}).encode(), sequence=n)


def test_each_message_is_one_line_and_status_stays_out(tmp_path: Path) -> None:
    path = tmp_path / "new" / "results.jsonl"
    sink = _sink(path)
    sink.put([_message(1), _message(2, "status"), _message(3, "event")])
    sink.put([_message(4)])
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 3, 4]


def test_a_line_cut_short_by_a_crash_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"n": 1}\n{"n": ')
    _sink(path).put([_message(2)])
    assert path.read_text().splitlines() == ['{"n": 1}', '{"n": ', '{"n": 2}']


def test_rotation_keeps_as_many_as_told_and_loses_no_line_among_them(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    sink = _sink(path, max_bytes=30, keep=2)
    for n in range(9):
        sink.put([_message(n)])
    files = sorted(tmp_path.glob("results.jsonl*"))
    assert [file.name for file in files] == ["results.jsonl", "results.jsonl.1", "results.jsonl.2"]
    newest_first = [json.loads(line)["n"] for file in files for line in file.read_text().splitlines()]
    assert sorted(newest_first) == list(range(9))[-len(newest_first) :]


def test_a_full_disk_takes_nothing_and_says_so() -> None:
    sink = _sink(Path("/dev/full"))
    with pytest.raises(SinkFailed) as failure:
        sink.put([_message(1)])
    assert failure.value.code == "sink.disk"


def test_a_path_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkFailed) as failure:
        _sink(tmp_path / "file" / "results.jsonl").put([_message(1)])
    assert failure.value.code == "sink.disk"


@contextmanager
def files_of_at_most_3000_bytes() -> Iterator[None]:
    """Only while the sink writes: pytest may write to a longer file meanwhile."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("position", range(4))
def test_one_that_does_not_fit_on_the_disk_keeps_no_other(tmp_path: Path, position: int) -> None:
    path = tmp_path / "results.jsonl"
    sink = _sink(path)
    messages = [_message(n) for n in range(1, 4)]
    messages.insert(position, Message(key="long", channel="event", body=b'"' + b"x" * 5000 + b'"', sequence=9))
    with files_of_at_most_3000_bytes():
        receipts = {receipt.sequence: receipt for receipt in sink.put(messages)}
    assert {n: receipts[n].verdict for n in (1, 2, 3)} == dict.fromkeys((1, 2, 3), "delivered")
    assert (receipts[9].verdict, receipts[9].code) == ("later", "sink.disk")
    assert [json.loads(line)["n"] for line in path.read_text().splitlines()] == [1, 2, 3], "nothing of the long one"
    with files_of_at_most_3000_bytes(), pytest.raises(SinkFailed):
        sink.put(messages[position : position + 1])


def test_each_message_has_its_receipt(tmp_path: Path) -> None:
    messages = [_message(1), _message(0, "status"), _message(2)]
    assert [(r.sequence, r.verdict) for r in _sink(tmp_path / "x").put(messages)] == [
        (1, "delivered"),
        (0, "delivered"),
        (2, "delivered"),
    ]


def test_a_new_file_is_its_owners_alone_after_each_rotation_too(tmp_path: Path) -> None:
    """Whatever the umask of who starts the service: results name patients' images."""
    path = tmp_path / "results.jsonl"
    before = os.umask(0)
    try:
        sink = _sink(path, max_bytes=60, keep=2)
        for number in range(40):
            sink.put([_message(number)])
    finally:
        os.umask(before)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["results.jsonl", "results.jsonl.1", "results.jsonl.2"]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


def test_who_opens_the_file_to_a_group_keeps_that(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.touch()
    path.chmod(0o640)
    _sink(path).put([_message(1)])
    assert path.stat().st_mode & 0o777 == 0o640
