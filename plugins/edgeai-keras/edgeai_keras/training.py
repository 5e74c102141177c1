"""Training and fine-tuning: the same request gives the same weights on one kind of processor; the best are kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from edgeai.api import Array, Batch, CompressionFailed, Objective, Options, Tensors
from edgeai_keras.answers import arranged, predict
from edgeai_keras.augment import augmented
from edgeai_keras.averages import averages_within
from edgeai_keras.folding import Batches, Shown, inner, part, shuffled, splits
from edgeai_keras.frameworks import keras, tf
from edgeai_keras.losses import loss_of
from edgeai_keras.model_file import structure_of
from edgeai_keras.resuming import Kept, State, arrays_of, kept, restore, skip
from edgeai_keras.saving import save
from edgeai_keras.together import Together

__all__ = ["Batches", "Fold", "History", "cross_validate", "fit", "loss_of", "predict", "save", "set_seed"]


def _say_nothing(step: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What a training was like.

    Attributes:
        best_epoch: the epoch whose weights were kept, from 1; 0 when none was run.
        epochs: how many were run.
        train_loss, validation_loss: one a run epoch; the latter is empty without validation batches.
        seconds: wall time of it all.
    """

    best_epoch: int = 0
    epochs: int = 0
    train_loss: tuple[float, ...] = ()
    validation_loss: tuple[float, ...] = ()
    seconds: float = 0.0


def set_seed(seed: int) -> None:
    """Seed Python, numpy and TensorFlow, and have TensorFlow compute alike every time (for the process's life)."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(
    model: Any,
    *,
    objective: Objective,
    train: Batches,
    validation: Batches | None = None,
    epochs: int,
    patience: int,
    learning_rate: float,
    augment: Options | None = None,
    seed: int = 0,
    progress: Callable[[str], None] = _say_nothing,
    callbacks: Sequence[Any] = (),
    schedule: Literal["cosine", "constant"] = "cosine",
    first_epoch: int = 1,
    trainer: Any = None,
) -> History:
    """Train ``model`` with Adam, keep the weights of the epoch with the least validation loss.

    Batch normalisation's averages look back half an epoch at most (``averages_within``), as otherwise a small data
    set is over before they follow.

    Args:
        model: a Keras model whose inputs and outputs have the names of the batches' tensors, or as many of them.
        objective: the loss, of every output, or of all together.
        train: called once an epoch (and once before, to count, where it gives no length).
        validation: ``None``: no early stopping, and the last epoch's weights are kept.
        epochs: at most so many.
        patience: so many epochs without a better validation loss end it.
        learning_rate: at the start.
        augment: names as ``edgeai_keras.augment``; of the training batches.
        seed: of every random choice.
        progress: told one line an epoch.
        callbacks: Keras callbacks. ``on_train_batch_end`` may change the weights; what it leaves is validated.
        schedule: ``cosine``: the rate falls to 0 over all epochs (Loshchilov and Hutter 2017).
        first_epoch: the first whose weights may be kept (from 1): a schedule may need its time.
        trainer: what is stepped in place of ``model``, compiled by the caller: a model around it (distillation).

    Raises:
        CompressionFailed: ``compress.no-data``, ``compress.diverged``, ``compress.tensors-differ``.
        ConfigError: ``config.augment``.
    """
    set_seed(seed)
    change = augmented(augment or {}, seed)
    keeps = None
    if trainer is None and not callbacks:  # whatever else takes part keeps a state of its own
        rest = {"epochs": epochs, "patience": patience, "rate": learning_rate, "schedule": schedule, "seed": seed}
        keeps = kept(model, objective=objective, augment=augment, first=first_epoch, **rest)
    if trainer is None and objective.together is not None:
        trainer = Together(model, objective.together)
        trainer.compile(keras.optimizers.Adam(learning_rate), jit_compile=False)
    elif trainer is None:
        trainer = model
        losses = [loss_of(objective) for _ in model.outputs]
        loss = keras.tree.pack_sequence_as(structure_of(model, "output"), losses)
        trainer.compile(keras.optimizers.Adam(learning_rate), loss=loss, jit_compile=False)
    run = _Run(model, trainer, tuple(callbacks), epochs, learning_rate, schedule, keeps)
    return run.all(train, validation, change, patience=patience, first=min(first_epoch, epochs), progress=progress)


@dataclass(slots=True)
class _Run:
    """One call of ``fit``: what is trained, and what is remembered of it."""

    model: Any
    trainer: Any
    callbacks: tuple[Any, ...]
    epochs: int
    learning_rate: float
    schedule: str
    keeps: Kept | None = None
    train_loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    best: tuple[float, int, list[Array]] | None = None

    def all(
        self,
        train: Batches,
        validation: Batches | None,
        change: Callable[[Batch], Batch],
        *,
        patience: int,
        first: int,
        progress: Callable[[str], None],
    ) -> History:
        begin = time.monotonic()
        steps = _count(train)
        for callback in self.callbacks:
            callback.set_params({"epochs": self.epochs, "steps": steps, "verbose": 0})
            callback.set_model(self.model)
        self._tell("on_train_begin")
        done = self._go_on(train, change, progress)
        with averages_within(self.model, steps):
            for epoch in range(done + 1, self.epochs + 1):
                started, still = time.monotonic(), getattr(change, "still", 0)
                self._epoch(epoch, train, change, steps)
                line = f"epoch {epoch} of {self.epochs}: loss {self.train_loss[-1]:.4g}"
                if stayed := getattr(change, "still", 0) - still:
                    line += f" ({stayed} pictures could not be moved)"
                if validation is not None:
                    self.validation_loss.append(self._validate(validation))
                    line += f", validation {self.validation_loss[-1]:.4g}"
                self._tell("on_epoch_end", epoch - 1)
                over = validation is not None and self._enough(epoch, first, patience)
                self._keep(epoch, change, over=over or epoch == self.epochs)
                progress(f"{line}, {time.monotonic() - started:.0f} s")
                if over:
                    break
        self._tell("on_train_end")
        run = len(self.train_loss)
        if self.best is not None:
            self.model.set_weights(self.best[2])
        return History(
            best_epoch=self.best[1] if self.best is not None else run,
            epochs=run,
            train_loss=tuple(self.train_loss),
            validation_loss=tuple(self.validation_loss),
            seconds=time.monotonic() - begin,
        )

    def _go_on(self, train: Batches, change: Any, progress: Callable[[str], None]) -> int:
        """Epochs that an interrupted training has done, with all as it was after them; all, where it was over."""
        state = self.keeps.load() if self.keeps is not None else None
        if state is None:
            if self.keeps is not None and self.keeps.differs:
                progress("begins anew: what was kept is of another network, other settings or another beginning")
            return 0
        best = restore(self.model, self.trainer.optimizer, state.arrays)
        self.train_loss, self.validation_loss = list(state.losses[0]), list(state.losses[1])
        self.best = None if state.best is None else (*state.best, best)
        if state.random is not None:
            change.state = state.random
        skip(train, state.epochs)
        progress(f"resumed: {state.epochs} of {self.epochs} epochs were done when it was interrupted")
        return self.epochs if state.over else state.epochs

    def _keep(self, epoch: int, change: Any, *, over: bool) -> None:
        if self.keeps is None:
            return
        best = self.best
        self.keeps.save(
            State(
                epochs=epoch,
                over=over,
                losses=(self.train_loss, self.validation_loss),
                best=None if best is None else best[:2],
                random=getattr(change, "state", None),
                arrays=arrays_of(self.model, self.trainer.optimizer, None if best is None else best[2]),
            )
        )

    def _epoch(self, epoch: int, train: Batches, change: Callable[[Batch], Batch], steps: int) -> None:
        self._tell("on_epoch_begin", epoch - 1)
        losses, sizes = [], []
        for step, batch in enumerate(train()):
            self.trainer.optimizer.learning_rate = self._rate((epoch - 1 + step / steps) / self.epochs)
            inputs, targets = arranged(self.model, change(batch))
            self._tell("on_train_batch_begin", step)
            losses.append(_loss(self.trainer.train_on_batch(inputs, targets, return_dict=True)))
            sizes.append(_size(batch))
            self._tell("on_train_batch_end", step)
        loss = float(np.average(losses, weights=sizes))
        # The loss alone does not tell: Keras clips probabilities, which makes a number of what is none.
        if not math.isfinite(loss) or not all(np.isfinite(value).all() for value in self.model.get_weights()):
            raise CompressionFailed(
                f"training diverged in epoch {epoch}: loss {loss:.4g}, or weights that are no numbers",
                code="compress.diverged",
                remedy="use a lower learning_rate; see that inputs and targets are finite",
            )
        self.train_loss.append(loss)

    def _rate(self, done: float) -> float:
        return self.learning_rate * (0.5 * (1 + math.cos(math.pi * done)) if self.schedule == "cosine" else 1.0)

    def _validate(self, validation: Batches) -> float:
        losses, sizes = [], []
        for batch in validation():
            inputs, targets = arranged(self.model, batch)
            losses.append(_loss(self.trainer.test_on_batch(inputs, targets, return_dict=True)))
            sizes.append(_size(batch))
        if not sizes:
            raise _no_data("validation")
        return float(np.average(losses, weights=sizes))

    def _enough(self, epoch: int, first: int, patience: int) -> bool:
        if epoch < first:
            return False
        loss = self.validation_loss[-1]
        # ``not >=``: a loss that is not a number is never better, and the first allowed epoch always is.
        if self.best is None or loss < self.best[0]:
            self.best = (loss if math.isfinite(loss) else math.inf, epoch, self.model.get_weights())
        return epoch - self.best[1] >= patience

    def _tell(self, what: str, *place: int) -> None:
        for callback in self.callbacks:
            getattr(callback, what)(*place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One fold of a cross-validation.

    Attributes:
        train, validation: places of its samples: of what it learnt, its epoch included, and of what it answers for.
        outputs: what the model that never saw them answers for the validation samples.
        history: of its training.
    """

    train: Array
    validation: Array
    outputs: Tensors
    history: History


def cross_validate(
    build: Callable[[], Any],
    inputs: Tensors,
    targets: Tensors,
    *,
    validation: Batches | None = None,
    groups: Sequence[Any] | None = None,
    strata: Sequence[Any] | None = None,
    shown: Shown | None = None,
    folds: int = 5,
    seed: int = 0,
    batch_size: int = 16,
    progress: Callable[[str], None] = _say_nothing,
    **training: Any,
) -> tuple[Fold, ...]:
    """Train ``folds`` fresh models, each without the samples that it then answers for.

    Nothing of those samples chooses anything, the epoch that is kept included: an answer is out of fold for all of the
    model, or a temperature that is fitted on such answers is as sharp as one that was fitted on train.

    Args:
        build: makes an untrained model; called after the seed is set.
        inputs: of all samples, by tensor name.
        targets: of all samples, by tensor name.
        validation: samples beside all of these, which choose each fold's epoch as they choose that of the model that
            ships. Without, a part of the fold's own training samples does, whose groups are in no other part; where
            these are of one group, every epoch is run and the last is kept.
        groups: no group (a patient) is on both sides; by default each sample is its own.
        strata: classes whose shares every fold keeps.
        shown: what an epoch of a fold shows, as that of the model that ships does; by default each sample once.
        folds: how many.
        seed: of the split, of the weights and of the training.
        batch_size: samples a batch.
        progress: told one line an epoch.
        training: the other arguments of ``fit``.

    Raises:
        CompressionFailed: ``compress.no-data``: fewer groups than folds.
    """
    count = len(next(iter(inputs.values())))
    made = []
    for number, (train, held_out) in enumerate(splits(count, groups, strata, folds, seed), start=1):
        learnt, chooses = train, validation
        if chooses is None:
            learnt, kept_back = inner(train, groups, strata, folds, seed)
            if len(kept_back):
                chooses = shuffled(part(inputs, kept_back), part(targets, kept_back), batch_size, None)
        set_seed(seed)
        model = build()
        history = fit(
            model,
            train=shuffled(part(inputs, learnt), part(targets, learnt), batch_size, seed, shown and shown(learnt)),
            validation=chooses,
            seed=seed,
            progress=lambda line, number=number: progress(f"fold {number} of {folds}: {line}"),  # type: ignore[misc]
            **training,
        )
        outputs = predict(model, part(inputs, held_out))
        made.append(Fold(train=train, validation=held_out, outputs=outputs, history=history))
    return tuple(made)


def _count(train: Batches) -> int:
    batches = train()
    count = len(batches) if isinstance(batches, Sized) else sum(1 for _ in batches)
    if not count:
        raise _no_data("training")
    return count


def _no_data(what: str) -> CompressionFailed:
    return CompressionFailed(
        f"there is no {what} batch", code="compress.no-data", remedy="see the card's [data] and --data"
    )


def _size(batch: Batch) -> int:
    return len(next(iter(batch[0].values())))


def _loss(logs: Any) -> float:
    return float(logs["loss"])
