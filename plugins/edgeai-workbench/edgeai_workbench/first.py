"""A card for a first try: what can be known of a ``.keras`` file and a folder of images, written down to go on from.

What is wrong with labels, task or folders is said from the file's own description, before its framework is imported
and before anything is written. What is assumed is said aloud and stands in the card.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeai.api import Array, BackendSpec, ConfigError, OpenRequest, TensorSpec
from edgeai.pipeline import Pipeline
from edgeai.plugins import Registry
from edgeai_workbench.card import CARD_NAME, Named, TransformUse, file_digest
from edgeai_workbench.convert import loaded
from edgeai_workbench.extra import needed
from edgeai_workbench.first_checks import PICTURES, Plan, Wish, planned, refused
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.guessing import Guess, guess_from, options_of, tensor_of

_CASES = 4
_HEAD = """# Written for a first try: check the transforms, the task and the labels.
# Reference: docs/reference/card.md.
"""
_UNTOUCHED = "# As it was written: "
"""Begins the first line, with the digest of all that follows; a card that nobody has changed may be written anew."""
_PRECISIONS = (("tflite", "fp32"), ("tflite", "fp16"), ("tflite", "dynamic"), ("tflite", "int8"))
_PRECISIONS_OPENVINO = (("openvino", "fp32"), ("openvino", "fp16"), ("openvino", "int8"))
_ALLOWED = {"fp16": {"absolute": 0.01, "relative": 0.01}}
"""Eleven bits of each weight are left, and nobody knows yet what an answer's last digits are worth; gates hold it."""
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """What came of it.

    Attributes:
        folder: of the card.
        images: pictures and DICOM files, for whoever builds the card.
        notes: what was seen and what was assumed, a sentence each.
    """

    folder: Path
    images: Path
    notes: tuple[str, ...]


def first_card(model: Path, *, out: Path, wish: Wish, progress: Progress = lambda step: None) -> First:
    """Write ``out``/NAME/ with a copy of the model, a card and golden cases.

    The card asks for every precision of LiteRT and OpenVINO and states what was assumed, to be corrected by hand. One
    that a first try has written and nobody has changed is written anew.

    Args:
        model: a ``.keras`` file with one image input and one output.
        out: folder of the bundle, in which the card's folder is made.
        wish: what its user knows of it.
        progress: told what is being done.

    Raises:
        ConfigError: ``build.no-model``; ``build.first-try``: what is missing, does not fit or cannot be guessed.
        BackendError: the model cannot be read or run.
        DataRejected: images that cannot be used.
    """
    if not model.is_file():
        raise ConfigError(f"{model}: no such file", code="build.no-model", remedy="check the path of the .keras file")
    keras = loaded(("keras",)).backends["keras"]
    assert keras.outline is not None
    assert keras.describe is not None
    progress("reading the model")
    outlined = keras.outline(model)
    plan = planned(model.name, outlined, wish) if outlined is not None else None
    if plan is None and wish.images is None:
        raise refused(*PICTURES)
    name = re.sub(r"[^a-z0-9._-]+", "-", model.stem.lower()).strip("-.") or "model"
    folder = out / name
    _check_free(folder, wish)
    plan = planned(model.name, keras.describe(model), wish)
    registry = loaded(("transforms", wish.task, "tflite", "openvino", "keras"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".first-", dir=out) as partial:  # there is a whole folder, or none
        fresh = Path(partial) / name
        fresh.mkdir()
        shutil.copyfile(model, fresh / f"{name}.keras")
        digest = file_digest(fresh / f"{name}.keras")
        progress("asking the model")
        golden = _golden(fresh / f"{name}.keras", plan, registry)
        write_golden(fresh, golden, parent=digest)
        answers = [case.outputs[plan.target.name] for case in golden]
        guess = plan.guess or guess_from(
            wish.task, plan.width, plan.target.name, answers, mode=wish.mode, refused=refused
        )
        notes = (*plan.notes, *_said(plan, guess, answers))
        (fresh / CARD_NAME).write_text(_text(name, digest, plan, guess, wish, notes), encoding="utf-8")
        _put(fresh, folder)
    return First(folder=folder, images=plan.images, notes=notes)


def _golden(model: Path, plan: Plan, registry: Registry) -> list[Golden]:
    """Some of the pictures as the model sees them, and its answers."""
    pipeline = Pipeline(plan.steps, registry.transforms, plan.source)
    places = np.unique(np.linspace(0, len(plan.samples) - 1, min(_CASES, len(plan.samples))).round().astype(int))
    cases = [pipeline.prepare(plan.samples[place].load()[0])[0] for place in places]
    return _answered(model, registry.backends["keras"], plan.source, plan.target, cases)


def _answered(
    model: Path, backend: BackendSpec, source: TensorSpec, target: TensorSpec, cases: Sequence[Array]
) -> list[Golden]:
    request = OpenRequest(artifact=model, device="CPU", inputs=(source,), outputs=(target,))
    session = backend.open(request)
    try:
        return [
            Golden(id=f"case-{number}", inputs={source.name: array}, outputs=session.run({source.name: array}))
            for number, array in enumerate(cases, 1)
        ]
    finally:
        session.close()


def _said(plan: Plan, guess: Guess, answers: Sequence[Array]) -> tuple[str, ...]:
    """How its answers are read; and aloud, where all of them are the same."""
    applied = "they are probabilities" if guess.activation == "none" else f"a {guess.activation} is applied to them"
    return (f"output {plan.target.name}: {guess.mode}, {applied}",)


# --- the folder -----------------------------------------------------------------------------------


def _check_free(folder: Path, wish: Wish) -> None:
    """Refuse to replace a card that somebody has changed: their work is in it."""
    card = folder / CARD_NAME
    if card.exists() and not is_untouched(card):
        raise refused(
            f"{card} is there already, and was changed by hand",
            f"edgeai build {folder} --data {wish.images} goes on with it; or give another --out",
        )


def is_untouched(card: Path) -> bool:
    """Whether a card is as it was written, by a first try or for a foreign model."""
    line, _, body = card.read_text(encoding="utf-8", errors="replace").partition("\n")
    return line == _UNTOUCHED + _digest(body)


def leave_out(card: Path, why: dict[str, str]) -> None:
    """Write into a first card which artifacts do not ship, and why; it stays one that nobody has changed."""
    tomlkit = needed("tomlkit")
    document = tomlkit.parse(card.read_text(encoding="utf-8").partition("\n")[2])
    for recipe in document["recipes"]:
        name = f"{recipe['converter']}-{recipe['precision']}"
        if name in why:
            ship = tomlkit.item(False)
            ship.comment(why[name])
            recipe["ship"] = ship
    card.write_text(signed(tomlkit.dumps(document)), encoding="utf-8")


def signed(body: str) -> str:
    """The text of a card below the line that says whether anybody has changed it since."""
    return f"{_UNTOUCHED}{_digest(body)}\n{body}"


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()


def _put(fresh: Path, folder: Path) -> None:
    """Move what was made to its place, the card last; artifacts of the try before stay, and are used where they fit."""
    if not folder.exists():
        fresh.rename(folder)
        return
    for part in sorted(fresh.iterdir(), key=lambda path: path.name == CARD_NAME):
        target = folder / part.name
        if target.is_dir():
            shutil.rmtree(target)
        part.replace(target)


def _text(name: str, digest: str, plan: Plan, guess: Guess, wish: Wish, notes: Sequence[str]) -> str:
    task = Named(name=wish.task, options=options_of(wish.task, plan.words, guess))
    body = {
        "schema": 1,
        "name": name,
        "version": "0.1.0",
        "release": 0,
        "min_edgeai": "0.1",
        "intended_use": "A first try; say here what the model is for, and for whom.",
        "limits": ["Nobody has said yet what this model is not for.", *notes],
        "licence": "LicenseRef-unknown",
        "model": f"{name}.keras",
        "model_digest": digest,
        "plugins": ["transforms", task.name],
        "transforms": [_step(step) for step in plan.steps],
        "task": {"name": task.name, "options": task.options},
        "inputs": [tensor_of(plan.source)],
        "outputs": [tensor_of(plan.target)],
        "recipes": [
            {"converter": converter, "precision": precision, **_ALLOWED.get(precision, {})}
            for converter, precision in (*_PRECISIONS, *_PRECISIONS_OPENVINO)
        ],
        "data": [{"name": "unknown", "source": "unknown", "licence": "unknown", "use": "train"}],
        "training": {"command": "unknown", "seed": 0},
    }
    return signed(_HEAD + needed("tomlkit").dumps(body))


def _step(step: TransformUse) -> dict[str, object]:
    return {"transform": step.transform, "options": step.options}
