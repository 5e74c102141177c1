"""Make what is staged public: all of it checked first, then file by file, in an order in which no reader is misled.

A client reads root, timestamp, snapshot, targets, offer, blobs. They are written the other way round, each whole and
at once, so that whoever comes in between, or after a kill, sees the repository as it was. A new root goes first when
what is published satisfies it too (a key more, a later end), and last when the new metadata satisfy both roots (a key
that its owner replaces). Only where keys are lost nothing satisfies both: then the root goes just before the
timestamp; a client that comes in that moment is refused, and comes again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Timestamp

from edgeai.api.errors import ConfigError
from edgeai.counted import counted
from edgeai_fleet.holding import hold, new_documents, new_offers
from edgeai_fleet.keys import called
from edgeai_fleet.layout import Folder, place
from edgeai_fleet.staging import Staging, sign, staging
from edgeai_fleet.state import ONLINE, State

_File = tuple[Path, bytes | Path]


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What ``publish`` did.

    Attributes:
        versions: by role, of what is new.
        offers: paths of what is new.
        documents: of rollouts, the same.
        abrupt: a root replaced lost keys: for a moment clients were refused.
    """

    versions: dict[str, int]
    offers: tuple[str, ...]
    documents: tuple[str, ...]
    abrupt: bool


def publish(folder: Folder, signers: Sequence[Signer], now: datetime | None = None) -> Published:
    """Publish what is staged, with a new snapshot and timestamp; where nothing is, renew those of the keys given.

    Raises:
        ConfigError: ``fleet.signatures-missing``, ``fleet.key-unknown``, ``fleet.unwritable``, and the codes of
            ``hold`` and ``staging``.
    """
    with staging(folder, now) as change:
        _drop_published(change)
        hold(change)
        offers, blobs = new_offers(change)
        documents = new_documents(change)
        new = _online(change, signers)
        at, abrupt = _root_at(change, new)
        files = [*_contents(change, offers, blobs), *_documents(change, documents), *_metadata(change, new)]
        if (root := change.staged.root) is not None:
            path = folder.metadata / f"{root.signed.version}.root.json"
            files.insert({"first": 0, "before": len(files) - 1, "last": len(files)}[at], (path, root.to_bytes()))
        for path, data in files:
            place(path, data)
        versions = {role: metadata.signed.version for role in new.roles() if (metadata := _changed(change, new, role))}
        change.staged = State()
        shutil.rmtree(folder.staged, ignore_errors=True)
    return Published(
        versions=versions, offers=tuple(offers), documents=tuple(path for path, _ in documents), abrupt=abrupt
    )


def _drop_published(change: Staging) -> None:
    """What an earlier publish, killed before it could tidy up, has brought through already."""
    for role in ("root", *change.staged.targets):
        staged, live = change.staged.of(role), change.live.of(role)
        if staged is None or live is None or staged.to_bytes() != live.to_bytes():
            continue
        if role == "root":
            change.staged.root = None
        else:
            del change.staged.targets[role]


def _online(change: Staging, signers: Sequence[Signer]) -> State:
    """The state as it is to be, with the snapshot and timestamp that lead to it, signed.

    Raises:
        ConfigError: ``fleet.signatures-missing``, ``fleet.key-unknown``.
    """
    new = change.merged
    by_role = {role: [each for each in signers if each.public_key.keyid in change.keys(role)] for role in ONLINE}
    for signer in signers:
        if not any(signer in mine for mine in by_role.values()):
            raise ConfigError(
                f"the key {called(signer.public_key)} is neither of snapshot nor of timestamp",
                code="fleet.key-unknown",
                remedy="publish with those two; other roles' keys sign before, with `edgeai fleet sign`",
            )
    staged = change.staged.root is not None or bool(change.staged.targets)
    if staged or by_role["snapshot"] or new.snapshot is None:
        new.snapshot = Metadata(_snapshot(change, new))
        _sign_enough(new, "snapshot", by_role["snapshot"])
    new.timestamp = Metadata(_timestamp(change, new))
    _sign_enough(new, "timestamp", by_role["timestamp"])
    return new


def _snapshot(change: Staging, new: State) -> Snapshot:
    live = change.live.snapshot
    meta = {}
    for role, metadata in new.targets.items():
        data = metadata.to_bytes()
        meta[f"{role}.json"] = MetaFile.from_data(metadata.signed.version, data, ["sha256"])
    version = live.signed.version + 1 if live is not None else 1
    return Snapshot(version=version, expires=change.settings.expiry("snapshot", change.now), meta=meta)


def _timestamp(change: Staging, new: State) -> Timestamp:
    assert new.snapshot is not None
    live = change.live.timestamp
    meta = MetaFile.from_data(new.snapshot.signed.version, new.snapshot.to_bytes(), ["sha256"])
    version = live.signed.version + 1 if live is not None else 1
    return Timestamp(version=version, expires=change.settings.expiry("timestamp", change.now), snapshot_meta=meta)


def _sign_enough(new: State, role: str, signers: Sequence[Signer]) -> None:
    metadata = new.of(role)
    assert metadata is not None
    for signer in signers:
        sign(metadata, signer)
    result = new.verified(role, metadata)
    if not result:
        who = ", ".join(called(key) for key in result.unsigned.values())
        raise ConfigError(
            f"{role} needs {counted(result.missing, 'more signature')}, of {who}",
            code="fleet.signatures-missing",
            remedy="give their private keys with --key",
        )


def _root_at(change: Staging, new: State) -> tuple[str, bool]:
    """Where among the files a new root belongs, and whether clients are refused for a moment."""
    old_root, new_root, live = change.live.root, change.staged.root, change.live
    if old_root is None or new_root is None:
        return "first", False
    if _satisfies(new, live):
        return "first", False
    if _satisfies(live, new):
        return "last", False
    return "before", True


def _satisfies(keys: State, metadata: State) -> bool:
    """Whether a client that has the one's root takes the other's top-level metadata."""
    for role in ("timestamp", "snapshot", "targets"):
        each = metadata.of(role)
        if each is None or not keys.verified(role, each):
            return False
    return True


def _contents(change: Staging, offers: Sequence[str], blobs: Sequence[str]) -> list[_File]:
    folder = change.folder
    files: list[_File] = [(folder.blob(each), folder.staged_blob(each)) for each in blobs]
    for path in offers:
        staged = folder.staged_target(path)
        owner = next(metadata for metadata in change.staged.targets.values() if path in metadata.signed.targets)
        files.append((folder.target(path, owner.signed.targets[path].hashes["sha256"]), staged))
    return files


def _documents(change: Staging, documents: Sequence[tuple[str, str]]) -> list[_File]:
    folder = change.folder
    return [(folder.target(path, sha256), folder.staged_target(path)) for path, sha256 in documents]


def _metadata(change: Staging, new: State) -> list[_File]:
    """Delegated roles, targets, snapshot, and the timestamp last."""
    folder = change.folder.metadata
    roles = (*(each for each in change.staged.targets if each != "targets"), "targets", "snapshot")
    changed = {role: metadata for role in roles if (metadata := _changed(change, new, role)) is not None}
    files: list[_File] = [
        (folder / f"{metadata.signed.version}.{role}.json", metadata.to_bytes()) for role, metadata in changed.items()
    ]
    assert new.timestamp is not None
    return [*files, (folder / "timestamp.json", new.timestamp.to_bytes())]


def _changed(change: Staging, new: State, role: str) -> Metadata[Any] | None:
    """A role's new metadata, if they are not those that are published."""
    metadata, live = new.of(role), change.live.of(role)
    if metadata is None or (live is not None and live.signed.version == metadata.signed.version):
        return None
    return metadata
