"""The metadata of a repository: what is published, and what is staged above it. Read, and held to no key yet."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import DelegatedRole, Metadata, Root, Snapshot, Targets, Timestamp, VerificationResult

from edgeai.api.errors import ConfigError
from edgeai_fleet.layout import Folder

ROLLOUTS: Final = "rollouts"
APPROVALS: Final = "approvals"
"""Of second keys, for rollouts that need one; a repository may be without."""
TOP_LEVEL: Final = ("root", "targets", "snapshot", "timestamp")
ONLINE: Final = ("snapshot", "timestamp")
"""What ``publish`` signs; everything else is staged and signed by people."""
_ROOT_FILE: Final = re.compile(r"([1-9][0-9]{0,8})\.root\.json")


@dataclass(slots=True)
class State:
    """The metadata of one moment; ``targets`` by role: ``targets`` itself, ``rollouts``, and each vendor's."""

    root: Metadata[Root] | None = None
    timestamp: Metadata[Timestamp] | None = None
    snapshot: Metadata[Snapshot] | None = None
    targets: dict[str, Metadata[Targets]] = field(default_factory=dict)

    def of(self, role: str) -> Metadata[Any] | None:
        """A role's metadata, if they are there."""
        if role in ("root", *ONLINE):
            return getattr(self, role)  # type: ignore[no-any-return]
        return self.targets.get(role)

    def above(self, other: State) -> State:
        """These, and where there are none, the other's; of delegated roles those that are still delegated."""
        merged = State(
            root=self.root or other.root,
            timestamp=self.timestamp or other.timestamp,
            snapshot=self.snapshot or other.snapshot,
            targets={**other.targets, **self.targets},
        )
        known = {"targets", *(role.name for role in merged.delegated())}
        merged.targets = {name: metadata for name, metadata in merged.targets.items() if name in known}
        return merged

    def delegated(self) -> list[DelegatedRole]:
        """Rollouts and vendors, in the order in which clients ask them."""
        top = self.targets.get("targets")
        roles = top.signed.delegations.roles if top is not None and top.signed.delegations else None
        return list(roles.values()) if roles else []

    def roles(self) -> list[str]:
        """Every role's name, each after the one that says its keys."""
        return [*TOP_LEVEL, *(role.name for role in self.delegated())]

    def verified(self, role: str, metadata: Metadata[Any]) -> VerificationResult:
        """Who of a role's keys, as they stand in this state, signed these metadata.

        Raises:
            ValueError: no such role is delegated.
        """
        delegator: Metadata[Any] | None = self.root if role in TOP_LEVEL else self.targets.get("targets")
        if delegator is None:
            raise ValueError(f"nothing says whose keys {role} has")
        result: VerificationResult = delegator.signed.get_verification_result(
            role, metadata.signed_bytes, metadata.signatures
        )
        return result

    def keys(self, role: str) -> dict[str, Key]:
        """A role's keys, by their ids; none where the role is not known."""
        delegator: Metadata[Any] | None = self.root if role in TOP_LEVEL else self.targets.get("targets")
        if delegator is None:
            return {}
        try:
            ids = delegator.signed.get_delegated_role(role).keyids
            return {each: delegator.signed.get_key(each) for each in ids}
        except ValueError:  # it is not delegated
            return {}

    def owner(self, path: str) -> str:
        """The role that may offer a target of this path: the first that it is delegated to, else targets."""
        return next((role.name for role in self.delegated() if role.is_delegated_path(path)), "targets")


def read_live(folder: Folder) -> State:
    """What is published: the newest root, and what the timestamp leads to. Empty before the first publish.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.altered``.
    """
    folder.hold_to_exist()
    state = State()
    if version := newest_root(folder):
        state.root = read(folder.metadata / f"{version}.root.json", Root)
    if state.root is None or not (folder.metadata / "timestamp.json").exists():
        return state
    state.timestamp = read(folder.metadata / "timestamp.json", Timestamp)
    of_snapshot = state.timestamp.signed.snapshot_meta.version
    state.snapshot = read(folder.metadata / f"{of_snapshot}.snapshot.json", Snapshot)
    for name, meta in state.snapshot.signed.meta.items():
        role = name.removesuffix(".json")
        state.targets[role] = read(folder.metadata / f"{meta.version}.{role}.json", Targets)
    return state


def read_staged(folder: Folder) -> State:
    """What waits to be published.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.altered``.
    """
    folder.hold_to_exist()
    state = State()
    for path in sorted((folder.staged / "metadata").glob("*.json")):
        if path.name == "root.json":
            state.root = read(path, Root)
        else:
            state.targets[path.stem] = read(path, Targets)
    return state


def newest_root(folder: Folder) -> int:
    """The version of the newest root that is published; 0 where there is none."""
    if not folder.metadata.is_dir():
        return 0
    versions = [int(match[1]) for path in folder.metadata.iterdir() if (match := _ROOT_FILE.fullmatch(path.name))]
    return max(versions, default=0)


def read(path: Path, kind: type[Any]) -> Metadata[Any]:
    """Metadata of this kind.

    Raises:
        ConfigError: ``fleet.altered``.
    """
    try:
        metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        why = getattr(error, "strerror", None) or "it is no TUF metadata"
        raise altered(path, why) from error
    if not isinstance(metadata.signed, kind):
        raise altered(path, f"it is of the kind {metadata.signed.type}")
    return metadata


def altered(path: Path, why: str) -> ConfigError:
    """A file of the repository is not what it was made to be."""
    return ConfigError(
        f"{path} is not as it was written: {why}",
        code="fleet.altered",
        remedy="bring it back from a copy (any served or mirrored one); what is staged can be thrown away and redone",
    )
