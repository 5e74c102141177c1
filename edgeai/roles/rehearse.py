"""A rehearsal, a process of its own: ``python -m edgeai.roles rehearse`` (see ``rehearsals``).

It opens what lies ``installed`` in a slot as ``infer`` would, on this cart's own engine, and asks its golden cases;
what comes of it is written to the slots. Where its predecessor died, it only writes that down. Status 0 says that it
came to an end; the supervisor sees any other.

A trial of all backends under the rules of ``fastest`` belongs here too, after the golden cases: until there is one, a
deployment that wishes for the fastest is rehearsed on the first backend that opens, and measured when it is switched.
"""

from __future__ import annotations

import faulthandler
import os
from contextlib import closing, suppress
from pathlib import Path

from edgeai.api.errors import ConfigError, EdgeaiError, SpoolError
from edgeai.bundle.admission import open_admitted
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.owners import owner_of
from edgeai.roles import native
from edgeai.roles.engine import Noter, open_deployment
from edgeai.selection import FASTEST
from edgeai.slots import SlotFolder, SlotsError
from edgeai.spool import Spool, Station

log = Log("edgeai.roles.rehearse")


def main(config: DeviceConfig, deployment: str, digest: str, verdict: str) -> int:
    """Rehearse one bundle, or write down what came of an earlier process of it; 0.

    Raises:
        ConfigError: the profile has no such deployment.
        SpoolError: the spool cannot be used.
    """
    own = next((item for item in config.deployments if item.name == deployment), None)
    if own is None:
        raise ConfigError(f"the profile has no deployment {deployment!r}", code="config.no-deployment")
    folder = SlotFolder.of_device(config, own)
    try:
        if verdict:
            _write_down(folder, digest, verdict)
        else:
            _rehearsed(config, own, folder, digest)
    except SlotsError as error:  # a full disk: tried again; or something else lies there now
        log.warning("rehearsal.unwritten", code=error.code, message=str(error))
    return 0


def _write_down(folder: SlotFolder, digest: str, verdict: str) -> None:
    kind, _, why = verdict.partition(":")
    if kind == "failed":
        folder.fail("slots.rehearsal-died", f"it could not be rehearsed: {why}", digest)
    else:
        folder.abandon(why, digest)


def _rehearsed(config: DeviceConfig, deployment: Deployment, folder: SlotFolder, digest: str) -> None:
    _step_back()
    spool = Spool.of(config)
    try:
        station = spool.station(f"rehearse:{deployment.name}")
        with (spool.roles / f"rehearse:{deployment.name}.crash").open("w") as report:
            faulthandler.enable(report, all_threads=True)
            try:
                on = _tried(config, deployment, folder, digest, spool, station)
            except SpoolError:
                raise
            except EdgeaiError as error:
                _refuse(folder, digest, error)
            else:
                log.info("rehearsal.passed", of=deployment.name, digest=digest, on=on)
                folder.rehearsed(digest)
            finally:
                faulthandler.disable()
    finally:
        spool.close()


def _refuse(folder: SlotFolder, digest: str, error: EdgeaiError) -> None:
    """What this device lacks is not laid on a bundle: it may come again."""
    log.warning("rehearsal.failed", digest=digest, code=error.code, message=str(error))
    if error.code.startswith("slots."):
        return
    if owner_of(error.code) == "device":
        folder.abandon(f"it cannot be rehearsed here: {error} [{error.code}]", digest)
    else:
        folder.fail(error.code, f"it failed its rehearsal: {error}", digest)


def _tried(
    config: DeviceConfig, deployment: Deployment, folder: SlotFolder, digest: str, spool: Spool, station: Station
) -> str:
    """What it was rehearsed on.

    Raises:
        EdgeaiError: it did not open, or did not answer as it must.
    """
    slots = folder.read()
    name = slots.spare
    slot = slots.of(name)
    if slot is None or slot.digest != digest or slot.stage != "installed":
        raise SlotsError("it does not wait for a rehearsal any more", code="slots.out-of-turn")
    # The floor was asked when it was installed, perhaps for an order, and is asked again when it is switched to.
    meant = deployment.standing_at(folder.content(name), slots.standing | {digest})
    if FASTEST in meant.backends:
        meant = meant.model_copy(update={"backends": ()})
    with station.step("verify", deadline_s=meant.open_deadline_s):
        bundle = open_admitted(config, meant)
    note = Noter(station, meant)
    with native.told_as_one(deployment=meant.name):
        model = open_deployment(bundle, config, meant, note, spool.quarantined(meant.name))
    # Each case is an image's worth of work, asked several times over.
    deadline_s = meant.deadline_s * max(2, 6 * len(bundle.manifest.golden))
    with closing(model), station.step("prove", deadline_s=deadline_s):
        model.prove()
        return f"{model.engine.backend} ({model.engine.device}), {model.engine.artifact}"


def _step_back() -> None:
    """What runs comes first: for the processor, and when memory runs out (proc(5), oom_score_adj)."""
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
