"""A training that was interrupted goes on after the last epoch that it finished, and ends in the same weights.

``edgeai train`` names a folder in the environment; each call of ``fit`` keeps its state there after each epoch: the
weights, the optimiser's, the random numbers of augmentation and of dropout, and the best weights so far. A state of
another network, of other settings or of another beginning is not gone on from.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Sized
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import Array

FOLDER = "EDGEAI_TRAINING_STATE"
"""Environment variable: where states are kept; nothing is without it."""
_turn = count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A training after some epochs.

    Attributes:
        epochs: how many are done.
        over: no more are to come.
        losses: of training and of validation, one an epoch.
        best: loss and epoch of the best weights; ``None`` where there are none.
        random: state of the augmentation's random numbers.
        arrays: all variables, the optimiser's and the best weights, by name.
    """

    epochs: int
    over: bool
    losses: tuple[list[float], list[float]]
    best: tuple[float, int] | None
    random: Any
    arrays: dict[str, Array]


class Kept:
    """Where one call of ``fit`` keeps its state."""

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._key = key
        self.differs = False
        """Whether there was a state of something else."""

    def load(self) -> State | None:
        """What was kept of this very training; ``None`` where nothing was, or it cannot be read."""
        try:
            with np.load(self._path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            facts = json.loads(bytes(arrays.pop("facts")).decode())
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
            return None
        if facts.pop("key") != self._key:
            self.differs = True
            return None
        best = facts.pop("best")
        return State(arrays=arrays, best=None if best is None else (float(best[0]), int(best[1])), **facts)

    def save(self, state: State) -> None:
        """Keep this one instead; whoever is interrupted meanwhile finds the one before."""
        facts = {
            "key": self._key,
            "epochs": state.epochs,
            "over": state.over,
            "losses": state.losses,
            "best": state.best,
            "random": state.random,
        }
        packed = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        fresh = self._path.with_suffix(".fresh")
        with fresh.open("wb") as file:
            np.savez(file, facts=packed, **state.arrays)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)


def kept(model: Any, **settings: Any) -> Kept | None:
    """Where the next call of ``fit`` keeps its state; ``None`` where nobody asked for that.

    Args:
        model: as it begins.
        settings: all that decides what becomes of it.
    """
    folder = os.environ.get(FOLDER, "")
    if not folder:
        return None
    digest = hashlib.sha256(json.dumps([model.to_json(), settings], sort_keys=True, default=str).encode())
    for value in model.get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    Path(folder).mkdir(parents=True, exist_ok=True)
    return Kept(Path(folder) / f"fit-{next(_turn)}.npz", digest.hexdigest())


def skip(train: Callable[[], Iterable[Any]], epochs: int) -> None:
    """Draw the orders of epochs that are done already, so that the next one has its own."""
    for _ in range(epochs):
        batches = train()
        if not isinstance(batches, Sized):
            for _ in batches:
                pass


def arrays_of(model: Any, optimizer: Any, best: list[Array] | None) -> dict[str, Array]:
    """All variables by what they are and in the order in which Keras has them."""
    arrays = {f"model-{n}": np.asarray(v) for n, v in enumerate(model.variables)}
    arrays |= {f"optimizer-{n}": np.asarray(v) for n, v in enumerate(optimizer.variables)}
    return arrays | {f"best-{n}": np.asarray(value) for n, value in enumerate(best or ())}


def restore(model: Any, optimizer: Any, arrays: dict[str, Array]) -> list[Array]:
    """Give all variables their values; the best weights."""
    optimizer.build(model.trainable_variables)
    for what, variables in (("model", model.variables), ("optimizer", optimizer.variables)):
        for number, variable in enumerate(variables):
            variable.assign(arrays[f"{what}-{number}"])
    return [arrays[f"best-{n}"] for n in range(sum(name.startswith("best-") for name in arrays))]
