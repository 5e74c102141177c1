"""How often what stands before a model keeps it from speaking: a rate, said where the cart is looked at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import StringIO
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeai.api import Outcome, Result
from edgeai.cli.status import _page
from edgeai.config import load_config
from edgeai.config.updates import Updates
from edgeai.health import read_health, status_body
from edgeai.health.withholding import Withholding
from edgeai.metrics import metrics_text
from edgeai.roles.probation import judge, kind_of
from edgeai.slots import Probation
from edgeai.spool import Lately, Spool, history
from edgeai.testing.gallery import withheld as refused
from edgeai.testing.spools import arrive, end

GUARD = "guard.blank"
NUMBERS = count(1)
Saying = tuple[str, str, Mapping[str, object]]


@pytest.fixture
def spool(open_spool: Callable[..., Spool]) -> Spool:
    return open_spool("a")


def finish(spool: Spool, outcome: Outcome, code: str = "", times: int = 1) -> None:
    for _ in range(times):
        arrive(spool, next(NUMBERS))
        end(spool, outcome, code)


def test_whatever_makes_no_statement_of_a_sound_image_counts(spool: Spool) -> None:
    finish(spool, Outcome.INDETERMINATE, "task.out-of-range", 3)
    finish(spool, Outcome.NOT_APPLICABLE, "acme.other-organ", 2)
    finish(spool, Outcome.NOT_APPLICABLE, "input.not-eligible", 4)
    finish(spool, Outcome.FAILED, "task.not-finite", 1)
    [lately] = spool.withheld_lately().values()
    assert str(lately) == "withheld 5 of the last 10, mostly task.out-of-range"


def test_the_last_fifty_are_counted_and_only_what_a_guard_withheld(spool: Spool) -> None:
    assert spool.withheld_lately() == {}
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 5)
    finish(spool, Outcome.COMPLETED, times=43)
    finish(spool, Outcome.NOT_APPLICABLE, "input.not-eligible", 2)
    finish(spool, Outcome.FAILED, "guard.never-a-failure")
    finish(spool, Outcome.INDETERMINATE, "guard.unsure")
    [lately] = spool.withheld_lately().values()
    assert lately == Lately(withheld=4, of=50, code=GUARD, ended=50)
    assert str(lately) == "withheld 4 of the last 50, mostly guard.blank"
    assert str(Lately(of=50)) == ""


def test_images_that_another_deployment_kept_from_the_model_are_counted_by_themselves(spool: Spool) -> None:
    finish(spool, Outcome.COMPLETED, times=10)
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 2)
    finish(spool, Outcome.NOT_APPLICABLE, "requires.not-met", 40)
    finish(spool, Outcome.FAILED, "requires.no-answer", 5)
    [lately] = spool.withheld_lately().values()
    assert lately == Lately(withheld=2, of=12, code=GUARD, unasked=45, ended=50)
    assert spool.share_withheld("guard") == (2 / 12, 12)  # nor do they count for or against what is on probation


def test_no_flood_of_those_elsewhere_hides_what_is_withheld_here(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As 400 images, and more, that another deployment was not asked about would have."""
    monkeypatch.setattr(history, "_LOOKED_AT", 20)
    monkeypatch.setattr(history, "_WALKED", 50)
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 12)
    for _ in range(25):
        arrive(spool, next(NUMBERS), deployments=("lung",))
        end(spool, Outcome.NOT_APPLICABLE, "requires.not-met", "lung")
    lately = spool.withheld_lately()
    assert lately["guard"] == Lately(withheld=12, of=12, code=GUARD, ended=12)
    assert (lately["lung"].of, lately["lung"].unasked, lately["lung"].ended) == (0, 25, 25)
    finish(spool, Outcome.COMPLETED, times=15)
    assert str(spool.withheld_lately()["guard"]) == "withheld 5 of the last 20, mostly guard.blank", "still bounded"


def test_it_is_said_once_until_it_was_little_meanwhile(spool: Spool) -> None:
    told: list[Saying] = []
    watch = Withholding(spool, lambda *saying: told.append(saying))
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 9)
    watch.look()
    assert told == [], "nine results are no rate"
    finish(spool, Outcome.COMPLETED, times=27)
    for _ in range(3):
        watch.look()
    [(kind, message, facts)] = told
    assert (kind, message) == ("deployment.withholding", "guard withheld 9 of the last 36, mostly guard.blank")
    assert facts == {"deployment": "guard", "withheld": 9, "of": 36, "code": GUARD}
    finish(spool, Outcome.COMPLETED, times=18)
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 10)
    watch.look()
    assert len(told) == 1, "a fifth again, and it was never little meanwhile"
    finish(spool, Outcome.COMPLETED, times=50)
    watch.look()
    finish(spool, Outcome.NOT_APPLICABLE, GUARD, 10)
    watch.look()
    assert len(told) == 2


def test_health_status_and_metrics_say_it_and_the_retained_status_is_not_new_with_each_image(tmp_path: Path) -> None:
    profile = tmp_path / "profile.toml"
    profile.write_text(
        '[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n[jsonl]\npath = "r.jsonl"\n'
        '[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\n'
    )
    config = load_config(profile)
    spool = Spool.of(config)
    try:
        spool.beat("infer:guard", "ready")
        finish(spool, Outcome.COMPLETED, times=12)
        before = status_body(config, read_health(spool, config), "then")
        assert "withholding" not in str(before)
        finish(spool, Outcome.NOT_APPLICABLE, GUARD, 4)
        health = read_health(spool, config)
        [warning] = [item for item in health.warnings if item.code == "deployment.withholding"]
        assert (warning.about, warning.facts) == ("guard", {"withheld": 4, "of": 16})
        assert health.as_dict()["lately"]["guard"] == {
            "withheld": 4,
            "of": 16,
            "code": GUARD,
            "unasked": 0,
            "ended": 16,
        }
        finish(spool, Outcome.NOT_APPLICABLE, GUARD)
        bodies = [status_body(config, each, "then")["deployments"] for each in (health, read_health(spool, config))]
        assert bodies[0] == bodies[1] == health.as_dict()["deployments"]
        page = StringIO()
        Console(file=page, width=100).print(_page(config, read_health(spool, config), []))
        assert "guard: withheld 5 of the last 17, mostly guard.blank" in page.getvalue()
        assert 'edgeai_withheld_ratio{deployment="guard"} 0.29' in metrics_text(spool, config)
    finally:
        spool.close()


def test_a_new_model_that_withholds_everything_goes_back() -> None:
    result: Result = refused(Outcome.NOT_APPLICABLE, "guard.smooth", "no texture", engine=None, frames_run=0)
    kinds = [kind_of(result, is_usual=lambda code: False) for _ in range(20)]
    assert set(kinds) == {"withheld"}
    counts: dict[str, Any] = {"since": "t", "needed": 20, "withheld": len(kinds), "before_withheld": 0.02}
    verdict, code, why = judge(Probation(**counts), Updates(), deaths=0, last="", silent="guard.smooth, no texture")
    assert (verdict, code) == ("ends badly", "slots.withheld")
    assert "20 of 20 images (the last: guard.smooth, no texture)" in why
