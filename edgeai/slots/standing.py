"""What runs of a deployment: the bundle of its active slot where it takes updates, else the path in the profile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeai.slots.folder import SlotFolder

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig


def standing(config: DeviceConfig, deployment: Deployment) -> Deployment:
    """The deployment with the bundle that stands; as the profile has it where nothing was adopted.

    Raises:
        SlotsError: ``slots.unreadable``.
    """
    if not deployment.updates:
        return deployment
    folder = SlotFolder.of_device(config, deployment)
    slots = folder.read()
    if slots.active is None:
        return deployment
    return deployment.standing_at(folder.content(slots.active), slots.standing)
