"""Changes that wait in ``staged/``: the next version of a role's metadata, to be signed and then published."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from securesystemslib.signer import Signer
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata

from edgeai.api.errors import ConfigError
from edgeai.bundle.pkcs11 import token_errors
from edgeai_fleet.keys import called
from edgeai_fleet.layout import Folder, place
from edgeai_fleet.settings import Settings, read_settings
from edgeai_fleet.state import ONLINE, State, read_live, read_staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What signing did: names of keys by role, and how many signatures each staged role still lacks."""

    signed: Mapping[str, Sequence[str]]
    missing: Mapping[str, int]


@dataclass(slots=True)
class Staging:
    """A repository that is being changed, under its lock."""

    folder: Folder
    settings: Settings
    live: State
    staged: State
    now: datetime

    @property
    def merged(self) -> State:
        """What there will be once all of it is published."""
        return self.staged.above(self.live)

    def edit(self, role: str, metadata: Metadata[Any] | None = None) -> Metadata[Any]:
        """The next version of a role's metadata, to be changed: what is staged, else a copy of what is published.

        Args:
            role: it; neither snapshot nor timestamp.
            metadata: the first version of a role that has none.
        """
        staged = self.staged.of(role)
        if staged is None:
            live = self.live.of(role)
            staged = metadata if live is None else Metadata.from_bytes(live.to_bytes())
            if staged is None:
                raise unknown_role(role, self.merged.roles())
            staged.signed.version = live.signed.version + 1 if live is not None else 1
        staged.signatures.clear()  # they were of something else
        staged.signed.expires = self.settings.expiry(role, self.now)
        if role == "root":
            self.staged.root = staged
        else:
            self.staged.targets[role] = staged
        return staged

    def sign(self, signers: Sequence[Signer]) -> Signed:
        """Sign whatever is staged and is any of these keys' to sign: by its keys now, and by those it had before.

        Raises:
            ConfigError: ``fleet.nothing-staged``, ``fleet.key-unknown``, ``keys.token``.
        """
        waiting = [role for role in self.merged.roles() if self.staged.of(role) is not None]
        if not waiting:
            raise ConfigError(
                f"nothing is staged in {self.folder.path}",
                code="fleet.nothing-staged",
                remedy="add a bundle or change a key first; what has to be signed anew: --renew ROLE",
            )
        made: dict[str, list[str]] = {}
        for signer in signers:
            mine = [role for role in waiting if signer.public_key.keyid in self.keys(role)]
            if not mine:
                raise _unknown_key(signer, waiting)
            for role in mine:
                metadata = self.staged.of(role)
                assert metadata is not None
                sign(metadata, signer)
                made.setdefault(role, []).append(called(self.keys(role)[signer.public_key.keyid]))
        return Signed(signed=made, missing={role: self.missing(role) for role in waiting})

    def keys(self, role: str) -> Mapping[str, Any]:
        """A role's keys, as they will be and as they are: carts that know only the old ones must be convinced too."""
        return {**self.live.keys(role), **self.merged.keys(role)}

    def missing(self, role: str) -> int:
        """So many signatures a staged role lacks; a root needs those of its own keys and of the root before it."""
        metadata = self.merged.of(role)
        assert metadata is not None
        missing = self.merged.verified(role, metadata).missing
        if role == "root" and self.live.root is not None:
            missing = max(missing, self.live.verified(role, metadata).missing)
        return missing

    def write(self) -> None:
        """Put what is staged on the disk."""
        for role in ("root", *self.staged.targets):
            metadata = self.staged.of(role)
            if metadata is not None:
                place(self.folder.staged_metadata(role), metadata.to_bytes())


@contextlib.contextmanager
def staging(folder: Folder, now: datetime | None = None) -> Iterator[Staging]:
    """Change a repository: written when the block ends well, and not at all otherwise.

    Raises:
        ConfigError: the codes of ``Folder.changing``, ``read_settings``, ``read_live``.
    """
    with folder.changing():
        settings, live, staged = read_settings(folder), read_live(folder), read_staged(folder)
        change = Staging(folder, settings, live, staged, now or datetime.now(UTC))
        yield change
        change.write()


def sign(metadata: Metadata[Any], signer: Signer) -> None:
    """One signature more.

    Raises:
        ConfigError: ``keys.token``.
    """
    with token_errors():
        try:
            metadata.sign(signer, append=True)
        except UnsignedMetadataError as error:
            raise (error.__cause__ or error) from None


def unknown_role(role: str, known: Sequence[str]) -> ConfigError:
    """There is no role of this name."""
    return ConfigError(f"there is no role {role!r}", code="fleet.roles", remedy=f"there are {', '.join(known)}")


def hold_to_staged(role: str, known: Sequence[str]) -> None:
    """Refuse a role that is not signed by people.

    Raises:
        ConfigError: ``fleet.roles``.
    """
    if role in ONLINE or role not in known:
        raise unknown_role(role, [each for each in known if each not in ONLINE])


def hold_to_role(change: Staging, role: str, signers: Sequence[Signer]) -> None:
    """Refuse a key that is not one of a role's, where the repository has the role.

    Raises:
        ConfigError: ``fleet.key-unknown``.
    """
    keys = change.keys(role)
    others = [signer.public_key for signer in signers if signer.public_key.keyid not in keys]
    if keys and others:
        raise ConfigError(
            f"the key {called(others[0])} is none of {role}: what it signs counts for nothing here",
            code="fleet.key-unknown",
            remedy=f"keys of {role}: {', '.join(called(each) for each in keys.values())}",
        )


def _unknown_key(signer: Signer, waiting: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"the key {called(signer.public_key)} has nothing to sign here; staged are {', '.join(waiting)}",
        code="fleet.key-unknown",
        remedy="`edgeai fleet status` says whose keys may sign what",
    )
