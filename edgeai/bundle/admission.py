"""How a device opens a deployment's bundle: signed as its profile demands, and no step back.

One way for all who do: infer, the trial of a plugin, ingest, ``edgeai doctor`` and the self-test.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeai.bundle.bounds import BOUNDS_NAME
from edgeai.bundle.floors import Floors
from edgeai.bundle.manifest import Manifest
from edgeai.bundle.reader import Bundle, open_bundle, read_manifest
from edgeai.bundle.releases import Numbered, Verdict, hold_to_floor
from edgeai.bundle.trust import TrustPolicy

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig


def open_admitted(config: DeviceConfig, deployment: Deployment) -> Bundle:
    """The deployment's bundle, verified, admitted and unpacked.

    Raises:
        BundleRejected: it is missing, not sound, not signed as the device demands, or a step back.
        ConfigError: a trusted key cannot be read.
    """
    return open_bundle(
        deployment.bundle,
        cache_dir=config.device.data_dir / "bundles",
        trust=TrustPolicy.of(config.trust),
        accept=lambda manifest, digest: admit(config, deployment, manifest, digest),
    )


def read_admitted(config: DeviceConfig, deployment: Deployment) -> tuple[Manifest, str]:
    """Manifest and digest, for routing and not for running. Raises as ``open_admitted``."""
    return read_manifest(
        deployment.bundle,
        trust=TrustPolicy.of(config.trust),
        accept=lambda manifest, digest: admit(config, deployment, manifest, digest),
    )


def admit(config: DeviceConfig, deployment: Deployment, manifest: Manifest, digest: str) -> Verdict:
    """Hold a bundle to the release floor of this device: ``runs``, or ``exception`` where it may run all the same.

    Raises:
        BundleRejected: ``bundle.rolled-back``, ``bundle.release-reused``, ``bundle.floors-unreadable``.
    """
    floor = Floors.of_device(config).of(manifest.name)
    return hold_to_floor(Numbered.of(manifest, digest), floor, deployment.exceptions)


def deciding_files(config: DeviceConfig, *deployments: Deployment) -> tuple[Path, ...]:
    """What these deployments' admission depends on: look again when one of them changes (``stamps``)."""
    keys = config.trust.keys
    bounds = keys.parent / BOUNDS_NAME  # in a folder of keys it is among the folder's files
    return (keys, bounds, Floors.of_device(config).path, *(deployment.bundle for deployment in deployments))
