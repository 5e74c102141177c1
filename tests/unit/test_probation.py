"""What ends a probation, and what an update asks of the spool."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeai.api.results import Failure, Outcome
from edgeai.config import Updates
from edgeai.dicom.content import ContentDigest
from edgeai.roles.deaths import Death
from edgeai.roles.moves_told import sayings
from edgeai.roles.probation import judge, kind_of, stands_since
from edgeai.roles.rehearsals import is_its_own, waiting
from edgeai.slots import Probation
from edgeai.slots.record import Failed, Move, Slot, Slots
from edgeai.spool import Saying, Spool
from edgeai.testing.phantoms import write_instance

RULES = Updates(probation_results=20, probation_failures=1, probation_slowdown=3.0)
OLD, NEW = f"sha256:{1:064x}", f"sha256:{2:064x}"


def verdict(*, deaths: int = 0, last: str = "", silent: str = "", **figures: Any) -> tuple[str, str, str]:
    return judge(Probation(since="now", needed=20, **figures), RULES, deaths=deaths, last=last, silent=silent)


@pytest.mark.parametrize(
    "figures",
    [
        {},
        {"completed": 19},
        {"completed": 5, "failed": 1},
        {"completed": 5, "deaths": 1},
        {"completed": 5, "withheld": 200, "before_withheld": 1.0},
        {"completed": 2, "withheld": 17, "before_withheld": 0.0},
        {"completed": 12, "withheld": 8, "before_withheld": 0.0},
        {"withheld": 19},
        {"completed": 1, "withheld": 19},
        {"withheld": 40, "before_withheld": 0.95},
        {"withheld": 60, "before_withheld": 0.99},
        {"completed": 6, "spent_ms": (299.0,) * 6, "before_ms": 100.0},
        {"completed": 4, "spent_ms": (900.0,) * 4, "before_ms": 100.0},
        {"completed": 6, "spent_ms": (900.0,) * 6},
        {"completed": 6, "spent_ms": (15.0,) * 6, "before_ms": 1.0},
        {"completed": 6, "spent_ms": (100.0, 100.0, 100.0, 100.0, 9000.0, 9000.0), "before_ms": 100.0},
    ],
)
def test_it_goes_on(figures: dict[str, Any]) -> None:
    assert verdict(**figures)[0] == "goes on"


@pytest.mark.parametrize(
    "figures",
    [
        {"completed": 20},
        {"completed": 20, "failed": 1},
        {"completed": 25, "withheld": 24, "before_withheld": 0.0},
        {"completed": 20, "spent_ms": (299.0,) * 20, "before_ms": 100.0},
    ],
)
def test_it_ends_well(figures: dict[str, Any]) -> None:
    assert verdict(**figures) == ("ends well", "", "")


@pytest.mark.parametrize(
    ("figures", "code", "why"),
    [
        (
            {"failed": 2, "last": "task.failed, so it is"},
            "slots.failures",
            "on probation it had 2 failed results, and 1 may be (the last: task.failed, so it is)",
        ),
        (
            {"failed": 1, "deaths": 1},
            "slots.failures",
            "on probation it had 1 failed results and 1 deaths of its process, and 1 may be",
        ),
        ({"completed": 20, "failed": 2}, "slots.failures", "on probation it had 2 failed results, and 1 may be"),
        (
            {"completed": 5, "spent_ms": (301.0,) * 5, "before_ms": 100.0},
            "slots.slow",
            "an image takes 301 ms, and took 100 ms before: over 3 times as long",
        ),
        (
            {"withheld": 20, "before_withheld": 0.1},
            "slots.withheld",
            "it made no statement on 20 of 20 images, and before on 10%",
        ),
        (
            {"withheld": 20, "before_withheld": 0.1, "silent": "dicom.bad-value, no window"},
            "slots.withheld",
            "it made no statement on 20 of 20 images (the last: dicom.bad-value, no window), and before on 10%",
        ),
        (
            {"withheld": 19, "failed": 1, "silent": "dicom.bad-value, no window"},
            "slots.withheld",
            "of 20 images it completed none (the last: dicom.bad-value, no window)",
        ),
        ({"withheld": 20}, "slots.withheld", "of 20 images it completed none"),
        ({"withheld": 20, "before_withheld": 0.7}, "slots.withheld", "of 20 images it completed none"),
    ],
)
def test_it_ends_badly_and_says_by_which_figure(figures: dict[str, Any], code: str, why: str) -> None:
    assert verdict(**figures) == ("ends badly", code, why)


@pytest.mark.parametrize(
    ("code", "is_usual", "kind"),
    [
        ("transform.not-applicable", False, "failed"),
        ("transform.failed", False, "failed"),
        ("task.no-spacing", False, "failed"),
        ("transform.not-applicable", True, "withheld"),
        ("tensor.not-finite", True, "failed"),
        ("task.output", False, "failed"),
        ("dicom.bad-value", False, "withheld"),
        ("pixels.short", False, "withheld"),
        ("input.no-frames", False, "withheld"),
        ("job.interrupted", False, ""),
        ("spool.gone", False, ""),
    ],
)
def test_whose_a_failed_result_is(code: str, is_usual: bool, kind: str) -> None:
    result = SimpleNamespace(outcome=Outcome.FAILED, reason=Failure(code=code, message="so it is"))
    assert kind_of(result, lambda asked: is_usual and asked == code) == kind  # type: ignore[arg-type]


def test_what_made_no_statement_or_one() -> None:
    for outcome in Outcome:
        kind = kind_of(SimpleNamespace(outcome=outcome, reason=None), lambda code: False)  # type: ignore[arg-type]
        wanted = {Outcome.COMPLETED: "completed", Outcome.FAILED: "failed"}.get(outcome, "withheld")
        assert kind == wanted


@pytest.mark.parametrize("outcome", [Outcome.NOT_APPLICABLE, Outcome.FAILED])
@pytest.mark.parametrize("code", ["requires.not-met", "requires.no-statement", "requires.failed", "requires.no-answer"])
def test_an_image_that_another_deployment_kept_from_it_says_nothing_of_a_bundle(outcome: Outcome, code: str) -> None:
    result = SimpleNamespace(outcome=outcome, reason=Failure(code=code, message="so it is"))
    assert kind_of(result, lambda code: False) == ""  # type: ignore[arg-type]


def test_since_when_what_runs_stands_and_what_ran_before_it() -> None:
    kinds = ("adopted", "installed", "activated", "rolled-back", "abandoned")
    history = tuple(Move(sequence=n, at=f"2026-01-01T00:00:0{n}Z", move=kind) for n, kind in enumerate(kinds))
    slots = Slots(history=history)
    assert (stands_since(slots) - stands_since(slots, back=2), stands_since(slots, back=4)) == (1.0, 0.0)
    assert stands_since(Slots()) == 0.0


@pytest.mark.parametrize(
    ("cause", "how", "own"),
    [
        ("crashed", "signal-SIGABRT", True),
        ("crashed", "exit-1", True),
        ("deadline", "deadline", True),
        ("memory", "memory", True),
        ("silent", "silent", True),
        ("crashed", "exit-70", False),
        ("crashed", "exit-78", False),
        ("interrupted", "signal-SIGKILL", False),
        ("ended", "exit-0", False),
    ],
)
def test_whose_the_death_of_a_rehearsal_is(cause: Any, how: str, own: bool) -> None:
    assert is_its_own(Death(cause=cause, how=how)) is own


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        ({"active": "a", "b": {"digest": NEW, "stage": "installed"}}, NEW),
        ({"active": "b", "a": {"digest": OLD, "stage": "installed"}}, OLD),
        ({"active": "a", "b": {"digest": NEW, "stage": "good"}}, ""),
        ({"active": "a", "b": {"digest": NEW, "stage": "pending"}}, ""),
        ({"active": None, "a": {"digest": NEW, "stage": "installed"}}, ""),
        ({"active": "a", "b": None}, ""),
        ({"active": ["a"]}, ""),
        ([], ""),
        (None, ""),
    ],
)
def test_what_the_supervisor_reads_of_the_state(tmp_path: Path, body: Any, digest: str) -> None:
    path = tmp_path / "slots.json"
    path.write_text(json.dumps(body))
    assert waiting(path) == digest
    path.write_bytes(path.read_bytes()[:7])
    assert waiting(path) == ""
    path.unlink()
    assert waiting(path) == ""


# --- the spool ------------------------------------------------------------------------------------


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


Admit = Callable[..., int]


@pytest.fixture
def admit(spool: Spool) -> Admit:
    """An image of a series into the spool; its job's number."""

    def admitted(series: str, deployment: str = "guard") -> int:
        path = spool.tmp / "image.dcm"
        phantom = write_instance(path, np.zeros((8, 8), np.uint8), attributes={"SeriesInstanceUID": series})
        content = ContentDigest.of_file(path).result
        spool.admit(phantom.instance, path, content=content, deployments=(deployment,), source="test")
        with spool.db.read() as db:
            return int(db.execute("SELECT MAX(id) FROM jobs").fetchone()[0])

    return admitted


def end(spool: Spool, job: int, outcome: str = "completed", at: str = "unixepoch()") -> None:
    with spool.db.write() as db:
        db.execute(f"UPDATE jobs SET state = 'done', outcome = ?, finished_at = {at} WHERE id = ?", (outcome, job))


def test_a_series_that_has_begun_and_still_waits(spool: Spool, admit: Admit) -> None:
    first = admit("1.2.3")
    assert not spool.is_mid_series("guard", 60.0), "nothing of it has ended"
    end(spool, first)
    assert not spool.is_mid_series("guard", 60.0), "nothing of it waits"
    admit("1.2.4")
    admit("1.2.3", "other")
    assert not spool.is_mid_series("guard", 60.0), "another series waits, and another deployment"
    second = admit("1.2.3")
    assert spool.is_mid_series("guard", 60.0)
    end(spool, first, at="unixepoch() - 100")
    assert not spool.is_mid_series("guard", 60.0), "that was long ago"
    end(spool, first)
    with spool.db.write() as db:
        db.execute(
            "UPDATE instances SET ref = 'no json' WHERE id = (SELECT instance FROM jobs WHERE id = ?)", (second,)
        )
    assert not spool.is_mid_series("guard", 60.0), "and a damaged row stops nothing"


def test_how_much_was_withheld_lately(spool: Spool, admit: Admit) -> None:
    assert spool.share_withheld("guard") == (0.0, 0)
    for number, outcome in enumerate(("completed", "failed", "not-applicable", "completed")):
        end(spool, admit(f"1.2.{number}"), outcome)
    assert spool.share_withheld("guard") == (0.5, 4)
    end(spool, admit("1.2.9"), "failed", at="1000.5")
    end(spool, admit("1.2.10"), "completed", at="1002")
    assert spool.share_withheld("guard", since=1000) == (0.4, 5), (
        "what ended in the second of the switch may be either's"
    )


def test_what_stood_before_may_have_failed_with_the_same_code(spool: Spool, admit: Admit) -> None:
    job = admit("1.2.1")
    end(spool, job, "failed", at="1500")
    with spool.db.write() as db:
        db.execute("UPDATE jobs SET code = 'transform.not-applicable' WHERE id = ?", (job,))

    def asked(code: str = "transform.not-applicable", since: float = 1000.0, until: float = 2000.0) -> bool:
        return spool.has_failed_with("guard", code, since=since, until=until)

    assert asked()
    assert not asked(code="transform.failed")
    assert not asked(until=1500.0)
    assert not asked(since=1500.0)
    assert not spool.has_failed_with("other", "transform.not-applicable", since=0.0, until=2000.0)


def test_deaths_are_those_of_its_own_doing(spool: Spool) -> None:
    for cause in ("crashed", "crashed", "deadline", "memory", "silent", "interrupted", "ended"):
        spool.count("restarts", role="infer:guard", cause=cause)
    spool.count("restarts", role="infer:other", cause="crashed")
    assert spool.own_deaths("guard") == 5


def test_misdeeds_of_a_model_that_is_gone_are_forgotten_and_no_others(spool: Spool) -> None:
    def fault(deployment: str = "guard", plugin: str = "fakes") -> None:
        spool.fault(
            plugin=plugin, version="1", deployment=deployment, step="run", cause="signal-SIGABRT", quarantine_after=2
        )

    fault()
    last, _ = spool.last_fault("guard")
    fault()
    fault("other")
    fault("other")
    assert spool.last_fault("guard") != (last, "")
    assert {item.deployment for item in spool.quarantined()} == {"guard", "other"}
    assert spool.forgive_since("guard", last) == 1
    assert [item.deployment for item in spool.quarantined()] == ["other"]
    assert spool.faults(plugin="fakes", version="1", deployment="guard", step="run") == 1
    assert spool.forgive_since("guard", last) == 0


def test_each_move_is_told_once(spool: Spool) -> None:
    def told() -> list[str]:
        with spool.db.read() as db:
            rows = db.execute("SELECT body FROM messages ORDER BY sequence").fetchall()
        return [json.loads(row[0])["message"] for row in rows]

    moves = [Saying(sequence=n, kind="update.installed", message=str(n), facts={"n": n}) for n in (2, 3, 7)]
    spool.say_moves("guard", 3, moves[:2])
    spool.say_moves("guard", 7, moves)
    spool.say_moves("guard", 7, moves)
    assert told() == ["2", "3", "7"]
    spool.say_moves("guard", 2, moves[:1])
    assert told() == ["2", "3", "7", "2"], "slots that were made anew begin anew"
    spool.say_moves("other", 2, moves[:1])
    assert len(told()) == 5


def test_a_move_is_told_with_what_it_is_about() -> None:
    slot = Slot(digest=OLD, model="tiny", release=1, stage="good", since="now", stood=True)
    left = Slot(digest=NEW, model="tiny", release=2, stage="bad", since="now", stood=True)
    failed = Failed(model="tiny", release=2, code="slots.slow", why="too slow", since="now")
    history = (
        Move(sequence=4, at="then", move="begun", slot="b", digest=NEW),
        Move(sequence=5, at="then", move="installed", slot="b", digest=NEW),
        Move(sequence=9, at="now", move="rolled-back", slot="b", digest=NEW, why="too slow"),
    )
    slots = Slots(a=slot, b=left, active="a", bad={NEW: failed}, history=history)
    first, second = sayings(slots, "guard")
    assert (first.kind, first.sequence, first.facts["code"]) == ("update.installed", 5, None)
    assert second.message.startswith("guard: tiny release 2 was left again")
    assert second.message.endswith(": too slow")
    wanted = {"deployment": "guard", "digest": NEW, "slot": "b", "at": "now", "code": "slots.slow", "runs": OLD}
    assert {name: second.facts[name] for name in wanted} == wanted
