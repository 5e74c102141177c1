"""What a bundle says of itself: strict, frozen, and the only thing that its digest needs to cover.

The manifest names every byte of the bundle by SHA-256, so ``sha256(manifest.json)`` names the whole
model. Everything that changes an answer lives here (labels, thresholds, transforms, tensors,
eligibility); addresses, devices and threads live in the device's configuration. msgspec rather than
pydantic: a cold ``edgeai infer`` reads one manifest and should not pay 100 ms for it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, TypeAlias

import msgspec

import edgeai
from edgeai.api.errors import BundleRejected
from edgeai.api.instances import InstanceRef
from edgeai.api.tensors import DTYPES, TensorSpec
from edgeai.bundle.paths import check_path, check_paths
from edgeai.bundle.strict_json import read_object

MANIFEST_SCHEMA: Final = 1
MANIFEST_NAME: Final = "manifest.json"
SIGNATURES_NAME: Final = "signatures.json"
"""Beside the manifest: its DSSE envelope, if it is signed. No file of a bundle may take the name."""
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024

Slug: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
Version: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9A-Za-z][0-9A-Za-z.+-]{0,63}\Z")]
DottedNumbers: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9]{1,6}(\.[0-9]{1,6}){0,2}\Z")]
# No control characters: these words end up in logs and on terminals.
Text: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x08\x0b-\x1f\x7f-\x9f]+\Z", max_length=4000)]
Word: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[^\x00-\x1f\x7f-\x9f]+\Z", max_length=200)]
Sha256: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Extent: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31)]
Bound: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0)]


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every part of the manifest is: immutable, by keyword, and closed to unknown keys."""


class Eligibility(Record, frozen=True, kw_only=True):
    """Which SOP Instances the model is meant for. An empty tuple or 0 asks nothing.

    ``min_rows`` and ``min_columns`` are asked of the image, and again of what a step of ``transforms`` cuts out of it:
    in pixels of the source image, that is what the model sees.
    """

    modality: tuple[Word, ...] = ()
    sop_class_uid: tuple[Word, ...] = ()
    body_part_examined: tuple[Word, ...] = ()
    view_position: tuple[Word, ...] = ()
    photometric_interpretation: tuple[Word, ...] = ()
    min_rows: Count = 0
    min_columns: Count = 0

    def why_not(self, instance: InstanceRef) -> str | None:
        """One sentence on why this instance is not for this model, or ``None`` when it is. Pure."""
        for keyword in (
            "modality",
            "sop_class_uid",
            "body_part_examined",
            "view_position",
            "photometric_interpretation",
        ):
            wanted: tuple[str, ...] = getattr(self, keyword)
            value = getattr(instance, keyword).strip().upper()
            if wanted and value not in {item.strip().upper() for item in wanted}:
                return f"{keyword} is {value or 'absent'}, the model wants {' or '.join(wanted)}"
        return self.too_small(instance.rows, instance.columns)

    def too_small(self, rows: int, columns: int) -> str | None:
        """One sentence on why so many rows and columns are too few, or ``None`` when they are not. Pure."""
        for keyword, extent, least in (("rows", rows, self.min_rows), ("columns", columns, self.min_columns)):
            if 0 < extent < least:  # no rows at all are no small image, but a broken one
                return f"{keyword} is {extent}, the model wants at least {least}"
        return None


class PixelUse(Record, frozen=True, kw_only=True):
    """Named fast paths of the decoder that change the numbers reaching the model.

    ``luma``: JPEG decoded straight to grey. ``reduced``: JPEG 2000 and JPEG at the smallest level that is not under
    twice the model's input. ``smallest``: at the smallest that is not under the model's input itself.
    """

    fast: tuple[Literal["luma", "reduced", "smallest"], ...] = ()


class FrameUse(Record, frozen=True, kw_only=True):
    """Which frames of a multi-frame instance run: ``all``, ``first`` or ``middle``.

    With ``all``, every ``every``-th from the first; of these at most ``max`` (0: no bound), evenly spread.
    """

    select: Literal["all", "first", "middle"] = "all"
    every: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1
    max: Count = 0

    def numbers(self, number_of_frames: int) -> Sequence[int]:
        """Frame numbers, from 1 and rising, of an instance with so many frames (at least 1).

        Lazy, since what a header claims may be absurd, and is refused only when its pixels are read.
        """
        if self.select == "first":
            return (1,)
        if self.select == "middle":
            return ((number_of_frames + 1) // 2,)
        chosen = range(1, number_of_frames + 1, self.every)
        if self.max == 0 or len(chosen) <= self.max:
            return chosen
        return tuple(chosen[i * len(chosen) // self.max] for i in range(self.max))


class TaskUse(Record, frozen=True, kw_only=True):
    """What is asked of the outputs: a ``TaskSpec`` by name, with its options."""

    name: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class TransformStep(Record, frozen=True, kw_only=True):
    """One preprocessing step: a ``TransformSpec`` by name, with its options."""

    transform: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class TensorDecl(Record, frozen=True, kw_only=True):
    """One input or output tensor; see ``edgeai.api.TensorSpec``. ``null`` in a shape means any extent."""

    name: Word
    dtype: Word
    shape: Annotated[tuple[Extent | None, ...], msgspec.Meta(max_length=8)]
    layout: Annotated[str, msgspec.Meta(max_length=8)] = ""

    def spec(self) -> TensorSpec:
        """The same as the header's type, for plugins."""
        return TensorSpec(name=self.name, dtype=self.dtype, shape=self.shape, layout=self.layout)


class ArtifactDecl(Record, frozen=True, kw_only=True):
    """The model in one backend's format. ``path`` is a file, or a folder where the format is one."""

    id: Slug
    format: Word
    precision: Slug
    path: Word
    options: dict[str, Any] = msgspec.field(default_factory=dict)


class Tolerance(Record, frozen=True, kw_only=True):
    """An output may differ from the golden one by ``absolute + relative * |golden|``."""

    absolute: Bound = 1e-3
    relative: Bound = 1e-3


class GoldenCase(Record, frozen=True, kw_only=True):
    """Input tensors and the outputs that they must give: tensor name -> ``.npy`` file of the bundle.

    ``artifacts`` narrows or widens the tolerance for an artifact id (int8 is further from its parent).
    """

    id: Slug
    inputs: dict[Word, Word]
    outputs: dict[Word, Word]
    tolerance: Tolerance = Tolerance()
    artifacts: dict[Slug, Tolerance] = msgspec.field(default_factory=dict)

    def tolerance_for(self, artifact_id: str) -> Tolerance:
        """What this artifact is held to."""
        return self.artifacts.get(artifact_id, self.tolerance)


class FileDecl(Record, frozen=True, kw_only=True):
    """One file of the bundle, by content."""

    sha256: Sha256
    bytes: Count


class Manifest(Record, frozen=True, kw_only=True):
    """All that a bundle says. ``files`` names every file of it but the manifest itself.

    ``plugins`` are those needed beside a backend (``("transforms", "classify")``): a device loads these
    and no others. ``release`` rises with every bundle of a name; an older one never replaces a newer.
    """

    schema: int = MANIFEST_SCHEMA
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

    def input_specs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in order, as the header's type."""
        return tuple(tensor.spec() for tensor in self.inputs)

    def output_specs(self) -> tuple[TensorSpec, ...]:
        """The outputs, in order, as the header's type."""
        return tuple(tensor.spec() for tensor in self.outputs)


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
    _check_age(_read_json(data))
    try:
        manifest = msgspec.json.decode(data, type=Manifest, strict=True)
    except (msgspec.MsgspecError, RecursionError) as error:
        unknown = "unknown field" in str(error)
        raise _invalid(str(error), code="bundle.unknown-key" if unknown else "bundle.invalid-manifest") from error
    check_manifest(manifest)
    return manifest


def encode_manifest(manifest: Manifest) -> bytes:
    """Canonical JSON: UTF-8, keys sorted, no spaces, every field written. The same manifest, the same bytes."""
    return msgspec.json.encode(manifest, order="sorted")


def digest_of(data: bytes) -> str:
    """The name of a bundle: ``sha256:<hex>`` of the manifest's bytes as they are in the archive."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def check_manifest(manifest: Manifest) -> None:
    """What the types cannot say: safe paths, unique names, and no reference to a file that is not there.

    Raises:
        BundleRejected: see ``decode_manifest``.
    """
    check_paths(manifest.files, reserved=(MANIFEST_NAME, SIGNATURES_NAME))
    for what, names in (
        ("inputs", [tensor.name for tensor in manifest.inputs]),
        ("outputs", [tensor.name for tensor in manifest.outputs]),
        ("artifacts", [artifact.id for artifact in manifest.artifacts]),
        ("golden", [case.id for case in manifest.golden]),
        ("plugins", list(manifest.plugins)),
    ):
        if len(set(names)) != len(names):
            raise _invalid(f"{what} names something twice: {', '.join(names)}")
    for tensor in (*manifest.inputs, *manifest.outputs):
        if tensor.dtype not in DTYPES or (tensor.layout and len(tensor.layout) != len(tensor.shape)):
            raise _invalid(f"tensor {tensor.name!r}: {tensor.dtype} {tensor.shape} {tensor.layout!r} makes no sense")
    for artifact in manifest.artifacts:
        check_path(artifact.path)
        if artifact.path not in manifest.files and not _is_folder(artifact.path, manifest):
            raise _missing(f"artifact {artifact.id!r}", artifact.path)
    for case in manifest.golden:
        _check_golden(case, manifest)


def _check_golden(case: GoldenCase, manifest: Manifest) -> None:
    for what, given, declared in (
        ("inputs", case.inputs, manifest.inputs),
        ("outputs", case.outputs, manifest.outputs),
    ):
        if set(given) != {tensor.name for tensor in declared}:
            raise _invalid(f"golden case {case.id!r}: its {what} are not those of the model")
        for path in given.values():
            if path not in manifest.files:
                raise _missing(f"golden case {case.id!r}", path)
    surplus = set(case.artifacts) - {artifact.id for artifact in manifest.artifacts}
    if surplus:
        raise _invalid(f"golden case {case.id!r}: a tolerance for unknown artifacts {', '.join(sorted(surplus))}")


def _is_folder(path: str, manifest: Manifest) -> bool:
    return any(name.startswith(path + "/") for name in manifest.files)


def _read_json(data: bytes) -> dict[str, Any]:
    """Plain JSON, for what msgspec lets pass: a key twice."""
    try:
        return read_object(data)
    except ValueError as error:
        raise _invalid(str(error)) from error


def _check_age(body: dict[str, Any]) -> None:
    """First of all, so that a newer bundle is called newer and not damaged."""
    schema = body.get("schema", MANIFEST_SCHEMA)
    if isinstance(schema, int) and schema != MANIFEST_SCHEMA:
        raise BundleRejected(
            f"the manifest has schema {schema}; this edgeai {edgeai.__version__} reads schema {MANIFEST_SCHEMA}",
            code="bundle.unknown-schema",
            remedy="update edgeai on this device, or pack the bundle again",
        )
    least = body.get("min_edgeai")
    if isinstance(least, str) and _numbers(least) > _numbers(edgeai.__version__):
        raise BundleRejected(
            f"the bundle wants edgeai {least} or newer; this is {edgeai.__version__}",
            code="bundle.needs-newer-edgeai",
            remedy=f"update edgeai to {least} or newer",
        )


def _numbers(version: str) -> tuple[int, ...]:
    found = re.findall(r"[0-9]{1,6}", version)[:3]
    return tuple(int(number) for number in (*found, "0", "0", "0")[:3])


def _invalid(why: str, *, code: str = "bundle.invalid-manifest") -> BundleRejected:
    return BundleRejected(f"the manifest is not valid: {why}", code=code)


def _missing(who: str, path: str) -> BundleRejected:
    return BundleRejected(f"{who} names {path!r}, which is no file of the bundle", code="bundle.missing-file")
