"""``guard.distance`` of a card: where the features of training lie, by artifact, and how far proper images are from it.

Detectors are of the answers of an artifact and not of its Keras model: int8 moves features too. What is learnt stands
in the card's folder, ``distance.npz``, and ``distance.json`` says of which artifacts it is.
"""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from edgeai.api import Array, ConfigError, Infer, Tensors
from edgeai.bundle.uses import DistanceUse
from edgeai.bundle.zip_form import new_member
from edgeai.model.distance import CODE, PARTS, Distance, Fit, fit_arrays, read_fit
from edgeai_workbench.gates import digest_of_folder
from edgeai_workbench.notes import read_note, write_note
from edgeai_workbench.prepared import Prepared
from edgeai_workbench.statistics.shares import wilson

FILE: Final = "distance.npz"
NOTE: Final = "distance.json"
MOST_AXES: Final = 24
KEPT: Final = 0.999
"""Of the variance: so much is told apart by direction, by ``MOST_AXES`` at most; all that is left has one spread."""
FOLDS: Final = 5
FEWEST: Final = 50
"""Independent samples of validation from which on its own bound counts too."""
_Z: Final = 1.959964


class Note(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``distance.json``: artifact id -> digest of its files as they were asked; what for; and the file's digest."""

    artifacts: dict[str, str]
    true_accept: float
    file: str


def learn(features: Array) -> Fit:
    """Centre and directions of (n, d) features, with a bound of 1.

    The covariance is Ledoit and Wolf's (2004), shrunk to a multiple of one: of few samples, what varies least would
    else count most.
    """
    centre = features.mean(0, dtype=np.float64)
    values, vectors = np.linalg.eigh(_covariance(features - centre))
    values, vectors = np.maximum(values[::-1], 1e-12), vectors[:, ::-1]
    enough = int(np.searchsorted(np.cumsum(values) / values.sum(), KEPT)) + 1
    axes = min(enough, MOST_AXES, len(values))
    rest = values[axes:].mean() if axes < len(values) else values[-1]
    kept = vectors[:, :axes] * np.sign(vectors[np.abs(vectors[:, :axes]).argmax(0), np.arange(axes)])
    spread = np.sqrt([*values[:axes], rest])
    rounded = kept.astype(PARTS["axes"]).astype(np.float64)  # the bound is to be of what a cart reads
    return Fit(centre=centre, axes=rounded, spread=spread, bound=1.0)


def fitted(train: Array, groups: Sequence[str], validation: Array, units: int, accept: float) -> Fit:
    """What proper images keep to: bounds of folds that did not see a group, and of validation where it is large enough.

    Args:
        train: (n, d) features of training.
        groups: of each of them.
        validation: (m, d) likewise, of which the network learnt nothing either.
        units: independent samples among those.
        accept: the share of proper images that is to pass.
    """
    fold = _folds(groups)
    scores = np.empty(len(train))
    for number in range(FOLDS):
        scores[fold == number] = learn(train[fold != number]).distance(train[fold == number])
    fit = learn(train)
    bounds = [quantile(scores, accept)]
    if units >= FEWEST:
        bounds.append(quantile(fit.distance(validation), accept))
    return replace(fit, bound=max(bounds))


def quantile(scores: Array, accept: float) -> float:
    """The conformal quantile: the next of as many again is within it with a probability of at least ``accept``.

    Of too few for that it is the greatest.
    """
    place = min(len(scores), math.ceil((len(scores) + 1) * accept))
    return float(np.sort(scores)[place - 1])


def features_of(prepared: Prepared, infer: Infer, output: str) -> Array:
    """(n, d) of all samples."""
    asked = ({name: value[n : n + 1] for name, value in prepared.inputs.items()} for n in range(len(prepared)))
    return np.concatenate([infer(inputs)[output].reshape(1, -1) for inputs in asked])


def units_of(prepared: Prepared) -> list[str]:
    """Of each sample what it is drawn with: its group, or itself."""
    return [sample.group or sample.id for sample in prepared.samples]


class Held:
    """An inference function that gives the task its own outputs, and measures how far what was asked is.

    Attributes:
        far: for each that was asked, whether it is withheld.
    """

    def __init__(self, infer: Infer, own: Sequence[str], distance: Distance | None, *, withholds: bool = False) -> None:
        self._infer, self._own, self._distance, self._withholds = infer, own, distance, withholds
        self.far: list[bool] = []

    def __call__(self, inputs: Tensors) -> Tensors:
        """One inference.

        Raises:
            Withheld: ``guard.distance``, where that is asked for.
        """
        outputs = self._infer(inputs)
        if self._distance is not None and self._withholds:
            self._distance.hold(outputs)
        elif self._distance is not None:
            value = self._distance.fit.distance(outputs[self._distance.output].reshape(1, -1))
            self.far.append(bool(value[0] > self._distance.threshold))
        return {name: outputs[name] for name in self._own}


def kept_back(prepared: Prepared, far: Mapping[str, Sequence[bool]]) -> dict[str, list[str]]:
    """By artifact that has a distance, for each sample the code by which it is withheld; empty where it passes."""
    looked = prepared.looked or [""] * len(prepared)
    return {
        name: [code or (CODE if each else "") for code, each in zip(looked, those, strict=True)]
        for name, those in far.items()
        if those
    }


def most_kept(kept: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Code -> how many are withheld, of the artifact that most are withheld of."""
    most = max(kept.values(), key=lambda codes: sum(map(bool, codes)))
    return dict(sorted(Counter(filter(None, most)).items()))


def upper_share(prepared: Prepared | None, codes: Sequence[str] | None) -> float:
    """Upper end of Wilson's 95 % interval of the share that is withheld; samples of a group count as one.

    Of a group the share is counted: what is withheld of one image of a patient mostly is of the others.
    """
    if prepared is None or not (codes or prepared.looked):
        return math.nan
    codes = codes or prepared.looked
    return wilson(float(np.mean([bool(code) for code in codes])), len(set(units_of(prepared))), _Z)[1]


def keep(folder: Path, use: DistanceUse, artifacts: Mapping[str, Path], fits: Mapping[str, Fit]) -> dict[str, Distance]:
    """Write the file and its note; what answers are held to, as it is read again.

    Args:
        folder: of the card.
        use: what the card asks for.
        artifacts: id -> folder of its files.
        fits: by the same ids.
    """
    data = packed(fits)
    (folder / FILE).write_bytes(data)
    note = Note(
        artifacts={name: digest_of_folder(path) for name, path in artifacts.items()},
        true_accept=use.true_accept,
        file=_digest(data),
    )
    write_note(folder / NOTE, note)
    return _read(folder, use, fits)


def kept(folder: Path, use: DistanceUse, artifacts: Mapping[str, Path]) -> dict[str, Distance]:
    """What was written of these very artifacts.

    Raises:
        ConfigError: ``build.distance-missing``.
    """
    note, file = read_note(folder / NOTE, Note), folder / FILE
    if note is None or not file.is_file():
        raise _missing("guard.distance was not fitted")
    wanted = {name: digest_of_folder(path) for name, path in artifacts.items()}
    if (note.artifacts, note.true_accept, note.file) != (wanted, use.true_accept, _digest(file.read_bytes())):
        raise _missing("guard.distance was fitted to other artifacts, or for another true_accept")
    return _read(folder, use, artifacts)


def _read(folder: Path, use: DistanceUse, ids: Iterable[str]) -> dict[str, Distance]:
    return {
        name: Distance(output=use.output, threshold=use.threshold, fit=read_fit(folder / FILE, name)) for name in ids
    }


def packed(fits: Mapping[str, Fit]) -> bytes:
    """The file's bytes: the same fits give the same."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for artifact, fit in sorted(fits.items()):
            for name, array in fit_arrays(artifact, fit).items():
                member = io.BytesIO()
                np.save(member, array, allow_pickle=False)
                archive.writestr(new_member(f"{name}.npy"), member.getvalue())
    return file.getvalue()


def _covariance(centred: Array) -> Array:
    """Ledoit and Wolf's of (n, d) centred samples."""
    count, width = centred.shape
    sample = centred.T @ centred / count
    mean = np.trace(sample) / width
    away = ((sample - mean * np.eye(width)) ** 2).sum()
    noise = min(away, ((centred**2).T @ (centred**2) / count - sample**2).sum() / count)
    shrink = noise / away if away else 1.0
    return np.asarray((1 - shrink) * sample + shrink * mean * np.eye(width))


def _folds(groups: Sequence[str]) -> Array:
    """Of each sample its fold: groups are dealt whole, and so that the folds are of about one size."""
    names, counts = np.unique(np.asarray(groups), return_counts=True)
    order = np.random.default_rng(5).permutation(len(names))
    sizes, home = [0] * FOLDS, {}
    for place in sorted(order, key=lambda place: -counts[place]):
        number = sizes.index(min(sizes))
        home[names[place]], sizes[number] = number, sizes[number] + int(counts[place])
    return np.array([home[group] for group in groups])


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _missing(why: str) -> ConfigError:
    return ConfigError(why, code="build.distance-missing", remedy="run edgeai build with --data, which fits it")
