"""``threads = 0``: what is measured on the first single frame, what is taken and kept, and what never is."""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api import Device, InferenceFailed, ModelRejected, OpenRequest, Session, Tensors
from edgeai.model import Model, open_model
from edgeai.model.golden import load_inputs
from edgeai.model.kept_threads import KeptThreads, Threads
from edgeai.model.threads import SingleFrames, Turn, falling
from edgeai.plugins import Registry
from edgeai.testing.fakes import backend
from edgeai.testing.require import require
from edgeai_workbench.drawings import chest

CORES = 8
INPUTS = {"image": np.full((1, 4), 0.5, np.float32)}
OWN_S = 0.080
HALVING = {0: OWN_S, 8: 0.040, 4: 0.020, 2: 0.050}
"""Four threads are best, and the own number is one."""


@pytest.fixture(autouse=True)
def _many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("threads", "kept_threads", "opening"):
        monkeypatch.setattr(f"edgeai.model.{module}.cores", lambda: CORES)


class Engine:
    """Sessions by their threads; how long each takes is said, and not waited for.

    Args:
        seconds: of a run, by the number of threads.
        moved: numbers of threads whose answers are off by one bit.
        broken: numbers of threads on which nothing opens, or nothing runs.
        works: seconds of processor time in a second of the engine's own run.
        waits: the same of waiting for a core.
    """

    def __init__(
        self,
        seconds: dict[int, float],
        *,
        moved: tuple[int, ...] = (),
        no_open: tuple[int, ...] = (),
        no_run: tuple[int, ...] = (),
        works: float = 1.0,
        waits: float = 0.0,
    ) -> None:
        self.seconds, self.moved, self.no_open, self.no_run = seconds, moved, no_open, no_run
        self.works, self.waits = works, waits
        self.opened: list[Slow] = []

    def open(self, threads: int) -> Slow:
        if threads in self.no_open:
            raise ModelRejected("it does not take so many")
        self.opened.append(Slow(self, threads))
        return self.opened[-1]

    def meter(self, session: Session, inputs: Tensors) -> tuple[Tensors, Turn]:
        assert isinstance(session, Slow)
        took = self.seconds[session.threads]
        return session.run(inputs), Turn(took_s=took, worked_s=self.works * took, waited_s=self.waits * took)

    @property
    def counts(self) -> list[int]:
        return [session.threads for session in self.opened]

    @property
    def still_open(self) -> list[int]:
        return [session.threads for session in self.opened if not session.is_closed]


class Slow:
    device, engine = "CPU", "slow 1.0"

    def __init__(self, engine: Engine, threads: int) -> None:
        self.made_by, self.threads = engine, threads
        self.runs, self.streamed, self.is_closed = 0, 0, False

    def run(self, inputs: Tensors) -> Tensors:
        assert not self.is_closed
        if self.threads in self.made_by.no_run:
            raise InferenceFailed("it fails")
        self.runs += 1
        (values,) = inputs.values()
        answer = values.sum(axis=1, dtype=np.float32)
        return {"scores": np.nextafter(answer, np.float32(9)) if self.threads in self.made_by.moved else answer}

    def stream(self, inputs: Iterable[Tensors]) -> Iterator[Tensors]:
        self.streamed += 1
        return map(self.run, inputs)

    def close(self) -> None:
        self.is_closed = True


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def record(folder: Path, clock: Clock | None = None, **facts: Any) -> KeptThreads:
    return KeptThreads(folder, {"bundle": "sha256:1", "engine": "slow 1.0", **facts}, now=clock or Clock())


def single(engine: Engine, kept: KeptThreads) -> SingleFrames:
    known = kept.read()
    session = engine.open(known.count if known else 0)
    return SingleFrames(session, again=engine.open, kept=kept, threads=known, meter=engine.meter)


def settled(engine: Engine, kept: KeptThreads) -> SingleFrames:
    session = single(engine, kept)
    session.settle(INPUTS, session.run(INPUTS))
    return session


# --- what is taken --------------------------------------------------------------------------------


def test_the_number_that_is_fastest_is_taken_and_nothing_else_stays_open(tmp_path: Path) -> None:
    engine = Engine(HALVING)
    session = settled(engine, record(tmp_path))
    assert session.threads == Threads(count=4, why="fastest of those tried", own_ms=80.0, ms=20.0)
    assert engine.counts == [0, 8, 4, 2]
    assert engine.still_open == [4]
    before = engine.opened[2].runs
    assert session.run(INPUTS)["scores"] == np.float32(2.0)
    assert engine.opened[2].runs == before + 1


def test_it_is_measured_once_and_not_again_by_the_next_process(tmp_path: Path) -> None:
    settled(Engine(HALVING), record(tmp_path))
    engine = Engine(HALVING)
    session = settled(engine, record(tmp_path))
    assert engine.counts == [4]
    assert session.threads is not None
    assert session.threads.count == 4
    assert engine.opened[0].runs == 1


@pytest.mark.parametrize("seconds", [{0: 0.080, 8: 0.079}, {0: 0.080, 8: 0.120}], ids=["hardly", "slower"])
def test_the_engines_own_number_stays_where_more_are_no_faster(tmp_path: Path, seconds: dict[int, float]) -> None:
    engine = Engine({**dict.fromkeys((4, 2), 0.2), **seconds})
    session = settled(engine, record(tmp_path))
    assert session.threads is not None
    assert (session.threads.count, session.threads.why) == (0, "more are no faster")
    assert engine.counts == [0, 8, 4]  # fewer than four are slower still
    assert engine.still_open == [0]
    again = Engine({0: 0.080})
    settled(again, record(tmp_path))
    assert again.counts == [0]


def test_an_answer_that_is_another_in_its_last_bit_is_never_taken(tmp_path: Path) -> None:
    engine = Engine(HALVING, moved=(8, 4, 2))
    session = settled(engine, record(tmp_path))
    assert session.threads is not None
    assert session.threads.count == 0
    assert "otherwise" in session.threads.why
    assert engine.still_open == [0]


def test_what_was_fastest_before_one_answers_otherwise_is_kept(tmp_path: Path) -> None:
    engine = Engine(HALVING, moved=(4,))
    assert settled(engine, record(tmp_path)).threads == Threads(
        count=8, why="fastest of those tried", own_ms=80.0, ms=40.0
    )
    assert engine.still_open == [8]


@pytest.mark.parametrize("broken", [{"no_open": (8,)}, {"no_run": (8,)}], ids=["open", "run"])
def test_an_engine_that_fails_on_more_goes_on_with_its_own(tmp_path: Path, broken: dict[str, Any]) -> None:
    clock, engine = Clock(), Engine(HALVING, **broken)
    kept = record(tmp_path, clock)
    session = settled(engine, kept)
    assert engine.still_open == [0]
    assert session.run(INPUTS)["scores"] == np.float32(2.0)
    while (session := settled(engine, kept)).threads is None:  # it may pass: memory, say
        clock.now += kept.begin()
    assert session.threads.count == 0
    assert "failed" in session.threads.why
    assert set(engine.still_open) == {0}


@pytest.mark.parametrize(
    ("engine", "why"),
    [
        (Engine({0: 0.080}, works=7.5), "all cores at work"),
        (Engine({0: 0.0001}), "too short"),
    ],
    ids=["busy", "short"],
)
def test_where_more_can_gain_nothing_none_is_opened(tmp_path: Path, engine: Engine, why: str) -> None:
    session = settled(engine, record(tmp_path))
    assert session.threads is not None
    assert why in session.threads.why
    assert engine.counts == [0]


@pytest.mark.parametrize(("most", "counts"), [(1, []), (2, [2]), (6, [6, 3]), (8, [8, 4, 2]), (12, [12, 6, 3])])
def test_from_all_cores_downward(most: int, counts: list[int]) -> None:
    assert list(falling(most)) == counts


# --- others at work -------------------------------------------------------------------------------


def test_while_others_are_at_work_it_is_put_off_and_each_pause_is_twice_as_long(tmp_path: Path) -> None:
    clock, engine = Clock(), Engine(HALVING, waits=0.5)
    kept = record(tmp_path, clock)
    assert settled(engine, kept).threads is None
    assert engine.still_open == [0]
    assert kept.begin() == 60.0
    settled(engine, kept)
    assert engine.counts.count(8) == 1, "the next process waits as well"
    clock.now += 60.0
    assert settled(engine, kept).threads is None
    assert engine.counts.count(8) == 2
    assert kept.begin() == 120.0
    engine.waits = 0.0
    clock.now += 120.0
    session = settled(engine, kept)
    assert session.threads is not None
    assert session.threads.count == 4


def test_on_a_machine_that_is_never_still_the_last_try_counts(tmp_path: Path) -> None:
    clock, engine = Clock(), Engine(HALVING, waits=0.5)
    kept, tries = record(tmp_path, clock), 1
    while settled(engine, kept).threads is None:
        clock.now += kept.begin()
        tries += 1
        assert tries < 20
    assert tries == 8
    assert kept.read() == Threads(count=4, why="fastest of those tried", own_ms=80.0, ms=20.0)


# --- what is kept ---------------------------------------------------------------------------------


def test_a_measurement_that_killed_its_process_is_not_begun_again_for_a_day(tmp_path: Path) -> None:
    clock, engine = Clock(), Engine(HALVING)
    assert record(tmp_path, clock).begin() == 0.0  # and no more is heard of it
    clock.now += 23 * 3600
    session = settled(engine, record(tmp_path, clock))
    assert session.threads is not None
    assert session.threads.count == 0
    assert engine.counts == [0]
    clock.now += 2 * 3600
    assert settled(Engine(HALVING), record(tmp_path, clock)).threads == Threads(
        count=4, why="fastest of those tried", own_ms=80.0, ms=20.0
    )


@pytest.mark.parametrize(
    "changed", [{"bundle": "sha256:2"}, {"engine": "slow 1.1"}, {"artifact": "int8"}, {"settings": {"xnnpack": False}}]
)
def test_another_artifact_engine_or_setting_is_measured_anew(tmp_path: Path, changed: dict[str, Any]) -> None:
    record(tmp_path).keep(Threads(count=4))
    assert record(tmp_path).read() == Threads(count=4)
    assert record(tmp_path, **changed).read() is None


@pytest.mark.parametrize("what", ["cores", "hardware"])
def test_another_machine_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    record(tmp_path).keep(Threads(count=4))
    value: Any = 2 if what == "cores" else {"cpu": "another"}
    monkeypatch.setattr(f"edgeai.model.kept_threads.{what}", lambda: value)
    assert record(tmp_path).read() is None


@pytest.mark.parametrize(
    "text",
    ['{"count": 100000}', '{"count": -1}', '{"count": "4"}', '{"count": true}', '{"count": 4, "more": 1}', "4", "null"],
)
def test_a_record_that_says_nonsense_is_none(tmp_path: Path, text: str) -> None:
    kept = record(tmp_path)
    kept.keep(Threads(count=4))
    (path,) = tmp_path.glob("*.json")
    body = json.loads(path.read_text())
    path.write_text(json.dumps({**body, "threads": json.loads(text)}))
    assert kept.read() is None
    path.write_text("{")
    assert kept.read() is None
    assert kept.begin() == 0.0
    path.write_text(json.dumps({**body, "key": "0" * 64}))
    assert kept.read() is None


def test_where_nothing_can_be_kept_nothing_is_tried(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    kept, engine = record(tmp_path / "file"), Engine(HALVING)
    assert math.isinf(kept.begin())
    assert settled(engine, kept).threads is not None
    assert engine.counts == [0]


def test_old_records_go(tmp_path: Path) -> None:
    for number in range(70):
        record(tmp_path, bundle=f"sha256:{number}").keep(Threads(count=2))
    assert len(list(tmp_path.iterdir())) == 64
    assert record(tmp_path, bundle="sha256:69").read() is not None


# --- streams --------------------------------------------------------------------------------------


def test_streams_keep_the_engines_own_number(tmp_path: Path) -> None:
    engine = Engine(HALVING)
    session = settled(engine, record(tmp_path))
    assert len(list(session.stream([INPUTS, INPUTS]))) == 2
    assert len(list(session.stream([INPUTS]))) == 1
    assert engine.counts == [0, 8, 4, 2, 0]
    assert engine.opened[-1].streamed == 2
    session.close()
    session.close()
    assert engine.still_open == []


def test_where_the_own_number_does_not_open_again_streams_run_on_what_is_open(tmp_path: Path) -> None:
    engine = Engine(HALVING)
    session = settled(engine, record(tmp_path))
    engine.no_open = (0,)
    assert len(list(session.stream([INPUTS, INPUTS]))) == 2
    assert engine.opened[2].streamed == 1
    session.close()
    assert engine.still_open == []


# --- through a model ------------------------------------------------------------------------------


class Lab:
    """A backend that notes on how many threads it is opened, and is as fast as it is told to be."""

    def __init__(self, fakes: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[int] = []
        self.cache = tmp_path / "cache"
        self._threads: dict[Session, int] = {}
        self._real = backend("lab", devices=(Device(name="CPU"), Device(name="NPU")))
        plugin = replace(fakes.plugins[0], backends=(replace(self._real, open=lambda request: self._open(request)),))
        self._registry = Registry.of_plugins([plugin])
        monkeypatch.setattr("edgeai.model.threads.clocked", self._clocked)

    def _open(self, request: OpenRequest) -> Session:
        session = self._real.open(request)
        self.asked.append(request.threads)
        self._threads[session] = request.threads
        return session

    def _clocked(self, session: Session, inputs: Tensors) -> tuple[Tensors, Turn]:
        return session.run(inputs), Turn(took_s=HALVING[self._threads[session]])

    def open(self, bundle: Path, **more: Any) -> Model:
        self.asked.clear()
        return open_model(bundle, backends=("lab",), registry=self._registry, cache_dir=self.cache, **more)


@pytest.fixture
def lab(fakes: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(fakes, tmp_path, monkeypatch)


Make = Callable[..., Path]


def test_the_first_image_tells_and_the_next_process_knows(lab: Lab, make_bundle: Make, make_dicom: Make) -> None:
    bundle, image = make_bundle(), make_dicom()
    with lab.open(bundle) as model:
        assert model.threads is None
        first = model.run_file(image)
        assert lab.asked == [0, 8, 4, 2]
        assert model.threads is not None
        assert model.threads.count == 4
        second = model.run_file(image)
        assert lab.asked == [0, 8, 4, 2]
        assert first.findings == second.findings != ()
        assert model.rehearse()
    with lab.open(bundle) as model:
        assert lab.asked == [4]
        assert model.run_file(image).findings == first.findings
        model.run_file(make_dicom("cine.dcm", frames=3))
        assert lab.asked == [4, 0], "several frames run on the engine's own number"


def test_an_image_that_fails_tells_nothing(lab: Lab, make_bundle: Make, make_dicom: Make) -> None:
    with lab.open(make_bundle()) as model:
        assert model.run_file(make_dicom("cut.dcm", Rows=9999)).outcome == "failed"
        assert model.run_file(make_dicom("us.dcm", Modality="US")).outcome == "not-applicable"
        assert model.run_file(make_dicom("cine.dcm", frames=3)).outcome == "completed"
        assert model.run_file(make_dicom("alone.dcm"), overlap=False).outcome == "completed"
        assert model.threads is None
        assert lab.asked == [0]


@pytest.mark.parametrize("given", [{"threads": 1}, {"threads": 3}, {"device": "NPU"}], ids=["one", "three", "device"])
def test_a_number_that_is_given_is_the_one_that_runs(
    lab: Lab, make_bundle: Make, make_dicom: Make, given: dict[str, Any]
) -> None:
    bundle = make_bundle()
    with lab.open(bundle) as model:
        model.run_file(make_dicom())
    with lab.open(bundle, **given) as model:
        assert model.run_file(make_dicom()).outcome == "completed"
        assert lab.asked == [given.get("threads", 0)]
        assert model.threads is None


def test_on_one_core_nothing_is_measured(
    lab: Lab, make_bundle: Make, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeai.model.opening.cores", lambda: 1)
    with lab.open(make_bundle()) as model:
        model.run_file(make_dicom())
        assert lab.asked == [0]


def test_a_bundle_that_was_changed_meanwhile_is_not_opened_again(lab: Lab, make_bundle: Make, make_dicom: Make) -> None:
    with lab.open(make_bundle()) as model:
        (model.bundle.root / "model.json").write_text("{}")
        assert model.run_file(make_dicom()).outcome == "completed"
        assert model.threads is None
        assert lab.asked == [0]
        assert model.run_file(make_dicom()).outcome == "completed"


def test_threads_that_no_longer_open_are_measured_again(
    lab: Lab, make_bundle: Make, make_dicom: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle()
    with lab.open(bundle) as model:
        model.run_file(make_dicom())
    opens = lab._open

    def refusing(request: OpenRequest) -> Session:
        if request.threads == 4:
            raise ModelRejected("four are not to be had any more")
        return opens(request)

    monkeypatch.setattr(lab, "_open", refusing)
    with lab.open(bundle) as model:
        assert lab.asked == [0]
        assert model.degraded is None
        assert model.run_file(make_dicom()).outcome == "completed"


def test_a_service_keeps_them_beside_its_trials(lab: Lab, make_bundle: Make, make_dicom: Make, tmp_path: Path) -> None:
    with lab.open(make_bundle(), trials=tmp_path / "trials" / "xray.json") as model:
        model.run_file(make_dicom())
    assert len(list((tmp_path / "trials" / "threads").glob("*.json"))) == 1
    assert not (lab.cache / ".threads").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), [("tflite", "ai_edge_litert"), ("openvino", "openvino")])
def test_a_real_engine_answers_the_same_to_the_last_bit_whatever_is_taken(
    name: str, module: str, make_dicom: Make, repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require(name, importlib.util.find_spec(module) is not None, f"{module} is not installed")
    bundle = repo_root / "models" / "modality-guard" / "modality-guard-1.0.1.edgeai"
    image = make_dicom(Rows=64, Columns=64, PixelData=chest(0, rows=64, columns=64).tobytes())
    ran: list[Session] = []

    def clocked(session: Session, inputs: Tensors) -> tuple[Tensors, Turn]:
        ran.append(session)
        return session.run(inputs), Turn(took_s=0.08 if session is ran[0] else 0.02)

    monkeypatch.setattr("edgeai.model.threads.clocked", clocked)
    with open_model(bundle, backends=(name,), cache_dir=tmp_path) as model:
        asked = load_inputs(model.bundle)
        before = [model.infer(inputs) for inputs in asked]
        first = model.run_file(image)
        assert ran, "nothing was measured"
        assert model.threads is not None
        assert bool(model.threads.count) == (model.threads.why == "fastest of those tried")
        after = [model.infer(inputs) for inputs in asked]
        assert model.run_file(image).findings == first.findings != ()
        assert model.rehearse()
    for one, other in zip(before, after, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
