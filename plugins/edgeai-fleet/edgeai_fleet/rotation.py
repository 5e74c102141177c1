"""Other keys for a role, a vendor's delegation, and a later end: each a new version that waits to be signed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import Key, SSlibKey
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Role, Targets

from edgeai.api.errors import ConfigError
from edgeai_fleet.beginning import begin_role, hold_to_separate, hold_to_threshold
from edgeai_fleet.keys import called, role_keys
from edgeai_fleet.layout import MODEL, NAME, Folder
from edgeai_fleet.offering import listed
from edgeai_fleet.staging import Staging, hold_to_staged, staging, unknown_role
from edgeai_fleet.state import APPROVALS, ROLLOUTS, TOP_LEVEL

OWN: Final = (ROLLOUTS, APPROVALS)
"""Delegated roles that are no vendors."""


def rotate(folder: Folder, role: str, old: Sequence[str], new: Sequence[Path], threshold: int | None) -> list[str]:
    """Take keys of a role away and give it others.

    Args:
        folder: the repository.
        role: any of them.
        old: names or beginnings of ids of keys that go.
        new: files and folders of public keys that come.
        threshold: so many must sign from now on; as before without.

    Returns:
        Roles that have to be signed for it.

    Raises:
        ConfigError: ``fleet.roles``, ``keys.not-public``, and the codes of ``staging``.
    """
    with staging(folder) as change:
        if role == APPROVALS and role not in change.merged.roles() and new:
            return _begin_approvals(change, role_keys(new), threshold or 1)
        if role not in change.merged.roles():
            raise unknown_role(role, change.merged.roles())
        going = [_named(change.merged.keys(role), each, role) for each in old]
        coming = role_keys(new) if new else []
        _hold_to_others(change, role, coming)
        if not (going or coming or threshold):
            raise ConfigError(
                f"nothing is to change for {role}", code="fleet.roles", remedy="say --out, --in or --threshold"
            )
        if role in TOP_LEVEL:
            metadata = change.edit("root")
            for key in coming:
                metadata.signed.add_key(key, role)
            for keyid in going:
                metadata.signed.revoke_key(keyid, role)
            declared: Role = metadata.signed.roles[role]
        else:
            metadata = change.edit("targets")
            for key in coming:
                metadata.signed.add_key(key, role)
            for keyid in going:
                metadata.signed.revoke_key(keyid, role)
            declared = metadata.signed.delegations.roles[role]
        declared.threshold = threshold or declared.threshold
        hold_to_threshold(role, declared.threshold, len(declared.keyids))
        return _renewed(change, role)


def renew(folder: Folder, roles: Sequence[str]) -> None:
    """The same again with a later end.

    Raises:
        ConfigError: ``fleet.roles``, and the codes of ``staging``.
    """
    with staging(folder) as change:
        for role in roles:
            hold_to_staged(role, change.merged.roles())
            change.edit(role)


def delegate(folder: Folder, vendor: str, keys: Sequence[Path], models: Sequence[str], threshold: int) -> None:
    """Let a vendor offer models of these names, signed by its own keys; anew, if it has some already.

    Raises:
        ConfigError: ``fleet.roles``, ``keys.not-public``, and the codes of ``staging``.
    """
    if not NAME.fullmatch(vendor) or vendor in (*TOP_LEVEL, *OWN):
        raise ConfigError(
            f"{vendor!r} cannot be a vendor's name",
            code="fleet.roles",
            remedy="use lower case, digits and -, at most 32, and none of the roles that there are",
        )
    coming = role_keys(keys)
    hold_to_threshold(vendor, threshold, len(coming))
    with staging(folder) as change:
        _hold_to_others(change, vendor, coming)
        paths = [f"models/{model}/*" for model in models]
        _hold_models_free(change, vendor, models)
        targets = change.edit("targets")
        delegations: Delegations = targets.signed.delegations
        assert delegations.roles is not None
        if vendor in delegations.roles:
            withdraw_role(delegations, vendor)
        delegations.roles[vendor] = DelegatedRole(vendor, [], threshold, terminating=True, paths=paths)
        for key in coming:
            targets.signed.add_key(key, vendor)
        first = Metadata(Targets(expires=datetime.now(UTC).replace(microsecond=0)))
        current = change.merged.targets.get(vendor)
        gone = [each for each in listed(change.merged, role=vendor) if change.merged.owner(each.path) != vendor]
        if current is None or gone or not change.merged.verified(vendor, current):
            offered = change.edit(vendor, first).signed.targets
            for each in gone:
                del offered[each.path]


def undelegate(folder: Folder, vendor: str) -> None:
    """Take a vendor's delegation away: carts see nothing of what it offered.

    Raises:
        ConfigError: ``fleet.roles``, and the codes of ``staging``.
    """
    with staging(folder) as change:
        vendors = [role.name for role in change.merged.delegated() if role.name not in OWN]
        if vendor not in vendors:
            raise unknown_role(vendor, vendors)
        targets = change.edit("targets")
        withdraw_role(targets.signed.delegations, vendor)
        change.staged.targets.pop(vendor, None)
        folder.staged_metadata(vendor).unlink(missing_ok=True)


def withdraw_role(delegations: Delegations, name: str) -> None:
    """A delegation less, and the keys that nobody has any more."""
    assert delegations.roles is not None
    gone = delegations.roles.pop(name)
    used = {keyid for role in delegations.roles.values() for keyid in role.keyids}
    for keyid in set(gone.keyids) - used:
        delegations.keys.pop(keyid, None)


def _hold_models_free(change: Staging, vendor: str, models: Sequence[str]) -> None:
    own = {offer.name for offer in listed(change.merged, role="targets")}
    for model in models:
        if not MODEL.fullmatch(model):  # a path's pattern is made of it
            raise ConfigError(
                f"{model!r} cannot be a model's name",
                code="fleet.roles",
                remedy="name each model as its manifest does: lower case, digits and . _ -",
            )
        other = change.merged.owner(f"models/{model}/1.json")
        if other not in ("targets", vendor):
            raise ConfigError(
                f"{model} is delegated to {other} already",
                code="fleet.roles",
                remedy=f"take it from there first: edgeai fleet delegate FOLDER {other}",
            )
        if model in own:
            raise ConfigError(
                f"{model} is offered by targets already",
                code="fleet.roles",
                remedy="let the vendor give its model a name of its own: carts take the two for one model",
            )


def _begin_approvals(change: Staging, keys: Sequence[SSlibKey], threshold: int) -> list[str]:
    """A repository that had no second keys has some."""
    _hold_to_others(change, APPROVALS, keys)
    hold_to_threshold(APPROVALS, threshold, len(keys))
    begin_role(change, change.edit("targets").signed, APPROVALS, keys, threshold)
    return ["targets", APPROVALS]


def _renewed(change: Staging, role: str) -> list[str]:
    """A role's own metadata anew where its keys no longer say enough; snapshot and timestamp come with a publish."""
    waiting = ["root" if role in TOP_LEVEL else "targets"]
    own = change.merged.targets.get(role)
    if own is not None and not change.merged.verified(role, own):
        change.edit(role)
        waiting.append(role)
    return waiting


def _hold_to_others(change: Staging, role: str, coming: Sequence[SSlibKey]) -> None:
    by_role = {each: list(change.merged.keys(each).values()) for each in change.merged.roles() if each != role}
    hold_to_separate({**by_role, role: coming})


def _named(keys: dict[str, Key], name: str, role: str) -> str:
    matching = [keyid for keyid, key in keys.items() if called(key).split(" ")[0] == name or keyid.startswith(name)]
    if len(matching) != 1:
        raise ConfigError(
            f"{role} has {len(matching) or 'no'} key called {name!r}",
            code="fleet.roles",
            remedy=f"it has {', '.join(called(key) for key in keys.values())}",
        )
    return matching[0]
