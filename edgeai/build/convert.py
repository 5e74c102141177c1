"""A card's recipes -> artifacts, kept below ``artifacts/`` with a note of what made each.

``artifacts/<id>.json`` says which ``.keras`` file and which recipe an artifact came from; one that came from another
is made again, so what is packed is never older than what the card says.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from edgeai.api import BackendSpec, ConversionFailed, ConverterSpec, ConvertRequest, EdgeaiError, TensorSpec
from edgeai.build.card import Card, Recipe
from edgeai.plugins import Registry

ARTIFACTS = "artifacts"


class Artifact(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``artifacts/<id>.json``. ``path`` is below ``artifacts/<id>/``; ``converter`` names the distribution."""

    id: str
    format: str
    precision: str
    path: str
    parent: str
    recipe: dict[str, Any]
    converter: str
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def registry_of(card: Card) -> Registry:
    """The plugins that the recipes name.

    Raises:
        EdgeaiError: the first that does not load; half a build is none.
    """
    registry = Registry.of(recipe.plugin or recipe.converter for recipe in card.recipes)
    for fault in registry.faults.values():
        raise fault
    return registry


def backend_of(registry: Registry, artifact_format: str) -> BackendSpec:
    """The backend that opens this format.

    Raises:
        ConversionFailed: none of the recipes' plugins has one.
    """
    for backend in registry.backends.values():
        if backend.artifact_format == artifact_format:
            return backend
    raise ConversionFailed(
        f"none of the recipes' plugins has a backend for {artifact_format}", code="convert.no-backend"
    )


def artifact_of(
    recipe: Recipe,
    *,
    card: Card,
    folder: Path,
    registry: Registry,
    inputs: tuple[TensorSpec, ...],
    outputs: tuple[TensorSpec, ...],
    rebuild: bool = False,
) -> tuple[Artifact, bool]:
    """The artifact of a recipe, made if it is missing, stale or ``rebuild``; and whether it was made.

    Raises:
        ConversionFailed: the converter refused; or it has no such precision (``convert.no-precision``).
    """
    kept = None if rebuild else _kept(recipe, card, folder)
    if kept is not None:
        return kept, False
    spec = registry.spec("converter", recipe.converter)
    assert isinstance(spec, ConverterSpec)
    if recipe.precision not in spec.precisions:
        raise ConversionFailed(
            f"converter {spec.name} makes no {recipe.precision}, but {', '.join(spec.precisions)}",
            code="convert.no-precision",
        )
    (folder / ARTIFACTS).mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".convert-", dir=folder / ARTIFACTS) as fresh:
        request = ConvertRequest(
            model=folder / card.model,
            output=Path(fresh),
            precision=recipe.precision,
            inputs=inputs,
            outputs=outputs,
            options=recipe.options,
        )
        made = spec.convert(request)
        artifact = Artifact(
            id=recipe.id,
            format=spec.artifact_format,
            precision=recipe.precision,
            path=_below(made.artifact, Path(fresh), spec),
            parent=card.model_digest,
            recipe=_recipe(recipe),
            converter=_maker(registry, spec),
            options=dict(made.options),
            notes=made.notes,
        )
        _keep(artifact, Path(fresh), folder)
    return artifact, True


def _kept(recipe: Recipe, card: Card, folder: Path) -> Artifact | None:
    try:
        artifact = msgspec.json.decode((folder / ARTIFACTS / f"{recipe.id}.json").read_bytes(), type=Artifact)
    except (OSError, msgspec.MsgspecError):
        return None
    same = artifact.parent == card.model_digest and artifact.recipe == _recipe(recipe)
    return artifact if same and (folder / ARTIFACTS / recipe.id / artifact.path).exists() else None


def _keep(artifact: Artifact, fresh: Path, folder: Path) -> None:
    target = folder / ARTIFACTS / artifact.id
    note = target.with_name(f"{artifact.id}.json")
    note.unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(fresh, target)
    # The note last: without it the artifact does not count.
    note.write_bytes(msgspec.json.format(msgspec.json.encode(artifact, order="sorted"), indent=2) + b"\n")


def _recipe(recipe: Recipe) -> dict[str, Any]:
    return {"converter": recipe.converter, "precision": recipe.precision, "options": recipe.options}


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
