"""The first bundle of a deployment that takes updates: what its profile names, copied where nobody changes it."""

from __future__ import annotations

import shutil
from pathlib import Path

from edgeai.bundle.archive import Archive
from edgeai.bundle.trust import TrustPolicy
from edgeai.slots.folder import Fill


def copy_of(path: Path, trust: TrustPolicy | None) -> Fill:
    """Writes the bundle of this file or folder into a slot.

    Args:
        path: where it lies; a folder may hold a part of it, as a slot may.
        trust: whose signatures it must bear.
    """

    def fill(target: Path) -> None:
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True)
            return
        target.mkdir(mode=0o700)
        with Archive(path, trust=trust) as archive:
            archive.unpack(target)

    return fill
