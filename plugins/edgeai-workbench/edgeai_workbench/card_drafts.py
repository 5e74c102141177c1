"""A card that is written for a model, one of Keras or one that somebody else made: its name, text and golden cases."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeai.api import Array, BackendSpec, OpenRequest, Tensors, TensorSpec
from edgeai.bundle.manifest import TransformStep
from edgeai.bundle.uses import GuardUse
from edgeai.model.golden import drift, refuse_drift
from edgeai.model.looks import Looks
from edgeai.model.withheld import Withheld
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench.card import CARD_NAME
from edgeai_workbench.dataset import Sample
from edgeai_workbench.golden import Golden
from edgeai_workbench.guessing import Refusal, tensor_of
from edgeai_workbench.libraries import needed
from edgeai_workbench.robustness.asking import spread

CASES: Final = 4
"""So many golden cases, where nobody brings any."""
_UNTOUCHED: Final = "# As it was written: "
"""Begins the first line, with the digest of all that follows; a card that nobody has changed may be written anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """What a card says whose model nobody has described yet; what was seen and assumed stands among its limits.

    ``plugin`` is the one that provides the task.
    """

    name: str
    model: str
    digest: str
    intended_use: str
    task: str
    plugin: str
    options: Mapping[str, Any]
    steps: Sequence[TransformStep]
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    recipes: Sequence[Mapping[str, Any]]
    notes: Sequence[str]
    command: str

    def text(self, head: str) -> str:
        """The card, below a head of comments and the line that says whether anybody has changed it since."""
        body = {
            "schema": 1,
            "name": self.name,
            "version": "0.1.0",
            "release": 0,
            "min_edgeai": "0.1",
            "intended_use": self.intended_use,
            "limits": ["Nobody has said yet what this model is not for.", *self.notes],
            "licence": "LicenseRef-unknown",
            "model": self.model,
            "model_digest": self.digest,
            "plugins": ["transforms", self.plugin] if self.steps else [self.plugin],
            "transforms": [{"transform": step.transform, "options": step.options} for step in self.steps],
            "task": {"name": self.task, "options": self.options},
            "inputs": [tensor_of(spec) for spec in self.inputs],
            "outputs": [tensor_of(spec) for spec in self.outputs],
            "recipes": list(self.recipes),
            "data": [{"name": "unknown", "source": "unknown", "licence": "unknown", "use": "train"}],
            "training": {"command": self.command, "seed": 0},
        }
        return signed(head + needed("tomlkit").dumps(body))


def name_of(model: Path) -> str:
    """A name for a bundle, out of the file's."""
    return re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("-._")[:64] or "model"


# --- whether anybody has changed it ---------------------------------------------------------------


def refuse_changed(folder: Path, remedy: str, refused: Refusal) -> None:
    """Refuse to replace a card that somebody has changed: their work is in it."""
    card = folder / CARD_NAME
    if card.exists() and not is_untouched(card):
        raise refused(f"{card} is there already, and was changed by hand", remedy)


def is_untouched(card: Path) -> bool:
    """Whether a card is as it was written."""
    line, _, body = card.read_text(encoding="utf-8", errors="replace").partition("\n")
    return line == _UNTOUCHED + _digest(body)


def signed(body: str) -> str:
    """The text of a card below the line that says whether anybody has changed it since."""
    return f"{_UNTOUCHED}{_digest(body)}\n{body}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


# --- golden cases ---------------------------------------------------------------------------------


def as_the_model_sees(
    samples: Sequence[Sample], steps: Sequence[TransformStep], registry: Registry, source: TensorSpec
) -> list[Array]:
    """Some of the pictures, from the first to the last."""
    pipeline = Pipeline(steps, registry.transforms, source)
    return [pipeline.prepare(sample.load()[0])[0] for sample in spread(samples, CASES)]


def kept_from_it(
    samples: Sequence[Sample], steps: Sequence[TransformStep], registry: Registry, source: TensorSpec
) -> list[str]:
    """By which codes the look at the content, which is packed with every model, withholds some of the same pictures."""
    pipeline = Pipeline(steps, registry.transforms, source)
    codes = []
    for sample in spread(samples, CASES):
        try:
            Looks(GuardUse()).prepare(pipeline, sample.load()[0], None)
        except Withheld as error:
            codes.append(error.code)
    return codes


def answered(backend: BackendSpec, request: OpenRequest, cases: Sequence[Tensors]) -> list[Golden]:
    """The cases with the model's own answers; it is asked again in another order.

    Raises:
        InferenceFailed: ``backend.stateful``: the second answer is another.
        BackendError: it cannot be opened or run.
    """
    session = backend.open(request)
    try:
        golden = [
            Golden(id=f"case-{number}", inputs=case, outputs=session.run(case)) for number, case in enumerate(cases, 1)
        ]
        refuse_drift({case.id: drift(case.outputs, session.run(case.inputs)) for case in reversed(golden)})
    finally:
        session.close()
    return golden
