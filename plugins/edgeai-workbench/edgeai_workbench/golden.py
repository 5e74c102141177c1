"""Golden cases of a card: tensors that the Keras parent was given, and what it answered.

``golden/parent`` names the ``.keras`` file by digest; ``golden/<case>/inputs/<tensor>.npy`` and
``golden/<case>/outputs/<tensor>.npy`` hold the tensors. A training script writes them, so that packing and every cart
can hold an artifact against its parent without Keras. A variant has the same inputs and its own answers:
``variants/<name>/answers/<case>/<tensor>.npy``.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import structs

from edgeai.api.errors import ConfigError, TensorMismatch
from edgeai.api.tensors import Array, Tensors, TensorSpec, check_tensors
from edgeai.bundle.manifest import Tolerance

GOLDEN = "golden"
PARENT = "parent"
ANSWERS = "answers"
_DENSE = 1024
"""Values of an output from which on it is worth to shorten them: a mask, a map, not a few scores."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Golden:
    """One case: what goes in, what the Keras parent gave."""

    id: str
    inputs: Tensors
    outputs: Tensors

    def paths(self, what: str) -> dict[str, str]:
        """Tensor name -> path in the card's folder and in the bundle; ``what`` is ``inputs`` or ``outputs``."""
        tensors: Tensors = getattr(self, what)
        return {name: f"{GOLDEN}/{self.id}/{what}/{name}.npy" for name in tensors}


def write_golden(folder: Path, cases: Sequence[Golden], *, parent: str = "") -> None:
    """Replace the golden cases; ``parent`` is the digest of the ``.keras`` file that answered."""
    root = folder / GOLDEN
    shutil.rmtree(root, ignore_errors=True)
    for case in cases:
        add_golden(folder, case)
    if parent:
        (root / PARENT).write_text(parent + "\n", encoding="ascii")


def add_golden(folder: Path, case: Golden) -> None:
    """Write one more golden case beside those that are there."""
    for what in ("inputs", "outputs"):
        tensors: Mapping[str, Array] = getattr(case, what)
        for name, path in case.paths(what).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder / path, tensors[name], allow_pickle=False)


def read_golden(
    folder: Path, *, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], parent: str
) -> tuple[Golden, ...]:
    """The card's golden cases, by name.

    Raises:
        ConfigError: ``config.golden-missing``; ``config.golden-stale`` when another ``.keras`` file answered;
            ``config.golden-invalid`` for tensors that are not those of the card.
    """
    root = folder / GOLDEN
    names = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not names or not (root / PARENT).is_file():
        raise ConfigError(f"{root}: no golden cases", code="config.golden-missing", remedy="run the training script")
    answered = (root / PARENT).read_text(encoding="ascii").strip()
    if answered != parent:
        raise ConfigError(
            f"{root}: answered by the model {answered}, the card describes {parent}",
            code="config.golden-stale",
            remedy="run the training script, which writes them anew",
        )
    return tuple(
        Golden(id=name, inputs=_read(root / name / "inputs", inputs), outputs=_read(root / name / "outputs", outputs))
        for name in names
    )


def rounded(
    cases: Sequence[Golden], tolerances: Mapping[str, Tolerance]
) -> tuple[tuple[Golden, ...], dict[str, Tolerance]]:
    """The cases with shorter answers where they are dense, and the tolerances with what that can cost added.

    The answers of a dense output are most of a small bundle, and digits far below the tolerance tell nobody
    anything. They are rounded to a power of two that is at most a quarter of the least absolute tolerance.
    """
    step = _step(min((each.absolute for each in tolerances.values()), default=0.0))
    if step == 0.0 or not any(_is_dense(array) for case in cases for array in case.outputs.values()):
        return tuple(cases), dict(tolerances)
    shorter = tuple(
        replace(case, outputs={name: _to_step(array, step) for name, array in case.outputs.items()}) for case in cases
    )
    wider = {name: structs.replace(each, absolute=each.absolute + step / 2) for name, each in tolerances.items()}
    return shorter, wider


def _step(absolute: float) -> float:
    return 2.0 ** math.floor(math.log2(absolute / 4)) if 0.0 < absolute < math.inf else 0.0


def _is_dense(array: Array) -> bool:
    return array.dtype.kind == "f" and array.size >= _DENSE


def _to_step(array: Array, step: float) -> Array:
    if not _is_dense(array):
        return array
    # In the tensor's own precision a great value may have no digit at the step; it then stays as it is.
    near: Array = (np.round(array.astype(np.float64) / step) * step).astype(array.dtype)
    return near


def write_answers(folder: Path, cases: Sequence[Golden]) -> None:
    """Keep the outputs of these cases below ``folder``, beside those that are there."""
    for case in cases:
        root = folder / ANSWERS / case.id
        root.mkdir(parents=True, exist_ok=True)
        for name, array in case.outputs.items():
            np.save(root / f"{name}.npy", array, allow_pickle=False)


def read_answers(folder: Path, cases: Sequence[Golden], added: Sequence[TensorSpec] = ()) -> tuple[Golden, ...]:
    """The same cases with the outputs that ``write_answers`` kept, and with those that were ``added``.

    Raises:
        ConfigError: ``config.golden-invalid``.
    """
    answered = []
    for case in cases:
        specs = tuple(TensorSpec(name=name, dtype=str(a.dtype), shape=a.shape) for name, a in case.outputs.items())
        outputs = _read(folder / ANSWERS / case.id, (*specs, *added))
        answered.append(Golden(id=case.id, inputs=case.inputs, outputs=outputs))
    return tuple(answered)


def _read(folder: Path, specs: Sequence[TensorSpec]) -> Tensors:
    there = sorted(path.stem for path in folder.glob("*.npy"))
    if absent := [spec.name for spec in specs if spec.name not in there]:
        raise ConfigError(
            f"{folder}: no {absent[0]!r}, which the card names; there is {', '.join(there) or 'none'}",
            code="config.golden-invalid",
            remedy="give [[inputs]] and [[outputs]] of the card the model's own names, or run the training script",
        )
    try:
        tensors = {spec.name: np.load(folder / f"{spec.name}.npy", allow_pickle=False) for spec in specs}
        check_tensors(specs, tensors, what=folder.name)
    except (OSError, ValueError, EOFError, TensorMismatch) as error:
        raise ConfigError(f"{folder}: {error}", code="config.golden-invalid") from error
    return tensors
