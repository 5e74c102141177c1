"""A rehearsal, a process of its own: ``python -m edgeai.roles rehearse`` (see ``rehearsals``).

It opens what lies ``installed`` in a slot as ``infer`` would, on this cart's own engine, and asks its golden cases;
what comes of it is written to the slots. Where its predecessor died, it only writes that down. Status 0 says that it
came to an end; the supervisor sees any other.

Where the deployment wishes for the fastest engine, all are measured here, and not when it is switched.
"""

from __future__ import annotations

from contextlib import closing

from edgeai.bundle.probation import bounds_of
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.roles import candidate
from edgeai.slots import SlotFolder
from edgeai.spool import Spool

log = Log("edgeai.roles.rehearse")


def main(config: DeviceConfig, deployment: str, digest: str, verdict: str) -> int:
    """Rehearse one bundle; as ``candidate.hold``."""

    def rehearse(own: Deployment, folder: SlotFolder, spool: Spool) -> None:
        on = _tried(config, own, folder, digest, spool)
        log.info("rehearsal.passed", of=own.name, digest=digest, on=on)
        folder.rehearsed(digest, agreement=config.updates.shadow_agreement, most=config.updates.shadow_images)

    return candidate.hold(config, deployment, digest, verdict, "rehearsal", rehearse)


def _tried(config: DeviceConfig, deployment: Deployment, folder: SlotFolder, digest: str, spool: Spool) -> str:
    """What it was rehearsed on.

    Raises:
        EdgeaiError: it did not open, or did not answer as it must.
    """
    with candidate.reported(spool, f"rehearse:{deployment.name}") as station:
        model = candidate.opened(config, deployment, folder, digest, spool, station, stage="installed")
        bounds_of(model.bundle.root, model.bundle.manifest)  # what it says of its probation has to be read then
        # Each case is an image's worth of work, asked several times over.
        deadline_s = deployment.deadline_s * max(2, 6 * len(model.bundle.manifest.golden))
        with closing(model), station.step("prove", deadline_s=deadline_s):
            model.prove()
            return f"{model.engine.backend} ({model.engine.device}), {model.engine.artifact}"
