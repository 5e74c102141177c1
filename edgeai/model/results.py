"""Build a ``Result``: its identity, its clock, and what it says when there is nothing to say."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgeai.api.instances import InstanceRef
from edgeai.api.results import InstanceIds, ModelRef, Result
from edgeai.bundle.reader import Bundle

_IDENTITY: Final = b"edgeai result 1"
_IDENTITY_WITH_CONTENT: Final = b"edgeai result 2"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Whose result it is, as it leaves the device; whoever receives images knows it before the run."""

    result_id: str
    instance: InstanceIds
    attempt: int = 1


def result_id(sop_instance_uid: str, digest: str, deployment: str, content: str = "") -> str:
    """The identity of the one result of (instance, content, bundle, deployment): a name-based UUID.

    A UUID of version 8 (RFC 9562 section 5.8) whose bits are SHA-256 of them all, so a retry, a second copy of the
    instance or another process all give the same. Without ``content`` it is the id that edgeai 0.1 gave:
    `edgeai infer` leaves the content out, since it hashes no files, and instances that 0.1 received keep their ids.
    """
    parts = [_IDENTITY, sop_instance_uid.encode(), digest.encode(), deployment.encode()]
    if content:
        parts = [_IDENTITY_WITH_CONTENT, *parts[1:], content.encode()]
    return uuid_of(hashlib.sha256(b"\0".join(parts)).digest())


def derived_ids(result: Result) -> tuple[str, ...]:
    """The ids that a first result of this image, bundle and deployment can have; none where its image has no UID."""
    uid = result.instance.sop_instance_uid
    contents = dict.fromkeys((result.instance.content, "")) if uid else ()
    return tuple(result_id(uid, result.model.digest, result.deployment, content) for content in contents)


def uuid_of(named: bytes) -> str:
    """A UUID of version 8 out of the first 16 bytes of a hash."""
    octets = bytearray(named[:16])
    octets[6] = octets[6] & 0x0F | 0x80
    octets[8] = octets[8] & 0x3F | 0x80
    text = octets.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def now() -> str:
    """RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ref_of(bundle: Bundle) -> ModelRef:
    """Exactly which model, and who signed it."""
    manifest = bundle.manifest
    return ModelRef(name=manifest.name, version=manifest.version, digest=bundle.digest, signers=bundle.signers)


def ids_of(instance: InstanceRef | None) -> InstanceIds:
    """The identifiers of an instance; all empty when its header could not be read."""
    if instance is None:
        return InstanceIds(sop_class_uid="", sop_instance_uid="", series_instance_uid="", study_instance_uid="")
    return InstanceIds(
        sop_class_uid=instance.sop_class_uid,
        sop_instance_uid=instance.sop_instance_uid,
        series_instance_uid=instance.series_instance_uid,
        study_instance_uid=instance.study_instance_uid,
        modality=instance.modality,
    )


def identity_of(instance: InstanceRef | None, *, digest: str, deployment: str, file: Path | str | None) -> Identity:
    """Of an instance that nobody received: its own UIDs, and no content; where it came to none, its ``file``'s name."""
    uid = instance.sop_instance_uid if instance else Path(file).absolute().as_uri() if file is not None else ""
    return Identity(result_id=result_id(uid, digest, deployment), instance=ids_of(instance))


class Stopwatch:
    """Milliseconds of wall clock a stage; stages of several frames add up, and may overlap one another."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self.ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add what happens inside to the stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def add(self, name: str, seconds: float) -> None:
        """Add a span that was measured elsewhere."""
        self.ms[name] = self.ms.get(name, 0.0) + seconds * 1e3

    def include(self, other: Stopwatch) -> None:
        """Add another's stages: each thread has a watch of its own."""
        for name, ms in other.ms.items():
            self.add(name, ms / 1e3)

    def total(self) -> dict[str, float]:
        """All stages so far, with ``total`` since the watch was made."""
        return {**self.ms, "total": (time.perf_counter() - self._began) * 1e3}
