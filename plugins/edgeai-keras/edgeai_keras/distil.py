"""``distil``: a student learns from the labels and from what the parent answers.

Hinton et al. 2015, Distilling the Knowledge in a Neural Network (arXiv 1503.02531).
"""

from __future__ import annotations

from typing import Any

from edgeai.api import Compressed, CompressionFailed, CompressRequest, Objective
from edgeai_keras.frameworks import keras
from edgeai_keras.kernels import Zeros, compared, facts, kernels, pristine
from edgeai_keras.loading import load
from edgeai_keras.losses import is_of_values, loss_of
from edgeai_keras.model_file import structure_of
from edgeai_keras.options import Given
from edgeai_keras.saving import save
from edgeai_keras.specs import DISTIL_OPTIONS
from edgeai_keras.training import set_seed
from edgeai_keras.tuning import Tuning, tuned, tuned_note

_SMALLEST = 1e-7
_ENDS = {"softmax": "probabilities", "sigmoid": "probabilities", "linear": "logits"}


def compress(request: CompressRequest) -> Compressed:
    """Train the student.

    Raises:
        CompressionFailed: ``compress.options``, ``compress.needs-data``, ``compress.no-teacher``,
            ``compress.student-unknown``, ``compress.student-differs``, and as ``loading.load`` and ``training.fit``.
    """
    given = Given("distil", DISTIL_OPTIONS, request.options)
    temperature, alpha = given.number("temperature", 0.1, 100.0), given.number("alpha", 0.0, 1.0)
    name, options, tuning = given.word("student"), dict(given.table("student_options")), Tuning.of(given)
    if options and not name:
        raise given.wrong("student_options without student", "name an architecture of edgeai_keras.architectures")
    zeros = given.flag("preserve_sparsity")
    if request.train is None or not tuning.epochs:
        raise CompressionFailed(
            "distil: a student learns from data, and there is none",
            code="compress.needs-data",
            remedy="give training batches (edgeai build --data DIR), and epochs over 0",
        )
    if request.teacher is None:
        raise CompressionFailed("distil: there is no teacher", code="compress.no-teacher", remedy="name the parent")
    teacher, current = load(request.teacher), load(request.model)
    set_seed(request.seed)  # after these: their layers draw from the same numbers as the student's first weights
    student = _built(name, options) if name else current
    _check(student, teacher, current, request.objective)
    before = pristine(current)
    callbacks = (Zeros(kernels(student)),) if zeros and not name else ()
    distiller = None  # a teacher of no weight is not asked: its answers are most of the work
    if alpha > 0.0:
        distiller = _distiller(teacher, student, request.objective, temperature, alpha, tuning.learning_rate)
    history = tuning.run(student, request, callbacks, trainer=distiller)
    save(student, request.output)
    after = facts(student, request.output)
    who = f"{name} of {after['parameters']:,.0f} parameters" if name else "the model of the step before"
    by = f"by {request.teacher.name} of {teacher.count_params():,} parameters" if alpha else "by the labels alone"
    notes = (f"taught {who} {by}", tuned_note(history))
    return Compressed(model=request.output, notes=notes, facts={**compared(before, after), **tuned(history)})


def _distiller(
    teacher: Any, student: Any, objective: Objective, temperature: float, alpha: float, learning_rate: float
) -> Any:
    distiller = keras.distillation.Distiller(
        teacher=teacher,
        student=student,
        distillation_losses=Soft(objective, temperature),
        student_loss_weight=1.0 - alpha,
    )
    losses = [loss_of(objective) for _ in student.outputs]
    loss = keras.tree.pack_sequence_as(structure_of(student, "output"), losses)
    distiller.compile(keras.optimizers.Adam(learning_rate), loss=loss, jit_compile=False)
    return distiller


class Soft(keras.distillation.DistillationLoss):  # type: ignore[misc]
    """How far the student is from the teacher's softened answers.

    Classes: Kullback-Leibler divergence of softmax at ``temperature``. Labels that exclude nothing, and masks: binary
    cross-entropy with the teacher's sigmoid at ``temperature``, pixel by pixel. Both times temperature squared, so that
    ``alpha`` means the same at every temperature (Hinton et al., section 2). Values: the loss itself, to the teacher's.
    """

    def __init__(self, objective: Objective, temperature: float) -> None:
        self._objective, self._temperature = objective, temperature

    def compute_loss(self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any) -> Any:
        """The sum over all outputs, a scalar."""
        pairs = zip(keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs), strict=True)
        return sum(self._one(teacher, student) for teacher, student in pairs)

    def _one(self, teacher: Any, student: Any) -> Any:
        ops, objective = keras.ops, self._objective
        if objective.formula is not None:
            return ops.mean(objective.formula(ops, teacher, student))
        if objective.loss == "mean-absolute-error":
            return ops.mean(ops.abs(teacher - student))
        if objective.loss == "mean-squared-error":
            return ops.mean(ops.square(teacher - student))
        soft = objective.loss != "categorical-crossentropy"
        teacher, student = (self._logits(value, sigmoid=soft) / self._temperature for value in (teacher, student))
        if soft:
            loss = ops.binary_crossentropy(ops.sigmoid(teacher), student, from_logits=True)
        else:
            loss = ops.sum(ops.softmax(teacher) * (ops.log_softmax(teacher) - ops.log_softmax(student)), axis=-1)
        return ops.mean(loss) * self._temperature**2

    def _logits(self, value: Any, *, sigmoid: bool) -> Any:
        if self._objective.from_logits:
            return value
        log = keras.ops.log
        value = keras.ops.clip(value, _SMALLEST, 1.0 - _SMALLEST)
        return log(value) - log(1.0 - value) if sigmoid else log(value)


def _built(name: str, options: dict[str, Any]) -> Any:
    from edgeai_keras import architectures

    try:
        return architectures.build(name, **options)
    except (ValueError, TypeError) as error:
        raise CompressionFailed(
            f"distil: student {name!r}: {error}",
            code="compress.student-unknown",
            remedy="see edgeai_keras.architectures for the networks and their options",
        ) from error


def _check(student: Any, teacher: Any, current: Any, objective: Objective) -> None:
    """Student and teacher take and give the same, and what the objective says they give."""
    for what in ("inputs", "outputs"):
        own, wanted = (sorted(tuple(t.shape[1:]) for t in getattr(model, what)) for model in (student, teacher))
        if own != wanted:
            raise _differs(f"its {what} are {_said(own)}, the teacher's {_said(wanted)}", "correct student_options")
    if [tuple(t.shape[1:]) for t in current.outputs] != [tuple(t.shape[1:]) for t in teacher.outputs]:
        raise _differs("the model of the step before gives other outputs than the teacher", "name the right teacher")
    if is_of_values(objective):
        return
    wanted_end = "logits" if objective.from_logits else "probabilities"
    for who, model in (("student", student), ("teacher", teacher)):
        for tensor in model.outputs:
            end = _end(tensor)
            if end and end != wanted_end:
                raise _differs(
                    f"the {who} ends in {end}, the objective wants {wanted_end}",
                    f'as student_options = {{ head = "{"logits" if objective.from_logits else "softmax"}" }}',
                )


def _end(tensor: Any) -> str:
    """Whether an output is logits or probabilities, or an empty string where its layer does not say."""
    layer = tensor._keras_history.operation
    kind = type(layer).__name__
    activation = getattr(getattr(layer, "activation", None), "__name__", kind.lower())
    return _ENDS.get(activation, "")


def _differs(why: str, remedy: str) -> CompressionFailed:
    return CompressionFailed(f"distil: {why}", code="compress.student-differs", remedy=remedy)


def _said(shapes: list[tuple[int | None, ...]]) -> str:
    return ", ".join("x".join("?" if n is None else str(n) for n in shape) for shape in shapes)
