"""A card for a first try: what can be known of a ``.keras`` file and a folder of images, written down to go on from.

What is wrong with labels, task or folders is said from the file's own description, before its framework is imported
and before anything is written. What is assumed is said aloud and stands in the card.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeai.api import (
    BackendSpec,
    ConfigError,
    ConverterSpec,
    EdgeaiError,
    InferenceFailed,
    ModelRejected,
    OpenRequest,
    TensorSpec,
)
from edgeai.plugins import Registry
from edgeai.resolving import Installed, rank_of
from edgeai_workbench.card import CARD_NAME, file_digest
from edgeai_workbench.card_drafts import Draft, answered, as_the_model_sees, name_of, refuse_changed, signed
from edgeai_workbench.convert import loaded
from edgeai_workbench.first_checks import PICTURES, Plan, Wish, planned, refused
from edgeai_workbench.golden import Golden, write_golden
from edgeai_workbench.libraries import needed
from edgeai_workbench.tries import Reading, settled

_HEAD = """# Written for a first try: check the transforms, the task and the labels.
# Reference: docs/reference/card.md.
"""
_ALLOWED = {"fp16": {"absolute": 0.01, "relative": 0.01}}
"""Eleven bits of each weight are left, and nobody knows yet what an answer's last digits are worth; gates hold it."""
_STEPS: Final = (2, 4, 8, 16, 32)
"""Models halve their input several times, and some want that to come out even."""
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

    The card asks for what the installed converters offer a first try, states what was assumed, to be corrected. One
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
    name = name_of(model)
    folder = out / name
    refuse_changed(
        folder, f"edgeai build {folder} --data {wish.images} goes on with it; or give another --out", refused
    )
    described = keras.describe(model)
    plan = planned(model.name, described, wish)
    registry = loaded(("transforms", "keras"))
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".first-", dir=out) as partial:  # there is a whole folder, or none
        fresh = Path(partial) / name
        fresh.mkdir()
        shutil.copyfile(model, fresh / f"{name}.keras")
        digest = file_digest(fresh / f"{name}.keras")
        progress("asking the model")
        try:
            golden = _golden(fresh / f"{name}.keras", plan, registry)
        except (ModelRejected, InferenceFailed) as error:
            raise _about_extent(error, fresh / f"{name}.keras", described.inputs[0], plan, keras, progress) from error
        write_golden(fresh, golden, parent=digest)
        answers = [case.outputs[plan.target.name] for case in golden]
        reading = settled(plan.reading, replace(plan.asked, answers=answers), wish.told, refused)
        notes = (*plan.notes, reading.guess.says)
        (fresh / CARD_NAME).write_text(_text(name, digest, plan, reading, notes), encoding="utf-8")
        _put(fresh, folder)
    return First(folder=folder, images=plan.images, notes=notes)


def _about_extent(
    error: EdgeaiError, model: Path, own: TensorSpec, plan: Plan, keras: BackendSpec, progress: Progress
) -> EdgeaiError:
    """The error of a model that does not answer: of its extent where it takes several, with one that it takes."""
    open_axes = [axis for axis in (1, 2) if own.shape[axis] is None]
    if not open_axes or error.code not in (ModelRejected.default_code, InferenceFailed.default_code):
        return error
    rows, columns = (int(extent or 0) for extent in plan.source.shape[1:3])
    why = str(error).removeprefix(f"{model.name}: ").removeprefix("it cannot be traced: ")
    progress("looking for an extent that it takes")
    for step in _STEPS:
        size = [
            -(-extent // step) * step if axis in open_axes else extent for axis, extent in ((1, rows), (2, columns))
        ]
        shape = (1, *size, *plan.source.shape[3:])
        if size != [rows, columns] and _takes(keras, model, replace(plan.source, shape=shape), plan.target):
            remedy = f"--size {size[0]} {size[1]}, which it takes: try multiples of {step}"
            break
    else:
        remedy = "give another --size ROWS COLUMNS"
    return refused(f"{model.name} does not take {rows} x {columns} ({why})", remedy)


def _takes(keras: BackendSpec, model: Path, source: TensorSpec, target: TensorSpec) -> bool:
    request = OpenRequest(artifact=model, device="CPU", inputs=(source,), outputs=(target,))
    try:
        keras.open(request).close()
    except EdgeaiError:
        return False
    return True


def _golden(model: Path, plan: Plan, registry: Registry) -> list[Golden]:
    """Some of the pictures as the model sees them, and its answers."""
    seen = as_the_model_sees(plan.samples, plan.steps, registry, plan.source)
    request = OpenRequest(artifact=model, device="CPU", inputs=(plan.source,), outputs=(plan.target,))
    return answered(registry.backends["keras"], request, [{plan.source.name: array} for array in seen])


# --- the folder -----------------------------------------------------------------------------------


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


def _converters() -> list[tuple[ConverterSpec, dict[str, str]]]:
    """The installed converters that a first try asks, in the order of the engines that run what they make.

    Each with the plugin that provides it, where that is not called as it is.

    Raises:
        ConfigError: ``build.first-try``: there is none.
    """
    installed = Installed()
    ranks = {
        spec.artifact_format: rank_of(spec)
        for spec, _ in reversed(list(installed.every("backend")))
        if isinstance(spec, BackendSpec)
    }
    asked = [
        (spec, {} if info.name == spec.name else {"plugin": info.name})
        for spec, info in installed.every("converter")
        if isinstance(spec, ConverterSpec) and spec.first_try and spec.artifact_format in ranks
    ]
    if not asked:
        raise refused("no installed plugin converts for a first try", "install a converter; `edgeai plugins list`")
    return sorted(asked, key=lambda item: ranks[item[0].artifact_format])


def _text(name: str, digest: str, plan: Plan, reading: Reading, notes: Sequence[str]) -> str:
    recipes = [
        {"converter": spec.name, **by, "precision": precision, **_ALLOWED.get(precision, {})}
        for spec, by in _converters()
        for precision in spec.first_try
    ]
    draft = Draft(
        name=name,
        model=f"{name}.keras",
        digest=digest,
        intended_use="A first try; say here what the model is for, and for whom.",
        task=reading.spec.name,
        plugin=reading.plugin.name,
        options=reading.guess.options,
        steps=plan.steps,
        inputs=(plan.source,),
        outputs=(plan.target,),
        recipes=recipes,
        notes=notes,
        command="unknown",
    )
    return draft.text(_HEAD)
