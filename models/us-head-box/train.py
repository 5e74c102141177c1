"""Train the detector of the fetal head: ``edgeai train models/us-head-box --data DIR``."""

from __future__ import annotations

from typing import Any

from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import begin

BATCH = 8
LEARNING: dict[str, Any] = {"epochs": 48, "patience": 48, "learning_rate": 2e-3}


def network() -> Any:
    """About 260,000 weights; a place of its grid is 16 pixels wide, so that a head is 4 to 13 of them."""
    return build("centre-head", size=256, filters=12, depth=5, up=1, most=64, labels=1)


def main() -> None:
    reference = begin(__file__, __doc__ or "")
    settings = reference.settings() | LEARNING
    if reference.folds:
        folds = cross_validate(network, **reference.whole(), batch_size=BATCH, **settings)
        reference.report((fold.validation, fold.outputs) for fold in folds)
        return
    set_seed(reference.seed)
    model = network()
    fit(model, **reference.batches(BATCH), **settings)
    save(model, reference.model)
    reference.finish(lambda inputs: predict(model, inputs), [head(number) for number in range(2)])


if __name__ == "__main__":
    main()
