"""A deployment that requires another's finding: what it may ask for, what becomes of each image, in whatever order."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api import ConfigError, Finding, Outcome
from edgeai.config import Deployment, asked_of, load_config
from edgeai.roles.requirements import Ends, Requirements, Runs, is_unasked, judge, stated_by
from edgeai.spool import End, Job, Spool
from edgeai.spool.again import Selection
from edgeai.spool.ledger import read_ledger
from edgeai.testing.examples import instance_ref
from edgeai.testing.spools import arrive, result_of

VIEW = {"name": "view", "bundle": "view.edgeai"}
LUNG = {"name": "lung", "bundle": "lung.edgeai", "requires": {"view": "class:frontal >= 0.9"}}
BOTH = ("view", "lung")


def deployment(**changes: Any) -> Deployment:
    return Deployment.model_validate({**LUNG, **changes})


def of_view(present: bool = True, probability: float | None = 0.95, **changes: Any) -> Finding:
    return Finding(kind="class", label="frontal", present=present, probability=probability, **changes)


def ended(*findings: Finding) -> dict[str, End]:
    """The other completed with these."""
    job = Job(
        id=1,
        deployment="view",
        path=Path(),
        instance=instance_ref(),
        owner="",
        received_at=0.0,
        claimed_at=0.0,
    )
    told = stated_by(result_of(job, findings=findings), {"class:frontal"})
    assert told is not None
    return {"view": End(is_over=True, outcome="completed", stated=json.loads(told))}


def verdict(ends: dict[str, End], waited_s: float = 0.0, **changes: Any) -> Runs | Ends | None:
    return judge(deployment(**changes).requirements, ends, waited_s=waited_s, within_s=10.0)


# --- what a profile may ask for -----------------------------------------------------------------------


def profile(folder: Path, *requires: str) -> Path:
    """Deployments a, b, c..., each with this line."""
    path = folder / "profile.toml"
    tables = [
        f'[[deployments]]\nname = "{name}"\nbundle = "x.edgeai"\n{line}\n'
        for name, line in zip("abcd", requires, strict=False)
    ]
    path.write_text('schema = 1\n[device]\nid = "cart"\nsite = "lab"\n' + "".join(tables))
    return path


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (['requires = { a = "class:x" }'], '"a" requires "a": it would wait for itself'),
        (['requires = { b = "class:x" }', 'requires = { a = "class:x" }'], '"a" requires "b", which requires "a"'),
        (
            ['requires = { b = "class:x" }', 'requires = { c = "class:x" }', 'requires = { a = "class:x" }'],
            '"c" requires "a", which requires "b", which requires "c"',
        ),
        (['requires = { view = "class:x" }', ""], 'there is no deployment "view"'),
        (['requires = { b = "frontal" }', ""], "give kind:label"),
        (['requires = { b = "class:" }', ""], "give kind:label"),
        (['requires = { b = "class:frontal >= 90" }', ""], "give kind:label"),
        (['requires = { b = "class:frontal > 0.9" }', ""], "give kind:label"),
        (["requires = { b = 0.9 }", ""], "give text in quotes"),
        (['requires = "b"', ""], "it is a table"),
        (["requires_within_s = 0", ""], "use more than 0"),
    ],
)
def test_what_could_never_be_met_is_refused_when_the_profile_is_read(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(profile(tmp_path, *lines))
    assert refused.value.code == "config.invalid"
    assert words in str(refused.value)
    assert "deployments[0].requires" in str(refused.value)


def test_what_is_asked_of_whom(tmp_path: Path) -> None:
    lines = [
        "",
        'requires = { a = "class:frontal >= 0.9" }',
        'requires = { a = "agreement:modality", b = "class:x y" }',
    ]
    config = load_config(profile(tmp_path, *lines))
    assert [str(each) for item in config.deployments for each in item.requirements] == [
        "class:frontal >= 0.9 of a",
        "agreement:modality of a",
        "class:x y of b",
    ]
    assert asked_of("a", config.deployments) == {"class:frontal", "agreement:modality"}
    assert asked_of("c", config.deployments) == frozenset()
    assert config.deployments[0].requirements == ()


# --- what becomes of an image -------------------------------------------------------------------------


@pytest.mark.parametrize("findings", [(of_view(),), (of_view(probability=0.9),), (of_view(), of_view(False, 0.1))])
def test_it_runs_once_the_other_has_said_so(findings: tuple[Finding, ...]) -> None:
    runs = verdict(ended(*findings))
    assert isinstance(runs, Runs)
    [figure] = runs.figures
    assert (figure.check, figure.name, figure.threshold, figure.withheld) == (
        "requires",
        "view class:frontal",
        0.9,
        False,
    )
    assert figure.value == findings[0].probability


NOT_MET = [
    (ended(of_view(probability=0.89)), "requires.not-met", "states it (0.89)", 0.89),
    (ended(of_view(False, 0.2)), "requires.not-met", "denies it (0.2)", 0.2),
    (ended(of_view(probability=None)), "requires.not-met", "states it", 1.0),
    (ended(Finding(kind="class", label="lateral", present=True)), "requires.not-met", "does not state it", 0.0),
    ({}, "requires.no-statement", "was not asked", 0.0),
    (
        {"view": End(is_over=True, outcome="not-applicable", code="guard.blank")},
        "requires.no-statement",
        "guard.blank",
        0,
    ),
    (
        {"view": End(is_over=True, outcome="indeterminate", code="guard.abstains")},
        "requires.no-statement",
        "abstains",
        0,
    ),
    ({"view": End(is_over=True, outcome="failed", code="job.crashed")}, "requires.failed", "job.crashed", 0.0),
    ({"view": End(is_over=True, outcome="completed")}, "requires.no-answer", "before the profile asked", 0.0),
    ({"view": End(is_over=True, outcome="completed", stated={"class:x": None})}, "requires.no-answer", "before", 0.0),
]


@pytest.mark.parametrize(("ends", "code", "words", "value"), NOT_MET)
def test_else_it_ends_with_a_code_and_what_the_other_said(
    ends: dict[str, End], code: str, words: str, value: float
) -> None:
    end = verdict(ends)
    assert isinstance(end, Ends)
    assert (end.reason.code, end.figures[0].value, end.figures[0].withheld) == (code, value, True)
    assert words in end.reason.message
    assert "class:frontal >= 0.9 of view is required" in end.reason.message
    assert end.reason.remedy
    of_the_image = code in ("requires.not-met", "requires.no-statement")
    assert end.outcome is (Outcome.NOT_APPLICABLE if of_the_image else Outcome.FAILED)


def test_it_waits_for_all_of_them_so_that_it_does_not_matter_who_is_first() -> None:
    both = {"view": "class:frontal", "guard": "agreement:modality"}
    at_it, against = End(is_over=False), End(is_over=True, outcome="failed", code="job.crashed")
    assert verdict({"view": against, "guard": at_it}, requires=both) is None
    denied = End(is_over=True, outcome="completed", stated={"agreement:modality": {"present": False}})
    for requires in (both, dict(reversed(both.items()))):
        end = verdict({"view": against, "guard": denied}, requires=requires)
        assert isinstance(end, Ends)
        assert (end.outcome, end.reason.code) == (Outcome.NOT_APPLICABLE, "requires.not-met")
        assert len(end.figures) == 2


def test_it_waits_no_longer_than_the_profile_says() -> None:
    at_it = {"view": End(is_over=False)}
    assert verdict(at_it, waited_s=9.9) is None
    end = verdict(at_it, waited_s=10.0)
    assert isinstance(end, Ends)
    assert (end.outcome, end.reason.code) == (Outcome.FAILED, "requires.no-answer")
    assert "within 10 s" in end.reason.message


def test_of_several_findings_of_a_label_the_one_about_the_image_counts() -> None:
    on_frames = of_view(True, 0.99, frame_number=1)
    assert isinstance(verdict(ended(on_frames)), Runs)
    assert isinstance(verdict(ended(on_frames, of_view(False, 0.3))), Ends)


# --- in the spool ---------------------------------------------------------------------------------------


class Cart:
    """Two deployments on one spool, worked by hand."""

    def __init__(self, spool: Spool, within_s: float = 3600.0, **changes: Any) -> None:
        self.spool = spool
        self.deployment = deployment(requires_within_s=within_s, **changes)
        self.ends: list[tuple[str, str]] = []
        self.events: list[str] = []
        self.begin()

    def begin(self) -> None:
        """As a process of ``lung`` starts, whatever the last one was at."""
        self.spool.release("lung")
        self.desk = Requirements(self.spool, self.deployment, "me", lambda: None, self.event)
        self.desk.begin()

    def event(self, kind: str, message: str, **facts: object) -> None:
        self.events.append(kind)

    def view(self, outcome: Outcome = Outcome.COMPLETED, present: bool = True) -> bool:
        """The other deployment's oldest job ends."""
        job = self.spool.claim("view", "me")
        if job is None:
            return False
        findings = (of_view(present),) if outcome is Outcome.COMPLETED else ()
        result = result_of(job, outcome, findings=findings)
        return self.spool.finish(job, result, b"{}", stated=stated_by(result, {"class:frontal"}))

    def look(self) -> bool:
        kept = self.desk.look()
        if kept is None:
            return False
        job, end = kept
        self.ends.append((job.instance.sop_instance_uid, end.reason.code))
        result = result_of(job, end.outcome, end.reason.code)
        assert is_unasked(result)
        return self.spool.finish(job, result, b"{}")

    def run(self) -> bool:
        job = self.spool.claim("lung", "me", requires=True)
        if job is None:
            return False
        self.ends.append((job.instance.sop_instance_uid, "" if self.desk.ended(job) else "no figures"))
        return self.spool.finish(job, result_of(job), b"{}")

    def work(self) -> list[tuple[str, str]]:
        """Until there is nothing to do; the ends since the last time."""
        while self.look() or self.run():
            pass
        last, self.ends = self.ends, []
        return last

    def waiting(self) -> tuple[int, int]:
        entry = next(each for each in read_ledger(self.spool.db).jobs if each.deployment == "lung")
        assert entry.missing == 0
        return entry.waiting, entry.awaiting


@pytest.fixture
def cart(open_spool: Callable[..., Spool]) -> Cart:
    return Cart(open_spool("a"))


def test_it_is_let_run_in_the_transaction_that_ends_the_other(cart: Cart) -> None:
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.work() == []
    assert cart.waiting() == (1, 1)
    assert cart.view()
    assert cart.waiting() == (1, 0)
    assert cart.work() == [("2.25.1", "")]
    assert cart.work() == []


def test_who_is_asked_after_the_other_has_ended_does_not_wait(cart: Cart) -> None:
    arrive(cart.spool, 1, deployments=("view",))
    assert cart.view()
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.work() == [("2.25.1", "")]


def test_one_that_is_not_for_the_other_ends_at_once(cart: Cart) -> None:
    arrive(cart.spool, 1, deployments=("lung",))
    assert cart.work() == [("2.25.1", "requires.no-statement")]


def test_both_are_done_again_when_what_failed_is_sent_again(cart: Cart) -> None:
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.view(Outcome.FAILED)
    assert cart.look()
    assert cart.ends.pop() == ("2.25.1", "requires.failed")
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.work() == []
    assert cart.view()
    assert cart.work() == [("2.25.1", "")]


def test_jobs_of_an_instance_are_put_back_in_one_transaction(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a deployment named before the one that it requires: else its role would look in between, and fail again."""
    monkeypatch.setattr("edgeai.spool.again._BATCH", 2)
    for number in range(1, 6):
        arrive(cart.spool, number, deployments=BOTH)
        assert cart.view(Outcome.FAILED)
    assert {code for _, code in cart.work()} == {"requires.failed"}
    numbers = [number for group in cart.spool.failed(Selection()) for number in group.numbers]
    write, ends, is_at_it = cart.spool.db.write, [], False

    @contextmanager
    def with_a_busy_role(**more: Any) -> Iterator[Any]:
        nonlocal is_at_it
        with write(**more) as db:
            yield db
        if not is_at_it:
            is_at_it = True
            ends.extend(cart.work())
            is_at_it = False

    monkeypatch.setattr(cart.spool.db, "write", with_a_busy_role)
    assert cart.spool.do_again(numbers) == 10
    assert ends == []
    monkeypatch.undo()
    while cart.view():
        pass
    assert {code for _, code in cart.work()} == {""}


def test_the_end_that_never_comes_is_not_waited_for(open_spool: Callable[..., Spool]) -> None:
    cart = Cart(open_spool("a"), within_s=1e-6)
    arrive(cart.spool, 1, deployments=BOTH)
    arrive(cart.spool, 2, deployments=BOTH)
    assert cart.work() == [("2.25.1", "requires.no-answer"), ("2.25.2", "requires.no-answer")]
    assert cart.events == ["deployment.unanswered"]  # and not one an image
    assert cart.view()
    assert cart.view()
    assert cart.work() == []
    assert cart.waiting() == (0, 0)
    entries = {item.deployment: item for item in read_ledger(cart.spool.db).jobs}
    assert (entries["lung"].finished, entries["view"].finished) == (2, 2)


def test_an_image_behind_many_others_is_waited_for(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other works through a study that came at once, each image in far less time than it may take."""
    clock = [0.0]
    monkeypatch.setattr("edgeai.roles.requirements.time", SimpleNamespace(monotonic=lambda: clock[0]))
    within_s = cart.deployment.requires_within_s
    for number in range(1, 9):
        arrive(cart.spool, number, deployments=BOTH)
    assert cart.work() == []
    for number in range(1, 7):
        clock[0] += within_s * 0.6
        assert cart.view()
        assert cart.work() == [(f"2.25.{number}", "")]
    clock[0] += within_s * 0.99
    assert cart.work() == []
    clock[0] += within_s * 0.02  # and now it has ended nothing for so long
    assert cart.work() == [("2.25.7", "requires.no-answer"), ("2.25.8", "requires.no-answer")]


def test_who_is_silent_is_not_waited_for_since_others_are_not(
    open_spool: Callable[..., Spool], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("edgeai.roles.requirements.time", SimpleNamespace(monotonic=lambda: clock[0]))
    cart = Cart(open_spool("a"), within_s=10.0, requires={"view": "class:frontal", "guard": "class:x"})
    for number in range(1, 4):
        arrive(cart.spool, number, deployments=(*BOTH, "guard"))
    for _ in range(3):
        assert cart.work() == []
        clock[0] += 3.0
        assert cart.view()
    assert cart.work() == []
    clock[0] += 1.1
    assert [code for _, code in cart.work()] == ["requires.no-answer"] * 3


def test_without_the_rule_what_waits_runs(cart: Cart) -> None:
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.work() == []
    assert cart.spool.claim("lung", "me") is not None  # as a profile that requires nothing has it


def test_a_selftest_is_not_kept_by_a_rule_about_patients(cart: Cart, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeai.roles.requirements.is_selftest", lambda instance: True)
    arrive(cart.spool, 1, deployments=BOTH)
    assert cart.work() == [("2.25.1", "no figures")]


@pytest.mark.parametrize("seed", range(12))
def test_each_image_ends_once_whatever_comes_first_and_dies_between(cart: Cart, seed: int) -> None:
    rng, sent = random.Random(seed), 0
    says: dict[str, str] = {}
    while sent < 20 or rng.random() < 0.9:
        act = rng.randrange(6)
        if act == 0 and sent < 20:
            sent += 1
            arrive(cart.spool, sent, deployments=BOTH)
        elif act == 1:
            outcome, present = rng.choice(list(Outcome)), rng.random() < 0.5
            number = len(says) + 1
            if cart.view(outcome, present):
                says[f"2.25.{number}"] = code_of(outcome, present)
        elif act == 2:
            cart.spool.claim("lung", "me", requires=True)  # and dies
            cart.begin()
        elif act == 3:
            if cart.desk.look() is not None:  # it is claimed, and dies before it writes the end
                cart.begin()
        elif act == 4:
            cart.look()
        else:
            cart.run()
    while len(says) < sent:
        assert cart.view()
        says[f"2.25.{len(says) + 1}"] = ""
    cart.begin()
    last = cart.work()
    assert len(last) == len(dict(last)) == sent
    assert dict(last) == says
    assert cart.waiting() == (0, 0)


def code_of(outcome: Outcome, present: bool) -> str:
    if outcome is Outcome.COMPLETED:
        return "" if present else "requires.not-met"
    return "requires.failed" if outcome is Outcome.FAILED else "requires.no-statement"
