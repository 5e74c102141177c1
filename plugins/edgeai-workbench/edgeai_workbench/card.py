"""``models/<name>/model.toml`` -> ``Card``: all that the makers of a model say of it, strict, all mistakes at once.

The card is written by people and holds what a manifest has no place for (where the data came from, how it was
trained, its limits); ``edgeai_workbench.pack`` takes from it what the device must know. Reference:
``docs/reference/card.md``.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from edgeai.api.errors import ConfigError
from edgeai.api.tensors import DTYPES
from edgeai.bundle.manifest import Eligibility, FrameUse, PixelUse, TaskUse, TensorDecl, Tolerance, TransformStep
from edgeai.config.words import not_toml
from edgeai_workbench.balance import Balanced
from edgeai_workbench.card_parts import ELIGIBILITY, FRAMES, PIXELS, TASK, TRANSFORM, As, CardGuard, GuardTable
from edgeai_workbench.card_words import mistakes
from edgeai_workbench.choice_keys import VALIDATION, Choice
from edgeai_workbench.control_keys import Control
from edgeai_workbench.control_keys import mistakes as control_mistakes
from edgeai_workbench.gate_keys import Gates
from edgeai_workbench.robustness.settings import RobustnessUse
from edgeai_workbench.splits import Dataset
from edgeai_workbench.stress.settings import StressUse, own_tables
from edgeai_workbench.tables import NUMBERS, RELEASE, Digest, Real, Relative, Sentence, Slug, Table

CARD_NAME = "model.toml"
SCRIPT = "train.py"
PARENT = "parent"
"""The variant that the card's `.keras` file is."""
AS_IS = "as-is"
"""In place of a converter: the model is an artifact already, and is taken as it comes."""
INITIAL_WEIGHTS = "initial weights"
"""What a source of ``[[data]]`` is for that has no samples: a model to begin from."""
FLOAT = ("fp32", "fp16")
"""Precisions whose arithmetic is close to the parent's, so that one tolerance fits all models."""


class Tensor(Table):
    """``[[inputs]]`` and ``[[outputs]]``: the Keras model's tensors, in order."""

    name: str = Field(min_length=1, description="the model's own name for it")
    dtype: Literal[DTYPES] = Field("float32", description="numpy dtype")  # type: ignore[valid-type]
    shape: tuple[int, ...] = Field(strict=False, min_length=1, description="batch first; 0 stands for any extent")
    layout: str = Field("", description="one letter an axis, `NHWC`; empty when it is no image")


class CompressStep(Table):
    """One item of ``steps`` in ``[[variants]]``: a compressor with its options."""

    compressor: Slug = Field(description="name of a CompressorSpec")
    plugin: Slug = Field("keras", description="the plugin that provides it")
    options: dict[str, Any] = Field(default_factory=dict, description="as the compressor documents them")
    augment: dict[str, Any] = Field(
        default_factory=dict,
        description="augmentation of this step, in place of the same names in `[training.augment]`",
    )


class Variant(Table):
    """``[[variants]]``: a smaller model made from the parent, or from another variant."""

    name: Slug = Field(description="as recipes and the report call it")
    start: Slug = Field(PARENT, alias="from", description="the variant it begins from")
    steps: tuple[CompressStep, ...] = Field(strict=False, min_length=1, description="compressors, in order")


class Recipe(Table):
    """``[[recipes]]``: one artifact to make."""

    converter: Slug = Field(
        description="a converter, by its name or that of the plugin or distribution that has it alone; "
        "`as-is` where `model` is an artifact that someone else made"
    )
    plugin: Slug | None = Field(
        None, description="the plugin that provides it; by default the one that has such a converter"
    )
    precision: Slug = Field(description="one that the converter offers")
    variant: Slug = Field(PARENT, description="the model that is converted: `parent` or a name of `[[variants]]`")
    ship: bool = Field(True, description="whether it goes into the bundle; all that ship are of one variant")
    options: dict[str, Any] = Field(default_factory=dict, description="as the converter documents them")
    max_drop: Real | None = Field(
        None, description="keep layers in float until the main metric is within this of the float model's"
    )
    absolute: Real | None = Field(
        None,
        description="an output may differ from the Keras model's by this; by default 1e-4, or as measured if quantised",
    )
    relative: Real | None = Field(
        None, description="and by this times the model's value; by default 1e-3, or 0 if quantised"
    )

    @property
    def id(self) -> str:
        """The artifact's id in the manifest."""
        made = f"{self.plugin if self.converter == AS_IS and self.plugin else self.converter}-{self.precision}"
        return made if self.variant == PARENT else f"{self.variant}-{made}"

    @property
    def tolerance(self) -> Tolerance | None:
        """What the artifact is held to, here and at every rehearsal; ``None``: what is measured here is recorded."""
        if self.absolute is None and self.precision not in FLOAT:
            return None
        return Tolerance(
            absolute=1e-4 if self.absolute is None else self.absolute,
            relative=1e-3 if self.relative is None else self.relative,
        )


class Data(Table):
    """``[[data]]``: one source of data, and what it was used for."""

    name: Slug = Field(description="as the report calls it")
    source: Sentence = Field(description="where it comes from")
    licence: Sentence = Field(description="its licence, and how that is known")
    use: Literal["train", "evaluate", "train and evaluate", "initial weights"] = Field(description="what for")
    digest: Digest | None = Field(None, description="of the pixels that were used, as the training script computes it")


class Training(Table):
    """``[training]``: how the weights were made."""

    command: Sentence = Field(description="what reproduces it")
    seed: int = Field(ge=0, description="of every random choice")
    environment: dict[str, str] = Field(default_factory=dict, description="distribution -> version")
    processor: Sentence | None = Field(
        None, description="model, cores and instruction sets of the processor that trained; another kind gives others"
    )
    augment: dict[str, Any] = Field(
        default_factory=dict, description="augmentation while fine-tuning, as the plugin `keras` names it"
    )
    balanced: Balanced = Field(
        False,
        description="`true`: each epoch shows every label equally often, samples of the rarer ones more than once; or "
        "a subgroup whose values it so shows: one of the judge's (for segment `size`), or a column in `subgroups`",
    )


class Calibration(Table):
    """``[calibration]``: the training samples that quantisation sees, through the card's own transforms."""

    samples: int = Field(300, gt=0, description="how many, evenly spread over the training table")


class Card(Table):
    """A model's card. Paths are relative to its folder."""

    schema_number: Literal[1] = Field(alias="schema", description="1")
    name: Slug = Field(description="unique; the folder's name")
    version: Annotated[str, Field(pattern=NUMBERS)] = Field(description="three numbers")
    release: int = Field(ge=0, description="rises with every bundle of this name; 0: not numbered, for trials")
    min_edgeai: Annotated[str, Field(pattern=RELEASE)] = Field(description="oldest that runs it")
    intended_use: Sentence = Field(description="what it is for, and for whom")
    limits: tuple[Sentence, ...] = Field(strict=False, min_length=1, description="what it is not for, or fails at")
    licence: Sentence = Field(description="SPDX identifier of the weights")
    model: Relative = Field(
        description="the `.keras` file; with `as-is` a `.tflite`, an OpenVINO `.xml` or a SavedModel folder"
    )
    model_digest: Digest = Field(description="of that file; a file with another is refused")
    plugins: tuple[Slug, ...] = Field(strict=False, description="plugins that the device needs beside a backend")
    attachments: tuple[Relative, ...] = Field((), strict=False, description="files that ship in the bundle as they are")
    eligibility: Annotated[Eligibility, As(ELIGIBILITY, Eligibility)] = Field(default_factory=Eligibility)
    pixels: Annotated[PixelUse, As(PIXELS, PixelUse)] = Field(default_factory=PixelUse)
    frames: Annotated[FrameUse, As(FRAMES, FrameUse)] = Field(default_factory=FrameUse)
    transforms: tuple[Annotated[TransformStep, As(TRANSFORM, TransformStep)], ...] = Field((), strict=False)
    guard: Annotated[CardGuard, As(GuardTable, CardGuard)] = Field(default_factory=CardGuard)
    task: Annotated[TaskUse, As(TASK, TaskUse)]
    inputs: tuple[Tensor, ...] = Field(strict=False, min_length=1)
    outputs: tuple[Tensor, ...] = Field(strict=False, min_length=1)
    variants: tuple[Variant, ...] = Field((), strict=False)
    recipes: tuple[Recipe, ...] = Field(strict=False, min_length=1)
    data: tuple[Data, ...] = Field(strict=False, min_length=1)
    dataset: Dataset | None = None
    choice: Choice | None = None
    calibration: Calibration = Calibration()
    training: Training
    gates: Gates = Gates()
    robustness: RobustnessUse | None = None
    stress: StressUse | None = None
    change_control: Control | None = None

    @model_validator(mode="after")
    def _distinct(self) -> Card:
        for what, names in (
            ("recipes", [recipe.id for recipe in self.recipes]),
            ("variants", [PARENT, *(variant.name for variant in self.variants)]),
            ("data", [item.name for item in self.data]),
            ("inputs", [tensor.name for tensor in self.inputs]),
            ("outputs", [tensor.name for tensor in self.outputs]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} has twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _one_lineage(self) -> Card:
        known = [PARENT]
        for variant in self.variants:
            if variant.start not in known:
                raise ValueError(f"variant {variant.name} begins from {variant.start}, which is not above it")
            known.append(variant.name)
        for recipe in self.recipes:
            if recipe.variant not in known:
                raise ValueError(f"recipe {recipe.id}: there is no variant {recipe.variant}")
        shipped = sorted({recipe.variant for recipe in self.recipes if recipe.ship})
        if len(shipped) != 1:
            raise ValueError(f"artifacts that ship must be of one variant, here: {', '.join(shipped) or 'none ships'}")
        return self

    @model_validator(mode="after")
    def _wrong_are_others(self) -> Card:
        if self.stress is not None and (mistake := own_tables(self.stress, self.dataset)):
            raise ValueError(mistake)
        return self

    @model_validator(mode="after")
    def _controlled(self) -> Card:
        wrong = list(control_mistakes(self.change_control, self.task)) if self.change_control is not None else []
        if wrong:
            raise ValueError(f"[change_control] {'; '.join(wrong)}")
        return self

    @property
    def shipped(self) -> tuple[Recipe, ...]:
        """The recipes whose artifacts go into the bundle."""
        return tuple(recipe for recipe in self.recipes if recipe.ship)

    @property
    def chooser(self) -> str:
        """The variant whose answers choose what ``[choice]`` asks for: what ships, or on folds copies of the parent."""
        on_validation = self.choice is not None and self.choice.on == VALIDATION
        return self.shipped[0].variant if on_validation else PARENT

    def for_manifest(self) -> dict[str, Any]:
        """The parts that card and manifest share, as the manifest's types; of the guard what needs no other bundle."""
        return {
            "eligibility": self.eligibility,
            "pixels": self.pixels,
            "frames": self.frames,
            "guard": self.guard.for_manifest(),
            "task": self.task,
            "transforms": self.transforms,
            "inputs": tuple(_tensor(tensor) for tensor in self.inputs),
            "outputs": tuple(_tensor(tensor) for tensor in self.outputs),
        }


def read_card(path: Path) -> Card:
    """Read ``path``, a ``model.toml`` or the folder that holds one.

    Raises:
        ConfigError: ``config.card-missing``, ``config.card-unreadable``, ``config.card-syntax`` or
            ``config.card-invalid``; the message holds every mistake, a line each:
            ``model.toml:12: task.nmae: unknown key; did you mean "name"?``
    """
    path = path / CARD_NAME if path.is_dir() else path
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = f"name the folder that holds {CARD_NAME}; docs/reference/card.md says what is in one"
        raise ConfigError(f"{path}: there is no such card", code="config.card-missing", remedy=remedy) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}", code="config.card-unreadable") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(not_toml(path, text, str(error)), code="config.card-syntax") from error
    try:
        return Card.model_validate(values)
    except ValidationError as error:
        told = "\n".join(mistakes(path, text, error, Card))
        raise ConfigError(told, code="config.card-invalid", remedy="see docs/reference/card.md") from error


def file_digest(path: Path) -> str:
    """``sha256:<hex>`` of a file's bytes; of a folder, or an ``.xml`` with its ``.bin``, of all files by name."""
    parts = [path]
    if path.is_dir():
        parts = sorted(part for part in path.rglob("*") if part.is_file())
    elif path.suffix == ".xml" and path.with_suffix(".bin").is_file():
        parts = [path, path.with_suffix(".bin")]
    if parts == [path]:
        return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    lines = [
        f"{part.relative_to(path.parent).as_posix()} {hashlib.sha256(part.read_bytes()).hexdigest()}\n"
        for part in parts
    ]
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def check_model(card: Card, folder: Path) -> Path:
    """The ``.keras`` file of the card, which must be the very one that the card describes.

    Raises:
        ConfigError: ``config.card-model-missing`` or ``config.card-model-changed``.
    """
    path = folder / card.model
    if not path.exists():
        raise ConfigError(f"{path}: no such file", code="config.card-model-missing", remedy=_training(card, folder))
    digest = file_digest(path)
    if digest != card.model_digest:
        raise ConfigError(
            f"{path} has digest {digest}, the card describes {card.model_digest}",
            code="config.card-model-changed",
            remedy="evaluate the new weights, then write their digest into the card as model_digest",
        )
    return path


def _training(card: Card, folder: Path) -> str:
    """What makes the model of a card."""
    if (folder / SCRIPT).is_file():
        return f"train it first: edgeai train {folder} --data DIR"
    return f"make it first, as [training] of the card says: {card.training.command}"


def _tensor(tensor: Tensor) -> TensorDecl:
    shape = tuple(extent or None for extent in tensor.shape)
    return TensorDecl(name=tensor.name, dtype=tensor.dtype, shape=shape, layout=tensor.layout)
