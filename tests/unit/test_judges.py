"""Judges as the host has them: what a plugin's does wrong has the plugin's name, and a copy of ours is no worse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeai.api import (
    Case,
    Column,
    ConfigError,
    CrossTable,
    Figure,
    FigureUndefined,
    FrameContext,
    Judge,
    Judged,
    PluginFault,
    Share,
    TaskRequest,
    TaskSpec,
    TensorSpec,
)
from edgeai.bundle.manifest import ArtifactDecl, TaskUse
from edgeai.hosting import PluginInfo, hosted_spec
from edgeai.plugins import Registry, load_from
from edgeai.testing.distributions import write_fake_distribution, write_fakes
from edgeai.testing.examples import example_frame, instance_ref
from edgeai_tasks.classify.figures import operating_point
from edgeai_tasks.classify.judge import Labels, Stated
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.gates import Measured, judge
from edgeai_workbench.judges import judge_of

INFO = PluginInfo("acme", "acme", "acme-tasks", "7")
REQUEST = TaskRequest(options={}, outputs=(TensorSpec(name="out", dtype="float32", shape=(1, 1)),))


class Fine(Judge):
    columns = (Column(name="value", help="the value"),)
    main = ("off",)

    def read(self, cells: Any) -> Any:
        return 1 / 0

    def digest(self, truth: Any) -> bytes:
        return b""

    def answer(self, findings: Any, outputs: Any, context: Any) -> Any:
        return 0.0

    def alike(self, one: Any, other: Any) -> bool:
        return True

    def judged(self, cases: Any, answers: Any) -> Judged:
        return Judged(figures=(_figure("off"),))


def _figure(name: str, value: float = 1.0, better: str = "lower") -> Figure:
    return Figure(name=name, value=lambda: value, over=lambda weights: np.full(len(weights), value), better=better)


def _share(hits: list[float], among: list[float]) -> Share:
    return Share(np.array(hits), np.array(among))


def _built(made: Any) -> Judge:
    spec = TaskSpec(name="acme", build=lambda request: None, judge=lambda request: made)  # type: ignore[arg-type,return-value]
    hosted = hosted_spec(INFO, "task", spec)
    assert hosted.judge is not None
    return hosted.judge(REQUEST)


def test_what_a_judge_raises_has_its_plugins_name() -> None:
    with pytest.raises(PluginFault, match=r"acme-tasks 7.*task 'acme': judge: read: ZeroDivisionError") as caught:
        _built(Fine()).read(None)  # type: ignore[arg-type]
    assert caught.value.code == "plugin.fault"


def _with(**changes: Any) -> Any:
    made = Fine()
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (object(), "has no read, digest, answer, judged, alike"),
        (_with(columns=()), "columns"),
        (_with(columns=("value",)), "columns"),
        (_with(objective="mse"), "no Objective"),
    ],
)
def test_what_is_no_judge_is_refused_when_it_is_built(made: Any, says: str) -> None:
    with pytest.raises(PluginFault, match=says) as caught:
        _built(made)
    assert caught.value.code == "plugin.contract"


@pytest.mark.parametrize(
    ("judged", "says"),
    [
        (None, "did not return a Judged"),
        (Judged(figures=()), "has no figure"),
        (Judged(figures=(_figure("off"), _figure("off"))), "one twice: off, off"),
        (Judged(figures=(_figure("off", better="near zero"),)), "is better 'near zero'"),
        (Judged(figures=(_figure("off"),), by_part={"left": {"off": "much"}}), "figures of left that are no numbers"),  # type: ignore[dict-item]
        (
            Judged(figures=(_figure("off"),), confusion=CrossTable(true=("a", "b"), stated=("a",), counts=((1,), ()))),
            "not true by stated",
        ),
        (Judged(figures=(replace(_figure("off"), parts=(_share([2.0], [1.0]),)),)), "neither hits among"),
        (Judged(figures=(replace(_figure("off"), parts=(_share([1.0, 1.0], [1.0]),)),)), "neither hits among"),
        (Judged(figures=(replace(_figure("off"), parts=("all",)),)), "neither hits among"),  # type: ignore[arg-type]
    ],
)
def test_figures_that_break_the_contract_are_the_plugins(judged: Any, says: str) -> None:
    with pytest.raises(PluginFault, match=says):
        _built(_with(judged=lambda cases, answers: judged)).judged([], [])


@pytest.mark.parametrize(
    ("figure", "says"),
    [
        (replace(_figure("off"), value=lambda: "0.9"), "'0.9', which is no number"),  # type: ignore[arg-type,return-value]
        (replace(_figure("off"), over=lambda weights: weights), r"gives \(1, 4\) of float64 for weights of \(1, 4\)"),
        (replace(_figure("off"), over=lambda weights: np.full(len(weights), "x")), r"gives \(1,\) of <U1"),
        (
            replace(_figure("off", 0.99), over=lambda weights: np.full(len(weights), 0.2)),
            "is 0.99, and what it is over all samples, each once is 0.2",
        ),
        (replace(_figure("off", 0.4), parts=(_share([1.0] * 4, [1.0] * 4),)), "is 0.4, and the mean of its parts is 1"),
    ],
)
def test_a_figure_that_contradicts_itself_is_never_believed(figure: Figure, says: str) -> None:
    (hosted,) = _built(_with(judged=lambda cases, answers: Judged(figures=(figure,)))).judged([], []).figures
    with pytest.raises(PluginFault, match=says) as caught:
        hosted.over(np.ones((3, 4)) * 2) if hosted.value() else None
    assert caught.value.code == "plugin.contract"


def test_a_figure_that_one_class_leaves_undefined_may_be_so_in_both_ways() -> None:
    figure = replace(_figure("off", float("nan")), over=lambda weights: np.full(len(weights), np.nan))
    (hosted,) = _built(_with(judged=lambda cases, answers: Judged(figures=(figure,)))).judged([], []).figures
    assert np.isnan(hosted.over(np.ones((3, 4)))).all()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stratum": lambda case: [1]}, "not hashable"),
        ({"subgroups": lambda case: {"size": 3}}, "both text"),
        ({"digest": lambda truth: "one"}, "returned str, not bytes"),
    ],
)
def test_what_a_judge_says_of_a_sample_is_of_the_type_that_it_promises(changes: Any, says: str) -> None:
    (method,) = changes
    with pytest.raises(PluginFault, match=says) as caught:
        getattr(_built(_with(**changes)), method)(None)
    assert caught.value.code == "plugin.contract"


def test_a_figure_that_is_no_number_is_undefined_and_never_a_value() -> None:
    judged = Judged(figures=(_figure("off", float("nan")),))
    (figure,) = _built(_with(judged=lambda cases, answers: judged)).judged([], []).figures
    with pytest.raises(FigureUndefined, match="off is not a number"):
        figure.value()


def test_drawings_that_are_none_are_the_plugins() -> None:
    with pytest.raises(PluginFault, match="sequence of Drawing"):
        _built(_with(pictures=lambda cases, answers, ships: ["a curve"])).pictures([], {}, [])


def test_a_task_of_a_unit_that_is_not_known_does_not_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_unit.py").write_text(
        "from edgeai.api import *\nEDGEAI_API = (1, 2)\n\n@hookimpl\ndef edgeai_tasks():\n"
        "    return (TaskSpec(name='acme', build=print, unit='galaxy'),)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginFault, match=r"acme.unit 'galaxy' is not one of frame"):
        load_from(PluginInfo("acme", "acme_unit", "", ""))


def test_a_task_without_a_judge_is_said_to_have_none(fakes: Registry) -> None:
    with pytest.raises(ConfigError, match="brings no judge") as caught:
        judge_of(fakes, TaskUse(name="fake-classify"), REQUEST.outputs)
    assert caught.value.code == "build.no-judge"


# --- operating points and gates -----------------------------------------------------------------


@pytest.mark.parametrize("wanted", ["sensitivity", "specificity"])
@pytest.mark.parametrize("least", [0.0, 0.5, 0.9, 1.0])
def test_an_operating_point_is_the_best_of_all_thresholds(wanted: str, least: float) -> None:
    rng = np.random.default_rng(4)
    truth = rng.random(60) < 0.4
    p = np.round(np.clip(truth * 0.3 + rng.random(60) * 0.7, 0, 1), 1)  # with ties
    reached = []
    for threshold in (*np.unique(p), 2.0):
        stated = p >= threshold
        sensitivity, specificity = stated[truth].mean(), (~stated[~truth]).mean()
        got, held = (sensitivity, specificity) if wanted == "sensitivity" else (specificity, sensitivity)
        reached += [got] if held >= least - 1e-9 else []
    figure = operating_point("point", truth, p, wanted, least)
    assert figure.value() == pytest.approx(max(reached))
    counts = rng.integers(1, 4, 60)
    again = operating_point("point", np.repeat(truth, counts), np.repeat(p, counts), wanted, least)
    assert figure.over(counts[np.newaxis].astype(float))[0] == pytest.approx(again.value())
    with pytest.raises(FigureUndefined):
        operating_point("point", np.ones(5, bool), np.ones(5), wanted, least).value()


@pytest.mark.parametrize("name", ["sensitivity", "sensitivity@specificity", "sensitivity@specificity=2", "f1@f1=0.5"])
def test_what_is_no_operating_point_is_none(name: str) -> None:
    spec = Registry.of(["classify"]).tasks["classify"]
    assert spec.judge is not None
    options = {"labels": ["no", "yes"], "mode": "binary"}
    built = spec.judge(replace(REQUEST, options=options))
    context = FrameContext(frame=example_frame(), instance=instance_ref())
    cases = [
        Case(id=str(n), truth=Labels((("no", "yes")[n % 2],)), context=context, image=lambda: context.frame.pixels)
        for n in range(4)
    ]
    answers = [Stated(("no", "yes"), (p < 0.5, p >= 0.5), (1 - p, p)) for p in (0.1, 0.9, 0.6, 0.7)]
    judged = built.judged(cases, answers)
    assert judged.point(name) is None
    known = judged.point("sensitivity@specificity=1")
    assert known is not None
    assert known.value() == 1.0


def test_the_operating_point_of_one_label_of_several_takes_the_others_together() -> None:
    spec = Registry.of(["classify"]).tasks["classify"]
    assert spec.judge is not None
    outputs = (replace(REQUEST.outputs[0], shape=(1, 3)),)
    built = spec.judge(replace(REQUEST, options={"labels": ["a", "b c", "d"], "mode": "multi-class"}, outputs=outputs))
    context = FrameContext(frame=example_frame(), instance=instance_ref())
    truth, of_second = ("a", "a", "d", "d", "b c", "b c"), (0.1, 0.5, 0.2, 0.3, 0.4, 0.8)
    cases = [
        Case(id=str(n), truth=Labels((name,)), context=context, image=lambda: context.frame.pixels)
        for n, name in enumerate(truth)
    ]
    answers = [Stated(("a", "b c", "d"), (p < 0.5, p >= 0.5, False), ((1 - p) / 2, p, (1 - p) / 2)) for p in of_second]
    judged = built.judged(cases, answers)
    at_all, at_most = (judged.point(f"b c sensitivity@specificity={bound}") for bound in (1.0, 0.75))
    assert at_all is not None
    assert at_most is not None
    assert (at_all.value(), at_most.value()) == (0.5, 1.0)
    assert at_all.name == "b c sensitivity@specificity=1.0"
    assert judged.point("e sensitivity@specificity=1.0") is None
    assert judged.point("sensitivity@specificity=1.0") is None


def test_floors_and_ceilings_each_hold_what_they_can() -> None:
    measured = Measured(
        values={"auc": 0.9, "mae": 2.0}, drops={}, agreement=1.0, size_ratio=1.0, latency_ratio=1.0,
        better={"auc": "higher", "mae": "lower"},
    )  # fmt: skip
    verdicts = judge(Gates(floors={"auc": 0.8}, ceilings={"mae": 1.0}), measured)
    assert [(verdict.gate, verdict.holds) for verdict in verdicts] == [("floors.auc", True), ("ceilings.mae", False)]
    assert str(verdicts[1]) == "ceilings.mae: 2, to be at most 1"
    for gates in (Gates(floors={"mae": 1.0}), Gates(ceilings={"auc": 0.8})):
        with pytest.raises(ConfigError) as caught:
            judge(gates, measured)
        assert caught.value.code == "config.card-gate-direction"


# --- a copy of ours, under another name -----------------------------------------------------------

COPY = """
from dataclasses import replace
from edgeai.api import hookimpl
from edgeai_tasks.classify import EDGEAI_API, SPEC

@hookimpl
def edgeai_tasks():
    return (replace(SPEC, name="acme-sort"),)
"""


@pytest.mark.slow
def test_a_copy_of_our_task_under_another_name_is_judged_as_ours_is(
    make_bundle: Callable[..., Path], tmp_path: Path
) -> None:
    write_fakes(tmp_path / "site")
    write_fake_distribution(tmp_path / "site", name="acme-sort", module_source=COPY)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site"), "NO_COLOR": "1", "COLUMNS": "200"}
    environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
    rng = np.random.default_rng(0)
    for label, levels in (("bright", [30, *rng.integers(170, 250, 6)]), ("dark", rng.integers(5, 80, 6))):
        (tmp_path / "data" / label).mkdir(parents=True)
        for number, level in enumerate(levels):
            picture = np.clip(rng.normal(int(level), 3, (16, 20)), 0, 255).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "data" / label / f"{number}.png")
    artifacts = tuple(
        ArtifactDecl(id=name, format="fake", precision=name[-4:], path="model.json")
        for name in ("fake-fp32", "fake-int8")
    )
    told = {}
    bundles = {}
    for name in ("classify", "acme-sort"):
        use = TaskUse(name=name, options={"mode": "multi-class", "labels": ["bright", "dark"]})
        bundles[name] = make_bundle(task=use, plugins=("fakes", name), artifacts=artifacts, golden=False)
        command = [sys.executable, "-m", "edgeai", "evaluate", str(bundles[name]), "--data", str(tmp_path / "data")]
        out = tmp_path / f"{name}.json"
        done = subprocess.run(
            [*command, "--backend", "fake-works", "--json", str(out)], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        told[name] = {key: value for key, value in json.loads(out.read_text()).items() if key != "digest"}
    assert told["acme-sort"] == told["classify"]
    both = [str(bundles["classify"]), str(bundles["acme-sort"])]
    command = [sys.executable, "-m", "edgeai", "compare", *both, "--data", str(tmp_path / "data"), "-b", "fake-works"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, "error[evaluate.other-labels]" in done.stderr) == (1, True), done.stderr
