"""The trial of a plugin in quarantine, a process of its own: ``python -m edgeai.roles trial`` (see ``trials``).

It opens the deployment as ``infer`` does, on this plugin's engine alone, and asks the golden cases of the bundle that
would run: the one that ``infer`` has open, whatever came on disk meanwhile, and the one on disk where it has none.
Status 0 means that it has written what came of it; the supervisor sees any other end.
"""

from __future__ import annotations

import faulthandler
from contextlib import closing

from edgeai.api.errors import ConfigError, EdgeaiError
from edgeai.bundle.admission import open_admitted
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.plugins import find
from edgeai.roles import native
from edgeai.roles.engine import Noter, open_deployment
from edgeai.roles.on_disk import would_run
from edgeai.spool import Quarantine, Spool, Station

log = Log("edgeai.roles.trial")


def main(config: DeviceConfig, deployment: str, plugin: str) -> int:
    """Try one plugin on one deployment; 0.

    Raises:
        ConfigError: the profile has no such deployment.
        SpoolError: the spool cannot be used.
    """
    wanted = next((item for item in config.deployments if item.name == deployment), None)
    if wanted is None:
        raise ConfigError(f"the profile has no deployment {deployment!r}", code="config.no-deployment")
    spool = Spool.of(config)
    try:
        quarantined = spool.quarantined(deployment)
        held = next((item for item in quarantined if item.plugin == plugin), None)
        if held is None:
            return 0  # pardoned meanwhile
        station = spool.station(f"trial:{deployment}")
        with (spool.roles / f"trial:{deployment}.crash").open("w") as report:
            faulthandler.enable(report, all_threads=True)
            try:
                meant = would_run(config, wanted, spool)
                _judge(config, meant, spool, station, held, [item for item in quarantined if item != held])
            finally:
                faulthandler.disable()
    finally:
        spool.close()
    return 0


def _judge(
    config: DeviceConfig,
    deployment: Deployment,
    spool: Spool,
    station: Station,
    held: Quarantine,
    others: list[Quarantine],
) -> None:
    if (held.plugin, held.version) not in {(info.name, info.version) for info in find()}:
        spool.release_plugin(held, "this version of it is not installed any more")
        return
    try:
        with native.told_as_one(deployment=deployment.name, plugin=held.plugin):
            answered = _tried(config, deployment, station, held, others)
    except EdgeaiError as error:
        log.warning("trial.failed", plugin=held.plugin, code=error.code, message=str(error))
        spool.trial_failed(held, error.code, str(error), config.supervise.trial_after_s)
        return
    log.info("trial.passed", plugin=held.plugin, of=deployment.name, cases=answered)
    cases = f"it answered {answered} golden cases rightly" if answered else "it answered a blank plane"
    spool.release_plugin(held, f"its trial passed, {cases}")


def _tried(
    config: DeviceConfig, deployment: Deployment, station: Station, held: Quarantine, others: list[Quarantine]
) -> int:
    """How many golden cases it answered rightly; 0 when the bundle has none, and it answered a blank plane.

    Raises:
        EdgeaiError: it did not.
    """
    with station.step("verify", deadline_s=deployment.open_deadline_s):
        bundle = open_admitted(config, deployment)
    cases = len(bundle.manifest.golden)
    note = Noter(station, deployment)
    # Each case is an image's worth of work, asked several times over.
    deadline_s = deployment.deadline_s * max(2, 6 * cases)
    with (
        closing(open_deployment(bundle, config, deployment, note, others, only=held.plugin)) as model,
        station.step("prove", deadline_s=deadline_s),
    ):
        model.prove()
    return cases
