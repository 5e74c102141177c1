"""Folders that hold some artifacts of a bundle and not the others, and say which: ``.held.json``.

A cart has one engine or two, and a bundle artifacts for more. What a folder lacks are whole artifacts and nothing
else; what it has is held to the same rules as ever (ADR 0052). Without the record a folder is whole. No file of a
bundle can have the record's name, and no archive can hold it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from edgeai.api.errors import BundleRejected
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.parts import ArtifactDecl, Eligibility, Record, Slug
from edgeai.bundle.strict_json import read_object
from edgeai.bundle.use_mistakes import members
from edgeai.bundle.uses import UnitUse

HELD_NAME: Final = ".held.json"
MAX_HELD_BYTES: Final = 1 << 20
_SCHEMA: Final = 1

_OWN: Final = ("task", "inputs", "outputs", "artifacts", "transforms", "golden")
_NOT_ITS: Final[dict[str, Any]] = {
    "eligibility": Eligibility(),
    "guard": None,
    "feeds": {},
    "explanations": (),
    "unit": UnitUse(),
}
"""What a model that stands before another has of its own, and what of a manifest is the other's alone.

What the other's eligibility lets in, the build held to be within that of the bundle that the guard comes from.
"""

_Some: TypeAlias = Annotated[tuple[Slug, ...], msgspec.Meta(min_length=1)]


class Held(Record, frozen=True, kw_only=True):
    """Which artifacts a folder holds, of the bundle of this digest; ``guard``: of the model that stands before it."""

    schema: int = _SCHEMA
    digest: str
    artifacts: _Some
    guard: tuple[Slug, ...] = ()


def encode_held(held: Held) -> bytes:
    """As it lies in the folder."""
    return msgspec.json.encode(held, order="sorted") + b"\n"


def decode_held(data: bytes, manifest: Manifest, digest: str) -> Held:
    """Read the record, and hold it to the manifest that it is of.

    Raises:
        BundleRejected: ``bundle.bad-held-file``.
    """
    if len(data) > MAX_HELD_BYTES:
        raise _bad(f"it has more than {MAX_HELD_BYTES} bytes")
    try:
        read_object(data)
        held = msgspec.json.decode(data, type=Held, strict=True)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _bad(str(error)) from error
    if held.schema != _SCHEMA:
        raise _bad(f"it has schema {held.schema}, this edgeai reads {_SCHEMA}")
    if held.digest != digest:
        raise _bad(f"it is of {held.digest[:19]}..., and the manifest is {digest[:19]}...")
    _check_ids("artifacts", held.artifacts, manifest.artifacts)
    _check_ids("guard", held.guard, guard_artifacts(manifest))
    if guard_artifacts(manifest) and not held.guard:
        raise _bad("it holds no artifact of the guard's model")
    return held


def guard_artifacts(manifest: Manifest) -> tuple[ArtifactDecl, ...]:
    """Those of the model that stands before the model; none where there is none."""
    model = manifest.guard.model if manifest.guard is not None else None
    return model.artifacts if model is not None else ()


def guard_manifest(manifest: Manifest) -> Manifest | None:
    """The model that stands before the model, as if a manifest were about it alone; ``None`` where there is none."""
    model = manifest.guard.model if manifest.guard is not None else None
    if model is None:
        return None
    own = {name: getattr(model, name) for name in _OWN}
    return msgspec.structs.replace(manifest, **own, **_NOT_ITS)


def absent_files(manifest: Manifest, held: Held | None) -> frozenset[str]:
    """Files of the bundle that a folder does not have, and must not have: those of artifacts alone that it lacks."""
    if held is None:
        return frozenset()
    lacking: set[str] = set()
    there: set[str] = set(_named_otherwise(manifest))
    for artifacts, ids in ((manifest.artifacts, held.artifacts), (guard_artifacts(manifest), held.guard)):
        for artifact in artifacts:
            (there if artifact.id in ids else lacking).update(own_files(manifest, artifact.path))
    return frozenset(lacking - there)


def own_files(manifest: Manifest, path: str) -> frozenset[str]:
    """The files of an artifact: its path, what lies below it, and what lies beside it in its folder by the same name
    with another suffix, as the halves of a model do (``model.xml``, ``model.bin``).
    """
    own = {name for name in manifest.files if name == path or name.startswith(path + "/")}
    folder, slash, name = path.rpartition("/")
    if path in manifest.files and slash:  # a bundle's own documents lie beside what lies in no folder
        stem = f"{folder}/{name.rpartition('.')[0] or name}"
        own |= {other for other in manifest.files if other.rpartition(".")[0] == stem}
    return frozenset(own)


def _named_otherwise(manifest: Manifest) -> Iterable[str]:
    """Files that somebody else names too."""
    model = manifest.guard.model if manifest.guard is not None else None
    for case in (*manifest.golden, *(model.golden if model is not None else ())):
        yield from case.inputs.values()
        yield from case.outputs.values()
    yield from (path for _, path in members(manifest))
    if manifest.evidence_path is not None:
        yield manifest.evidence_path


def only(manifest: Manifest, artifact_id: str) -> Manifest:
    """The same model as if it had one artifact: whoever opens it can choose no other."""
    chosen = tuple(item for item in manifest.artifacts if item.id == artifact_id)
    return msgspec.structs.replace(manifest, artifacts=chosen)


def read_held(root: Path, manifest: Manifest, digest: str) -> Held | None:
    """What a folder says that it holds; ``None`` where it says nothing, and is to be whole.

    Raises:
        BundleRejected: ``bundle.bad-held-file``, ``bundle.link``.
    """
    path = root / HELD_NAME
    if path.is_symlink():
        raise BundleRejected(f"{path} is a link", code="bundle.link")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_HELD_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _bad(error.strerror or str(error)) from error
    return decode_held(data, manifest, digest)


def _check_ids(what: str, ids: Collection[str], artifacts: Iterable[ArtifactDecl]) -> None:
    if len(set(ids)) != len(ids):
        raise _bad(f"{what} names something twice: {', '.join(ids)}")
    if unknown := sorted(set(ids) - {artifact.id for artifact in artifacts}):
        raise _bad(f"{what}: the manifest has no artifact {unknown[0]!r}")


def _bad(why: str) -> BundleRejected:
    return BundleRejected(
        f"{HELD_NAME}, which says what of the bundle this folder holds, cannot be used: {why}",
        code="bundle.bad-held-file",
        remedy="install the bundle again, or copy it here whole",
    )
