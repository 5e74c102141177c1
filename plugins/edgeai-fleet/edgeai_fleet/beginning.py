"""A repository's first version: its folders, its root with the keys of every role, and empty targets."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Root, Targets

from edgeai.api.errors import ConfigError
from edgeai.bundle.bounds import BOUNDS_NAME, Bounds
from edgeai.bundle.keys import key_files, read_keys
from edgeai_fleet.keys import called, role_keys
from edgeai_fleet.layout import Folder, make_folder, place, told_of_disk
from edgeai_fleet.settings import Settings, written
from edgeai_fleet.staging import Staging, staging
from edgeai_fleet.state import APPROVALS, ROLLOUTS, TOP_LEVEL

ROLES = (*TOP_LEVEL, ROLLOUTS)
"""Those that every repository has, each with keys of its own; ``approvals`` may come to them."""


def begin(
    folder: Folder,
    keys: Mapping[str, Sequence[Path]],
    thresholds: Mapping[str, int],
    trust: Path,
    settings: Settings,
) -> None:
    """Make a repository; its first root, targets and rollouts are staged, to be signed.

    Args:
        folder: where; made if it is not there.
        keys: files and folders of public keys, by role.
        thresholds: so many of a role's keys must sign; 1 where nothing is said.
        trust: the folder of public keys that carts trust for bundles, with its trust.toml; or one key.
        settings: what ``fleet.toml`` is to say.

    Raises:
        ConfigError: ``fleet.exists``, ``fleet.roles``, ``fleet.unwritable``, ``keys.not-public``, ``keys.bounds``.
    """
    if folder.settings.exists():
        raise ConfigError(
            f"{folder.path} is a repository already",
            code="fleet.exists",
            remedy="choose another folder; keys of this one are changed with `edgeai fleet rotate-key`",
        )
    roles = (*ROLES, APPROVALS) if keys.get(APPROVALS) else ROLES
    by_role = {role: role_keys(keys.get(role, ())) for role in roles}
    hold_to_separate(by_role)
    for role in roles:
        hold_to_threshold(role, thresholds.get(role, 1), len(by_role[role]))
    _hold_to_whole(trust)
    with told_of_disk(folder.path):
        _copy_trust(trust, folder.trust)
        place(folder.settings, written(settings))
    with staging(folder) as change:
        _stage_first(change, by_role, thresholds)


def begin_role(change: Staging, targets: Targets, role: str, keys: Sequence[SSlibKey], threshold: int) -> None:
    """Delegate the documents of one kind to a role of their own; its first, empty list is staged."""
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    targets.delegations.roles[role] = DelegatedRole(role, [], threshold, terminating=True, paths=[f"{role}/*"])
    for key in keys:
        targets.add_key(key, role)
    change.edit(role, Metadata(Targets(expires=datetime.now(UTC).replace(microsecond=0))))


def hold_to_separate(by_role: Mapping[str, Iterable[Key]]) -> None:
    """No key has two roles: whoever steals one must not gain the other.

    Raises:
        ConfigError: ``fleet.roles``.
    """
    seen: dict[str, str] = {}
    for role, keys in by_role.items():
        for key in keys:
            first = seen.setdefault(key.keyid, role)
            if first != role:
                raise ConfigError(
                    f"{called(key)} is given for {first} and for {role}: each role has keys of its own",
                    code="fleet.roles",
                    remedy="make another one (`edgeai keys new`)",
                )


def hold_to_threshold(role: str, threshold: int, keys: int) -> None:
    """As many keys as must sign, or more.

    Raises:
        ConfigError: ``fleet.roles``.
    """
    if not 1 <= threshold <= keys:
        raise ConfigError(
            f"{threshold} of {keys} keys cannot sign for {role}",
            code="fleet.roles",
            remedy="give the role more keys, or ask for fewer of them (from 1 on)",
        )


def _stage_first(change: Staging, by_role: Mapping[str, list[SSlibKey]], thresholds: Mapping[str, int]) -> None:
    root = change.edit("root", Metadata(Root(version=1, expires=datetime.now(UTC).replace(microsecond=0))))
    for role in TOP_LEVEL:
        for key in by_role[role]:
            root.signed.add_key(key, role)
        root.signed.roles[role].threshold = thresholds.get(role, 1)
    targets = change.edit("targets", Metadata(Targets(expires=datetime.now(UTC).replace(microsecond=0))))
    targets.signed.delegations = Delegations({}, {})
    for role in (ROLLOUTS, APPROVALS):
        if role in by_role:
            begin_role(change, targets.signed, role, by_role[role], thresholds.get(role, 1))


def _hold_to_whole(trust: Path) -> None:
    """Keys that can be read, and with their bounds: one that is bound is not taken without them."""
    bound = [key.name for key in read_keys([trust]) if key.bounds != Bounds()]
    if bound and not trust.is_dir():
        raise ConfigError(
            f"{bound[0]} is bound by the {BOUNDS_NAME} beside it",
            code="fleet.roles",
            remedy="name the folder, so that its bounds come along",
        )


def _copy_trust(trust: Path, to: Path) -> None:
    make_folder(to)
    for file in key_files(trust):
        shutil.copyfile(file, to / file.name)
    if trust.is_dir() and (trust / BOUNDS_NAME).is_file():
        shutil.copyfile(trust / BOUNDS_NAME, to / BOUNDS_NAME)
