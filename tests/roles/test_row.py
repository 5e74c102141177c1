"""Jobs in a row, in real processes: whatever dies of whichever step, only the image that did it is blamed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.distributions import write_fake_distribution

DULL, ODD, GATE = 60, 250, 200
GOOD = 9

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core: jobs do not go in a row")

PLUGIN = """
import os, threading
from edgeai.api import BackendSpec, TaskSpec, TransformSpec, hookimpl
from edgeai.model import running
from edgeai.testing import fake_parts, fakes

EDGEAI_API = (1, 0)
PLAN, LEVEL = {}, threading.local()  # step -> what to do there, told how bright the image is that it is done to

def level_of(array):
    return round(float(array.max()) * (255 if array.dtype.kind == "f" else 1))

def at(step, *args):
    first, *rest = args
    if hasattr(first, "pixels"):
        LEVEL.value = level_of(first.pixels)
    elif rest and hasattr(rest[0], "frame"):
        LEVEL.value = level_of(rest[0].frame.pixels)
    elif hasattr(first, "values"):
        LEVEL.value = max(map(level_of, first.values()))
    if step in PLAN:
        PLAN[step](LEVEL.value)

class Telling:
    def __init__(self, thing, **steps):
        self._thing, self._steps = thing, steps
    def __getattr__(self, name):
        value = getattr(self._thing, name)
        if name not in self._steps:
            return value
        def call(*args):
            at(self._steps[name], *args)
            return value(*args)
        return call

class Session(Telling):
    def stream(self, inputs):
        for tensors in inputs:
            yield self.run(tensors)

_works = fakes.backend("raiser")
_transform, _task = fake_parts.transform("raiser-subsample"), fake_parts.task("raiser-classify")

@hookimpl
def edgeai_backends():
    opening = lambda request: Session(_works.open(request), run="run")
    return (BackendSpec(name="raiser", artifact_format="fake", probe=_works.probe, open=opening, engine=_works.engine),)

@hookimpl
def edgeai_transforms():
    build = lambda options: Telling(_transform.build(options), apply="transform")
    return (TransformSpec(name="raiser-subsample", build=build, options=_transform.options, help="", source=""),)

@hookimpl
def edgeai_tasks():
    build = lambda request: Telling(_task.build(request), interpret="interpret", summarise="summarise")
    return (TaskSpec(name="raiser-classify", build=build, options=_task.options, help=""),)

_read = running.read_frames
def _reading(*args, **options):
    for frame in _read(*args, **options):
        at("decode", frame)
        yield frame
running.read_frames = _reading
"""
"""A backend, a transform, a task and a decoder, whose steps do as ``PLAN`` says."""

PROFILE = """
schema = 1
[device]
id = "cart"
site = "lab"
data_dir = "data"
[plugins]
allow = ["raiser"]
[trust]
unsigned = "accept"
[mqtt]
enabled = false
[health]
enabled = false
[ingest.scp]
enabled = false
[spool]
reserve_bytes = 1000000
[supervise]
restart_min_s = 0.05
restart_max_s = 0.5
job_attempts = 2
quarantine_after = 2
[jsonl]
path = "results.jsonl"
[[deployments]]
name = "guard"
bundle = "guard.edgeai"
backends = ["raiser"]
deadline_s = {deadline_s}
"""

DIES = """
def _die(level):
    if level == {odd}:
        {how}
PLAN[{step!r}] = _die
"""
WAYS = {
    "aborts": "os.abort()",
    "exits": "os._exit(3)",
    "hangs": "__import__('time').sleep(3600)",
    "hangs-with-the-interpreter": "__import__('ctypes').PyDLL(None).pause()",
}
"""``PyDLL`` keeps the interpreter's lock: no other thread runs."""

STEPS = ("decode", "transform", "run", "interpret", "summarise")
PLAIN = {
    *((step, "aborts") for step in ("decode", "run", "summarise")),
    ("run", "hangs-with-the-interpreter"),
    ("transform", "hangs"),
}
"""Before, in and behind the engine's own step, and ways to die in it and beside it; all of both for `make torture`."""
ENDS = [
    pytest.param(step, way, marks=() if (step, way) in PLAIN else pytest.mark.torture) for step in STEPS for way in WAYS
]

WAITS = """
from pathlib import Path
import time
GATE, SEEN = Path({folder!r}) / "open", Path({folder!r}) / "seen"
def _seen(level):
    with SEEN.open("a") as file:
        file.write(f"{{os.getpid()}} {{level}}\\n")
def _wait(level):
    while level == {gate} and not GATE.exists():
        time.sleep(0.01)
PLAN["transform"], PLAN["run"] = _seen, _wait
"""
"""An engine that waits at one image until a file is there; and what was transformed is written down, and by whom."""


def transformed(cart: Any, pid: int) -> list[int]:
    """How bright were the images that this process has transformed."""
    path = cart.folder / "gate" / "seen"
    text = path.read_text() if path.exists() else ""
    words = [line.split() for line in text[: text.rfind("\n") + 1].splitlines()]
    return [int(level) for who, level in words if int(who) == pid]


def write_bundle(folder: Path) -> None:
    """``guard.edgeai``: a model for the backend, the transform and the task of the plugin."""
    pack_fake_bundle(
        folder / "content",
        folder / "guard.edgeai",
        name="raised",
        release=1,
        plugins=("raiser",),
        task="raiser-classify",
        transform="raiser-subsample",
    )


def deploy(cart: Any, more: str, *, deadline_s: float) -> None:
    write_fake_distribution(cart.plugins, name="raiser", module_source=PLUGIN + more)
    cart.profile.write_text(PROFILE.format(deadline_s=deadline_s))
    write_bundle(cart.folder)


def admit(cart: Any, level: int) -> str:
    return str(cart.admit(pixels=np.full((16, 16), level, np.uint8)).instance.sop_instance_uid)


def rows_of(cart: Any) -> dict[str, tuple[str, int, int]]:
    """UID -> state, deaths and interruptions of its job."""
    row = cart.spool.db.connection().execute(
        "SELECT i.sop_instance_uid, j.state, j.deaths, j.interruptions FROM jobs AS j"
        " JOIN instances AS i ON i.id = j.instance"
    )
    return {uid: tuple(rest) for uid, *rest in row}


def outcomes_of(cart: Any) -> dict[str, str]:
    """UID -> outcome; each instance has one result."""
    results = cart.results()
    outcomes = {item["instance"]["sop_instance_uid"]: item["outcome"] for item in results}
    assert len(outcomes) == len(results)
    return outcomes


@pytest.mark.slow
@pytest.mark.parametrize(("step", "way"), ENDS)
def test_of_many_images_only_the_one_that_kills_is_blamed(cart: Any, step: str, way: str, until: Any) -> None:
    deploy(cart, DIES.format(odd=ODD, how=WAYS[way], step=step), deadline_s=4.0 if way.startswith("hangs") else 30.0)
    levels = [DULL + number for number in range(GOOD)]
    levels.insert(4, ODD)
    sent = {admit(cart, level): level for level in levels}
    odd = next(uid for uid, level in sent.items() if level == ODD)
    cart.start()
    until(lambda: len(cart.results()) == len(sent))
    assert outcomes_of(cart) == {uid: "failed" if uid == odd else "completed" for uid in sent}
    [failed] = [item for item in cart.results() if item["outcome"] == "failed"]
    assert failed["reason"]["code"] == ("job.deadline" if way.startswith("hangs") else "job.crashed")
    deaths = {uid: row[1] for uid, row in rows_of(cart).items()}
    assert deaths == {uid: 2 if uid == odd else 0 for uid in sent}, "nobody else used up an attempt"
    until(lambda: len(cart.events("plugin.fault")) >= (2 if step == "run" else 0))
    assert {event["facts"]["step"] for event in cart.events("plugin.fault")} == ({"run"} if step == "run" else set())
    assert cart.spool.quarantined() == [], "one image convicts no engine"


@pytest.fixture
def gated(cart: Any, until: Any) -> Callable[[], list[str]]:
    """A cart whose engine stands at the second image, with the next transformed; gives the UIDs that were sent."""
    gate = cart.folder / "gate"
    gate.mkdir()
    deploy(cart, WAITS.format(folder=str(gate), gate=GATE), deadline_s=600.0)

    def begin() -> list[str]:
        sent = [admit(cart, level) for level in (DULL, GATE, *range(DULL + 1, DULL + 7))]
        cart.start()
        until(lambda: DULL + 1 in transformed(cart, cart.pid("infer:guard")))
        until(lambda: any(step.step == "run" for step in cart.spool.notes()["infer:guard"].steps))
        return sent

    return begin


def test_the_next_image_is_transformed_while_the_engine_runs(cart: Any, gated: Any, until: Any) -> None:
    sent = gated()
    (cart.folder / "gate" / "open").touch()
    until(lambda: len(cart.results()) == len(sent))
    assert [item["instance"]["sop_instance_uid"] for item in cart.results()] == sent, "in the order of arrival"
    assert set(outcomes_of(cart).values()) == {"completed"}
    assert cart.logged("role.died") == []


def test_sigterm_finishes_what_the_engine_has_and_gives_the_rest_back_unblamed(
    cart: Any, gated: Any, until: Any
) -> None:
    sent = gated()
    assert cart.process is not None
    cart.process.send_signal(signal.SIGTERM)
    until(lambda: cart.spool.notes()["supervise"].state == "stopping")
    (cart.folder / "gate" / "open").touch()
    assert cart.process.wait(120) == 0
    states = rows_of(cart)
    assert [states[uid][0] for uid in sent[:2]] == ["done", "done"]
    assert "waiting" in {row[0] for row in states.values()}
    assert {row[0] for row in states.values()} <= {"done", "waiting"}
    assert {row[1:] for row in states.values()} == {(0, 0)}, "neither a death nor an interruption"
    cart.start()
    until(lambda: len(cart.results()) == len(sent))
    assert [item["instance"]["sop_instance_uid"] for item in cart.results()] == sent


def test_kill_9_in_the_middle_of_a_row_loses_doubles_and_blames_nothing(cart: Any, gated: Any, until: Any) -> None:
    sent = gated()
    os.kill(cart.pid("infer:guard"), signal.SIGKILL)
    (cart.folder / "gate" / "open").touch()
    until(lambda: len(cart.results()) == len(sent))
    assert outcomes_of(cart) == dict.fromkeys(sent, "completed")
    states = rows_of(cart)
    assert {row[1] for row in states.values()} == {0}
    assert any(row[2] for row in states.values()), "what was claimed was interrupted"
    assert cart.spool.quarantined() == []


def test_the_note_says_whose_each_step_is(cart: Any, gated: Any, until: Any) -> None:
    gated()
    note = cart.spool.notes()["infer:guard"]
    assert sum(step.step == "job" for step in note.steps) >= 1
    assert all(step.deadline_s > 0 for step in note.steps if step.step == "job")
    (cart.folder / "gate" / "open").touch()
    until(lambda: not cart.spool.notes()["infer:guard"].steps)


def test_after_a_life_that_ended_at_work_one_job_is_done_at_a_time(cart: Any, gated: Any, until: Any) -> None:
    gated()
    former = cart.pid("infer:guard")
    os.kill(former, signal.SIGKILL)
    until(lambda: cart.logged("role.died") and cart.pid("infer:guard") != former)
    pid = cart.pid("infer:guard")
    until(lambda: GATE in transformed(cart, pid))
    until(lambda: any(step.step == "run" for step in cart.spool.notes()["infer:guard"].steps))
    assert transformed(cart, pid)[-1] == GATE, "nothing was begun beside it"
    (cart.folder / "gate" / "open").touch()


def test_a_result_file_of_a_row_is_readable_by_itself(cart: Any, gated: Any, until: Any) -> None:
    sent = gated()
    (cart.folder / "gate" / "open").touch()
    until(lambda: len(cart.results()) == len(sent))
    for line in (Path(cart.folder) / "results.jsonl").read_text().splitlines():
        json.loads(line)
    stages = [set(item["timings_ms"]) for item in cart.results()]
    assert any("wait" in each for each in stages)
    assert "wait" not in stages[0], "the first after opening goes by itself"
