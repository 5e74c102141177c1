"""The first bundle of a deployment that takes updates: what its profile names, copied where nobody changes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Numbered
from edgeai.bundle.trust import TrustPolicy
from edgeai.slots import SlotsError
from edgeai.slots.adopting import copy_of

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
    try:
        return folder.adopt(number, copy_of(path, trust))
    except SlotsError:
        slots = folder.read()
        if slots.active is None:
            raise
        return slots  # infer was first
