"""The keys of a conductor, and the one thing that it does with them: the next document of a rollout, published."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from securesystemslib.signer import Signer

from edgeai.api.errors import ConfigError
from edgeai.rollouts import Rollout
from edgeai_fleet.documents import read_documents
from edgeai_fleet.keys import called
from edgeai_fleet.layout import Folder
from edgeai_fleet.publishing import publish
from edgeai_fleet.rollouts import go_on
from edgeai_fleet.staging import staging
from edgeai_fleet.state import ONLINE, ROLLOUTS, read_live

_NEEDED: Final = (ROLLOUTS, *ONLINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """Private keys by what they are for."""

    rollouts: tuple[Signer, ...]
    online: tuple[Signer, ...]

    def move(self, folder: Folder, rollout: Rollout, what: str, why: str) -> None:
        """Stage, sign and publish what follows the published document; what is staged so already, only the rest.

        Args:
            folder: the repository.
            rollout: as it is published.
            what: ``phase``, ``halt`` or ``finish``.
            why: a sentence, in the document.

        Raises:
            ConfigError: the codes of ``go_on``, ``staging`` and ``publish``.
        """
        waits = read_documents(folder).rollout(rollout.name)
        if not _is_done(rollout, waits, what):
            # What failed halts whatever else waits; all else follows the very document that was judged.
            go_on(folder, rollout.name, what, why, after=None if what == "halt" else rollout.serial)
        with staging(folder) as change:
            if change.staged.of(ROLLOUTS) is not None:
                change.sign(self.rollouts)
        publish(folder, self.online)


def signing_of(folder: Folder, signers: Sequence[Signer]) -> Signing:
    """Sort keys by their roles in the repository.

    Raises:
        ConfigError: ``fleet.key-unknown``: a key is of neither, or one of the three roles has none.
    """
    live = read_live(folder)
    ids = {role: live.keys(role) for role in _NEEDED}
    for signer in signers:
        if not any(signer.public_key.keyid in keys for keys in ids.values()):
            raise ConfigError(
                f"the key {called(signer.public_key)} is none of {', '.join(_NEEDED)}",
                code="fleet.key-unknown",
                remedy="a conductor has keys of these three and no others",
            )
    lacking = [role for role, keys in ids.items() if not any(each.public_key.keyid in keys for each in signers)]
    if lacking:
        raise ConfigError(
            f"to open phases and to halt, keys of {' and '.join(lacking)} are lacking",
            code="fleet.key-unknown",
            remedy="give --key for each of rollouts, snapshot and timestamp; or none, and it says what it would do",
        )
    own = ids[ROLLOUTS]
    return Signing(
        rollouts=tuple(each for each in signers if each.public_key.keyid in own),
        online=tuple(each for each in signers if each.public_key.keyid not in own),
    )


def _is_done(published: Rollout, waits: Rollout, what: str) -> bool:
    """Whether what waits to be published is this very step, of a round that was cut."""
    if waits.serial == published.serial:
        return False
    if what == "phase":
        return waits.open == published.open + 1 and waits.state == "running"
    return waits.state == {"halt": "halted", "finish": "done"}[what]
