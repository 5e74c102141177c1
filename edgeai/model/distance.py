"""How far what a model saw in an image is from what it saw in the images it learnt from (ADR 0083).

One output of the model holds features: means of its activations. A file of the bundle says how those of training lie:
their centre, the few directions in which they vary, how much along each, and how much in all others together.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from edgeai.api.errors import BundleRejected
from edgeai.api.results import GuardFigure
from edgeai.api.tensors import Array, Tensors
from edgeai.model.withheld import Withheld

if TYPE_CHECKING:
    from pathlib import Path

    from edgeai.bundle.reader import Bundle

CHECK: Final = "distance"
NAME: Final = "from what was learnt"
CODE: Final = "guard.distance"
MAX_BYTES: Final = 1024 * 1024
"""Of the file, and of what is packed in it."""
PARTS: Final = {"centre": np.float32, "axes": np.float16, "spread": np.float32, "bound": np.float32}
"""Arrays of an artifact, as ``ID/centre``, and their dtypes: d features have shapes (d,), (d, r), (r + 1,) and (1,)."""
_REMEDY: Final = "look at what was sent: another organ, another device, an image that is turned or inverted"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fit:
    """Where the features of training lie.

    Attributes:
        centre: (d,) their mean.
        axes: (d, r) orthonormal: the directions in which they vary most.
        spread: (r + 1,) standard deviation along each, and along any other direction.
        bound: what proper images keep to.
    """

    centre: Array
    axes: Array
    spread: Array
    bound: float

    def distance(self, features: Array) -> Array:
        """Mahalanobis distance of each of (n, d) features, (n,), as a part of the bound."""
        away = features.astype(np.float64) - self.centre
        along = away @ self.axes
        left = away - along @ self.axes.T
        squares = ((along / self.spread[:-1]) ** 2).sum(1) + ((left / self.spread[-1]) ** 2).sum(1)
        return np.asarray(np.sqrt(squares) / self.bound)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distance:
    """What an artifact's answers are held to."""

    output: str
    threshold: float
    fit: Fit

    def hold(self, outputs: Tensors) -> GuardFigure:
        """The figure of an answer to one image.

        Raises:
            Withheld: ``guard.distance``, with that figure.
        """
        value = float(self.fit.distance(outputs[self.output].reshape(1, -1))[0])
        withheld = not value <= self.threshold
        figure = GuardFigure(check=CHECK, name=NAME, value=round(value, 5), threshold=self.threshold, withheld=withheld)
        if withheld:
            told = f"the image is unlike those that the model learnt from: {value:.3g} times as far as it may be"
            raise Withheld(told, code=CODE, figures=(figure,), remedy=_REMEDY)
        return figure


def distances_of(bundle: Bundle) -> dict[str, Distance]:
    """What the answers of each artifact that is here are held to; of none where the manifest asks for nothing.

    Raises:
        BundleRejected: ``bundle.invalid-guard``.
    """
    use = bundle.manifest.guard.distance if bundle.manifest.guard is not None else None
    if use is None:
        return {}
    [output] = [tensor for tensor in bundle.manifest.outputs if tensor.name == use.output]
    distances = {}
    for artifact in bundle.artifacts:
        fit = read_fit(bundle.path(use.parameters), artifact.id)
        shape = (1, len(fit.centre))
        if (output.dtype, tuple(output.shape)) != ("float32", shape):
            raise _invalid(
                f"output {use.output} is {output.dtype} {list(output.shape)}, it is of float32 {list(shape)}"
            )
        distances[artifact.id] = Distance(output=use.output, threshold=use.threshold, fit=fit)
    return distances


def read_fit(path: Path, artifact: str) -> Fit:
    """What a file says of an artifact.

    Raises:
        BundleRejected: ``bundle.invalid-guard``.
    """
    try:
        arrays = _read(path, artifact)
    except Exception as error:  # whatever zipfile and numpy say of a damaged file
        raise _invalid(f"{path.name} cannot be used: {error}") from error
    centre, axes, spread, bound = (arrays[part] for part in PARTS)
    d, r = centre.size, spread.size - 1
    fits = centre.shape == (d,) and axes.shape == (d, r) and spread.shape == (r + 1,) and bound.shape == (1,)
    if not fits or not 0 < r <= d:
        raise _invalid(f"{path.name}: shapes {[array.shape for array in arrays.values()]} do not go together")
    if any(array.dtype != PARTS[name] or not np.isfinite(array).all() for name, array in arrays.items()):
        raise _invalid(f"{path.name}: not all are finite, or of their dtypes")
    if not (spread > 0).all() or not bound[0] > 0:
        raise _invalid(f"{path.name}: a spread or a bound that is not above 0")
    return Fit(centre=centre, axes=axes.astype(np.float64), spread=spread, bound=float(bound[0]))


def fit_arrays(artifact: str, fit: Fit) -> dict[str, Array]:
    """As a file has them, by name."""
    values: dict[str, Any] = {"centre": fit.centre, "axes": fit.axes, "spread": fit.spread, "bound": [fit.bound]}
    return {f"{artifact}/{part}": np.asarray(values[part], dtype) for part, dtype in PARTS.items()}


def _read(path: Path, artifact: str) -> dict[str, Array]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    with zipfile.ZipFile(path) as packed:
        if sum(member.file_size for member in packed.infolist()) > MAX_BYTES:
            raise ValueError(f"more than {MAX_BYTES} bytes are packed in it")
    with np.load(path, allow_pickle=False) as kept:
        return {part: kept[f"{artifact}/{part}"] for part in PARTS}


def _invalid(why: str) -> BundleRejected:
    return BundleRejected(f"guard.distance: {why}", code="bundle.invalid-guard", remedy="build the bundle again")
