"""What models said of the fold that they never saw: written by a training script, read and checked by ``edgeai train``.

A script may split as it likes; so that its folds are folds is checked here, and not believed.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from edgeai.api import Array, DataRejected, Judge, Tensors
from edgeai_workbench.prepared import Prepared

OUT_OF_FOLD: Final = "EDGEAI_OUT_OF_FOLD"
"""Environment variable: file into which a cross-validating script writes its answers (``write``)."""
_SMALL: Final = 3


def write(file: Path, folds: Iterable[tuple[Array, Tensors]]) -> None:
    """Keep (places in the training table, outputs for them) of each fold."""
    arrays: dict[str, Array] = {}
    for number, (places, outputs) in enumerate(folds):
        arrays[f"{number}/places"] = np.asarray(places, np.int64)
        arrays |= {f"{number}/output/{name}": np.asarray(value) for name, value in outputs.items()}
    np.savez(file, **arrays)  # type: ignore[arg-type]


def gathered(file: Path, groups: Sequence[str], strata: Sequence[str], folds: int) -> list[Tensors]:
    """The outputs for each sample of the training table, in its order, each of the one model that never saw it.

    Args:
        file: as ``write`` left it.
        groups: of each sample of the table.
        strata: likewise.
        folds: how many were asked for.

    Raises:
        DataRejected: ``data.fold-samples``: a sample that no fold, or more than one, answers for; ``data.fold-group``:
            a group in two folds; ``data.fold-label``: a fold without some label.
    """
    try:
        with np.load(file, allow_pickle=False) as kept:
            arrays = dict(kept)
    except (OSError, ValueError, EOFError) as error:
        raise DataRejected(
            "the training script cross-validated, and left no answers of its folds",
            code="data.fold-samples",
            remedy="call Reference.report with each fold's places and outputs, as models/xray-view/train.py does",
        ) from error
    places = [arrays[f"{number}/places"] for number in range(sum(name.endswith("/places") for name in arrays))]
    _check_places(places, len(groups), folds)
    _check_groups(places, groups)
    _check_labels(places, strata)
    answers: list[dict[str, Array]] = [{} for _ in groups]
    for number, chosen in enumerate(places):
        prefix = f"{number}/output/"
        for name, values in ((n.removeprefix(prefix), v) for n, v in arrays.items() if n.startswith(prefix)):
            for row, place in enumerate(chosen):
                answers[place][name] = values[row : row + 1]
    return list(answers)


def check_strata(strata: Sequence[str], groups: Sequence[str], folds: int) -> None:
    """Nothing, where each label has groups enough that every fold can have one; asked before any training.

    Raises:
        DataRejected: ``data.fold-label``.
    """
    for name in sorted(set(strata)):
        count = len({group for group, stratum in zip(groups, strata, strict=True) if stratum == name})
        if count < folds:
            raise DataRejected(
                f"{name} has samples of {count} groups, which do not fill {folds} folds",
                code="data.fold-label",
                remedy=f"folds = {count} in [choice], or more samples of it"
                if count > 1
                else 'on = "validation" in [choice], or more samples of it',
            )


def named_strata(prepared: Prepared) -> list[str]:
    """What is true of each sample, in words where the judge's strata are flags of its labels."""
    judge = prepared.judge
    return [_named(judge.stratum(case), judge) for case in prepared.cases()]


def _named(stratum: Hashable, judge: Judge) -> str:
    flags = stratum if isinstance(stratum, tuple) else ()
    if flags and len(flags) == len(judge.labels) and all(isinstance(flag, bool) for flag in flags):
        return " and ".join(label for label, flag in zip(judge.labels, flags, strict=True) if flag) or "no label"
    return "all" if stratum == 0 else str(stratum)


def _check_places(places: Sequence[Array], count: int, folds: int) -> None:
    flat = np.concatenate(places) if places else np.empty(0, np.int64)
    times = np.bincount(flat[(flat >= 0) & (flat < count)], minlength=count)
    if len(places) != folds or len(flat) != count or (times != 1).any():
        wrong = [int(place) for place in np.flatnonzero(times != 1)[:_SMALL]]
        told = f"{times[wrong[0]]} times for sample {wrong[0]} of train" if wrong else f"{len(flat)} times in all"
        raise DataRejected(
            f"{len(places)} folds of {folds} that were asked for, {count} samples: answered {told}",
            code="data.fold-samples",
            remedy="each sample belongs to one fold; edgeai_keras.training.cross_validate splits so",
        )


def _check_groups(places: Sequence[Array], groups: Sequence[str]) -> None:
    home: dict[str, int] = {}
    for number, chosen in enumerate(places, 1):
        for place in chosen:
            group = groups[place]
            if home.setdefault(group, number) != number:
                raise DataRejected(
                    f"group {group} is in folds {home[group]} and {number}: a model is judged by what it learnt from",
                    code="data.fold-group",
                    remedy="split by group; Reference.whole gives groups to edgeai_keras.training.cross_validate",
                )


def _check_labels(places: Sequence[Array], strata: Sequence[str]) -> None:
    for number, chosen in enumerate(places, 1):
        absent = sorted(set(strata) - {strata[place] for place in chosen})
        if absent:
            raise DataRejected(
                f"fold {number} has no sample of {absent[0]}",
                code="data.fold-label",
                remedy="fewer folds, or keep the labels' shares: Reference.whole gives strata",
            )
