"""The models of a card: its ``.keras`` file, and the smaller ones that ``[[variants]]`` makes of it.

``variants/<name>/model.keras`` is kept with a note of what made it (``variant.json``) and with its answers to the
golden cases; one that came from another parent, other steps or another seed is made again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgeai.api import (
    BackendSpec,
    Batch,
    CompressionFailed,
    CompressorSpec,
    CompressRequest,
    ConfigError,
    Objective,
    OpenRequest,
    TensorSpec,
)
from edgeai.bundle.evidence import Step
from edgeai.plugins import Registry
from edgeai_workbench.card import PARENT, Card, CompressStep, Variant, check_model, file_digest
from edgeai_workbench.golden import ANSWERS, Golden, read_answers, write_answers
from edgeai_workbench.notes import read_note, write_note

VARIANTS = "variants"
MODEL = "model.keras"
NOTE = "variant.json"


class VariantNote(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``variants/<name>/variant.json``: what a variant was made from and by what."""

    name: str
    start: str
    steps: list[dict[str, Any]]
    seed: int
    augment: dict[str, Any]
    balanced: bool | str = False
    keras: str
    notes: tuple[str, ...] = ()
    facts: dict[str, float] = msgspec.field(default_factory=dict)
    made: tuple[Step, ...] = ()
    """What the model was after each step."""
    added: dict[str, tuple[int, ...]] = msgspec.field(default_factory=dict)
    """Outputs that its steps gave it beside the card's, by name, with their shapes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One ``.keras`` file that recipes convert.

    Attributes:
        variant: ``parent`` or the variant's name.
        notes, facts: what its compressors said, in order.
        steps: what it was after each of them, from the parent on; those of a variant that was made before steps were
            recorded are not there.
        golden: the golden cases with this model's own answers.
        made: whether it was made now.
        added: outputs that it has beside the card's, which are not the task's.
    """

    variant: str
    path: Path
    digest: str
    golden: tuple[Golden, ...]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    made: bool = False
    added: tuple[TensorSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FineTuning:
    """What compressors are given beside the model.

    Attributes:
        train: gives what ``CompressRequest.train`` is, begun anew: a step's order of batches must not depend on how
            many epochs the steps before it ran.
        validation: as ``CompressRequest.validation``.
    """

    objective: Objective
    train: Callable[[], Callable[[], Iterable[Batch]]]
    validation: Callable[[], Iterable[Batch]]


class ModelFiles:
    """Gives each variant of a card, made where it is missing or stale.

    Args:
        golden: the parent's golden cases.
        tuning: the data; without, a variant that is not there is refused.
        progress: told what is being done.
    """

    def __init__(
        self,
        card: Card,
        folder: Path,
        *,
        registry: Registry,
        golden: tuple[Golden, ...],
        tuning: FineTuning | None = None,
        rebuild: bool = False,
        progress: Callable[[str], None] = lambda step: None,
    ) -> None:
        self._card = card
        self._folder = folder
        self._registry = registry
        self._tuning = tuning
        self._rebuild = rebuild
        self._progress = progress
        path = check_model(card, folder)
        self._known = {PARENT: ModelFile(variant=PARENT, path=path, digest=card.model_digest, golden=golden)}

    def get(self, name: str) -> ModelFile:
        """One of them; those it begins from are made first.

        Raises:
            ConfigError: ``build.variant-missing``: it must be made, and there is no data.
            CompressionFailed: a compressor refused.
        """
        if name not in self._known:
            variant = next(item for item in self._card.variants if item.name == name)
            self._known[name] = self._variant(variant, self.get(variant.start))
        return self._known[name]

    def _variant(self, variant: Variant, start: ModelFile) -> ModelFile:
        folder = self._folder / VARIANTS / variant.name
        wanted = self._note(variant, start)
        kept = None if self._rebuild else _read_note(folder)
        if (
            kept is not None
            and msgspec.structs.replace(kept, keras="", notes=(), facts={}, made=(), added={}) == wanted
        ):
            return self._file(kept, folder, start, made=False)
        if self._tuning is None:
            raise ConfigError(
                f"variant {variant.name} is not there, or is not what the card asks for",
                code="build.variant-missing",
                remedy="run edgeai build with --data, which makes it",
            )
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".variant-", dir=folder.parent) as name:
            fresh = Path(name)
            notes, facts, steps = self._compress(variant, start, fresh)
            added = self._added(fresh / MODEL)
            write_answers(fresh, self._answered(fresh / MODEL, self._known[PARENT].golden, specs_of(added)))
            digest = file_digest(fresh / MODEL)
            note = msgspec.structs.replace(wanted, keras=digest, notes=notes, facts=facts, made=steps, added=added)
            write_note(fresh / NOTE, note)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(fresh, folder)
        return self._file(note, folder, start, made=True)

    def _compress(
        self, variant: Variant, start: ModelFile, folder: Path
    ) -> tuple[tuple[str, ...], dict[str, float], tuple[Step, ...]]:
        assert self._tuning is not None
        notes: list[str] = []
        steps: list[Step] = []
        facts: dict[str, float] = {}
        model = start.path
        for number, step in enumerate(variant.steps):
            last = number == len(variant.steps) - 1
            output = folder / (MODEL if last else f"step-{number}.keras")
            self._progress(f"{variant.name}: {step.compressor}")
            spec = self._registry.spec("compressor", step.compressor)
            assert isinstance(spec, CompressorSpec)
            made = spec.compress(
                CompressRequest(
                    model=model,
                    output=output,
                    objective=self._tuning.objective,
                    train=self._tuning.train(),
                    validation=self._tuning.validation,
                    teacher=self._known[PARENT].path,
                    augment={**self._card.training.augment, **step.augment},
                    seed=self._card.training.seed,
                    options=step.options,
                    progress=lambda words, step=step: self._progress(f"{variant.name}: {step.compressor}: {words}"),  # type: ignore[misc]
                )
            )
            notes += [f"{step.compressor}: {words}" for words in made.notes]
            facts = {**made.facts, **{k: v for k, v in facts.items() if k.endswith("_before")}}
            steps.append(step_of(step.compressor, output, self._registry.backends["keras"]))
            if model.parent == folder:
                model.unlink()
            model = output
        # As they are read again: a report of a kept one is the same.
        return tuple(notes), dict(sorted(facts.items())), tuple(steps)

    def _added(self, model: Path) -> dict[str, tuple[int, ...]]:
        """What it answers beside the card's outputs."""
        describe, known = self._registry.backends["keras"].describe, {tensor.name for tensor in self._card.outputs}
        outputs = describe(model).outputs if describe is not None else ()
        if len(outputs) <= len(known):
            return {}
        return {spec.name: (1, *(n or 0 for n in spec.shape[1:])) for spec in outputs if spec.name not in known}

    def _answered(self, model: Path, cases: Sequence[Golden], added: tuple[TensorSpec, ...]) -> tuple[Golden, ...]:
        """These golden cases with the answers of this model."""
        shared = self._card.for_manifest()
        inputs: tuple[TensorSpec, ...] = tuple(tensor.spec() for tensor in shared["inputs"])
        outputs: tuple[TensorSpec, ...] = tuple(tensor.spec() for tensor in shared["outputs"])
        session = self._registry.backends["keras"].open(
            OpenRequest(artifact=model, device="CPU", inputs=inputs, outputs=(*outputs, *added))
        )
        try:
            return tuple(Golden(id=c.id, inputs=c.inputs, outputs=session.run(c.inputs)) for c in cases)
        finally:
            session.close()

    def _note(self, variant: Variant, start: ModelFile) -> VariantNote:
        return VariantNote(
            name=variant.name,
            start=start.digest,
            steps=[_plain(step) for step in variant.steps],
            seed=self._card.training.seed,
            augment=self._card.training.augment,
            balanced=self._card.training.balanced,
            keras="",
        )

    def _file(self, note: VariantNote, folder: Path, start: ModelFile, *, made: bool) -> ModelFile:
        if file_digest(folder / MODEL) != note.keras:
            raise CompressionFailed(
                f"{folder / MODEL} was changed after it was made",
                code="compress.changed",
                remedy="run edgeai build --rebuild, which makes it anew",
            )
        cases = self._known[PARENT].golden
        added = [case for case in cases if not (folder / ANSWERS / case.id).is_dir()]
        if added and self._tuning is not None:
            write_answers(folder, self._answered(folder / MODEL, added, specs_of(note.added)))
        return ModelFile(
            variant=note.name,
            path=folder / MODEL,
            digest=note.keras,
            golden=read_answers(folder, cases, specs_of(note.added)),
            notes=note.notes,
            facts=note.facts,
            steps=(*start.steps, *note.made),
            made=made,
            added=specs_of(note.added),
        )


def specs_of(added: Mapping[str, Sequence[int]]) -> tuple[TensorSpec, ...]:
    """Outputs as a note has them."""
    return tuple(TensorSpec(name=name, dtype="float32", shape=tuple(shape)) for name, shape in added.items())


def step_of(name: str, model: Path, keras: BackendSpec) -> Step:
    """What a ``.keras`` file is after a step: its size, and what one inference costs where the backend counts it."""
    described = keras.describe(model) if keras.describe is not None else None
    return Step(
        name=name,
        bytes=model.stat().st_size,
        parameters=None if described is None else described.parameters,
        operations=None if described is None else described.operations,
    )


def _plain(step: CompressStep) -> dict[str, Any]:
    """As a note has it: without what is not given, so that variants that were made before a key was there stay."""
    body: dict[str, Any] = step.model_dump()
    if not step.augment:
        del body["augment"]
    return body


def digest_of_variant(folder: Path, name: str) -> str:
    """Of a variant's ``.keras`` file as it was made; empty where it is not there."""
    note = _read_note(folder / VARIANTS / name)
    return "" if note is None else note.keras


def _read_note(folder: Path) -> VariantNote | None:
    return read_note(folder / NOTE, VariantNote) if (folder / MODEL).is_file() else None
