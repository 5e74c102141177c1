"""The closed form in which us-anomaly is trained: what usual images span is given back, and nothing else."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeai.testing.require import require

pytestmark = pytest.mark.slow
SHAPE = (4, 3, 2)


@pytest.fixture(scope="module")
def script(request: pytest.FixtureRequest) -> dict[str, Any]:
    require("keras", find_spec("keras") is not None, "keras is not installed")
    return runpy.run_path(str(request.config.rootpath / Path("models/us-anomaly/train.py")), run_name="script")


def test_what_was_shown_is_given_back_and_what_lies_across_is_not(script: dict[str, Any]) -> None:
    random = np.random.default_rng(2)
    ways = np.linalg.qr(random.standard_normal((24, 24)))[0].T
    mean = random.standard_normal(24)
    usual = (mean + random.standard_normal((200, 3)) * [5, 3, 2] @ ways[:3]).reshape(-1, *SHAPE)
    centre, components = script["learnt"](usual, 3)
    np.testing.assert_allclose(components @ components.T, np.eye(3), atol=1e-9)
    model = script["network"](centre, components)
    assert (model.inputs[0].name, model.layers[-1].name) == ("image", "made")
    np.testing.assert_allclose(model.predict(usual[:5], verbose=0), usual[:5], atol=1e-4)
    strange = usual[:5] + (2.0 * ways[7]).reshape(SHAPE)
    np.testing.assert_allclose(model.predict(strange, verbose=0), usual[:5], atol=1e-4)


def test_a_narrower_code_keeps_the_widest_ways(script: dict[str, Any]) -> None:
    seen = np.random.default_rng(4).standard_normal((300, 24)) * np.r_[9.0, 4.0, np.full(22, 0.1)]
    _, components = script["learnt"](seen.reshape(-1, *SHAPE), 2)
    np.testing.assert_allclose(np.abs(components[:, :2]), np.eye(2), atol=0.05)
