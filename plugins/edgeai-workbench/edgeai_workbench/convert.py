"""A card's recipes -> artifacts, kept below ``artifacts/`` with a note of what made each.

``artifacts/<id>.json`` says which ``.keras`` file and which recipe an artifact came from; one that came from another
is made again, so what is packed is never older than what the card says.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgeai.api import (
    BackendSpec,
    ConversionFailed,
    Converted,
    ConverterSpec,
    ConvertRequest,
    EdgeaiError,
    Infer,
    Tensors,
    TensorSpec,
)
from edgeai.plugins import Registry
from edgeai.resolving import Installed, rank_of
from edgeai_workbench.as_is import copied, format_of
from edgeai_workbench.card import AS_IS, Card, Recipe
from edgeai_workbench.notes import read_note, write_note
from edgeai_workbench.tools import Tool, tools_of
from edgeai_workbench.variants import ModelFile

ARTIFACTS = "artifacts"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``artifacts/<id>.json``. ``path`` is below ``artifacts/<id>/``; ``converter`` names the distribution.

    ``tools`` is every distribution that took part, as it was installed when the artifact was made.
    """

    id: str
    format: str
    precision: str
    path: str
    parent: str
    recipe: dict[str, Any]
    converter: str
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    layers: dict[str, float] = msgspec.field(default_factory=dict)
    calibration: str = ""
    tools: dict[str, Tool] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Samples:
    """What quantising converters are given beside the model.

    Attributes:
        calibration: inputs, one sample at a time.
        digest: of those inputs; an artifact that was calibrated with others is made again.
        score: the main metric of an inference function on held-out samples; higher is better.
    """

    calibration: Callable[[], Iterable[Tensors]]
    digest: str
    score: Callable[[Infer], float] | None = None


def registry_of(card: Card) -> Registry:
    """The plugins that the recipes and the variants name.

    Raises:
        EdgeaiError: the first that does not load; half a build is none.
    """
    return loaded(plugins_of(card))


def plugins_of(card: Card) -> list[str]:
    """The plugins of the recipes and of the variants' steps.

    Raises:
        PluginNotFound, PluginConflict: as ``plugin_of``.
    """
    installed = Installed()
    steps = [step.plugin for variant in card.variants for step in variant.steps]
    return [*(plugin_of(recipe, installed) for recipe in card.recipes), *steps]


def plugin_of(recipe: Recipe, installed: Installed) -> str:
    """The plugin that a recipe names, or else the one that provides its converter.

    Raises:
        PluginNotFound: none is called so; says which are near.
        PluginConflict: several provide it.
    """
    if recipe.plugin or recipe.converter == AS_IS:
        return installed.plugin_called(recipe.plugin or recipe.converter)
    return installed.resolve("converter", recipe.converter)[1].name


def loaded(names: Iterable[str]) -> Registry:
    """These plugins, all of them; each by its own name, or by that of its distribution.

    Raises:
        PluginNotFound: none is called so; says which are near.
        EdgeaiError: the first that does not load.
        PluginConflict: they provide a name that another installed plugin provides too.
    """
    installed = Installed()
    registry = Registry.of([installed.plugin_called(name) for name in names])
    for fault in registry.faults.values():
        raise fault
    for kind in ("backend", "converter", "compressor"):
        for spec, conflict in installed.contested(kind):
            if spec.name in getattr(registry, f"{kind}s"):
                raise conflict
    return registry


def _converter_meant(word: str) -> str:
    """The converter that a plugin or a distribution of that name has alone."""
    return Installed().resolve("converter", word)[0].name


def backend_of(registry: Registry, artifact_format: str) -> BackendSpec:
    """The backend that opens this format, the first by rank.

    Raises:
        ConversionFailed: none of the recipes' plugins has one.
    """
    for backend in sorted(registry.backends.values(), key=rank_of):
        if backend.artifact_format == artifact_format:
            return backend
    raise ConversionFailed(
        f"none of the recipes' plugins has a backend for {artifact_format}", code="convert.no-backend"
    )


def artifact_of(
    recipe: Recipe,
    model: ModelFile,
    *,
    folder: Path,
    registry: Registry,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    samples: Samples | None = None,
    rebuild: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> tuple[Artifact, bool]:
    """The artifact of a recipe, made if it is missing, stale or ``rebuild``; and whether it was made.

    Raises:
        ConversionFailed: the converter refused; it has no such precision (``convert.no-precision``); or it needs
            samples to calibrate with, and there are none (``convert.no-samples``).
    """
    if recipe.converter == AS_IS:
        return _as_it_is(recipe, model, folder, rebuild=rebuild)
    word = recipe.converter
    spec = registry.spec("converter", word if word in registry.converters else _converter_meant(word))
    assert isinstance(spec, ConverterSpec)
    if recipe.precision not in spec.precisions:
        raise ConversionFailed(
            f"converter {spec.name} makes no {recipe.precision}, but {', '.join(spec.precisions)}",
            code="convert.no-precision",
        )
    calibrated = recipe.precision in spec.calibrated
    kept = None if rebuild else _kept(recipe, model, folder, samples if calibrated else None)
    if kept is not None:
        return kept, False
    if calibrated and samples is None:
        raise ConversionFailed(
            f"{recipe.id}: {spec.name} calibrates {recipe.precision} on samples, and there are none",
            code="convert.no-samples",
            remedy="run edgeai build with --data",
        )
    (folder / ARTIFACTS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder / ARTIFACTS) as fresh:
        request = ConvertRequest(
            model=model.path,
            output=Path(fresh),
            precision=recipe.precision,
            inputs=inputs,
            outputs=outputs,
            calibration=samples.calibration if calibrated and samples else None,
            score=samples.score if calibrated and samples else None,
            max_drop=recipe.max_drop,
            options=recipe.options,
            progress=progress,
        )
        made = spec.convert(request)
        artifact = _note(recipe, model, spec, made, root=Path(fresh), by=_maker(registry, spec))
        if calibrated and samples:
            artifact = msgspec.structs.replace(artifact, calibration=samples.digest)
        _keep(artifact, Path(fresh), folder)
    return artifact, True


def _as_it_is(recipe: Recipe, model: ModelFile, folder: Path, *, rebuild: bool) -> tuple[Artifact, bool]:
    """The model itself, which is an artifact already; the recipe's options are its own, for whoever opens it."""
    kept = None if rebuild else _kept(recipe, model, folder, None)
    if kept is not None:
        return kept, False
    (folder / ARTIFACTS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder / ARTIFACTS) as fresh:
        path = copied(model.path, Path(fresh))
        artifact = Artifact(
            id=recipe.id,
            format=format_of(model.path),
            precision=recipe.precision,
            path=path.relative_to(fresh).as_posix(),
            parent=model.digest,
            recipe=_recipe(recipe),
            converter=AS_IS,
            options=recipe.options,
            notes=("as it came; the golden answers are its own",),
            tools=tools_of(["edgeai"], extras=()),
        )
        _keep(artifact, Path(fresh), folder)
    return artifact, True


def _note(recipe: Recipe, model: ModelFile, spec: ConverterSpec, made: Converted, *, root: Path, by: str) -> Artifact:
    return Artifact(
        id=recipe.id,
        format=spec.artifact_format,
        precision=recipe.precision,
        path=_below(made.artifact, root, spec),
        parent=model.digest,
        recipe=_recipe(recipe),
        converter=by,
        options=dict(made.options),
        notes=made.notes,
        layers=dict(made.layers),
        tools=tools_of(["edgeai", by.partition(" ")[0]]),
    )


def bytes_of(artifact: Artifact, folder: Path) -> int:
    """Size of all files of an artifact."""
    return sum(path.stat().st_size for path in (folder / ARTIFACTS / artifact.id).rglob("*") if path.is_file())


def _kept(recipe: Recipe, model: ModelFile, folder: Path, samples: Samples | None) -> Artifact | None:
    artifact = read_note(folder / ARTIFACTS / f"{recipe.id}.json", Artifact)
    if artifact is None:
        return None
    same = artifact.parent == model.digest and artifact.recipe == _recipe(recipe)
    same = same and (samples is None or artifact.calibration == samples.digest)
    return artifact if same and (folder / ARTIFACTS / recipe.id / artifact.path).exists() else None


def _keep(artifact: Artifact, fresh: Path, folder: Path) -> None:
    target = folder / ARTIFACTS / artifact.id
    note = target.with_name(f"{artifact.id}.json")
    note.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(fresh, target)
    # The note last: without it the artifact does not count.
    write_note(note, artifact)


def _recipe(recipe: Recipe) -> dict[str, Any]:
    body: dict[str, Any] = {"converter": recipe.converter, "precision": recipe.precision, "options": recipe.options}
    return body if recipe.max_drop is None else {**body, "max_drop": recipe.max_drop}


def _below(path: Path, root: Path, spec: ConverterSpec) -> str:
    try:
        relative = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError as error:
        raise ConversionFailed(f"{spec.name} wrote outside its folder: {path}", code="convert.outside") from error
    if not path.exists():
        raise ConversionFailed(f"{spec.name} says it wrote {relative}: not there", code="convert.nothing")
    return relative


def _maker(registry: Registry, spec: ConverterSpec) -> str:
    try:
        info = registry.provider(spec)
    except EdgeaiError:
        return spec.name
    return f"{info.distribution} {info.version}"
