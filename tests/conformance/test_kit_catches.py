"""Each fake that misbehaves fails the rule that is meant for it: the kit can be failed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgeai.api import API_VERSION
from edgeai.testing import fake_unsure
from edgeai.testing.check import RuleOutcome, run_tests

BACKENDS = {
    "abort": ("test_outputs_are_as_declared", "died"),
    "exit": ("test_outputs_are_as_declared", "fail"),
    "leak": ("test_memory_does_not_grow", "fail"),
    "raise": ("test_outputs_are_as_declared", "fail"),
    "raise-base": ("test_outputs_are_as_declared", "fail"),
    "wrong-shape": ("test_outputs_are_as_declared", "fail"),
    "wrong-dtype": ("test_outputs_are_as_declared", "fail"),
    "wrong-names": ("test_outputs_are_as_declared", "fail"),
    "nan": ("test_agrees_with_golden_vectors", "fail"),
    "zeros": ("test_agrees_with_golden_vectors", "fail"),
    "share": ("test_caller_owns_the_outputs", "fail"),
    "elsewhere": ("test_device_is_the_one_asked_for", "fail"),
    "gullible": ("test_damaged_artifact_is_rejected[noise]", "fail"),
    "abort-open": ("test_device_is_the_one_asked_for", "died"),
    "eager": ("test_stream_is_lazy", "fail"),
    "drop": ("test_stream_equals_run", "fail"),
    "open-again": ("test_run_after_close_is_refused", "fail"),
    "careless": ("test_wrong_input_is_refused[dtype]", "fail"),
    "many-threads": ("test_threads_are_honoured[1]", "fail"),
    "prints": ("test_prints_nothing", "fail"),
    "misdescribes": ("test_describes_what_it_opens", "fail"),
    "remembers": ("test_runs_leave_nothing_behind", "fail"),
    "remembers-in-streams": ("test_streams_leave_nothing_behind", "fail"),
    "remembers-between": ("test_runs_and_streams_leave_each_other_nothing", "fail"),
}
OTHERS = {
    ("transform", "forgets-geometry"): "test_a_spot_is_where_the_geometry_says[0.4-0.45]",
    ("transform", "starts-geometry-anew"): "test_geometry_composes",
    ("transform", "writes-input"): "test_leaves_its_input_alone",
    ("transform", "drifts"): "test_same_input_same_output",
    ("transform", "raises"): "test_transforms_or_refuses[uint8-1]",
    ("transform", "prints"): "test_prints_nothing",
    ("task", "prints"): "test_prints_nothing",
    ("sink", "prints"): "test_prints_nothing",
    ("source", "prints"): "test_prints_nothing",
    ("converter", "prints"): "test_prints_nothing",
    ("compressor", "round-prints"): "test_prints_nothing",
    ("task", "silent"): "test_finds_something_to_say",
    ("task", "blind"): "test_refuses_what_is_not_a_number[True-nan]",
    ("task", "uncoded"): "test_ends_without_a_statement",
    ("task", "others-code"): "test_ends_without_a_statement",
    ("task", "drifts"): "test_says_what_else_it_could_have_answered",
    ("task", "alone"): "test_says_what_else_it_could_have_answered",
    ("task", "forgets-in-summary"): "test_says_what_else_it_could_have_answered",
    ("sink", "forgets"): "test_put_delivers",
    ("sink", "reorders"): "test_put_delivers",
    ("sink", "open-again"): "test_put_after_close_is_refused",
    ("sink", "boasts"): "test_what_is_said_to_be_delivered_is_there",
    ("sink", "sulks"): "test_one_that_is_refused_delays_no_other[0]",
    ("source", "reuses-buffer"): "test_frames_are_the_hosts",
    ("source", "goes-on"): "test_no_frames_after_close",
    ("converter", "litters"): "test_writes_nowhere_else",
    ("converter", "disagrees"): "test_backend_opens_and_agrees",
    ("compressor", "round-litters"): "test_writes_nowhere_else",
    ("compressor", "round-drifts"): "test_same_request_same_bytes",
    ("compressor", "round-gullible"): "test_damaged_model_is_refused[noise]",
}


DETECTORS = {
    ("model-pixels", "cropped"): "fail",
    ("model-pixels", "reduced"): "fail",
    ("model-pixels", "enlarged"): "fail",
    ("forgets-crop", "cropped"): "fail",
    ("forgets-crop", "reduced"): "pass",
    ("forgets-crop", "cropped and reduced"): "fail",
    ("forgets-crop", "padded"): "fail",
    ("one-scale", "reduced"): "pass",
    ("one-scale", "stretched"): "fail",
    ("area-of-the-plane", "reduced"): "fail",
    ("other-millimetres", "enlarged"): "fail",
    ("detect", "cropped and reduced"): "pass",
}
"""A detector's way to be wrong, how its plane came about, and whether that shows."""


def title(kind: str, how: str) -> str:
    return f"Test{kind.capitalize()}_{how.replace('-', '_')}"


def run(folder: Path, wanted: list[tuple[str, str, str]], stall_s: float = 120) -> dict[tuple[str, str], RuleOutcome]:
    """Run one rule for each (kind, how, rule), on classes made of those of the fakes that work."""
    good = Path(__file__).with_name("test_fakes_conform.py")
    shutil.copy(good, folder / "works.py")
    lines = ["import works"]
    for kind, how, _ in wanted:
        base = "Unsure" if kind == "task" and how in fake_unsure.WAYS else kind.capitalize()
        lines += [f"class {title(kind, how)}(works.Test{base}):", f"    {kind} = 'fake-{how}'", ""]
    (folder / "test_bad.py").write_text("\n".join(lines))
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    chosen = [f"test_bad.py::{title(kind, how)}::{rule}" for kind, how, rule in wanted]
    return {(outcome.kind, outcome.spec): outcome for outcome in run_tests(chosen, folder, stall_s)}


@pytest.fixture(scope="module")
def backends(tmp_path_factory):
    wanted = [("backend", how, rule) for how, (rule, _) in BACKENDS.items()]
    return run(tmp_path_factory.mktemp("backends"), wanted)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    wanted = [(kind, how, rule) for (kind, how), rule in OTHERS.items()]
    return run(tmp_path_factory.mktemp("others"), wanted)


@pytest.mark.parametrize("how", BACKENDS)
def test_a_backend_that_misbehaves_is_caught(backends, how):
    rule, outcome = BACKENDS[how]
    caught = backends["backend", f"fake-{how}"]
    assert (caught.test, caught.outcome) == (rule, outcome), caught


@pytest.mark.parametrize(("kind", "how"), OTHERS)
def test_other_kinds_that_misbehave_are_caught(others, kind, how):
    caught = others[kind, f"fake-{how}"]
    assert (caught.test, caught.outcome) == (OTHERS[kind, how], "fail"), caught


@pytest.fixture(scope="module")
def detectors(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    shutil.copy(Path(__file__).with_name("test_fakes_conform.py"), folder / "works.py")
    lines = ["import works"]
    for how in dict.fromkeys(how for how, _ in DETECTORS):
        lines += [f"class {title('task', how)}(works.TestDetect):", f"    task = 'fake-{how}'", ""]
    (folder / "test_bad.py").write_text("\n".join(lines))
    (folder / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    rule = "test_lands_on_the_same_source_pixels"
    chosen = [f"test_bad.py::{title('task', how)}::{rule}[{way}]" for how, way in DETECTORS]
    outcomes = run_tests(chosen, folder, 120)
    return {(outcome.spec, outcome.test.partition("[")[2].removesuffix("]")): outcome for outcome in outcomes}


@pytest.mark.parametrize(("how", "way"), DETECTORS)
def test_a_detector_whose_boxes_lie_elsewhere_is_caught(detectors, how, way):
    outcome = detectors[f"fake-{how}", way]
    assert outcome.outcome == DETECTORS[how, way], outcome


def test_where_a_detector_should_have_answered_is_said(detectors):
    assert "frame.geometry.to_source leads there" in detectors["fake-model-pixels", "cropped"].detail


def test_a_plugin_that_prints_as_it_is_loaded_is_caught(tmp_path):
    (tmp_path / "loud.py").write_text(
        "import ctypes\nctypes.CDLL(None).puts(b'loud')\nfrom edgeai.testing.fakes_plugin import *\n"
        "from edgeai.testing.fakes_plugin import EDGEAI_API\n"
    )
    (tmp_path / "test_loud.py").write_text(
        "from edgeai.testing.conformance import TaskConformance\n"
        "class TestTask(TaskConformance):\n    module = 'loud'\n    task = 'fake-classify'\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\npythonpath = .\n")
    [outcome] = run_tests(["test_loud.py::TestTask::test_loading_prints_nothing"], tmp_path, 120)
    assert outcome.outcome == "fail"
    assert "loud" in outcome.detail


def test_an_abort_is_told_by_its_signal_and_the_rest_goes_on(backends):
    assert "SIGABRT" in backends["backend", "fake-abort"].detail
    assert len(backends) == len(BACKENDS)


def test_a_backend_that_keeps_the_state_of_an_artifact_is_caught(tmp_path):
    rule = "test_state_of_an_artifact_is_not_kept"
    ways = ("remembers", "remembers-in-streams", "remembers-between", "works")
    outcomes = run(tmp_path, [("backend", how, rule) for how in ways])
    assert {outcome.test for outcome in outcomes.values()} == {rule}
    assert [outcomes["backend", f"fake-{how}"].outcome for how in ways] == ["fail", "fail", "fail", "pass"]


def test_a_backend_that_hangs_is_given_up(tmp_path):
    """One that works beside each, which are waited for at once."""

    def outcomes(how: str) -> dict[str, str]:
        (tmp_path / how).mkdir()
        wanted = [("backend", each, "test_outputs_are_as_declared") for each in (how, "works")]
        return {each: outcome.outcome for (_, each), outcome in run(tmp_path / how, wanted, stall_s=20).items()}

    with ThreadPoolExecutor() as together:
        both = list(together.map(outcomes, ("hang", "hang-holding-the-gil")))
    assert both == [
        {"fake-hang": "hung", "fake-works": "pass"},
        {"fake-hang-holding-the-gil": "hung", "fake-works": "pass"},
    ]


def test_every_way_to_misbehave_is_tried_here():
    from edgeai.testing.fakes import WAYS

    assert set(WAYS) - {"hang", "hang-holding-the-gil", "slow"} <= set(BACKENDS)


def test_every_rule_says_what_it_is_and_since_when():
    from edgeai.testing import conformance

    suites = [
        kind for kind in vars(conformance).values() if isinstance(kind, type) and issubclass(kind, conformance.Suite)
    ]
    rules = {(s.__name__, name): getattr(s, name) for s in suites for name in dir(s) if name.startswith("test_")}
    assert len(rules) > 40
    for rule, function in rules.items():
        assert function.__doc__, rule
        assert (1, 0) <= getattr(function, "edgeai_since", (0, 0)) <= API_VERSION, rule


def test_a_plugin_is_not_held_to_a_newer_api(tmp_path, monkeypatch):
    (tmp_path / "test_newer.py").write_text(
        "from edgeai.testing.conformance import TaskConformance, since\n"
        "class TestTask(TaskConformance):\n"
        "    module = 'edgeai.testing.fakes_plugin'\n"
        "    task = 'fake-classify'\n"
        "    @since(1, 7)\n"
        "    def test_of_the_future(self): raise AssertionError\n"
        "    @since(1, 0)\n"
        "    def test_of_today(self): raise AssertionError\n"
    )
    outcomes = {o.test: o for o in run_tests(["test_newer.py"], tmp_path, 60)}
    assert outcomes["test_of_the_future"].outcome == "skip"
    assert "(1, 7)" in outcomes["test_of_the_future"].detail
    assert outcomes["test_of_today"].outcome == "fail"
