"""What lies in the spare slot, opened in a process of its own, where it can harm none that serves."""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edgeai.api.errors import ConfigError, EdgeaiError, SpoolError
from edgeai.bundle.admission import open_admitted
from edgeai.logs import Log
from edgeai.owners import owner_of
from edgeai.roles import native
from edgeai.roles.engine import Noter, open_deployment
from edgeai.slots import SlotFolder, SlotsError
from edgeai.slots.given_up import cause_of
from edgeai.spool import Spool, Station

if TYPE_CHECKING:
    from edgeai.config import Deployment, DeviceConfig
    from edgeai.model import Model
    from edgeai.slots.record import Stage

log = Log("edgeai.roles.candidate")

Attempt: TypeAlias = "Callable[[Deployment, SlotFolder, Spool], None]"


def hold(config: DeviceConfig, name: str, digest: str, verdict: str, what: str, does: Attempt) -> int:
    """A whole process of this kind: do it, or write down what came of an earlier process of it; 0.

    Args:
        config: the profile.
        name: of the deployment whose slot it is.
        digest: which bundle is meant.
        verdict: what the supervisor saw of an earlier process that died; empty where it is to be done.
        what: ``rehearsal``, say.
        does: it; what it raises is laid on the bundle, or on what this device lacks.

    Raises:
        ConfigError: the profile has no such deployment.
        SpoolError: the spool cannot be used.
    """
    deployment = _of_profile(config, name)
    folder = SlotFolder.of_device(config, deployment)
    try:
        if verdict:
            _write_down(folder, digest, verdict, what, cause_of(config, deployment))
        else:
            _try(config, deployment, folder, digest, what, does)
    except SlotsError as error:  # a full disk: tried again; or something else lies there now
        log.warning(f"{what}.unwritten", code=error.code, message=str(error))
    return 0


def _try(
    config: DeviceConfig, deployment: Deployment, folder: SlotFolder, digest: str, what: str, does: Attempt
) -> None:
    _step_back()
    try:
        with closing(Spool.of(config)) as spool:
            does(deployment, folder, spool)
    except (SpoolError, SlotsError):
        raise
    except EdgeaiError as error:
        _refuse(folder, digest, error, what, cause_of(config, deployment))


def _of_profile(config: DeviceConfig, name: str) -> Deployment:
    """A deployment by its name.

    Raises:
        ConfigError: ``config.no-deployment``.
    """
    own = next((item for item in config.deployments if item.name == name), None)
    if own is None:
        raise ConfigError(f"the profile has no deployment {name!r}", code="config.no-deployment")
    return own


@contextmanager
def reported(spool: Spool, role: str) -> Iterator[Station]:
    """The place of a process whose crash is to be read afterwards."""
    station = spool.station(role)
    with (spool.roles / f"{role}.crash").open("w") as report:
        faulthandler.enable(report, all_threads=True)
        try:
            yield station
        finally:
            faulthandler.disable()


def opened(
    config: DeviceConfig,
    deployment: Deployment,
    folder: SlotFolder,
    digest: str,
    spool: Spool,
    station: Station,
    *,
    stage: Stage,
    patience: float = 1.0,
) -> Model:
    """The bundle of the spare slot, as ``infer`` would open it.

    Args:
        config: the profile.
        deployment: whose slot.
        folder: its slots.
        digest: which bundle is meant.
        spool: of the device.
        station: of this process.
        stage: how far it must have come.
        patience: so many times as long as usual may each step take.

    Raises:
        SlotsError: ``slots.out-of-turn``: something else lies there now.
        EdgeaiError: it does not open.
    """
    slots = folder.read()
    name = slots.spare
    slot = slots.of(name)
    if slot is None or slot.digest != digest or slot.stage != stage:
        raise SlotsError(f"it is not what lies {stage} in slot {name} any more", code="slots.out-of-turn")
    # The floor was asked when it was installed, perhaps for an order, and is asked again when it is switched to.
    meant = deployment.standing_at(folder.content(name), slots.standing | {digest})
    meant = meant.model_copy(update={"open_deadline_s": min(86400.0, meant.open_deadline_s * patience)})
    with station.step("verify", deadline_s=meant.open_deadline_s):
        bundle = open_admitted(config, meant)
    with native.told_as_one(deployment=meant.name):
        return open_deployment(bundle, config, meant, Noter(station, meant), spool.quarantined(meant.name))


def _refuse(folder: SlotFolder, digest: str, error: EdgeaiError, what: str, cause: str) -> None:
    """It did not do as it must in its rehearsal, say; what this device lacks is not laid on it: it may come again."""
    log.warning(f"{what}.failed", digest=digest, code=error.code, message=str(error))
    if owner_of(error.code) == "device":
        folder.abandon(f"its {what} cannot be held here: {error} [{error.code}]", digest, cause)
    else:
        folder.fail(error.code, f"it failed its {what}: {error}", digest)


def _write_down(folder: SlotFolder, digest: str, verdict: str, what: str, cause: str) -> None:
    """What the supervisor saw of a process that died: ``failed`` or ``given-up``, a colon, and why."""
    kind, _, why = verdict.partition(":")
    if kind == "failed":
        folder.fail(f"slots.{what}-died", f"its {what} came to no end: {why}", digest)
    else:
        folder.abandon(why, digest, cause)


def _step_back() -> None:
    """What runs comes first: for the processor, and when memory runs out (proc(5), oom_score_adj)."""
    os.nice(19)  # behind infer, which gives way itself
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def step_far_back() -> None:
    """Only what nobody else wants of the processor, for each thread that there is: an engine has its own.

    sched(7), SCHED_IDLE; whoever holds the processor gives it up at once when another wakes.
    """
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            os.sched_setscheduler(int(thread.name), os.SCHED_IDLE, os.sched_param(0))
