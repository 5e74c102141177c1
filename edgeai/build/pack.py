"""From a card's folder to the bundle that ships: artifacts made, held against their parent, packed.

The same folder gives the same bytes: converters run only for what is missing or stale, and nothing that is measured
on this machine goes into the bundle.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeai.api import ConversionFailed
from edgeai.api.errors import ConfigError
from edgeai.build.agreement import Agreement, measure
from edgeai.build.card import CARD_NAME, Card, check_model, read_card
from edgeai.build.convert import ARTIFACTS, Artifact, artifact_of, backend_of, registry_of
from edgeai.build.golden import Golden, read_golden
from edgeai.bundle.archive import SUFFIX
from edgeai.bundle.archive import pack as pack_archive
from edgeai.bundle.manifest import ArtifactDecl, GoldenCase, Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What came of it."""

    bundle: Path
    digest: str
    agreements: tuple[Agreement, ...]
    made: tuple[str, ...]
    """Ids of the artifacts that were converted now; the others were there."""


def pack_card(
    folder: Path, *, out: Path, rebuild: bool = False, progress: Callable[[str], None] = lambda step: None
) -> Packed:
    """Pack ``folder`` (with its ``model.toml``) into ``out``/NAME-VERSION.edgeai.

    Args:
        folder: the card's folder; artifacts are written below it.
        out: folder of the bundle; made if it is not there.
        rebuild: convert everything anew.
        progress: told what is being done.

    Raises:
        ConfigError: the card, the model, the golden cases or a gate (``config.gate-failed``).
        ConversionFailed: a converter, or an artifact that does not agree (``convert.disagrees``).
        BackendError: an artifact that its own backend cannot run.
        BundleRejected: contents that no bundle may have.
    """
    card = read_card(folder)
    model = check_model(card, folder)
    _gate(card.gates.max_keras_bytes, model.stat().st_size, card.model)
    shared = card.for_manifest()
    inputs, outputs = tuple(t.spec() for t in shared["inputs"]), tuple(t.spec() for t in shared["outputs"])
    golden = read_golden(folder, inputs=inputs, outputs=outputs, parent=card.model_digest)
    registry = registry_of(card)
    artifacts, agreements, made = [], [], []
    for recipe in card.recipes:
        progress(f"{recipe.id}: artifact")
        artifact, fresh = artifact_of(
            recipe, card=card, folder=folder, registry=registry, inputs=inputs, outputs=outputs, rebuild=rebuild
        )
        progress(f"{recipe.id}: agreement")
        agreement = measure(
            folder / ARTIFACTS / artifact.id / artifact.path,
            artifact_id=artifact.id,
            options=artifact.options,
            backend=backend_of(registry, artifact.format),
            inputs=inputs,
            outputs=outputs,
            golden=golden,
            tolerance=recipe.tolerance,
        )
        _hold(agreement)
        artifacts.append(artifact)
        agreements.append(agreement)
        made += [artifact.id] if fresh else []
    progress("packing")
    bundle, digest = _write(card, folder, out, manifest_of(card, artifacts, golden))
    return Packed(bundle=bundle, digest=digest, agreements=tuple(agreements), made=tuple(made))


def manifest_of(card: Card, artifacts: list[Artifact], golden: tuple[Golden, ...]) -> Manifest:
    """What the bundle says of itself; its list of files is filled in by the archive."""
    tolerances = {recipe.id: recipe.tolerance for recipe in card.recipes}
    return Manifest(
        name=card.name,
        version=card.version,
        release=card.release,
        min_edgeai=card.min_edgeai,
        intended_use=card.intended_use,
        licence=card.licence,
        plugins=card.plugins,
        artifacts=tuple(
            ArtifactDecl(
                id=artifact.id,
                format=artifact.format,
                precision=artifact.precision,
                path=f"{ARTIFACTS}/{artifact.id}/{artifact.path}",
                options=artifact.options,
            )
            for artifact in artifacts
        ),
        golden=tuple(
            GoldenCase(id=case.id, inputs=case.paths("inputs"), outputs=case.paths("outputs"), artifacts=tolerances)
            for case in golden
        ),
        **card.for_manifest(),
    )


def _write(card: Card, folder: Path, out: Path, manifest: Manifest) -> tuple[Path, str]:
    out.mkdir(parents=True, exist_ok=True)
    bundle = out / f"{card.name}-{card.version}{SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="edgeai-pack-") as staging:
        for artifact in manifest.artifacts:
            shutil.copytree(folder / ARTIFACTS / artifact.id, Path(staging) / ARTIFACTS / artifact.id)
        attached = [CARD_NAME, *card.attachments]
        for case in manifest.golden:
            attached += [*case.inputs.values(), *case.outputs.values()]
        for name in attached:
            _attach(folder / name, Path(staging) / name)
        digest = pack_archive(Path(staging), manifest, bundle)
    try:
        _gate(card.gates.max_bundle_bytes, bundle.stat().st_size, bundle.name)
    except ConfigError:
        bundle.unlink()
        raise
    return bundle, digest


def _attach(source: Path, target: Path) -> None:
    if not source.is_file():
        raise ConfigError(f"{source}: the card attaches it, and it is not there", code="config.card-attachment-missing")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _hold(agreement: Agreement) -> None:
    if not agreement.agrees:
        raise ConversionFailed(
            f"{agreement.artifact} on {agreement.backend} {agreement.device} is {agreement.worst:.3g} away from its "
            f"Keras parent, {agreement.share:.3g} times what the card allows (worst at {agreement.where})",
            code="convert.disagrees",
            remedy="find the layer that differs, or widen absolute and relative of the recipe",
        )


def _gate(most: int | None, found: int, what: str) -> None:
    if most is not None and found > most:
        raise ConfigError(f"gate failed: {what} has {found} bytes, the card allows {most}", code="config.gate-failed")
