"""What a bundle says of itself: strict, frozen, and the only thing that its digest needs to cover.

The manifest names every byte of the bundle by SHA-256, so ``sha256(manifest.json)`` names the whole
model. Everything that changes an answer lives here (labels, thresholds, transforms, tensors,
eligibility); addresses, devices and threads live in the device's configuration. msgspec rather than
pydantic: a cold ``edgeai infer`` reads one manifest and should not pay 100 ms for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec

import edgeai
from edgeai.api.errors import BundleRejected
from edgeai.api.tensors import DTYPES, TensorSpec
from edgeai.bundle.parts import (
    ArtifactDecl,
    Count,
    DottedNumbers,
    Eligibility,
    FileDecl,
    FrameUse,
    GoldenCase,
    PixelUse,
    Record,
    Slug,
    TaskUse,
    TensorDecl,
    Text,
    Tolerance,
    TransformStep,
    Version,
    Word,
)
from edgeai.bundle.paths import check_path, check_paths
from edgeai.bundle.strict_json import read_object
from edgeai.bundle.use_mistakes import members, taken_outputs, use_mistake
from edgeai.bundle.uses import ExplanationUse, Feed, GuardModel, GuardUse, UnitUse

__all__ = [
    "EVIDENCE_NAME",
    "MANIFEST_NAME",
    "MANIFEST_SCHEMAS",
    "MAX_MANIFEST_BYTES",
    "SIGNATURES_NAME",
    "ArtifactDecl",
    "Eligibility",
    "FileDecl",
    "FrameUse",
    "GoldenCase",
    "Manifest",
    "Manifest1",
    "PixelUse",
    "TaskUse",
    "TensorDecl",
    "Tolerance",
    "TransformStep",
    "at_lowest_schema",
    "check_manifest",
    "decode_manifest",
    "digest_of",
    "encode_manifest",
]

MANIFEST_SCHEMAS: Final = (1, 2)
"""Those that this edgeai reads; a manifest without a number is of the first."""
EVIDENCE_NAME: Final = "evidence.json"
"""The file of a bundle that its evidence is, unless a manifest of schema 2 names another."""
MANIFEST_NAME: Final = "manifest.json"
SIGNATURES_NAME: Final = "signatures.json"
"""Beside the manifest: its DSSE envelope, if it is signed. No file of a bundle may take the name."""
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024


class Manifest1(Record, frozen=True, kw_only=True):
    """All that a bundle says. ``files`` names every file of it but the manifest itself.

    ``plugins`` are those needed beside a backend (``("transforms", "classify")``): a device loads these
    and no others. ``release`` rises with every bundle of a name; an older one never replaces a newer.
    """

    schema: int = 1
    name: Slug
    version: Version
    release: Count
    min_edgeai: DottedNumbers
    intended_use: Text
    licence: Word
    plugins: tuple[Slug, ...]
    task: TaskUse
    inputs: Annotated[tuple[TensorDecl, ...], msgspec.Meta(min_length=1)]
    outputs: Annotated[tuple[TensorDecl, ...], msgspec.Meta(min_length=1)]
    artifacts: Annotated[tuple[ArtifactDecl, ...], msgspec.Meta(min_length=1)]
    eligibility: Eligibility = Eligibility()
    pixels: PixelUse = PixelUse()
    frames: FrameUse = FrameUse()
    transforms: tuple[TransformStep, ...] = ()
    golden: tuple[GoldenCase, ...] = ()
    files: dict[str, FileDecl] = msgspec.field(default_factory=dict)


class Manifest(Manifest1, frozen=True, kw_only=True):
    """All that a bundle says. ``files`` names every file of it but the manifest itself.

    As in schema 1, and: ``feeds`` says by input where its values come from (without: the one input is the image),
    ``guard`` what stands before the model (without: nothing), ``evidence`` and ``change_control`` name files of the
    bundle. An output that a feed, the guard or an explanation takes is not the task's.
    """

    unit: UnitUse = UnitUse()
    feeds: dict[Word, Feed] = msgspec.field(default_factory=dict)
    guard: GuardUse | None = None
    explanations: tuple[ExplanationUse, ...] = ()
    evidence: Word | None = None
    change_control: Word | None = None

    @property
    def evidence_path(self) -> str | None:
        """The file that holds the evidence, in a bundle of either schema; ``None`` where there is none."""
        return self.evidence or (EVIDENCE_NAME if EVIDENCE_NAME in self.files else None)

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in order, as the header's type."""
        return tuple(tensor.spec() for tensor in self.inputs)

    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The outputs, in order, as the header's type."""
        return tuple(tensor.spec() for tensor in self.outputs)

    def task_outputs(self) -> tuple[TensorSpec, ...]:
        """Those that the task reads: all but what a feed, the guard or an explanation takes."""
        taken = taken_outputs(self)
        return tuple(spec for spec in self.output_specs() if spec.name not in taken)


_Model: TypeAlias = Manifest1 | GuardModel
"""Tensors, artifacts and golden cases: the model's own, or those of the one that stands before it."""


def decode_manifest(data: bytes) -> Manifest:
    """Read and check the bytes of ``manifest.json``; nothing is guessed and nothing is ignored.

    Raises:
        BundleRejected: ``bundle.too-large``, ``bundle.invalid-manifest``, ``bundle.unknown-schema``,
            ``bundle.needs-newer-edgeai``, ``bundle.unknown-key``, ``bundle.unsafe-path``,
            ``bundle.duplicate-path`` or ``bundle.missing-file``.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleRejected(
            f"the manifest has {len(data)} bytes, at most {MAX_MANIFEST_BYTES} are read", code="bundle.too-large"
        )
    body = _read_json(data)
    _check_age(body)
    try:
        manifest = _decoded(data, body.get("schema", 1))
    except (msgspec.MsgspecError, RecursionError) as error:
        unknown = "unknown field" in str(error)
        raise _invalid(str(error), code="bundle.unknown-key" if unknown else "bundle.invalid-manifest") from error
    check_manifest(manifest)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: UTF-8, keys sorted, no spaces, every field of its schema written. One manifest, one content.

    Raises:
        BundleRejected: ``bundle.invalid-manifest``: it says what its schema has no word for.
    """
    if manifest.schema != 1:
        return msgspec.json.encode(manifest, order="sorted")
    if beyond := _beyond_schema_1(manifest):
        raise _invalid(f"schema 1 has no {beyond[0]}")
    return msgspec.json.encode(Manifest1(**_fields(manifest)), order="sorted")


def at_lowest_schema(manifest: Manifest) -> Manifest:
    """The same, with the lowest schema number that has words for all of it: carts in the field read the first.

    Evidence alone does not raise it: it lies in the bundle under its usual name, covered by ``files`` as ever.
    """
    if manifest.evidence == EVIDENCE_NAME and _beyond_schema_1(manifest) == ["evidence"]:
        manifest = msgspec.structs.replace(manifest, evidence=None)
    return msgspec.structs.replace(manifest, schema=2 if _beyond_schema_1(manifest) else 1)


def digest_of(data: bytes) -> str:
    """The name of a bundle: ``sha256:<hex>`` of the manifest's bytes as they are in the archive."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_manifest(manifest: Manifest) -> None:
    """What the types cannot say: safe paths, unique names, and no reference to a file that is not there.

    Raises:
        BundleRejected: see ``decode_manifest``.
    """
    check_paths(manifest.files, reserved=(MANIFEST_NAME, SIGNATURES_NAME))
    _check_names("plugins", manifest.plugins)
    _check_model(manifest, manifest.files)
    if manifest.guard is not None and manifest.guard.model is not None:
        _check_model(manifest.guard.model, manifest.files)
    if mistake := use_mistake(manifest):
        raise _invalid(mistake)
    for what, path in members(manifest):
        if path not in manifest.files:
            raise _missing(what, path)


def _check_names(what: str, names: Sequence[str]) -> None:
    if len(set(names)) != len(names):
        raise _invalid(f"{what} names something twice: {', '.join(names)}")


def _check_model(model: _Model, files: Collection[str]) -> None:
    _check_names("inputs", [tensor.name for tensor in model.inputs])
    _check_names("outputs", [tensor.name for tensor in model.outputs])
    _check_names("artifacts", [artifact.id for artifact in model.artifacts])
    _check_names("golden", [case.id for case in model.golden])
    for tensor in (*model.inputs, *model.outputs):
        if tensor.dtype not in DTYPES or (tensor.layout and len(tensor.layout) != len(tensor.shape)):
            raise _invalid(f"tensor {tensor.name!r}: {tensor.dtype} {tensor.shape} {tensor.layout!r} makes no sense")
    for artifact in model.artifacts:
        check_path(artifact.path)
        if artifact.path not in files and not any(name.startswith(artifact.path + "/") for name in files):
            raise _missing(f"artifact {artifact.id!r}", artifact.path)
    for case in model.golden:
        _check_golden(case, model, files)


def _check_golden(case: GoldenCase, model: _Model, files: Collection[str]) -> None:
    for what, given, declared in (
        ("inputs", case.inputs, model.inputs),
        ("outputs", case.outputs, model.outputs),
    ):
        if set(given) != {tensor.name for tensor in declared}:
            raise _invalid(f"golden case {case.id!r}: its {what} are not those of the model")
        for path in given.values():
            if path not in files:
                raise _missing(f"golden case {case.id!r}", path)
    surplus = set(case.artifacts) - {artifact.id for artifact in model.artifacts}
    if surplus:
        raise _invalid(f"golden case {case.id!r}: a tolerance for unknown artifacts {', '.join(sorted(surplus))}")


def _decoded(data: bytes, schema: object) -> Manifest:
    if schema == 1:
        return Manifest(**_fields(msgspec.json.decode(data, type=Manifest1, strict=True)))
    return msgspec.json.decode(data, type=Manifest, strict=True)


def _fields(manifest: Manifest1) -> dict[str, Any]:
    """Those that schema 1 has."""
    return {name: getattr(manifest, name) for name in Manifest1.__struct_fields__}


def _beyond_schema_1(manifest: Manifest) -> list[str]:
    """Fields that say something for which schema 1 has no word."""
    plain = Manifest(**_fields(manifest))
    return [name for name in Manifest.__struct_fields__ if getattr(manifest, name) != getattr(plain, name)]


def _read_json(data: bytes) -> dict[str, Any]:
    """Plain JSON, for what msgspec lets pass: a key twice."""
    try:
        return read_object(data)
    except ValueError as error:
        raise _invalid(str(error)) from error


def _check_age(body: dict[str, Any]) -> None:
    """First of all, so that a newer bundle is called newer and not damaged."""
    schema = body.get("schema", 1)
    if isinstance(schema, int | float) and schema not in MANIFEST_SCHEMAS:
        known = " and ".join(str(number) for number in MANIFEST_SCHEMAS)
        raise BundleRejected(
            f"the manifest has schema {schema}; this edgeai {edgeai.__version__} reads schema {known}",
            code="bundle.unknown-schema",
            remedy="update edgeai on this device, or pack the bundle again",
        )
    least = body.get("min_edgeai")
    if isinstance(least, str) and version_numbers(least) > version_numbers(edgeai.__version__):
        raise BundleRejected(
            f"the bundle wants edgeai {least} or newer; this is {edgeai.__version__}",
            code="bundle.needs-newer-edgeai",
            remedy=f"update edgeai to {least} or newer",
        )


def version_numbers(version: str) -> tuple[int, ...]:
    """The first three numbers of a version, to be compared."""
    numbers = re.findall(r"[0-9]{1,6}", version)
    return tuple(int(number) for number in (*numbers, "0", "0", "0")[:3])


def _invalid(why: str, *, code: str = "bundle.invalid-manifest") -> BundleRejected:
    return BundleRejected(f"the manifest is not valid: {why}", code=code)


def _missing(who: str, path: str) -> BundleRejected:
    return BundleRejected(f"{who} names {path!r}, which is no file of the bundle", code="bundle.missing-file")
