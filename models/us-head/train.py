"""Train the fetal head's U-Net: ``edgeai train models/us-head --data DIR``.

First on planes of half the size, where an epoch costs a fifth, then a few epochs on whole ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from edgeai.api import Array, Batch
from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import begin

SIZE, BATCH = 256, 8
HALF = {"epochs": 28, "patience": 28, "learning_rate": 2e-3}
WHOLE = {"epochs": 8, "patience": 8, "learning_rate": 5e-4}


def network(size: int = SIZE) -> Any:
    """About 900,000 weights in six levels, whose deepest sees the whole picture."""
    return build("unet", size=size, filters=16, depth=5, most=76)


def halved(epoch: Callable[[], Iterable[Batch]]) -> Callable[[], list[Batch]]:
    """The same batches on half of the rows and columns: inputs averaged, masks by the majority."""

    def smaller() -> list[Batch]:
        return [
            (
                {name: averaged(x) for name, x in inputs.items()},
                {name: (averaged(mask) >= 0.5).astype(mask.dtype) for name, mask in targets.items()},
            )
            for inputs, targets in epoch()
        ]

    return smaller


def averaged(planes: Array) -> Array:
    """(n, 256, 256, 1) to (n, 128, 128, 1)."""
    means: Array = planes.reshape(len(planes), SIZE // 2, 2, SIZE // 2, 2, 1).mean(axis=(2, 4))
    return means


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    settings = reference.settings()
    if reference.folds:
        folds = cross_validate(network, **reference.whole(), batch_size=BATCH, **settings, **{**WHOLE, "epochs": 30})
        reference.report((fold.validation, fold.outputs) for fold in folds)
        return
    batches = reference.batches(BATCH)
    set_seed(reference.seed)
    small = network(SIZE // 2)
    fit(small, **{name: halved(epoch) for name, epoch in batches.items()}, **settings, **HALF)
    model = network()
    model.set_weights(small.get_weights())
    fit(model, **batches, **settings, **WHOLE)
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(2)])


if __name__ == "__main__":
    main()
