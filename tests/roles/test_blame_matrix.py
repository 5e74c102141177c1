"""Blame goes to who raised it: every code, at every step, with one frame and with many.

Only the engine's own step strikes the engine. The first half runs a real ``Worker`` on a real spool, a job a code; the
second lets real processes die.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.api.errors import EdgeaiError
from edgeai.config import load_config
from edgeai.owners import FAILS_BY, is_of_plugins
from edgeai.privacy import UidMask
from edgeai.roles.infer import Worker
from edgeai.spool import Spool
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.distributions import write_fake_distribution
from edgeai.testing.phantoms import Phantom, write_instance

ROOT = Path(__file__).resolve().parents[2]
CODES = sorted(
    set(re.findall(r"^\| `([a-z]+\.[a-z0-9-]+)` \|", (ROOT / "docs/reference/errors.md").read_text(), re.MULTILINE))
)
STEPS = ("decode", "transform", "run", "interpret", "summarise")
MANY = 3

PLUGIN = """
import os, sys
from edgeai.api import BackendSpec, TaskSpec, TransformSpec, hookimpl
from edgeai.model import running
from edgeai.testing import fake_parts, fakes

EDGEAI_API = (1, 0)
PLAN = {}  # step -> what to do there

def at(step):
    action = PLAN.get(step)
    if action is not None:
        action()

class Raising:
    def __init__(self, thing, **steps):
        self._thing, self._steps = thing, steps
    def __getattr__(self, name):
        value = getattr(self._thing, name)
        if name not in self._steps:
            return value
        def call(*args):
            at(self._steps[name])
            return value(*args)
        return call

class Session(Raising):
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
    build = lambda options: Raising(_transform.build(options), apply="transform")
    return (TransformSpec(name="raiser-subsample", build=build, options=_transform.options, help="", source=""),)

@hookimpl
def edgeai_tasks():
    build = lambda request: Raising(_task.build(request), interpret="interpret", summarise="summarise")
    return (TaskSpec(name="raiser-classify", build=build, options=_task.options, help=""),)

_read = running.read_frames
def _reading(*args, **options):
    for frame in _read(*args, **options):
        at("decode")
        yield frame
running.read_frames = _reading
"""
"""A plugin of a backend, a transform and a task, each of which does as ``PLAN`` says; and a decoder that does too."""

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
job_attempts = 1
quarantine_after = {quarantine_after}
[jsonl]
path = "results.jsonl"
[[deployments]]
name = "guard"
bundle = "guard.edgeai"
backends = ["raiser"]
"""


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


def image_of(path: Path, frames: int) -> Phantom:
    """An image of one frame, or of several."""
    shape = (frames, 16, 16) if frames > 1 else (16, 16)
    return write_instance(path, np.full(shape, 60, np.uint8), frames=frames > 1)


class Bench:
    """A worker whose plugin raises what it is told to, and the spool that it works on."""

    def __init__(self, folder: Path, quarantine_after: int) -> None:
        (folder / "profile.toml").write_text(PROFILE.format(quarantine_after=quarantine_after))
        write_bundle(folder)
        config = load_config(folder / "profile.toml")
        self.spool = Spool.of(config)
        self.worker = Worker(config, config.deployments[0], self.spool, UidMask.of(config.privacy))
        self.folder = folder
        self._images = {frames: image_of(folder / f"{frames}.dcm", frames) for frames in (1, MANY)}
        self._sent = 0
        self.open()

    @property
    def plan(self) -> dict[str, Callable[[], None]]:
        """Step -> what happens there."""
        plan: dict[str, Callable[[], None]] = sys.modules["raiser"].PLAN
        return plan

    def open(self) -> None:
        self.worker._open()
        assert self.worker._model is not None, self.worker._trouble

    def run(self, frames: int) -> tuple[str, str]:
        """A new image through the worker; outcome and code, as the spool has them."""
        self._sent += 1
        image = self._images[frames]
        received = Path(shutil.copy(image.path, self.spool.tmp / f"{self._sent}.dcm"))
        uid = f"2.25.{self._sent}"
        instance = replace(image.instance, sop_instance_uid=uid)
        self.spool.admit(instance, received, content=lambda: uid, deployments=["guard"], source="test")
        assert self.worker._next()
        row = self.spool.db.connection().execute("SELECT outcome, code FROM jobs ORDER BY id DESC LIMIT 1").fetchone()
        return str(row[0]), str(row[1])

    def fails(self, step: str, error: BaseException, frames: int) -> str:
        """The code of an image on which the step raises this."""

        def action() -> None:
            raise error

        self.plan[step] = action
        try:
            outcome, code = self.run(frames)
        finally:
            self.plan.clear()
        assert outcome == "failed"
        return code

    def faults(self) -> list[tuple[str, str, str]]:
        """Plugin, step and cause of every misdeed on record."""
        return self.spool.db.connection().execute("SELECT plugin, step, cause FROM faults ORDER BY id").fetchall()


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Bench]]:
    """``bench(quarantine_after)``: the plugin installed in this very process."""
    from edgeai.model import running

    monkeypatch.setattr(running, "read_frames", running.read_frames)  # put back what the plugin puts in its place
    write_fake_distribution(tmp_path / "plugins", name="raiser", module_source=PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path / "plugins"))
    monkeypatch.delitem(sys.modules, "raiser", raising=False)
    made: list[Bench] = []

    def make(quarantine_after: int = 1_000_000) -> Bench:
        made.append(Bench(tmp_path, quarantine_after))
        return made[-1]

    yield make
    for each in made:
        each.spool.close()
    sys.modules.pop("raiser", None)


def code_of(step: str, code: str) -> str:
    """How an image ends on which the step fails with a code: a plugin may not speak for edgeai, whose decoder may."""
    return code if step == "decode" or is_of_plugins(code, FAILS_BY) else "plugin.contract"


CODES_AT = [
    ("run", 1, CODES),
    *((step, frames, CODES[number :: len(STEPS)]) for number, step in enumerate(STEPS) for frames in (1, MANY)),
    *(pytest.param(step, frames, CODES, marks=pytest.mark.torture) for step in STEPS for frames in (1, MANY)),
]
"""Each code at the engine's own step, and at one of all; for `make torture`, each at each step."""


@pytest.mark.parametrize(("step", "frames", "codes"), CODES_AT)
def test_only_the_engines_own_step_strikes_the_engine_whatever_the_code(
    bench: Callable[..., Bench], step: str, frames: int, codes: list[str]
) -> None:
    made = bench()
    assert made.run(frames) == ("completed", "")
    assert len(CODES) > 200
    for code in codes:
        before = len(made.faults())
        ends_with = code_of(step, code)
        assert made.fails(step, EdgeaiError("told to", code=code), frames) == ends_with
        assert made.faults()[before:] == ([("raiser", "run", ends_with)] if step == "run" else []), code
    assert made.run(frames) == ("completed", ""), "and the engine serves on"
    assert made.spool.quarantined() == []


ODD = (ValueError("told to"), MemoryError(), SystemExit(3), StopIteration(), RecursionError("told to"))


@pytest.mark.parametrize("frames", [1, MANY])
@pytest.mark.parametrize("step", STEPS[1:])
def test_what_is_no_error_of_ours_is_laid_on_its_step_too(bench: Callable[..., Bench], step: str, frames: int) -> None:
    made = bench()
    for error in ODD:
        before = len(made.faults())
        code = made.fails(step, error, frames)
        assert code in ("plugin.fault", "transform.memory"), error
        assert made.faults()[before:] == ([("raiser", "run", code)] if step == "run" else []), error


@pytest.mark.parametrize("frames", [1, MANY])
@pytest.mark.parametrize("code", ["backend.inference-failed", "tensor.mismatch", "plugin.fault", "pixels.codec"])
def test_an_engine_that_fails_image_after_image_is_convicted_and_nobody_else_ever_is(
    bench: Callable[..., Bench], code: str, frames: int
) -> None:
    made = bench(3)
    error = EdgeaiError("told to", code=code)
    for step in ("decode", "transform", "interpret", "summarise"):
        for _ in range(4):
            made.fails(step, error, frames)
    assert (made.faults(), made.spool.quarantined()) == ([], [])
    for _ in range(3):
        assert made.worker._model is not None
        made.fails("run", error, frames)
    assert made.worker._model is None, "the next engine of the wishes is opened"
    [held] = made.spool.quarantined()
    assert (held.plugin, held.step, held.cause) == ("raiser", "run", code_of("run", code))


# --- deaths ---------------------------------------------------------------------------------------

DIES_ONCE = """
from pathlib import Path
def _die():
    flag = Path({flag!r})
    if flag.exists():
        flag.unlink()
        os.abort()
PLAN[{step!r}] = _die
"""


@pytest.mark.parametrize(
    ("step", "frames"),
    [pytest.param(s, f, marks=() if s == "run" or f == 1 else pytest.mark.torture) for s in STEPS for f in (1, MANY)],
)
def test_only_a_death_at_the_engines_own_step_is_the_engines(cart: Any, step: str, frames: int, until: Any) -> None:
    flag = cart.folder / "dies"
    source = PLUGIN + DIES_ONCE.format(flag=str(flag), step=step)
    write_fake_distribution(cart.plugins, name="raiser", module_source=source)
    cart.profile.write_text(PROFILE.format(quarantine_after=3))
    write_bundle(cart.folder)
    cart.start()
    cart.ready()
    flag.touch()
    shape = (frames, 16, 16) if frames > 1 else (16, 16)
    failed = cart.result_of(cart.admit(pixels=np.full(shape, 60, np.uint8), frames=frames > 1))
    assert (failed["outcome"], failed["reason"]["code"]) == ("failed", "job.crashed")
    until(lambda: cart.events("role.crashed"))
    assert [event["facts"]["step"] for event in cart.events("plugin.fault")] == (["run"] if step == "run" else [])
    assert cart.result_of(cart.admit())["outcome"] == "completed"
    died = cart.logged("role.died")
    blamed = ("run", "raiser") if step == "run" else (None, None)
    assert [(death["step"], death["plugin"]) for death in died] == [blamed]


DIES = "\nPLAN['transform'] = {how}\n"


HANGS = pytest.param("lambda: __import__('time').sleep(3600)", marks=pytest.mark.torture, id="hangs")


@pytest.mark.parametrize("how", [pytest.param("os.abort", id="aborts"), HANGS])
def test_a_transform_that_dies_of_everything_ends_its_images_and_no_engine(cart: Any, how: str, until: Any) -> None:
    """Of the blank plane too that goes through it before the first image."""
    write_fake_distribution(cart.plugins, name="raiser", module_source=PLUGIN + DIES.format(how=how))
    cart.profile.write_text(PROFILE.format(quarantine_after=3) + "deadline_s = 2.0\nopen_deadline_s = 5.0\n")
    write_bundle(cart.folder)
    cart.start()
    for phantom in [cart.admit() for _ in range(2)]:
        failed = cart.result_of(phantom)
        assert (failed["outcome"], failed["findings"]) == ("failed", [])
        assert failed["reason"]["code"] == ("job.crashed" if how == "os.abort" else "job.deadline")
    assert cart.events("plugin.fault") == []
    assert cart.spool.quarantined() == []
