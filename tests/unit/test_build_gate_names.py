"""Names in ``[gates]`` are the judge's own, or refused before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from edgeai.api import Case, ConfigError, EvaluationFailed, Judge, Judged, TaskRequest, TensorSpec
from edgeai_tasks import classify, detect, segment
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gate_names import check_metrics
from edgeai_workbench.gates import CEILINGS, FLOORS

WHY = "because a fall by so much changes nobody's treatment"
POINT = "sensitivity@specificity=0.9"


def _judge(spec: Any, shape: tuple[int, ...], **options: Any) -> Judge:
    outputs = (TensorSpec(name="y", dtype="float32", shape=(1, *shape)),)
    judge: Judge = spec.judge(TaskRequest(options=options, outputs=outputs))
    return judge


def _judges() -> Mapping[str, Judge]:
    return {
        "binary": _judge(classify.SPEC, (1,), labels=["no", "yes"], activation="sigmoid", mode="binary"),
        "pair": _judge(classify.SPEC, (2,), labels=["no", "yes"], activation="softmax", mode="multi-class"),
        "many": _judge(classify.SPEC, (3,), labels=["a", "b", "c"], activation="softmax", mode="multi-class"),
        "several": _judge(classify.SPEC, (3,), labels=["a", "b", "c"], activation="sigmoid", mode="multi-label"),
        "one": _judge(classify.SPEC, (1,), labels=["a"], activation="sigmoid", mode="multi-label"),
        "mask": _judge(segment.SPEC, (8, 8, 1), labels=["head"], activation="sigmoid"),
        "boxes": _judge(detect.SPEC, (8, 8, 5), labels=["head"], form="dense"),
        "head": _judge(segment.SPEC, (8, 8, 1), labels=["head"], activation="sigmoid", ellipse=True),
    }


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        *(
            (kind, {"floors": {"auc_roc": 0.9}, "ceilings": {"ece": 0.1}, "max_drop": {"f1": 0.1}})
            for kind in ("binary", "pair", "many", "several", "one")
        ),
        ("binary", {"floors": {POINT: 0.9}, "worst_floors": {POINT: 0.5}, "max_drop_own": {POINT: 0.1}}),
        ("pair", {"decision": {"margins": {POINT: 0.02, "specificity": 0.02}, "why": WHY}}),
        ("many", {"worst_floors": {"sensitivity": 0.5}, "shown_ceilings": {"brier": 0.2}}),
        ("many", {"floors": {f"b {POINT}": 0.5}, "max_drop": {"c specificity@sensitivity=0.8": 0.1}}),
        ("several", {"floors": {f"a {POINT}": 0.5}}),
        ("mask", {"floors": {"dice": 0.9}, "ceilings": {"hd95": 4.0}, "worst_floors": {"iou": 0.3}}),
        ("head", {"ceilings": {"circumference_error": 2.0}, "worst_ceilings": {"circumference_percent": 4.0}}),
        ("mask", {"min_agreement": 0.9}),
        ("boxes", {"floors": {"map50": 0.9, "recall@fppi=0.5": 0.9}, "ceilings": {"false_positives": 0.2}}),
    ],
)
def test_what_a_task_has_is_taken_without_a_sample(kind: str, bounds: dict[str, Any]) -> None:
    check_metrics(Gates.model_validate(bounds), _judges()[kind])


@pytest.mark.parametrize("gate", [*FLOORS, *CEILINGS, "max_drop", "max_drop_own"])
@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("binary", "auc", "no metric auc; did you mean 'auc_"),
        ("binary", "sensitivty", "did you mean 'sensitivity'"),
        ("binary", "sensitivity@specificity=1.5", "since 1.5 is no value of specificity"),
        ("pair", "specificity@sensitivity=high", "since high is no value of sensitivity"),
        ("binary", "sensitivty@specificity=0.9", "did you mean 'sensitivity@specificity=0.9'"),
        ("binary", "dice", "no metric dice"),
        ("many", POINT, f"no metric {POINT}"),
        ("many", f"d {POINT}", f"no metric d {POINT}"),
        ("many", "b sensitivity@specificity=1.5", "since 1.5 is no value of specificity"),
        ("binary", f"yes {POINT}", f"no metric yes {POINT}"),
        ("mask", "dise", "did you mean 'dice'"),
        ("mask", "circumference_error", "no metric circumference_error"),
        ("head", "circumference_eror", "did you mean 'circumference_error'"),
    ],
)
def test_what_it_lacks_is_named_with_what_may_be_meant(gate: str, kind: str, name: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_metrics(Gates.model_validate({gate: {name: 0.5}}), _judges()[kind])
    assert caught.value.code == "config.card-metric-unknown"
    assert str(caught.value).startswith(f"[gates] {gate}: ")
    assert says in str(caught.value)
    assert ("dice" if kind in ("mask", "head") else "auc_roc") in str(caught.value.remedy)


def test_a_margin_of_the_decision_is_held_too() -> None:
    gates = Gates.model_validate({"decision": {"margins": {"sensitivity@specifity=0.9": 0.1}, "why": WHY}})
    with pytest.raises(ConfigError, match=r"did you mean 'sensitivity@specificity=0.9'"):
        check_metrics(gates, _judges()["binary"])


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [("mask", {"floors": {"hd95": 1.0}}), ("binary", {"worst_ceilings": {POINT: 0.9}})],
)
def test_a_bound_that_the_bad_ones_would_pass_is_refused_as_early(kind: str, bounds: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_metrics(Gates.model_validate(bounds), _judges()[kind])
    assert caught.value.code == "config.card-gate-direction"


class _NeedsCases(Judge):
    columns, main = (), ()

    def judged(self, cases: Sequence[Case], answers: Sequence[Any]) -> Judged:
        raise EvaluationFailed("no case", code="evaluate.shapes")


def test_a_judge_that_names_nothing_without_cases_is_asked_later() -> None:
    check_metrics(Gates.model_validate({"floors": {"auc": 0.5}}), _NeedsCases())  # type: ignore[abstract]
