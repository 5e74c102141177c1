"""The signed documents of rollouts in a repository: read as they will be, and staged anew for whoever signs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import Metadata, TargetFile, Targets

from edgeai.api.errors import ConfigError
from edgeai.rollouts import (
    Approval,
    Document,
    RollBack,
    Rollout,
    RolloutError,
    Stop,
    decode,
    encode,
    kind_of,
    path_of,
)
from edgeai_fleet.layout import Folder, place
from edgeai_fleet.offering import CUSTOM
from edgeai_fleet.staging import Staging
from edgeai_fleet.state import APPROVALS, ROLLOUTS, State, altered, read_live, read_staged

_D = TypeVar("_D", bound=Document)
_ROLES: Final = (ROLLOUTS, APPROVALS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """All of them, the newest of each."""

    rollouts: tuple[Rollout, ...]
    approvals: dict[str, Approval]
    backs: dict[str, RollBack]
    stop: Stop | None

    def rollout(self, name: str) -> Rollout:
        """One by its name.

        Raises:
            ConfigError: ``fleet.no-rollout``.
        """
        for each in self.rollouts:
            if each.name == name:
                return each
        there = ", ".join(each.name for each in self.rollouts) or "none"
        raise ConfigError(f"there is no rollout {name!r}", code="fleet.no-rollout", remedy=f"there is {there}")


def read_documents(folder: Folder, *, published: bool = False) -> Documents:
    """What is staged above what is published; or what is published alone, as carts see it.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.altered``.
    """
    live = read_live(folder)
    return documents_of(folder, live if published else read_staged(folder).above(live))


def unsigned_approvals(folder: Folder) -> dict[str, int]:
    """Approvals that wait and count for nothing yet: by rollout, how many signatures of their role are lacking.

    Raises:
        ConfigError: ``fleet.absent``, ``fleet.altered``.
    """
    live, staged = read_live(folder), read_staged(folder)
    metadata, merged = staged.of(APPROVALS), staged.above(live)
    if metadata is None or not (lacking := merged.verified(APPROVALS, metadata).missing):
        return {}
    public = documents_of(folder, live).approvals
    waiting = documents_of(folder, merged).approvals.items()
    return {name: lacking for name, approval in waiting if approval != public.get(name)}


def documents_of(folder: Folder, state: State) -> Documents:
    """Those that these metadata list.

    Raises:
        ConfigError: ``fleet.altered``: one is not there, or not what was listed.
    """
    every = [_read(folder, path, target) for path, target in listed_documents(state)]
    return Documents(
        rollouts=tuple(each for each in every if isinstance(each, Rollout)),
        approvals={each.rollout: each for each in every if isinstance(each, Approval)},
        backs={each.model: each for each in every if isinstance(each, RollBack)},
        stop=next((each for each in every if isinstance(each, Stop)), None),
    )


def listed_documents(state: State) -> Iterator[tuple[str, TargetFile]]:
    """Path and target of each document that a role lists which may."""
    for role in _ROLES:
        metadata = state.targets.get(role)
        for path, target in sorted(metadata.signed.targets.items()) if metadata is not None else ():
            if kind_of(path) is not None and state.owner(path) == role:
                yield path, target


def stage(change: Staging, document: Document) -> str:
    """A document in the place of the one before; the role that has to sign it.

    Raises:
        ConfigError: ``fleet.roles``: the repository has no such role.
        RolloutError: ``rollout.invalid``.
    """
    path, data = path_of(document), encode(document)
    role = change.merged.owner(path)
    if role not in _ROLES:
        raise ConfigError(
            f"nobody may sign {path}: the repository has no role for it",
            code="fleet.roles",
            remedy=f"edgeai fleet rotate-key FOLDER {APPROVALS} --in PUB, and sign and publish that",
        )
    target = TargetFile.from_data(path, data)
    target.unrecognized_fields[CUSTOM] = _said_in_the_list(document)
    place(change.folder.staged_target(path), data)
    first = Metadata(Targets(expires=datetime.now(UTC).replace(microsecond=0)))
    change.edit(role, first).signed.targets[path] = target
    return role


def read_document(folder: Folder, path: str, target: TargetFile, kind: type[_D]) -> _D:
    """One, wherever it lies: what waits before what is published.

    Raises:
        ConfigError: ``fleet.altered``.
    """
    public = folder.target(path, target.hashes.get("sha256", ""))
    for where in (folder.staged_target(path), public):
        try:
            data = where.read_bytes()
            target.verify_length_and_hashes(data)
            return decode(data, kind, path)
        except (OSError, LengthOrHashMismatchError) as error:
            failed: Exception = error  # another one waits, or none
        except RolloutError as error:
            raise altered(where, str(error)) from error
    raise altered(public, getattr(failed, "strerror", None) or str(failed)) from failed


def _read(folder: Folder, path: str, target: TargetFile) -> Document:
    kind = kind_of(path)
    assert kind is not None
    return read_document(folder, path, target, kind)


def _said_in_the_list(document: Document) -> dict[str, Any]:
    """What a cart is told before it fetches one: whether it is about a bundle that it may take."""
    if isinstance(document, Rollout):
        return {"model": document.plan.model, "digest": document.plan.digest, "serial": document.serial}
    if isinstance(document, RollBack):
        return {"model": document.model, "number": document.number}
    return {"serial": document.serial} if isinstance(document, Stop) else {}
