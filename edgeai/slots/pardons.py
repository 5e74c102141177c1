"""A person lets a bundle come again that failed on this device, by its digest or the digest's beginning."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from edgeai.slots.folder import SlotFolder
from edgeai.slots.record import SlotsError

if TYPE_CHECKING:
    from edgeai.config import DeviceConfig

_DIGEST: Final = re.compile(r"(sha256:[0-9a-f]{8,64})(?:\.\.\.)?")
"""As a whole, or as messages show it."""


def pardon(config: DeviceConfig, word: str) -> str:
    """Pardon it on every deployment where it failed; what was done, in one sentence.

    Raises:
        SlotsError: ``slots.not-bad``: nothing that failed here begins so, or several do; ``slots.unreadable``,
            ``slots.unwritable``.
    """
    taking = [item for item in config.deployments if item.updates]
    bad = {item.name: SlotFolder.of_device(config, item).read().bad for item in taking}
    every = sorted({digest for digests in bad.values() for digest in digests})
    match = _DIGEST.fullmatch(word)
    meant = [digest for digest in every if match and digest.startswith(match[1])]
    if len(meant) != 1:
        here = ", ".join(every) or "none"
        raise SlotsError(
            f"{len(meant)} bundles that failed here begin with {word}" if meant else f"{word} has not failed here",
            code="slots.not-bad",
            remedy=f"give sha256: and eight digits or more of one that did; remembered as bad: {here}",
        )
    (digest,) = meant
    names = [item.name for item in taking if digest in bad[item.name]]
    failed = bad[names[0]][digest]
    for item in taking:
        if item.name in names:
            SlotFolder.of_device(config, item).pardon(digest)
    return f"{failed.model} release {failed.release} ({digest[:19]}...) may come again on {', '.join(names)}"
