"""The models that ``edgeai train`` made: what lies in their folders is what their cards say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from edgeai import open_model
from edgeai.api import Array, OpenRequest
from edgeai.bundle.reader import read_manifest
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai.testing.require import require
from edgeai_workbench import bright, pictures
from edgeai_workbench.card import INITIAL_WEIGHTS, Card, check_model, read_card
from edgeai_workbench.dataset import digest, read_splits
from edgeai_workbench.drawings import chest, head
from edgeai_workbench.golden import Golden, read_golden
from edgeai_workbench.judges import judge_by_plugins
from edgeai_workbench.pack import pack_card

pytestmark = pytest.mark.slow

MODELS = (
    "xray-pneumonia",
    "xray-view",
    "us-head",
    "us-anomaly",
    "us-head-box",
    "us-head-rcnn",
    "us-head-hc",
    "us-breast",
)
CASES = {"xray-pneumonia": 4, "us-breast": 4}
USUAL_CASES = 3
"""A mask of 65,536 answers tells more than two scores."""
LARGEST = 4_000_000


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, repo_root: Path) -> Path:
    return repo_root / "models" / str(request.param)


def _count(folder: Path) -> int:
    return CASES.get(folder.name, USUAL_CASES)


def _golden(card: Card, folder: Path) -> tuple[Golden, ...]:
    shared = card.for_manifest()
    inputs, outputs = ([tensor.spec() for tensor in shared[what]] for what in ("inputs", "outputs"))
    return read_golden(folder, inputs=inputs, outputs=outputs, parent=card.model_digest)


def test_the_weights_are_those_of_the_card_and_small_enough_to_commit(folder: Path) -> None:
    card = read_card(folder)
    assert check_model(card, folder).stat().st_size < LARGEST
    assert {"python", "keras", "tensorflow", "numpy"} <= set(card.training.environment)


def test_golden_inputs_are_drawings_and_no_patients(folder: Path) -> None:
    card = read_card(folder)
    spec = card.for_manifest()["inputs"][0].spec()
    pipeline = Pipeline(card.transforms, Registry.of(["transforms"]).transforms, spec)
    cases = _golden(card, folder)
    assert len(cases) == _count(folder)
    drawings = [case for case in cases if case.id != bright.NAME]
    draw = chest if folder.name.startswith("xray-") else head
    for number, case in enumerate(drawings):
        drawn, _ = pipeline.prepare(pictures.frame_of(draw(number), name="drawing"))
        np.testing.assert_allclose(case.inputs[spec.name], drawn, atol=1e-6)
    for case in (case for case in cases if case.id == bright.NAME):
        np.testing.assert_array_equal(case.inputs[spec.name], bright.brightest(pipeline))


def test_the_parent_answers_its_golden_cases_as_recorded(folder: Path) -> None:
    pytest.importorskip("keras")
    card = read_card(folder)
    shared = card.for_manifest()
    inputs, outputs = (tuple(tensor.spec() for tensor in shared[what]) for what in ("inputs", "outputs"))
    request = OpenRequest(artifact=folder / card.model, device="CPU", inputs=inputs, outputs=outputs, threads=1)
    session = Registry.of(["keras"]).backends["keras"].open(request)
    try:
        for case in _golden(card, folder):
            answers = session.run(case.inputs)
            for name, answer in case.outputs.items():
                np.testing.assert_allclose(answers[name], answer, atol=1e-3, rtol=1e-3)
    finally:
        session.close()


def test_the_committed_bundle_is_what_the_card_packs_to_and_small(folder: Path, tmp_path: Path) -> None:
    for name, module in (("tflite", "ai_edge_litert"), ("openvino", "openvino")):
        require(name, find_spec(module) is not None, f"{module} is not installed")
    card = read_card(folder)
    committed = folder / f"{card.name}-{card.version}.edgeai"
    packed = pack_card(folder, out=tmp_path)
    assert packed.made == (), "an artifact in the repository is stale"
    assert packed.digest == read_manifest(committed)[1]
    times = 8 if card.variants else 1  # without a student the parent itself ships, for two engines
    assert times * committed.stat().st_size <= (folder / card.model).stat().st_size
    for backend in ("tflite", "openvino"):
        with open_model(committed, backends=[backend]) as model:
            own = [answer for answer in model.rehearse() if not answer.case.startswith("guard, ")]
            assert len(own) == _count(folder)


def test_the_card_names_the_very_samples_of_the_data_kit(folder: Path, data_kit: Path, tmp_path: Path) -> None:
    card = read_card(folder)
    assert card.dataset is not None
    outputs = tuple(tensor.spec() for tensor in card.for_manifest()["outputs"])
    judge = judge_by_plugins(card.plugins, card.task, outputs)
    data, tables = data_kit, folder / "tables.py"
    if tables.is_file():  # the card's tables are made of the kit's
        data = tmp_path
        subprocess.run([sys.executable, tables, "--kit", data_kit, "--out", data], check=True)
    splits = read_splits(card.dataset, data, judge)
    summed = digest([*splits["train"], *splits["validation"]], judge)  # what it learnt from; the test has openings.json
    assert [source.digest for source in card.data if source.use != INITIAL_WEIGHTS] == [summed]


@pytest.mark.parametrize("draw", [chest, head])
def test_a_drawing_is_the_same_each_time_and_another_for_each_number(draw: Callable[..., Array]) -> None:
    first, again, other = draw(1), draw(1), draw(2)
    assert first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).mean() > 0.2
    assert first.std() > 20
    assert draw(1, rows=30, columns=20).shape == (30, 20)
