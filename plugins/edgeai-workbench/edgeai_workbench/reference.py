"""What the training scripts of ``models/`` have in common: the command line, the samples, the golden cases.

A script says which network, for how long and how fast it learns; everything else is here or in ``edgeai_keras``.
``edgeai train`` runs the same script and then records in the card what came of it.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import Array, Infer, Tensors
from edgeai.pipeline import Pipeline
from edgeai_workbench import pictures
from edgeai_workbench.balance import Balance
from edgeai_workbench.card import Card, file_digest, read_card
from edgeai_workbench.evaluation import Scores, answer, score
from edgeai_workbench.folds import OUT_OF_FOLD, named_strata, write
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.prepared import Prepared, batches
from edgeai_workbench.training import RESULT
from edgeai_workbench.workshop import Workshop, objective_of, open_workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One run of a training script.

    Attributes:
        card: of the script's folder.
        data: the folder of the samples, for what a script reads beside them.
        seed: of every random choice.
        folds: of a cross-validation; 0: train the model that ships.
    """

    card: Card
    folder: Path
    data: Path
    shop: Workshop
    train: Prepared
    validation: Prepared
    seed: int
    folds: int

    @property
    def model(self) -> Path:
        """Where the card wants the ``.keras`` file."""
        return self.folder / self.card.model

    def settings(self) -> dict[str, Any]:
        """Arguments of ``edgeai_keras.training.fit`` that the card decides."""
        return {
            "objective": objective_of(self.card, self.shop.judge),
            "augment": self.card.training.augment,
            "seed": self.seed,
            "progress": say,
        }

    def batches(self, size: int) -> dict[str, Any]:
        """``train`` and ``validation`` of ``fit``."""
        return {
            "train": batches(self.train, size, seed=self.seed, balanced=self.card.training.balanced),
            "validation": batches(self.validation, size, shuffle=False),
        }

    def whole(self) -> dict[str, Any]:
        """Inputs, targets and groups of the training table, as ``edgeai_keras.training.cross_validate`` takes them.

        Each fold's epoch is chosen by the card's validation, like that of the model that ships: by none of the samples
        that the fold answers for, and no training sample is lost to it.
        """
        strata = named_strata(self.train)
        return {
            "inputs": self.train.inputs,
            "targets": self.train.compared(),
            "validation": batches(self.validation, shuffle=False),
            "groups": [sample.group for sample in self.train.samples],
            "strata": strata if len(set(strata)) > 1 else None,
            "shown": self._balance if self.card.training.balanced else None,
            "folds": self.folds,
        }

    def _balance(self, places: Array) -> Callable[[np.random.Generator], Array]:
        """What draws an epoch of these training samples as ``[training] balanced`` wants it."""
        samples, cases = self.train.samples, self.train.cases()
        few, told = [samples[place] for place in places], [cases[place] for place in places]
        return Balance(self.card.training.balanced, few, told, self.train.judge).epoch

    def finish(self, infer: Infer, drawn: Sequence[Array]) -> None:
        """Write the golden cases that ``infer``, the trained model, answers; say how good it is.

        Args:
            infer: the model that was saved.
            drawn: pictures out of ``edgeai_workbench.drawings``: none of a patient ships.
        """
        cases = [self._case(infer, number, picture) for number, picture in enumerate(drawn)]
        write_golden(self.folder, cases, parent=file_digest(self.model))
        say(f"{RESULT}validation: {_line(self._scores(self.validation, infer))}")

    def report(self, folds: Iterable[tuple[Array, Tensors]]) -> None:
        """Say how good each fold's model is on the samples that it never saw; and the mean.

        Args:
            folds: (places in the training table, what the model answers for them).
        """
        values, kept = [], list(folds)
        if file := os.environ.get(OUT_OF_FOLD):
            write(Path(file), kept)
        for number, (places, outputs) in enumerate(kept, start=1):
            given = iter(range(len(places)))
            scores = self._scores(self.train.at(places), _read_out(outputs, given))
            values.append(scores[scores.main].value)
            say(f"{RESULT}fold {number}: {_line(scores)}")
        say(f"{RESULT}{self.folds} folds: mean {np.mean(values):.4f}, standard deviation {np.std(values, ddof=1):.4f}")

    def _scores(self, prepared: Prepared, infer: Infer) -> Scores:
        return score(prepared, answer(prepared, infer, self.shop.task), resamples=0)

    def _case(self, infer: Infer, number: int, picture: Array) -> Golden:
        spec = self.shop.inputs[0]
        pipeline = Pipeline(self.card.transforms, self.shop.registry.transforms, spec)
        array, _ = pipeline.prepare(pictures.frame_of(picture, name=f"drawing {number}"))
        return Golden(id=f"drawing-{number}", inputs={spec.name: array}, outputs=infer({spec.name: array}))


def begin(script: str, description: str) -> Reference:
    """Read the command line of a training script, its card, and the card's samples.

    Args:
        script: the script's ``__file__``; the card lies beside it.
        description: the script's docstring.
    """
    folder = Path(script).resolve().parent
    card = read_card(folder)
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the data's folder")
    parser.add_argument("--seed", type=int, default=card.training.seed, help="of every random choice")
    parser.add_argument("--cross-validate", type=int, default=0, metavar="K", help="K folds, and nothing is written")
    wanted = parser.parse_args()
    shop = open_workshop(card, folder, wanted.data, progress=say)
    assert shop.train is not None
    assert shop.validation is not None
    return Reference(
        card=card,
        folder=folder,
        data=wanted.data,
        shop=shop,
        train=shop.train,
        validation=shop.validation,
        seed=wanted.seed,
        folds=wanted.cross_validate,
    )


def say(line: str) -> None:
    """One line of progress, at once."""
    print(line, flush=True)


def _line(scores: Scores) -> str:
    return ", ".join(f"{name} {scored.value:.4f}" for name, scored in scores.items())


def _read_out(outputs: Tensors, places: Iterable[int]) -> Callable[[Tensors], Tensors]:
    """An ``Infer`` that reads answers out in order: those of samples that were run before."""
    turn = iter(places)

    def infer(inputs: Tensors) -> Tensors:
        place = next(turn)
        return {name: value[place : place + 1] for name, value in outputs.items()}

    return infer
