"""A card for a first try: what can be known of a ``.keras`` file and a folder of images, written down to go on from."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edgeai.api import Array, ConfigError, OpenRequest, TensorSpec
from edgeai.build.card import CARD_NAME, Named, TransformUse, file_digest
from edgeai.build.convert import loaded
from edgeai.build.dataset import Sample, read_folder
from edgeai.build.extra import needed
from edgeai.build.golden import Golden, write_golden
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry

_CASES = 4
_HEAD = """# Written for a first try: check the transforms, the task and the labels.
# Reference: docs/reference/card.md.

"""
_PRECISIONS = (("tflite", "fp32"), ("tflite", "fp16"), ("tflite", "dynamic"), ("tflite", "int8"))
_PRECISIONS_OPENVINO = (("openvino", "fp32"), ("openvino", "fp16"), ("openvino", "int8"))


def first_card(
    model: Path,
    *,
    out: Path,
    task: str,
    labels: Path | None,
    images: Path | None,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[Path, Path]:
    """Write ``out``/NAME/ with a copy of the model, a card and golden cases; and say where that and the images are.

    The card asks for every precision of LiteRT and OpenVINO and states what was assumed, to be corrected by hand.

    Args:
        model: a ``.keras`` file with one image input and one output.
        out: folder of the bundle, in which the card's folder is made; one that is there is refused.
        task: ``classify`` or ``segment``.
        labels: a file of labels, one a line; numbered without.
        images: pictures and DICOM files to calibrate on; with one sub-folder a label, to judge on too.
        progress: told what is being done.

    Raises:
        ConfigError: ``build.no-model``; ``build.first-try``: what is missing or cannot be guessed.
        DataRejected: images that cannot be used.
    """
    if not model.is_file():
        raise ConfigError(f"{model}: no such file", code="build.no-model", remedy="check the path of the .keras file")
    registry = loaded(("transforms", task, "tflite", "openvino", "keras"))
    if images is None:
        _tensors(model, registry)  # a model that is none is said first
        raise _refused("quantisation looks at images", "say where some are: --calibration DIR")
    name = re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("-.") or "model"
    folder = out / name
    if (folder / CARD_NAME).exists():
        raise _refused(f"{folder / CARD_NAME} is there already", f"edgeai build {folder} --data {images}")
    progress("reading the model")
    source, target = _tensors(model, registry)
    words = _labels(labels, target, task)
    steps = _steps(source)
    cases = _golden(_some(read_folder(images)), steps, registry, source)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".first-", dir=out) as partial:  # there is a whole folder, or none
        fresh = Path(partial) / name
        fresh.mkdir()
        shutil.copyfile(model, fresh / f"{name}.keras")
        progress("asking the model")
        answered = _answered(fresh / f"{name}.keras", registry, source, target, cases)
        digest = file_digest(fresh / f"{name}.keras")
        write_golden(fresh, answered, parent=digest)
        activation = _activation([case.outputs[target.name] for case in answered], task)
        binary = task == "classify" and target.shape[-1] == 1
        named = Named(name=task, options=_options(task, words, activation, binary=binary))
        text = _text(name, digest, steps, named, source, target)
        (fresh / CARD_NAME).write_text(text, encoding="utf-8")
        fresh.rename(folder)
    return folder, images


def _tensors(model: Path, registry: Registry) -> tuple[TensorSpec, TensorSpec]:
    describe = registry.backends["keras"].describe
    assert describe is not None
    found = describe(model)
    if len(found.inputs) != 1 or len(found.outputs) != 1:
        raise _refused(
            f"{model.name} has {len(found.inputs)} inputs and {len(found.outputs)} outputs",
            "write a card for it: docs/reference/card.md",
        )
    source, target = found.inputs[0], found.outputs[0]
    rest = source.shape[1:]
    if len(rest) != 3 or None in rest or rest[2] not in (1, 3):
        raise _refused(f"input {source.name} is {source.shape}, no image of a fixed size", "write a card for it")
    return (
        TensorSpec(name=source.name, dtype=source.dtype, shape=(1, *rest), layout="NHWC"),
        TensorSpec(name=target.name, dtype=target.dtype, shape=(1, *target.shape[1:])),
    )


def _labels(path: Path | None, target: TensorSpec, task: str) -> list[str]:
    width = int(target.shape[-1] or 0)
    if path is None:
        return ["label-0"] if task == "segment" else [f"label-{number}" for number in range(max(2, width))]
    try:
        words = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise _refused(f"{path}: {error}", "a text file with one label a line") from error
    wanted = 2 if task == "classify" and width == 1 else width
    if len(words) != wanted:
        raise _refused(f"{path} has {len(words)} labels, the output {target.name} wants {wanted}", "one label a line")
    return words


def _steps(source: TensorSpec) -> list[TransformUse]:
    rows, columns, samples = source.shape[1:]
    resize = TransformUse(transform="resize", options={"rows": rows, "columns": columns})
    invert = TransformUse(transform="invert")
    if samples == 3:  # a window takes grey values alone
        to_unit = TransformUse(transform="normalise", options={"mode": "full_range"})
        return [resize, invert, TransformUse(transform="rgb"), to_unit]
    window = {"mode": "percentile", "low": 1.0, "high": 99.0, "output": "unit"}
    return [TransformUse(transform="grey"), resize, invert, TransformUse(transform="window", options=window)]


def _some(samples: Sequence[Sample]) -> list[Sample]:
    places = np.unique(np.linspace(0, len(samples) - 1, min(_CASES, len(samples))).round().astype(int))
    return [samples[place] for place in places]


def _golden(
    samples: Sequence[Sample], steps: Sequence[TransformUse], registry: Registry, source: TensorSpec
) -> list[Array]:
    pipeline = Pipeline(steps, registry.transforms, source)
    return [pipeline.prepare(sample.load()[0])[0] for sample in samples]


def _answered(
    model: Path, registry: Registry, source: TensorSpec, target: TensorSpec, cases: Sequence[Array]
) -> list[Golden]:
    request = OpenRequest(artifact=model, device="CPU", inputs=(source,), outputs=(target,))
    session = registry.backends["keras"].open(request)
    try:
        return [
            Golden(id=f"case-{number}", inputs={source.name: array}, outputs=session.run({source.name: array}))
            for number, array in enumerate(cases, 1)
        ]
    finally:
        session.close()


def _activation(outputs: Sequence[Array], task: str) -> str:
    """What the task has to apply, seen from the answers: nothing to probabilities, else sigmoid or softmax."""
    values = np.concatenate([array.reshape(-1, array.shape[-1]) for array in outputs])
    if bool(((values >= 0) & (values <= 1)).all()):
        return "none"
    return "softmax" if task == "classify" and values.shape[1] > 1 else "sigmoid"


def _options(task: str, words: list[str], activation: str, *, binary: bool) -> dict[str, object]:
    options: dict[str, object] = {"labels": words, "activation": activation}
    if task == "classify":
        options["mode"] = "binary" if binary else "multi-class"
    return options


def _text(
    name: str, digest: str, steps: Sequence[TransformUse], task: Named, source: TensorSpec, target: TensorSpec
) -> str:
    body = {
        "schema": 1,
        "name": name,
        "version": "0.1.0",
        "release": 0,
        "min_edgeai": "0.1",
        "intended_use": "A first try; say here what the model is for, and for whom.",
        "limits": ["Nobody has said yet what this model is not for."],
        "licence": "LicenseRef-unknown",
        "model": f"{name}.keras",
        "model_digest": digest,
        "plugins": ["transforms", task.name],
        "transforms": [{"transform": step.transform, "options": step.options} for step in steps],
        "task": {"name": task.name, "options": task.options},
        "inputs": [{"name": source.name, "dtype": source.dtype, "shape": list(source.shape), "layout": "NHWC"}],
        "outputs": [{"name": target.name, "dtype": target.dtype, "shape": list(target.shape)}],
        "recipes": [
            {"converter": converter, "precision": precision}
            for converter, precision in (*_PRECISIONS, *_PRECISIONS_OPENVINO)
        ],
        "data": [{"name": "unknown", "source": "unknown", "licence": "unknown", "use": "train"}],
        "training": {"command": "unknown", "seed": 0},
    }
    return _HEAD + needed("tomlkit").dumps(body)  # type: ignore[no-any-return]


def _refused(why: str, remedy: str) -> ConfigError:
    return ConfigError(why, code="build.first-try", remedy=remedy)
