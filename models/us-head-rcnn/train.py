"""Train the detector of two stages of the fetal head: ``edgeai train models/us-head-rcnn --data DIR``."""

from __future__ import annotations

from typing import Any

from edgeai_keras.architectures import build
from edgeai_keras.training import cross_validate, fit, predict, save, set_seed
from edgeai_workbench.drawings import head
from edgeai_workbench.reference import begin

BATCH = 8
LEARNING: dict[str, Any] = {"epochs": 40, "patience": 40, "learning_rate": 2e-3}


def network() -> Any:
    """About 330,000 weights; a place of its grid is 8 pixels wide, and each 4 x 4 places propose one box."""
    return build("rcnn", size=128, filters=16, depth=4, up=1, most=64, regions=4)


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
