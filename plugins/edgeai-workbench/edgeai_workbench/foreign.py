"""A card for a model that someone else made: the file as it is, and golden cases that it answers itself.

Nothing is converted and nothing is judged. The model is opened apart (``apart``): what somebody else's file makes an
engine do is not known before it is done. The golden cases hold a cart's engine to what the engine answered here;
whether that is right, they do not say: samples with known truth do (``edgeai evaluate``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeai.api import (
    Array,
    BackendSpec,
    Described,
    InferenceFailed,
    ModelRejected,
    OpenRequest,
    TaskRequest,
    TensorMismatch,
    Tensors,
    TensorSpec,
    check_tensors,
)
from edgeai.bundle.manifest import TransformStep
from edgeai.plugins import Registry
from edgeai_workbench.apart import opened_apart
from edgeai_workbench.as_is import copied, files_of, format_of, plugin_for
from edgeai_workbench.bright import bright_input, has_bright
from edgeai_workbench.card import AS_IS, CARD_NAME, file_digest
from edgeai_workbench.card_drafts import (
    CASES,
    Draft,
    answered,
    as_the_model_sees,
    kept_from_it,
    name_of,
    refuse_changed,
)
from edgeai_workbench.convert import backend_of, loaded
from edgeai_workbench.dataset import read_folder
from edgeai_workbench.deviation import device_of
from edgeai_workbench.extents import USUAL, Size, as_answered, fixed, of_pictures
from edgeai_workbench.foreign_known import Foreign, arrays_in, check_known, refused
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.guessing import PICTURES, UNIT, check_taken, lines_of, shown, steps_of
from edgeai_workbench.tries import Asked, Reading, reading_of

_MOST_CASES = 16
_SEED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignCard:
    """Where the card is, and what was seen and assumed of the model, a sentence each."""

    folder: Path
    notes: tuple[str, ...]


def foreign_card(
    model: Path, *, out: Path, known: Foreign, progress: Callable[[str], None] = lambda step: None
) -> ForeignCard:
    """Write ``out``/NAME/ with a copy of the model, a card and golden cases; ``pack_card`` takes it from there.

    Raises:
        ConfigError: ``build.foreign-model``: no such model, or what is known of it does not fit it.
        BackendUnavailable: the engine that opens it is not installed.
        ModelRejected: the engine cannot read or run it, it reaches outside, keeps state or draws random numbers, or
            its engine dies of it (``backend.opening-died``).
        InferenceFailed: ``backend.stateful``: asked again, it answers otherwise.
        DataRejected: images that cannot be used.
    """
    kind = format_of(model)
    check_known(known)
    name = known.name or name_of(model)
    folder = out / name
    refuse_changed(folder, f"edgeai pack {folder}, or another --name", refused)
    registry = loaded(("transforms", plugin_for(kind)))
    with opened_apart(backend_of(registry, kind), plugin_for(kind), files_of(model)) as (backend, how):
        progress(f"reading the model, {how}")
        described = _described(backend, model)
        taken = _inputs(described, pictures=known.images is not None)
        inputs, sized = _sized(taken, known)
        outputs = tuple(_batch_of_one(spec) for spec in described.outputs)
        steps, ends = _steps(
            inputs, known.values, described.scales.get(inputs[0].name), described.ranges.get(inputs[0].name)
        )
        cases = _with_bright(_cases(known, inputs, steps, registry), inputs, steps, registry)
        progress("asking the model")
        device = device_of(backend)
        request = OpenRequest(artifact=model, device=device, inputs=inputs, outputs=outputs, threads=1)
        golden, engine = _answered(backend, request, cases, sized), f"{backend.engine()} on {device}"
        if inputs != taken:
            outputs = as_answered(outputs, {name: array.shape for name, array in golden[0].outputs.items()})
    reading, notes = _read(known, described, outputs, golden)
    reading.spec.build(TaskRequest(options=reading.guess.options, outputs=outputs))
    notes = (*described.notes, *sized, *notes, *([_ends_note(inputs[0], ends, known)] if steps else []))
    folder.mkdir(parents=True, exist_ok=True)
    path = copied(model, folder, name)
    digest = file_digest(path)
    write_golden(folder, golden, parent=digest)
    draft = Draft(
        name=name,
        model=path.name,
        digest=digest,
        intended_use="A foreign model; say here what it is for, and for whom.",
        task=reading.spec.name,
        plugin=reading.plugin.name,
        options=reading.guess.options,
        steps=steps,
        inputs=inputs,
        outputs=outputs,
        recipes=[_recipe(kind, inputs, outputs)],
        notes=notes,
        command="unknown: trained by someone else",
    )
    (folder / CARD_NAME).write_text(draft.text(_head(engine, known)), encoding="utf-8")
    return ForeignCard(folder=folder, notes=(*notes, *_withheld_note(known, inputs[0], steps, registry)))


# --- its tensors ----------------------------------------------------------------------------------


def _described(backend: BackendSpec, model: Path) -> Described:
    if backend.describe is None:
        raise refused(f"backend {backend.name} cannot say what {model.name} takes", "write a card for it")
    described = backend.describe(model)
    if not described.inputs or not described.outputs:
        raise refused(f"{model.name} has no inputs or no outputs", "export it with a serving signature")
    return described


def _inputs(described: Described, *, pictures: bool) -> tuple[TensorSpec, ...]:
    """Its inputs for a batch of one; an only one that can be a picture has the layout of one."""
    specs = [_batch_of_one(spec) for spec in described.inputs]
    if len(specs) == 1:
        spec = specs[0]
        layout = _layout(spec.shape, pictures=pictures)
        specs = [TensorSpec(name=spec.name, dtype=spec.dtype, shape=spec.shape, layout=layout)]
    if pictures and not specs[0].layout:
        shape = shown(specs[0].shape)
        if len(specs) == 1 and len(specs[0].shape) == 4 and specs[0].shape[0] != 1:
            why = f"input {specs[0].name!r} is {shape}: {specs[0].shape[0]} pictures at a time, a device gives one"
            raise refused(why, "export it for a batch of one")
        raise refused(f"input {specs[0].name!r} is {shape}, no picture", "leave --images out, and give --inputs")
    return tuple(specs)


def _layout(shape: Sequence[int | None], *, pictures: bool) -> str:
    """Rows and columns, of any extent or of one; without channels only where pictures are said to go in."""
    if shape[0] != 1:
        return ""
    if len(shape) == 4 and shape[3] in (1, 3):
        return "NHWC"
    if len(shape) == 4 and shape[1] in (1, 3):
        return "NCHW"
    return "NHW" if len(shape) == 3 and pictures else ""


def _sized(inputs: tuple[TensorSpec, ...], known: Foreign) -> tuple[tuple[TensorSpec, ...], tuple[str, ...]]:
    """Its inputs, an only picture of any extent at one that a cart brings pictures to; and what was taken."""

    def otherwise() -> Size:
        if known.inputs is not None:
            shape = _of_input(arrays_in(known.inputs), spec, known.inputs).shape
            return shape[spec.layout.index("H")], shape[spec.layout.index("W")]
        if known.images is not None:
            samples = read_folder(known.images)
            return of_pictures(samples[len(samples) // 2].load()[0])
        return USUAL

    spec = inputs[0]
    one, notes = fixed(spec, known.size, otherwise, refused)
    return (one, *inputs[1:]), notes


def _answered(
    backend: BackendSpec, request: OpenRequest, cases: Sequence[Tensors], sized: tuple[str, ...]
) -> list[Golden]:
    """As ``answered``; where nobody but us took the extent, what a model cannot do with it is no fault of its file."""
    try:
        return answered(backend, request, cases)
    except (ModelRejected, InferenceFailed) as error:
        if not sized or error.code not in (ModelRejected.default_code, InferenceFailed.default_code):
            raise
        why = f"{sized[0].partition(':')[0]}, and it does not answer: {error}"
        raise refused(why, "say rows and columns that it takes: --size 256 256") from error


def _batch_of_one(spec: TensorSpec) -> TensorSpec:
    if not spec.shape or spec.shape[0] is not None:
        return spec
    return TensorSpec(name=spec.name, dtype=spec.dtype, shape=(1, *spec.shape[1:]))


def _steps(
    inputs: Sequence[TensorSpec],
    values: tuple[float, float] | None,
    scale: tuple[float, int] | None,
    taken: tuple[float, float] | None,
) -> tuple[list[TransformStep], tuple[float, float]]:
    """From a picture to the input, and what black and white then are; none where it takes no picture."""
    spec = inputs[0]
    if not spec.layout or spec.dtype not in PICTURES:
        return [], UNIT
    if values is not None:
        check_taken(values, taken, spec.name, refused)
    extent = dict(zip(spec.layout, spec.shape, strict=True))
    return steps_of(
        rows=int(extent["H"] or 0),
        columns=int(extent["W"] or 0),
        colour=extent.get("C") == 3,
        dtype=spec.dtype,
        values=values or taken,
        scale=scale,
    )


def _ends_note(spec: TensorSpec, ends: tuple[float, float], known: Foreign) -> str:
    shown = f"input {spec.name}: black is {ends[0]:.4g}, white is {ends[1]:.4g}"
    if known.values is not None:
        return f"{shown}, as --values says"
    if np.dtype(spec.dtype).kind in "iu" and ends != UNIT:
        return f"{shown}, as its own scale says"
    return f"{shown} is assumed; --values BLACK WHITE says otherwise"


def _withheld_note(
    known: Foreign, source: TensorSpec, steps: Sequence[TransformStep], registry: Registry
) -> tuple[str, ...]:
    """That pictures which are meant for it show nothing, to whoever judges by levels and texture."""
    codes = [] if known.images is None else kept_from_it(read_folder(known.images), steps, registry, source)
    if not codes:
        return ()
    by_code = ", ".join(dict.fromkeys(codes))
    return (f"{len(codes)} of its pictures will be withheld ({by_code}), unless the card says [guard] content = false",)


# --- golden cases ---------------------------------------------------------------------------------


def _cases(
    known: Foreign, inputs: tuple[TensorSpec, ...], steps: Sequence[TransformStep], registry: Registry
) -> list[Tensors]:
    if known.inputs is not None:
        return _from_file(known.inputs, inputs)
    if known.images is not None:
        seen = as_the_model_sees(read_folder(known.images), steps, registry, inputs[0])
        return [{inputs[0].name: array} for array in seen]
    random = np.random.default_rng(_SEED)
    return [{spec.name: _random(spec, random, known.values or UNIT) for spec in inputs} for _ in range(CASES)]


def _with_bright(
    cases: list[Tensors], inputs: tuple[TensorSpec, ...], steps: Sequence[TransformStep], registry: Registry
) -> list[Tensors]:
    """The cases, and a bright one where the model takes a picture and none of them is."""
    name = inputs[0].name
    picture = bright_input(steps, registry, inputs[0]) if steps else None
    if picture is None or has_bright((case[name] for case in cases), picture):
        return cases
    return [*cases, {**cases[0], name: picture}]


def _from_file(path: Path, inputs: tuple[TensorSpec, ...]) -> list[Tensors]:
    given = arrays_in(path)
    if len(inputs) == 1:
        given[inputs[0].name] = _of_input(given, inputs[0], path)
    missing = [spec.name for spec in inputs if spec.name not in given]
    if missing:
        raise refused(f"{path} has no {', '.join(missing)}; it has {', '.join(given)}", "one array an input, by name")
    number = min(_MOST_CASES, *(len(given[spec.name]) for spec in inputs))
    cases = [{spec.name: given[spec.name][place : place + 1] for spec in inputs} for place in range(number)]
    try:
        for case in cases:
            check_tensors(inputs, case)
    except TensorMismatch as error:
        raise refused(f"{path}: {error}", "the first axis counts cases, the others are the input's") from error
    if not cases:
        raise refused(f"{path} holds no case", "the first axis counts cases")
    return cases  # type: ignore[return-value]


def _of_input(given: Mapping[str, Array], spec: TensorSpec, path: Path) -> Array:
    """The array of an only input: by its name, by the word ``input``, or the only one that there is."""
    names = [spec.name, "input", *(given if len(given) == 1 else ())]
    name = next((name for name in names if name in given), "")
    if not name:
        raise refused(f"{path} has no {spec.name}; it has {', '.join(given)}", "one array an input, by name")
    if given[name].ndim != len(spec.shape):
        why = f"{path}: {name} has {given[name].ndim} axes, not the {len(spec.shape)} of the input"
        raise refused(why, "the first axis counts cases, the others are the input's")
    return given[name]


def _random(spec: TensorSpec, random: np.random.Generator, values: tuple[float, float]) -> Array:
    shape = tuple(extent or 8 for extent in spec.shape)
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        return random.uniform(*values, shape).astype(dtype)
    if dtype.kind == "b":
        return random.integers(0, 2, shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(max(limits.min, -128), min(limits.max, 255), shape, endpoint=True).astype(dtype)


# --- the card -------------------------------------------------------------------------------------


def _read(
    known: Foreign, described: Described, outputs: Sequence[TensorSpec], golden: Sequence[Golden]
) -> tuple[Reading, tuple[str, ...]]:
    """Which task reads an output, with which options; and what was seen and assumed for that."""
    output = _output(known, outputs)
    scale = described.scales.get(output.name) if np.dtype(output.dtype).kind in "iu" else None
    factor, zero = scale or (1.0, 0)
    asked = Asked(
        output=output,
        activation=described.activations.get(output.name, ""),
        scale=scale,
        several=len(outputs) > 1,
        answers=[factor * (case.outputs[output.name].astype(np.float64) - zero) for case in golden],
    )
    reading = reading_of(asked, known.told, refused)
    notes = (reading.guess.says, *reading.notes)
    if len(outputs) > 1:
        others = ", ".join(spec.name for spec in outputs if spec is not output)
        notes = (*notes, f"of its {len(outputs)} outputs {output.name} is read, and not {others}")
    return reading, notes


def _output(known: Foreign, outputs: Sequence[TensorSpec]) -> TensorSpec:
    """The output that is read: the only one, the one with as many answers as there are labels, or the first."""
    if len(outputs) == 1 or known.labels is None:
        return outputs[0]
    count = len([line for line in lines_of(known.labels, refused) if line])
    fitting = [spec for spec in outputs if spec.shape and spec.shape[-1] == count]
    return fitting[0] if len(fitting) == 1 else outputs[0]


def _recipe(kind: str, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> dict[str, Any]:
    """The file as it is, and what its answers are held to on another machine."""
    whole = any(np.dtype(spec.dtype).kind in "iu" for spec in outputs)
    # Engines round whole numbers otherwise by a few steps, and add floats in another order.
    tolerance = {"absolute": 3.0, "relative": 0.0} if whole else {"absolute": 1e-3, "relative": 1e-3}
    quantised = whole or any(np.dtype(spec.dtype).kind in "iu" for spec in inputs)
    return {"converter": AS_IS, "plugin": plugin_for(kind), "precision": "int8" if quantised else "fp32", **tolerance}


def _head(engine: str, known: Foreign) -> str:
    if known.inputs is not None:
        inputs = f"are from {known.inputs.name}"
    elif known.images is not None:
        inputs = f"are pictures out of {known.images.name}"
    else:
        inputs = f"are random numbers (seed {_SEED})"
    return (
        f"# Written for a model that someone else made. The golden inputs {inputs};\n"
        f"# the answers are the model's own, by {engine}.\n"
        "# Check the transforms, the task and the labels, then: edgeai pack FOLDER\n"
        "# Reference: docs/reference/card.md.\n\n"
    )
