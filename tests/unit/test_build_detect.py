"""A detector is trained on drawn discs by its judge's own targets and loss, and its boxes are where the discs are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from edgeai.api import Batch, Case, Frame, FrameContext, Geometry, TaskRequest, TensorSpec  # noqa: E402
from edgeai.testing.conformance.judge import ExampleCells  # noqa: E402
from edgeai.testing.examples import instance_ref  # noqa: E402
from edgeai_keras.architectures import build  # noqa: E402
from edgeai_keras.training import fit, predict  # noqa: E402
from edgeai_tasks.detect import SPEC  # noqa: E402

SIDE = 32
OUTPUT = TensorSpec(name="boxes", dtype="float32", shape=(1, 8, 8, 5), layout="NHWC")
OPTIONS = {"form": "dense", "labels": ["disc"], "activation": "sigmoid", "threshold": 0.3}


def _case(random: np.random.Generator, judge: Any) -> Case:
    """A bright disc on noise, in a plane that is half of its source."""
    radius, (x, y) = random.uniform(4, 7), random.uniform(8, SIDE - 8, 2)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] + 0.5
    pixels = 0.1 * random.random((SIDE, SIDE)) + 0.8 * (np.hypot(rows - y, columns - x) < radius)
    geometry = Geometry(source_rows=2 * SIDE, source_columns=2 * SIDE).scaled(2.0, 2.0)
    frame = Frame(pixels=pixels.astype(np.float32), number=1, geometry=geometry, instance=instance_ref())
    sides = {"x0": x - radius, "y0": y - radius, "x1": x + radius, "y1": y + radius}
    truth = judge.read(ExampleCells({name: str(2 * side) for name, side in sides.items()}))
    context = FrameContext(frame=frame, instance=frame.instance)
    return Case(id="disc", truth=truth, context=context, image=lambda: pixels)


def test_a_detector_learns_where_discs_are() -> None:
    request = TaskRequest(options=OPTIONS, outputs=(OUTPUT,))
    assert SPEC.judge is not None
    judge, task = SPEC.judge(request), SPEC.build(request)
    assert judge.objective is not None
    random = np.random.default_rng(7)
    cases = [_case(random, judge) for _ in range(96)]
    images = np.stack([case.context.frame.pixels for case in cases])[..., np.newaxis]
    targets = np.stack([judge.targets(case)["boxes"] for case in cases])

    def batches() -> Iterator[Batch]:
        for start in range(0, 64, 16):
            part = slice(start, start + 16)
            yield {"image": images[part]}, {"boxes": targets[part]}

    keras.utils.set_random_seed(1)
    model = build("centre-head", size=SIDE, filters=8, depth=3, up=1, most=16)
    history = fit(model, objective=judge.objective, train=batches, epochs=24, patience=24, learning_rate=0.01)
    assert history.train_loss[-1] < 0.3 * history.train_loss[0]
    outputs = predict(model, {"image": images[64:]})["boxes"]
    each = [{"boxes": outputs[n : n + 1]} for n in range(32)]
    pairs = list(zip(each, cases[64:], strict=True))
    answers = [judge.answer(task.interpret(given, case.context), given, case.context) for given, case in pairs]
    figures = {figure.name: figure.value() for figure in judge.judged(cases[64:], answers).figures}
    assert figures["localised"] > 0.7, figures
    assert figures["map50"] > 0.7, figures
