"""What a variant's compressors are given, and what is noted of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api import Compressed, CompressorSpec, CompressRequest, Objective
from edgeai_workbench.card import Card, file_digest, read_card
from edgeai_workbench.variants import FineTuning, ModelFiles

CARD = """\
schema = 1
name = "tiny"
version = "0.1.0"
release = 0
min_edgeai = "0.1"
intended_use = "Tests."
limits = ["Not for anything."]
licence = "Apache-2.0"
model = "tiny.keras"
model_digest = "DIGEST"
plugins = []
task = { name = "classify" }
inputs = [{ name = "image", shape = [1, 4, 4, 1] }]
outputs = [{ name = "logits", shape = [1, 2] }]

[[variants]]
name = "small"

[[variants.steps]]
compressor = "shave"

[[variants.steps]]
compressor = "shave"
AUGMENT

[[recipes]]
variant = "small"
converter = "none"
precision = "fp32"

[[data]]
name = "noise"
source = "none"
licence = "none"
use = "train"

[training]
command = "none"
seed = 4
augment = { zoom = 0.5, shift = 0.15 }
"""
LESS = "augment = { zoom = 0.25 }"


class Shop:
    """A folder with a card, and a compressor that writes down what it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[dict[str, Any]] = []
        (folder / "tiny.keras").write_bytes(b"weights")

    def card(self, augment: str) -> Card:
        text = CARD.replace("DIGEST", file_digest(self.folder / "tiny.keras")).replace("AUGMENT", augment)
        (self.folder / "model.toml").write_text(text)
        return read_card(self.folder)

    def make(self, augment: str) -> dict[str, Any]:
        """The variant's note."""
        registry: Any = SimpleNamespace(
            spec=lambda _, name: CompressorSpec(name=name, compress=self._shave, help="takes a little off"),
            backends={
                "keras": SimpleNamespace(describe=None, open=lambda request: SimpleNamespace(close=lambda: None))
            },
        )
        nothing: Callable[[], list[Any]] = list
        objective = Objective(loss="categorical-crossentropy", from_logits=True)
        tuning = FineTuning(objective=objective, train=lambda: nothing, validation=nothing)
        ModelFiles(self.card(augment), self.folder, registry=registry, golden=(), tuning=tuning).get("small")
        note: dict[str, Any] = json.loads((self.folder / "variants" / "small" / "variant.json").read_text())
        return note

    def _shave(self, request: CompressRequest) -> Compressed:
        self.asked.append(dict(request.augment))
        request.output.write_bytes(request.model.read_bytes()[1:])
        return Compressed(model=request.output)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_a_step_augments_as_the_card_does_but_for_what_it_names_itself(shop: Shop) -> None:
    note = shop.make(LESS)
    assert shop.asked == [{"zoom": 0.5, "shift": 0.15}, {"zoom": 0.25, "shift": 0.15}]
    assert [step.get("augment") for step in note["steps"]] == [None, {"zoom": 0.25}]
    assert note["augment"] == {"zoom": 0.5, "shift": 0.15}


def test_a_variant_is_kept_until_a_step_augments_otherwise(shop: Shop) -> None:
    for augment, times in (("", 2), ("", 2), (LESS, 4), (LESS, 4), ("", 6)):
        shop.make(augment)
        assert len(shop.asked) == times, augment
