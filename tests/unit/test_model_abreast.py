"""Instances in a row: each has the result that it has alone, in order, and the next is ready while the engine runs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from edgeai.api.errors import InferenceFailed, SpoolError
from edgeai.cli import infer, overlay
from edgeai.cli.files import Files
from edgeai.dicom.header import Header, read_header
from edgeai.model import Model, abreast, running
from edgeai.model.abreast import Row, run_files

PATIENCE_S = 120.0
OFTEN = ("result_id", "outcome", "findings", "reason", "notes", "engine", "frames_total", "frames_run", "instance")


@pytest.fixture(autouse=True)
def two_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a machine of one core."""
    monkeypatch.setattr(abreast, "lanes", lambda: 2)


@pytest.fixture
def mixed(make_dicom: Callable[..., Path], tmp_path: Path) -> list[Path]:
    """Good ones, and one of every kind that ends otherwise."""
    (tmp_path / "text.dcm").write_text("no image")
    return [
        make_dicom("a.dcm", level=250),
        make_dicom("b.dcm", level=3),
        make_dicom("cine.dcm", level=100, frames=12),
        tmp_path / "absent.dcm",
        make_dicom("c.dcm", level=251),
        make_dicom("short.dcm", PixelData=b"\0\0"),
        make_dicom("d.dcm", level=4),
        tmp_path / "text.dcm",
        *(make_dicom(f"e{number}.dcm", level=number) for number in range(20)),
    ]


def told(result: Any) -> dict[str, Any]:
    body = result.as_dict()
    return {name: body[name] for name in OFTEN}


def test_each_has_the_result_that_it_has_alone_in_order(opened: Callable[..., Model], mixed: list[Path]) -> None:
    model = opened()
    alone = [told(model.run_file(path)) for path in mixed]
    in_a_row = list(run_files(model, mixed))
    assert [path for path, _ in in_a_row] == mixed
    assert [told(result) for _, result in in_a_row] == alone
    assert {result.outcome for _, result in in_a_row} == {"completed", "failed"}


def test_a_single_file_and_a_single_core_are_as_they_were(
    opened: Callable[..., Model], mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()
    monkeypatch.setattr(abreast, "Row", None)
    assert [result.outcome for _, result in run_files(model, mixed[:1])] == ["completed"]
    monkeypatch.setattr(abreast, "lanes", lambda: 1)
    assert [path for path, _ in run_files(model, mixed)] == mixed


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_picture_of_each_reads_no_header_a_second_time(
    opened: Callable[..., Model], mixed: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(abreast, "lanes", lambda: at_once)
    headers: dict[Path, Header] = {}
    read = Counter[str]()

    def counted(path: Path) -> Header:
        read[Path(path).name] += 1
        return read_header(path)

    for module in (running, overlay):
        monkeypatch.setattr(module, "read_header", counted)
    infer._run(opened(), Files(paths=tuple(mixed[:8])), as_json=True, overlay=tmp_path)
    assert read == dict.fromkeys((path.name for path in mixed[:8]), 1)
    assert len(list(tmp_path.glob("*.png"))) == 8
    for path, _ in run_files(opened(), mixed[:8], headers=headers):
        header = headers.pop(path, None)
        assert (header is None) == (path.name in ("absent.dcm", "text.dcm"))
    assert headers == {}, "whoever takes them out keeps none"


@pytest.mark.parametrize(
    "how", ["drop", "raise", "raise-base", "nan", "zeros", "share", "eager", "wrong-shape", "remembers-in-streams"]
)
def test_what_an_engine_does_wrong_each_image_has_of_its_own_accord(
    opened: Callable[..., Model], make_dicom: Callable[..., Path], how: str
) -> None:
    files = [make_dicom(f"{number}.dcm", level=number) for number in range(12)]
    model = opened((f"fake-{how}",))
    alone = [(told(model.run_file(path)), model.failed_step) for path in files]
    with closing(run_files(model, files)) as results:
        assert [(told(result), model.failed_step) for _, result in results] == alone


class Stream:
    """A session whose stream does as it is told; its runs are the engine's own."""

    def __init__(self, session: Any, stream: Callable[[Any, Iterable[Any]], Iterator[Any]]) -> None:
        self._session, self._stream = session, stream

    def stream(self, inputs: Iterable[Any]) -> Iterator[Any]:
        return self._stream(self._session, inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def _breaks(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    for number, tensors in enumerate(inputs):
        if number == 1:
            raise InferenceFailed("told to")
        yield session.run(tensors)


def _surplus(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    for tensors in inputs:
        yield session.run(tensors)
        yield session.run(tensors)


def _greedy(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    yield from [session.run(tensors) for tensors in list(inputs)]


def _few(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    yield from [session.run(tensors) for tensors in list(inputs)][1:]


def _swaps(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
    yield from [session.run(tensors) for tensors in list(inputs)][::-1]


@pytest.mark.parametrize("stream", [_breaks, _surplus, _greedy, _few, _swaps])
def test_a_stream_that_goes_wrong_costs_no_image_its_result(
    opened: Callable[..., Model], mixed: list[Path], monkeypatch: pytest.MonkeyPatch, stream: Any
) -> None:
    model = opened()
    alone = [told(model.run_file(path)) for path in mixed]
    monkeypatch.setattr(model, "_session", Stream(model._session, stream))
    assert [told(result) for _, result in run_files(model, mixed[:2] + mixed[4:])] == alone[:2] + alone[4:]


def row_of(model: Model, files: list[Path], **options: Any) -> Row[Path]:
    left = iter(files)

    def supply() -> Any:
        path = next(left, None)
        return None if path is None else (path, partial(model.prepare, path))

    return Row(model, supply, **options)


def test_a_stream_that_alone_goes_wrong_is_given_up_and_told(
    opened: Callable[..., Model], mixed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = opened()
    monkeypatch.setattr(model, "_session", Stream(model._session, _breaks))
    row = row_of(model, mixed)
    assert len(list(row.results())) == len(mixed)
    assert "told to" in row.trouble
    assert row.drop() == []
    sound = row_of(opened(version="1.0.1"), mixed)
    assert len(list(sound.results())) == len(mixed)
    assert sound.trouble == ""


def test_the_next_is_decoded_and_transformed_while_the_engine_runs(
    opened: Callable[..., Model], make_dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [make_dicom(f"{number}.dcm", level=number) for number in range(6)]
    model = opened()
    prepared: list[Path] = []
    third = threading.Event()
    prepare = model.prepare

    def preparing(path: Path, **options: Any) -> Any:
        done = prepare(path, **options)
        prepared.append(path)
        if path == files[2]:
            third.set()
        return done

    def running(session: Any, inputs: Iterable[Any]) -> Iterator[Any]:
        for tensors in inputs:
            assert third.wait(PATIENCE_S), "nothing was prepared while the engine ran"
            yield session.run(tensors)

    monkeypatch.setattr(model, "prepare", preparing)
    monkeypatch.setattr(model, "_session", Stream(model._session, running))
    assert [path for path, _ in run_files(model, files)] == files
    assert sorted(prepared) == files


def test_few_are_in_memory_at_a_time(
    opened: Callable[..., Model], make_dicom: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [make_dicom(f"{number}.dcm", level=number) for number in range(40)]
    model = opened()
    begun = 0
    most = 0
    prepare = model.prepare

    def preparing(path: Path, **options: Any) -> Any:
        nonlocal begun
        begun += 1
        return prepare(path, **options)

    monkeypatch.setattr(model, "prepare", preparing)
    for number, _ in enumerate(run_files(model, files)):
        most = max(most, begun - number)
    assert 2 < most <= 5 + 8  # those ahead, and those that go through the engine's stream together


def test_a_large_frame_is_decoded_when_its_turn_comes(
    opened: Callable[..., Model], make_dicom: Callable[..., Path]
) -> None:
    path = make_dicom(level=250)
    model = opened()
    left = model.prepare(path, most_bytes=16 * 20 - 1)
    assert (left.is_left, left.is_ready) == (True, False)
    ready = model.prepare(path, most_bytes=16 * 20)
    assert (ready.is_left, ready.is_ready) == (False, True)
    assert told(model.complete(left)) == told(model.complete(ready)) == told(model.run_file(path))


def test_what_stops_gives_back_what_has_no_result_in_order(opened: Callable[..., Model], mixed: list[Path]) -> None:
    stopping = False
    row = row_of(opened(), mixed, is_stopping=lambda: stopping)
    with closing(row.results()) as results:
        first = next(results)
    assert first[0] == mixed[0]
    left = row.drop()
    assert left == mixed[1 : 1 + len(left)]
    assert left
    stopping = True
    assert list(row.results()) == []


def test_each_is_under_way_from_its_turn_to_its_result_and_no_longer(
    opened: Callable[..., Model], mixed: list[Path]
) -> None:
    under_way: set[Path] = set()

    @contextmanager
    def at_engine(path: Path, prepared: Any) -> Iterator[None]:
        assert path not in under_way
        under_way.add(path)
        yield
        under_way.remove(path)

    row = row_of(opened(), mixed, at_engine=at_engine)
    for path, _ in row.results():
        assert path not in under_way
    assert under_way == set()
    assert row.drop() == []


def test_what_the_supply_raises_is_raised_and_not_laid_on_the_engine(
    opened: Callable[..., Model], make_dicom: Callable[..., Path]
) -> None:
    files = [make_dicom(f"{number}.dcm", level=number) for number in range(12)]
    model = opened()
    given = 0

    def supply() -> Any:
        nonlocal given
        if given == 9:
            raise SpoolError("told to")
        given += 1
        return files[given - 1], partial(model.prepare, files[given - 1])

    row: Row[Path] = Row(model, supply)
    done: list[Path] = []
    with pytest.raises(SpoolError, match="told to"):
        done.extend(path for path, _ in row.results())
    assert done + row.drop() == files[:9]
    assert model.failed_step is None


def test_how_long_it_waited_is_a_stage_of_its_own(opened: Callable[..., Model], mixed: list[Path]) -> None:
    for _, result in run_files(opened(), mixed):
        if result.outcome == "completed":
            assert {"header", "decode", "transform", "wait", "run", "interpret", "total"} == set(result.timings_ms)
            assert result.timings_ms["total"] >= result.timings_ms["wait"] >= 0
