"""A cart that chooses its engine by measuring: real engines, the shipped model, once and again after a restart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeai_workbench.drawings import head

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parents[2]
GUARD = ROOT / "models" / "modality-guard" / "modality-guard-1.0.1.edgeai"


def _deploy(cart: Any) -> None:
    cart.profile["plugins"]["allow"] = ["transforms", "classify", "tflite", "openvino"]
    cart.profile["deployments"].append({"name": "guard", "bundle": str(GUARD), "backends": ["fastest"]})


def _trials(cart: Any) -> list[dict[str, Any]]:
    body = json.loads((cart.data_dir / "trials" / "guard.json").read_text())
    return sorted((trial for trial in body["trials"] if not trial["why_not"]), key=lambda trial: trial["median_ms"])


def test_the_fastest_answers_and_is_not_measured_again(cart: Any, until: Any) -> None:
    _deploy(cart)
    cart.listen()
    cart.start()
    [phantom] = cart.send(pixels=head(0))
    first = cart.result_of(phantom)
    best = _trials(cart)[0]
    taken = {name: first["engine"][name] for name in ("backend", "device", "artifact")}
    assert taken == {name: best[name] for name in taken}
    assert first["degraded"] is None
    kept = (cart.data_dir / "trials" / "guard.json").stat().st_mtime_ns
    assert cart.stop() == 0
    cart.start()
    [phantom] = cart.send(pixels=head(0))
    assert cart.result_of(phantom)["engine"] == first["engine"]
    assert (cart.data_dir / "trials" / "guard.json").stat().st_mtime_ns == kept


def test_an_engine_that_is_not_allowed_is_not_tried(cart: Any, until: Any) -> None:
    _deploy(cart)
    cart.profile["plugins"]["allow"].remove("openvino")
    cart.listen()
    cart.start()
    [phantom] = cart.send(pixels=head(0))
    assert cart.result_of(phantom)["engine"]["backend"] == "tflite"
    assert {trial["backend"] for trial in _trials(cart)} == {"tflite"}
