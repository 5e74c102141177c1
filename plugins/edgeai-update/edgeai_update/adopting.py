"""The first bundle of a deployment that takes updates: what its profile names, copied where nobody changes it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.bundle.archive import Archive
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Numbered
from edgeai.bundle.trust import TrustPolicy
from edgeai.slots import SlotsError

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.slots import SlotFolder, Slots


def adopted(config: DeviceConfig, deployment: Deployment, folder: SlotFolder) -> Slots:
    """Copy the profile's bundle into a slot, to go back to (ADR 0053).

    Raises:
        BundleRejected: it is not sound, not signed as the device demands, or a step back.
        SlotsError: as ``SlotFolder.adopt``.
    """
    path, trust = deployment.bundle, TrustPolicy.of(config.trust)
    number = Numbered.of(*read_manifest(path, trust=trust))

    def fill(target: Path) -> None:
        if path.is_dir():
            shutil.copytree(path, target, symlinks=True)
            return
        target.mkdir(mode=0o700)
        with Archive(path, trust=trust) as archive:
            archive.unpack(target)

    try:
        return folder.adopt(number, fill)
    except SlotsError:
        slots = folder.read()
        if slots.active is None:
            raise
        return slots  # infer was first
