"""From a card's folder to the bundle that ships: artifacts made, held against their Keras model, packed.

The same folder gives the same bytes: converters run only for what is missing or stale, and no time that is measured
on this machine goes into the bundle.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from edgeai.api import BackendSpec, ConfigError, ConversionFailed, EdgeaiError, GateFailed, TensorSpec
from edgeai.bundle.archive import SUFFIX
from edgeai.bundle.archive import pack as pack_archive
from edgeai.bundle.change_control import CHANGE_CONTROL_NAME, encode_change_control
from edgeai.bundle.evidence import EVIDENCE_NAME, Evidence, decode_evidence
from edgeai.bundle.manifest import ArtifactDecl, GoldenCase, Manifest, TensorDecl, Tolerance, at_lowest_schema
from edgeai.model.distance import Distance
from edgeai.plugins import Registry
from edgeai.resolving import Installed
from edgeai_workbench.apart import opened_apart
from edgeai_workbench.as_is import files_of, format_of, plugin_for
from edgeai_workbench.attached import attach, hold_probation
from edgeai_workbench.card import AS_IS, CARD_NAME, Card, Recipe, check_model, read_card
from edgeai_workbench.chosen import CHOICE, hold_choice
from edgeai_workbench.convert import ARTIFACTS, Artifact, Samples, artifact_of, backend_of, registry_of
from edgeai_workbench.deviation import Deviation, measure
from edgeai_workbench.distances import kept, packed
from edgeai_workbench.fitted_quantiles import ABSTENTION, with_fitted
from edgeai_workbench.gates import digest_of_folder, hold_bundle, hold_size
from edgeai_workbench.golden import Golden, read_golden, rounded, write_golden
from edgeai_workbench.judgement import BUNDLED_EVIDENCE, BUNDLED_REPORT, hold_judgement, is_as_told
from edgeai_workbench.licences import licence_notes
from edgeai_workbench.openings import OPENINGS
from edgeai_workbench.proving import prove
from edgeai_workbench.sbom import LICENCE_NAME, SBOM_NAME, licence_text, sbom_of
from edgeai_workbench.standing import Standing, standing_of
from edgeai_workbench.variants import ModelFile, ModelFiles

REPORT = "REPORT.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """What came of it."""

    bundle: Path
    digest: str
    deviations: tuple[Deviation, ...]
    made: tuple[str, ...]
    """Ids of the artifacts that were converted now; the others were there."""
    parent: Path
    """What the card's ``model`` names."""
    notes: tuple[str, ...] = ()
    """What to know of how it was opened."""

    def __str__(self) -> str:
        """One line for people: where it lies, how large it is, its digest."""
        size, parent = self.bundle.stat().st_size, bytes_of(self.parent)
        smaller = f" ({parent / size:.1f} x smaller than {self.parent.name})" if parent > size else ""
        return f"{self.bundle}: {size} bytes{smaller}, {self.digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An artifact, its Keras model, and how close it is on the golden cases."""

    artifact: Artifact
    model: ModelFile
    deviation: Deviation
    tolerance: Tolerance
    fresh: bool
    distance: Distance | None = None
    """What its answers are held to, where the card asks for that."""


def pack_card(
    folder: Path, *, out: Path, rebuild: bool = False, progress: Callable[[str], None] = lambda step: None
) -> Packed:
    """Pack ``folder`` (with its ``model.toml``) into ``out``/NAME-VERSION.edgeai, from what is there, without data.

    Args:
        folder: the card's folder; artifacts are written below it.
        out: folder of the bundle; made if it is not there.
        rebuild: convert everything anew.
        progress: told what is being done.

    Raises:
        ConfigError: the card, the model or the golden cases.
        GateFailed: a gate does not hold, or asks for data that ``edgeai build`` has not seen.
        ConversionFailed: a converter, or an artifact that does not agree (``convert.disagrees``).
        BackendError: an artifact that its own backend cannot run.
        BundleRejected: contents that no bundle may have; ``bundle.invalid-probation``.
    """
    card = read_card(folder)
    check_model(card, folder)
    hold_probation(card, folder)
    hold_choice(card, folder)
    standing_of(card, folder)  # said before anything is converted
    registry = registry_of(card)
    models = models_of(card, folder, registry, progress=progress)
    made = [
        make(recipe, models, card=card, folder=folder, registry=registry, rebuild=rebuild, progress=progress)
        for recipe in card.shipped
    ]
    if card.guard.distance is not None:
        paths = {one.artifact.id: folder / ARTIFACTS / one.artifact.id for one in made}
        distances = kept(folder, card.guard.distance, paths)
        made = [replace(one, distance=distances[one.artifact.id]) for one in made]
    return write_bundle(card, folder, out, made, progress=progress)


def golden_of(card: Card, folder: Path) -> tuple[Golden, ...]:
    """The golden cases of a card whose model is there and is the one that it describes: cheap, and asked first.

    Raises:
        ConfigError: as ``check_model`` and ``read_golden``.
    """
    check_model(card, folder)
    shared = card.for_manifest()
    inputs, outputs = (tuple(tensor.spec() for tensor in shared[what]) for what in ("inputs", "outputs"))
    return read_golden(folder, inputs=inputs, outputs=outputs, parent=card.model_digest)


def models_of(card: Card, folder: Path, registry: Registry, **options: object) -> ModelFiles:
    """The card's models; ``options`` as ``ModelFiles`` takes them."""
    golden = golden_of(card, folder)
    models = ModelFiles(card, folder, registry=registry, golden=golden, **options)  # type: ignore[arg-type]
    hold_size(card.gates.max_keras_bytes, (folder / card.model).stat().st_size, card.model)
    return models


def make(
    recipe: Recipe,
    models: ModelFiles,
    *,
    card: Card,
    folder: Path,
    registry: Registry,
    samples: Samples | None = None,
    rebuild: bool = False,
    progress: Callable[[str], None] = lambda step: None,
) -> Made:
    """The artifact of one recipe, held against its Keras model on the golden cases.

    Raises:
        ConversionFailed: the converter refused, or the artifact disagrees (``convert.disagrees``).
        BackendError: its own backend cannot run it.
    """
    shared = card.for_manifest()
    inputs, outputs = (tuple(tensor.spec() for tensor in shared[what]) for what in ("inputs", "outputs"))
    model = models.get(recipe.variant)
    outputs = (*outputs, *model.added)
    hold_added(card, recipe, model)
    progress(f"{recipe.id}: artifact")
    artifact, fresh = artifact_of(
        recipe,
        model,
        folder=folder,
        registry=registry,
        inputs=inputs,
        outputs=outputs,
        samples=samples,
        rebuild=rebuild,
        progress=lambda words: progress(f"{recipe.id}: {words}"),
    )
    progress(f"{recipe.id}: deviation")
    path = folder / ARTIFACTS / artifact.id / artifact.path
    with _opener(recipe, path, backend_of(registry, artifact.format)) as (backend, how):
        deviation = measure(
            path,
            artifact_id=artifact.id,
            options=artifact.options,
            backend=backend,
            inputs=inputs,
            outputs=outputs,
            golden=model.golden,
            tolerance=recipe.tolerance or Tolerance(absolute=float("inf"), relative=0.0),
        )
    _hold(deviation)
    tolerance = recipe.tolerance or _recorded(deviation)
    return Made(
        artifact=artifact, model=model, deviation=replace(deviation, apart=how), tolerance=tolerance, fresh=fresh
    )


def _opener(recipe: Recipe, path: Path, backend: BackendSpec) -> AbstractContextManager[tuple[BackendSpec, str]]:
    """Who opens an artifact: this process what it made itself, one apart what somebody else made."""
    if recipe.converter != AS_IS:
        return nullcontext((backend, ""))
    plugin = Installed().plugin_called(recipe.plugin) if recipe.plugin else plugin_for(format_of(path))
    return opened_apart(backend, plugin, files_of(path))


def hold_added(card: Card, recipe: Recipe, model: ModelFile) -> None:
    """Nothing, where what ships has the output that the card's guard takes, and no other beside the task's.

    Raises:
        ConfigError: ``build.outputs``.
    """
    wanted = [card.guard.distance.output] if card.guard.distance is not None else []
    added = [spec.name for spec in model.added]
    if recipe.ship and wanted != added:
        raise ConfigError(
            f"variant {model.variant} has {', '.join(added) or 'no output'} beside the card's outputs, and its guard "
            f"takes {', '.join(wanted) or 'none'}",
            code="build.outputs",
            remedy="let the last step of the variant that ships add the output of [guard.distance], and no other",
        )


def write_bundle(
    card: Card, folder: Path, out: Path, made: Sequence[Made], *, progress: Callable[[str], None] = lambda step: None
) -> Packed:
    """The bundle of these artifacts.

    Raises:
        GateFailed: the bundle is too large, or gates that ask for data were not held against these artifacts.
        EdgeaiError: a device could not open it, or its task cannot read what it answers: then there is no bundle.
    """
    digests = {one.artifact.id: digest_of_folder(folder / ARTIFACTS / one.artifact.id) for one in made}
    hold_judgement(card, folder, digests)
    progress("packing")
    bundle, digest = _put_together(card, folder, out, made)
    progress("opening it as a device does")
    try:
        notes = prove(card, bundle)
    except EdgeaiError:
        bundle.unlink()
        raise
    return Packed(
        bundle=bundle,
        digest=digest,
        deviations=tuple(one.deviation for one in made),
        made=tuple(one.artifact.id for one in made if one.fresh),
        parent=folder / card.model,
        notes=(*notes, *licence_notes(card.licence)),
    )


def write_trial(card: Card, folder: Path, out: Path, made: Sequence[Made]) -> Path:
    """The bundle of these artifacts before they are judged, to be asked and thrown away: it has no report yet.

    Raises:
        GateFailed: the bundle is too large.
        ConfigError: what the card's guard needs was not fitted to these artifacts.
    """
    return _put_together(card, folder, out, made)[0]


def _put_together(card: Card, folder: Path, out: Path, made: Sequence[Made]) -> tuple[Path, str]:
    digests = {one.artifact.id: digest_of_folder(folder / ARTIFACTS / one.artifact.id) for one in made}
    guarded = with_fitted(card, folder, digests)
    golden, tolerances = rounded(made[0].model.golden, {one.artifact.id: one.tolerance for one in made})
    standing = standing_of(card, folder)
    manifest = manifest_of(guarded, [one.artifact for one in made], golden, tolerances, made[0].model.added, standing)
    return _write(card, folder, out, manifest, golden, made, standing)


def manifest_of(
    card: Card,
    artifacts: Sequence[Artifact],
    golden: Sequence[Golden],
    tolerances: Mapping[str, Tolerance],
    added: Sequence[TensorSpec] = (),
    standing: Standing | None = None,
) -> Manifest:
    """What the bundle says of itself; its list of files is filled in by the archive."""
    shared, plugins = card.for_manifest(), card.plugins
    shared["outputs"] += tuple(TensorDecl(name=s.name, dtype=s.dtype, shape=tuple(s.shape)) for s in added)
    if standing is not None:
        shared["guard"] = card.guard.for_manifest(standing.use({artifact.format for artifact in artifacts}))
        plugins = tuple(dict.fromkeys((*plugins, *standing.plugins)))
    manifest = Manifest(
        name=card.name,
        version=card.version,
        release=card.release,
        min_edgeai=card.min_edgeai,
        intended_use=card.intended_use,
        licence=card.licence,
        plugins=plugins,
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
            GoldenCase(
                id=case.id, inputs=case.paths("inputs"), outputs=case.paths("outputs"), artifacts=dict(tolerances)
            )
            for case in golden
        ),
        change_control=CHANGE_CONTROL_NAME if card.change_control is not None else None,
        **shared,
    )
    return at_lowest_schema(manifest)


def _write(
    card: Card,
    folder: Path,
    out: Path,
    manifest: Manifest,
    golden: Sequence[Golden],
    made: Sequence[Made],
    standing: Standing | None,
) -> tuple[Path, str]:
    artifacts = [one.artifact for one in made]
    out.mkdir(parents=True, exist_ok=True)
    bundle = out / f"{card.name}-{card.version}{SUFFIX}"
    with tempfile.TemporaryDirectory(prefix="edgeai-pack-") as staging:
        for artifact in manifest.artifacts:
            shutil.copytree(folder / ARTIFACTS / artifact.id, Path(staging) / ARTIFACTS / artifact.id)
        write_golden(Path(staging), golden)
        if card.guard.distance is not None:
            target = Path(staging) / card.guard.distance.parameters
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(packed({one.artifact.id: one.distance.fit for one in made if one.distance is not None}))
        if standing is not None and manifest.guard is not None and manifest.guard.model is not None:
            standing.copy(manifest.guard.model, Path(staging))
        for name in (CARD_NAME, *card.attachments):
            attach(folder / name, Path(staging) / name)
        evidence = evidence_for(card, folder, [artifact.id for artifact in artifacts])
        # A report of others is none of these; one from before there was any evidence is the folder's to answer for.
        own = evidence is not None or not (folder / BUNDLED_EVIDENCE).exists()
        if own and REPORT not in card.attachments and (folder / BUNDLED_REPORT).is_file():
            attach(folder / BUNDLED_REPORT, Path(staging) / REPORT)
        if OPENINGS not in card.attachments and (folder / OPENINGS).is_file():
            attach(folder / OPENINGS, Path(staging) / OPENINGS)
        if CHOICE not in card.attachments and card.choice is not None:
            attach(folder / CHOICE, Path(staging) / CHOICE)
        if ABSTENTION not in card.attachments and card.guard.abstention is not None:
            attach(folder / ABSTENTION, Path(staging) / ABSTENTION)
        if evidence is not None and EVIDENCE_NAME not in card.attachments:
            attach(folder / BUNDLED_EVIDENCE, Path(staging) / EVIDENCE_NAME)
        if card.change_control is not None:
            (Path(staging) / CHANGE_CONTROL_NAME).write_bytes(encode_change_control(card.change_control.plan()))
        (Path(staging) / SBOM_NAME).write_bytes(sbom_of(card, artifacts, evidence, standing))
        if (text := licence_text(card, folder)) is not None:
            (Path(staging) / LICENCE_NAME).write_bytes(text)
        digest = pack_archive(Path(staging), manifest, bundle)
    try:
        hold_bundle(card.gates, bundle, bytes_of(folder / card.model))
    except GateFailed:
        bundle.unlink()
        raise
    return bundle, digest


def evidence_for(card: Card, folder: Path, artifacts: Sequence[str]) -> Evidence | None:
    """What was measured of these very artifacts behind this very card; of others it would be no evidence."""
    try:
        evidence = decode_evidence((folder / BUNDLED_EVIDENCE).read_bytes())
    except (OSError, ValueError):
        return None
    measured = {model.id: model.digest for trial in evidence.trials for model in trial.models if model.ship}
    packed = {name: digest_of_folder(folder / ARTIFACTS / name) for name in artifacts}
    same = (evidence.model, evidence.version, evidence.digest) == (card.name, card.version, card.model_digest)
    return evidence if same and measured == packed and is_as_told(card, folder) else None


def bytes_of(model: Path) -> int:
    """Size of a model's file, or of all files where the format is a folder."""
    return sum(path.stat().st_size for path in (model.rglob("*") if model.is_dir() else (model,)) if path.is_file())


def _hold(deviation: Deviation) -> None:
    if not deviation.agrees:
        raise ConversionFailed(
            f"{deviation.artifact} on {deviation.backend} {deviation.device} is {deviation.worst:.3g} away from its "
            f"Keras parent, {deviation.share:.3g} times what the card allows (worst at {deviation.where})",
            code="convert.disagrees",
            remedy="find the layer that differs, or widen absolute and relative of the recipe",
        )


def _recorded(deviation: Deviation) -> Tolerance:
    """What a quantised artifact is held to on a cart: twice what it is off here, since engines round differently.

    Two significant digits, upwards, so that the same build on another machine records the same.
    """
    twice = max(2.0 * deviation.worst, 1e-3)
    digit = 10.0 ** (math.floor(math.log10(twice)) - 1)
    return Tolerance(absolute=round(math.ceil(twice / digit) * digit, 12), relative=0.0)
