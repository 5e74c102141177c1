"""``kill -9`` at every write of an update, in real processes: always one good slot, the right one, and images all end.

Each process that moves the slots dies at each of the points of a story once, just before what it writes is there and
just after. What a write itself leaves when it is cut is gone through in ``tests/unit/test_slots_crashes.py``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from edgeai.testing.fakes import Misbehaviour

DULL, BRIGHT = 60, 250

pytestmark = pytest.mark.slow
TIMES = int(os.environ.get("EDGEAI_TORTURE_UPDATES", "1"))
"""Each story so often; `make torture` has twenty."""

DIES = """
import json, os, signal
from pathlib import Path
words = Path("/proc/self/cmdline").read_bytes()
if any(b"edgeai.roles\\0" + role in words for role in (b"infer", b"rehearse", b"shadow")):
    import edgeai.bundle.floors as floors, edgeai.slots.folder as folder
    points, write = Path({points!r}), folder.replace_file
    def die(point):
        if (points / point).exists():
            (points / point).rename(points / f".{{point}}")
            os.kill(os.getpid(), signal.SIGKILL)
    def move(data):
        state = json.loads(data)
        last = state.get("history", [{{}}])[-1]
        return last["move"] if last.get("sequence") == state.get("sequence") else "counted"
    def dying(path, data):
        name = move(data) if path.name == "slots.json" else "floor"
        die(f"{{name}}-before")
        write(path, data)
        die(f"{{name}}-after")
    folder.replace_file = floors.replace_file = dying
"""
"""Imported by each process; one that has slots to move dies where a file says so, once for each."""


@pytest.fixture(autouse=True, params=range(TIMES), ids=lambda number: f"time {number + 1}")
def again(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture
def points(updated: Any, tmp_path: Path) -> Iterator[Path]:
    """A file in there is a point to die at; one whose name has a dot is a point that was died at."""
    folder = tmp_path / "points"
    folder.mkdir()
    with (updated.cart.plugins / "sitecustomize.py").open("a") as file:
        file.write(DIES.format(points=str(folder)))
    yield folder
    print(f"killed at {deaths(folder)} points")


def ask_for(points: Path, *names: str) -> None:
    for name in names:
        for when in ("before", "after"):
            (points / f"{name}-{when}").touch()


def deaths(points: Path) -> int:
    return len([path for path in points.iterdir() if path.name.startswith(".")])


def keep_sending(updated: Any, until: Any, ended: Any, level: int = DULL) -> list[Any]:
    """An image now and then, each once the one before has its result, until something is so."""
    phantoms = [updated.cart.admit(level)]
    stood: list[str] = []

    def is_over() -> bool:
        stood.append(updated.running())
        assert stood[-1] or not any(stood), "there was a good slot, and there is none"
        if len(updated.cart.results()) >= len(phantoms):
            phantoms.append(updated.cart.admit(level))
        return bool(ended())

    until(is_over, 1200.0)
    return phantoms


def all_ended(
    updated: Any, phantoms: list[Any], *digests: str, delivered: Literal["once", "at least once"] = "once"
) -> None:
    """Each image has one result, completed, by one of these.

    Where the publisher was killed too, it may not have known any more that it had delivered one: the same comes again.
    """
    for phantom in phantoms:
        result = updated.cart.result_of(phantom)
        assert (result["outcome"], result["model"]["digest"] in digests) == ("completed", True)
    results = updated.cart.results()
    each = {result["result_id"]: result for result in results}
    assert len(each) == len(phantoms)
    assert all(result == each[result["result_id"]] for result in results)
    assert delivered != "once" or len(results) == len(phantoms)
    print(f"{len(phantoms)} images, each with one result")


def test_an_update_that_goes_well(updated: Any, until: Any, points: Path) -> None:
    ask_for(points, "begun", "installed", "adopted", "rehearsed", "activated", "counted", "floor", "proven")
    old = updated.configure()
    updated.cart.start()
    until(lambda: updated.running() == old)
    new = updated.bring(2)
    phantoms = keep_sending(updated, until, lambda: updated.cart.events("update.proven"))
    assert deaths(points) >= 15, "the floor had risen already where its second point was"
    assert updated.running() == new
    assert updated.state.probation is None
    assert updated.floors()["guard-model"]["digest"] == new
    all_ended(updated, phantoms, old, new)
    told = [item["kind"] for item in updated.cart.messages() if str(item.get("kind", "")).startswith("update.")]
    happened = [f"update.{move.move}" for move in updated.state.history if move.move != "begun"]
    assert told == happened, "each move is told, and once"
    assert happened.count("update.adopted") == 1
    assert happened[-3:] == ["update.rehearsed", "update.activated", "update.proven"]
    assert updated.cart.spool.quarantined() == []
    assert updated.cart.stop() == 0


def test_an_update_that_is_shown_beside_what_runs_first(updated: Any, until: Any, points: Path) -> None:
    old = updated.configure("quiet_s = 0.1\nprobation_results = 1\nshadow_agreement = 0.5\nshadow_share = 1.0\n")
    updated.start()
    updated.runs(old)
    ask_for(points, "counted", "shown")
    new = updated.bring(2)
    phantoms = keep_sending(updated, until, lambda: updated.cart.events("update.activated"))
    assert deaths(points) == 4
    assert updated.running() == new
    all_ended(updated, phantoms, old, new)
    (shown,) = updated.cart.events("update.shown")
    agreed, compared = re.search(r"on (\d+) of (\d+) images", shown["message"]).groups()  # type: ignore[union-attr]
    assert agreed == compared == "8", "no image is counted twice, and none too few"
    assert updated.state.shadow is None
    assert list((updated.cart.folder / "data/spool/shadow/guard").iterdir()) == []
    assert updated.cart.spool.quarantined() == []


def test_an_update_that_is_rolled_back(updated: Any, until: Any, points: Path) -> None:
    old = updated.configure()
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how="abort", mean_above=0.8))
    updated.runs(new)
    ask_for(points, "rolled-back")
    phantoms = keep_sending(updated, until, lambda: deaths(points) == 2 and updated.running() == old, BRIGHT)
    updated.runs(old)
    all_ended(updated, phantoms, old)
    assert updated.codes(new) == "slots.failures"
    assert len(updated.cart.events("update.rolled-back")) == 1
    assert updated.cart.spool.quarantined() == []


def test_a_bundle_that_kills_its_rehearsal(updated: Any, until: Any, points: Path) -> None:
    ask_for(points, "failed")
    old = updated.configure()
    updated.start()
    updated.runs(old)
    new = updated.bring(2, misbehave=Misbehaviour(how="abort"))
    phantoms = keep_sending(updated, until, lambda: updated.cart.events("update.failed"))
    until(lambda: deaths(points) == 2)
    assert updated.codes(new) == "slots.rehearsal-died"
    assert len(updated.cart.events("update.failed")) == 1
    all_ended(updated, phantoms, old)


RULES = {
    "installed": "quiet_s = 0.1\nprobation_results = 3\n",
    "good": "quiet_s = 3600\n",
    "in shadow": "quiet_s = 0.1\nprobation_results = 3\nshadow_agreement = 0.5\nshadow_share = 1.0\n",
    "on probation": "quiet_s = 0.1\nprobation_results = 3\n",
}


# What rehearses when it is killed, the first story kills too.
@pytest.mark.parametrize("when", [pytest.param("installed", marks=pytest.mark.torture), *list(RULES)[1:]])
def test_the_whole_service_killed_goes_on_where_it_was(updated: Any, until: Any, when: str) -> None:
    old = updated.configure(rules=RULES[when])
    updated.start()
    updated.runs(old)
    phantoms = [updated.cart.admit()]
    assert updated.digest_of(phantoms[0]) == old
    new = updated.bring(2)
    until(lambda: updated.state.b.stage == ("installed" if when == "installed" else "good"))
    if when == "in shadow":
        phantoms += keep_sending(updated, until, lambda: updated.state.shadow and updated.state.shadow.compared >= 2)
    if when == "on probation":
        until(lambda: updated.state.active == "b")
    phantoms.append(updated.cart.admit())
    updated.cart.process.kill()
    updated.cart.process.wait(120)
    profile = updated.cart.profile
    profile.write_text(profile.read_text().replace("quiet_s = 3600", "quiet_s = 0.1\nprobation_results = 3"))
    updated.cart.start()
    phantoms += keep_sending(updated, until, lambda: updated.cart.events("update.proven"))
    assert updated.running() == new
    all_ended(updated, phantoms, old, new, delivered="at least once")
    if when == "in shadow":
        assert "on 8 of 8 images" in updated.event("update.shown")["message"], "what was shown before counts"
