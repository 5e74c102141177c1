"""What all compressors share: their options of fine-tuning, and the fine-tuning itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeai.api import CompressRequest, OptionSpec

if TYPE_CHECKING:
    from edgeai_keras.options import Given
    from edgeai_keras.training import History

WHICH = (
    OptionSpec(name="layers", help="layers to change (model/layer in a nested model); empty: all", default=()),
    OptionSpec(name="keep", help="layers to leave as they are", default=()),
)  # fmt: skip


def options(*, epochs: int, patience: int, learning_rate: float) -> tuple[OptionSpec, ...]:
    """The options of fine-tuning, with a compressor's own defaults."""
    return (
        OptionSpec(name="epochs", help="most epochs of fine-tuning; 0 for none", default=epochs),
        OptionSpec(name="patience", help="epochs without a better validation loss that end it", default=patience),
        OptionSpec(name="learning_rate", help="at the start; it falls to 0 along a cosine", default=learning_rate),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """The options, checked."""

    epochs: int
    patience: int
    learning_rate: float

    @classmethod
    def of(cls, given: Given) -> Tuning:
        """Out of a step's options."""
        return cls(
            epochs=given.count("epochs", 0),
            patience=given.count("patience", 1),
            learning_rate=given.number("learning_rate", 1e-9, 10.0),
        )

    def run(
        self,
        model: Any,
        request: CompressRequest,
        callbacks: Sequence[Any],
        *,
        first_epoch: int = 1,
        trainer: Any = None,
    ) -> History | None:
        """Fine-tune ``model``; ``None`` without training batches or epochs."""
        from edgeai_keras.training import fit

        if request.train is None or not self.epochs:
            return None
        return fit(
            model,
            objective=request.objective,
            train=request.train,
            validation=request.validation,
            epochs=self.epochs,
            patience=self.patience,
            learning_rate=self.learning_rate,
            augment=request.augment,
            seed=request.seed,
            progress=request.progress,
            callbacks=callbacks,
            first_epoch=first_epoch,
            trainer=trainer,
        )


def tuned(history: History | None) -> dict[str, float]:
    """Figures of a fine-tuning."""
    if history is None:
        return {"epochs": 0.0}
    figures = {"epochs": float(history.epochs)}
    if history.validation_loss:
        figures["validation_loss"] = history.validation_loss[history.best_epoch - 1]
    return figures


def tuned_note(history: History | None) -> str:
    """The same for a reader."""
    if history is None:
        return "not fine-tuned"
    loss = f", validation loss {history.validation_loss[history.best_epoch - 1]:.4g}" if history.validation_loss else ""
    return f"fine-tuned for {history.epochs} epochs, kept epoch {history.best_epoch}{loss}"
