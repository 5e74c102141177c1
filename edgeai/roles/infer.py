"""The infer role, one process a deployment: claim, run, and a result for every job whatever happens.

The model is opened once. While it cannot be opened its jobs are held, aloud, and it is tried again now and then; or
they fail at once where the profile says so. What kills this process is the supervisor's to judge; what does not kill
it, but makes job after job fail in the engine, is judged here (``strikes``).
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import time
from collections.abc import Generator
from contextlib import closing
from dataclasses import replace

from edgeai import selftest
from edgeai.api.errors import ConfigError, EdgeaiError, JobFailed, SpoolError
from edgeai.api.results import Failure, ModelRef, Outcome, Result
from edgeai.bundle.stamps import Stamps
from edgeai.config import Deployment, DeviceConfig, asked_of
from edgeai.logs import Log
from edgeai.model import Model
from edgeai.model.results import ref_of
from edgeai.model.schema1 import as_schema_1
from edgeai.owners import owner_of
from edgeai.privacy import UidMask
from edgeai.remedies import remedy_for
from edgeai.roles import native
from edgeai.roles.claims import Claims
from edgeai.roles.ends import Ends
from edgeai.roles.engine import Noter, not_tried, open_deployment
from edgeai.roles.identities import Identities
from edgeai.roles.in_slots import InSlots
from edgeai.roles.on_disk import OnDisk
from edgeai.roles.release import Release
from edgeai.roles.requirements import Requirements, is_unasked, stated_by
from edgeai.roles.shared import Shared
from edgeai.roles.strikes import Strikes
from edgeai.spool import Job, Note, Spool, read_note

REOPEN_MIN_S = 5.0
REOPEN_MAX_S = 60.0
"""Pauses between attempts to open a model that did not open; they double, and end when its files change."""

TROUBLE_PAUSE_S = 1.0
"""Between attempts to write to a spool that does not take it (a full disk)."""

UNKNOWN_MODEL = ModelRef(name="unknown", version="unknown", digest=f"sha256:{0:064x}")
"""In results that say that the bundle itself cannot be read."""

log = Log("edgeai.roles.infer")


def main(config: DeviceConfig, deployment: str) -> int:
    """Serve one deployment until SIGTERM; 0.

    Raises:
        ConfigError: the profile has no such deployment, or its HMAC key cannot be used.
        SpoolError: the spool cannot be used.
    """
    own = next((item for item in config.deployments if item.name == deployment), None)
    if own is None:
        raise ConfigError(f"the profile has no deployment {deployment!r}", code="config.no-deployment")
    # The frames of an instance are shared out among threads; OpenCV's own would only get in the engine's way, as they
    # spin for a while after each use. It reads this when the first transform is built.
    os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
    mask = UidMask.of(config.privacy)
    spool = Spool.of(config)
    try:
        worker = Worker(config, own, spool, mask)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, worker.on_stop)
        with (spool.roles / f"{worker.role}.crash").open("w") as report:
            faulthandler.enable(report, all_threads=True)
            try:
                worker.serve()
            finally:
                faulthandler.disable()
    finally:
        spool.close()
    return 0


class Worker:
    """The loop of one deployment."""

    def __init__(self, config: DeviceConfig, deployment: Deployment, spool: Spool, mask: UidMask) -> None:
        self.role = f"infer:{deployment.name}"
        self._config = config
        self._deployment = deployment
        self._spool = spool
        self._identities = Identities(deployment.name, mask)
        last = read_note(spool.roles / f"{self.role}.note")
        self._warms_up = not _died_warming_up(last)
        self._station = spool.station(self.role)
        self._note = Noter(self._station, deployment)
        self._stopping = self._lacks = False
        self._shared = Shared(config, deployment, spool)
        self._ends = Ends(spool)
        self._claims = Claims(
            spool,
            self._station,
            self._note,
            deployment,
            self._shared,
            self._identities,
            last=last,
            is_stopping=lambda: self._stopping,
        )
        self._requirements = Requirements(spool, deployment, self._claims.owner, self._station.beat, self._event)
        self._asked = asked_of(deployment.name, config.deployments)
        self._model: Model | None = None
        self._reference = UNKNOWN_MODEL
        self._trouble: EdgeaiError | None = None
        self._release = Release(config, self._event)
        self._strikes = Strikes(spool, deployment.name, config.supervise.quarantine_after)
        self._reopen_at = 0.0
        self._reopen_pause_s = REOPEN_MIN_S
        self._files: Stamps = ()
        self._disk: OnDisk | InSlots = OnDisk(config, deployment, self._event)
        if deployment.updates:
            self._disk = InSlots(config, deployment, spool, self._event)
        self._running = ""
        """Digest of what was open last, and is to be opened again, whatever came on disk meanwhile."""
        self._ready: dict[str, object] = {}

    def on_stop(self, number: int, frame: object) -> None:
        """SIGTERM: finish the job at hand, then end."""
        self._stopping = True
        self._spool.ring(self.role)

    def serve(self) -> None:
        """Until asked to stop."""
        self._spool.wait(self.role, 0.0)  # hangs up the bell before the first look
        self._spool.release(self._deployment.name)  # this process is the only one: whoever held them is gone
        self._requirements.begin()
        while not self._stopping:
            try:
                self._ends.make_durable_when_due()
                if self._strikes.is_lifted() or self._disk.is_due(self._model is not None):
                    self._close_model()
                if self._is_opening_due():
                    self._open()
                if self._model is not None and self._disk.is_news():
                    self._station.beat("ready", **self._ready, on_disk=self._disk.detail)
                if not self._next():
                    self._rest()
            except SpoolError as error:
                log.error("spool.trouble", code=error.code, message=str(error))
                self._pause()
        self._close_model()
        self._ends.make_durable()

    # --- the model --------------------------------------------------------------------------------

    def _is_opening_due(self) -> bool:
        if self._model is not None:
            return False
        return time.monotonic() >= self._reopen_at or self._files != self._disk.stamps()

    def _open(self) -> None:
        """Open the model, or know why not."""
        self._station.beat("starting", model=None)
        self._files = self._disk.stamps()
        quarantined = self._strikes.quarantined()
        try:
            # Verifying a large bundle takes a while: noted, so that it does not pass for silence.
            with self._station.step("verify", deadline_s=self._deployment.open_deadline_s):
                deployment, bundle = self._disk.open_bundle(self._files, self._running)
            self._reference = ref_of(bundle)
            with native.told_as_one(deployment=self._deployment.name):
                self._model = open_deployment(bundle, self._config, self._deployment, self._note, quarantined)
            if self._warms_up:
                with self._station.step("warm-up", deadline_s=self._deployment.open_deadline_s):
                    self._model.warm_up()
            self._shared.opened(self._model)
            self._release.opened(deployment, bundle, is_on_probation=self._disk.is_on_probation)
            self._running = self._reference.digest
        except EdgeaiError as error:
            self._close_model()
            if not self._disk.gave_up(error):
                self._not_opened(error)
            return
        self._disk.opened(self._running, self._files)
        self._trouble = None
        self._reopen_pause_s = REOPEN_MIN_S
        self._spool.lift(self._deployment.name)
        self._say_ready(self._model)

    def _not_opened(self, error: EdgeaiError) -> None:
        error.remedy = error.remedy or remedy_for(error.code)  # for the log, the hold and results alike
        self._running = ""  # what is on disk may cure it
        is_news = self._trouble is None or self._trouble.code != error.code
        self._trouble = error
        self._reopen_at = time.monotonic() + self._reopen_pause_s
        self._reopen_pause_s = min(self._reopen_pause_s * 2, REOPEN_MAX_S)
        self._station.beat("unavailable", why=str(error), code=error.code, **_named(self._reference))
        log.error("deployment.unavailable", code=error.code, message=str(error), remedy=error.remedy)
        if self._deployment.when_unavailable == "hold":
            self._spool.hold(self._deployment.name, error)
            return
        self._spool.lift(self._deployment.name)
        if is_news:
            self._event("deployment.unavailable", str(error), code=error.code, remedy=error.remedy)

    def _say_ready(self, model: Model) -> None:
        engine = model.engine
        facts = {"backend": engine.backend, "device": engine.device, "artifact": engine.artifact}
        why = "; ".join(model.degraded.because) if model.degraded else None
        others = (*model.choice.why_not(), *not_tried(model, self._config, self._deployment.backends))
        threads = model.threads.count if model.threads is not None else None
        more = {"threads": threads, "degraded": bool(why), "why": why, "others": others}
        self._ready = {**_named(self._reference), **facts, **more}
        self._station.beat("ready", **self._ready, on_disk=self._disk.detail)
        log.info("deployment.ready", **_named(self._reference), **facts, engine=engine.engine, degraded=why)
        if model.degraded:
            told = f"{self._deployment.name} runs on {engine.backend} ({engine.device}): {why}"
            self._event("deployment.degraded", told, wished=model.degraded.wished, **facts)

    def _say_threads(self, count: int) -> None:
        """It is the first image that tells (``edgeai.model.threads``)."""
        if self._ready.get("threads") != count:
            self._ready["threads"] = count
            self._station.beat("ready", **self._ready, on_disk=self._disk.detail)

    def _close_model(self) -> None:
        self._claims.drop()  # what was prepared was so for this model
        if self._model is not None:
            self._model.close()
        self._model = None
        self._reopen_at = 0.0

    # --- jobs -------------------------------------------------------------------------------------

    def _next(self) -> bool:
        """Do one job, or give the result of one that was given up; False when there is nothing to do."""
        name = self._deployment.name
        is_holding = self._is_holding()
        if is_holding and self._reference is UNKNOWN_MODEL:
            return False  # an end without its model could have no lasting result id
        job = self._spool.condemned(name, self._claims.owner)
        if job is not None:
            self._finish(job, self._failed(job, JobFailed(job.reason, code=job.code or None)))
            return True
        if (kept := self._requirements.look()) is not None:
            job, end = kept  # what others said keeps it from the model, or nobody knows what they say
            self._finish(job, self._identities.unmodelled(job, self._reference, *end))
            return True
        if self._model is not None and (row := self._claims.row(self._model)) is not None:
            self._do_row(self._model, row)
            return True
        job = None if is_holding else self._claims.take()
        if job is None:
            return False
        if job.code:
            self._finish(job, self._failed(job, SpoolError(job.reason, code=job.code)))
        elif not job.path.is_file():
            gone = SpoolError("the received file is gone from the spool", code="spool.file-missing")
            self._finish(job, self._failed(job, gone))
        elif self._model is None:
            self._finish(job, self._failed(job, self._trouble or JobFailed("the model is not open")))
        elif not self._settle(self._model, job, self._run(self._model, job)):
            self._open_anew()
        return True

    def _is_holding(self) -> bool:
        """What the device lacks is no verdict on the image: while the model cannot be opened, jobs wait."""
        return self._model is None and self._deployment.when_unavailable == "hold"

    def _do_row(self, model: Model, row: Generator[tuple[Job, Result], None, None]) -> None:
        """Several jobs in a row; all have been looked at and found to be such as may go along with others."""
        goes_on = False
        try:
            with closing(row) as results:
                goes_on = all(self._settle(model, job, result) for job, result in results)
        finally:
            if not goes_on:
                self._claims.drop()
        if not goes_on:
            self._open_anew()

    def _open_anew(self) -> None:
        """After trouble with the engine: the next look opens it, or the next; in a moment, if that may help."""
        self._close_model()
        if self._lacks:
            self._lacks = False
            self._pause()

    def _settle(self, model: Model, job: Job, result: Result) -> bool:
        """Keep a result that the model just gave; False when the model has to be opened anew."""
        code = result.reason.code if result.reason and result.outcome is Outcome.FAILED else ""
        attempts = self._config.supervise.job_attempts
        if _may_pass(code) and self._spool.give_back(job, max_attempts=attempts):
            log.warning("job.given-back", job=job.id, code=code)
            self._lacks = True
            return False  # memory, or a device of the engine's that is gone: opening anew tells
        self._finish(job, result)
        self._claims.timed(result)
        return not self._strikes.judge(job, model, result) and not self._disk.is_due(True)

    def _run(self, model: Model, job: Job) -> Result:
        step = self._station.step("job", deadline_s=self._deployment.deadline_s, job_id=job.id)
        with step, native.told_as_one(job=job.id):
            return self._at_work(model, job)

    def _at_work(self, model: Model, job: Job) -> Result:
        # After a death one thing happens at a time, so that the note names for certain what does it.
        return model.run_file(
            job.path,
            deployment=self._deployment.name,
            identity=self._identities.of(job, model.reference.digest),
            overlap=job.deaths == 0,
            shared=self._shared.of(job),
        )

    def _failed(self, job: Job, error: EdgeaiError) -> Result:
        return self._identities.unmodelled(job, self._reference, Outcome.FAILED, Failure.of(error))

    def _finish(self, job: Job, result: Result) -> None:
        # Noted, so that a mistake of ours in here uses up the job's attempts and does not go round for ever.
        with self._station.step("finish", job_id=job.id):
            self._keep(job, result)

    def _keep(self, job: Job, result: Result) -> None:
        """Write job and message, as long as it takes: a full disk must not cost a result."""
        figures = (*self._requirements.ended(job), *result.guard)
        final = replace(self._identities.masked(job, result), guard=figures)
        channel, body = self._message(job, final)
        stated = stated_by(final, self._asked)
        is_lent = not selftest.is_selftest(job.instance) and not is_unasked(final) and self._disk.lends(job, final)
        while True:
            try:
                kept = self._spool.finish(job, final, body, channel=channel, durable=False, stated=stated)
                break
            except SpoolError as error:
                log.error("spool.trouble", code=error.code, message=str(error))
                self._pause()
                if self._stopping:
                    return  # its claim goes back to waiting at the next start
        code = final.reason.code if final.reason else None
        self._ends.one_more()
        self._ends.make_durable_when_due()  # here, as a row of jobs goes on for long
        times = {stage: round(ms, 1) for stage, ms in final.timings_ms.items()}
        log.info("job.finished", job=job.id, outcome=str(final.outcome), code=code, kept=kept, ms=times)
        if not selftest.is_selftest(job.instance):
            if final.outcome is Outcome.COMPLETED:
                self._release.completed(final.model.digest)
            self._disk.ended(final)
            if is_lent:
                self._disk.lent(job, final)

    def _message(self, job: Job, final: Result) -> tuple[str, bytes]:
        """Channel and body of the result as it leaves; a self-test's phantom has a channel of its own."""
        device = self._config.device
        envelope = {"site": device.site, "device_id": device.id}
        if selftest.is_selftest(job.instance):
            return selftest.channel(job.deployment), selftest.body(final, **envelope)
        form = as_schema_1(final) if self._config.results.schema_ == 1 else final.as_dict()
        return f"result/{job.deployment}", json.dumps({**form, **envelope}, allow_nan=False).encode()

    # --- between jobs -----------------------------------------------------------------------------

    def _rest(self) -> None:
        """Wait for the bell."""
        if self._model is not None and self._model.threads is not None:
            self._say_threads(self._model.threads.count)
        self._spool.wait(self.role, min(1.0, self._config.supervise.heartbeat_s, self._ends.due_in_s))
        self._station.beat()

    def _pause(self) -> None:
        end = time.monotonic() + TROUBLE_PAUSE_S
        while not self._stopping and (rest := end - time.monotonic()) > 0:
            self._station.beat()
            time.sleep(min(rest, 0.2))

    def _event(self, kind: str, message: str, **facts: object) -> None:
        try:
            self._spool.event(kind, message, deployment=self._deployment.name, **facts)
        except SpoolError as error:
            log.error("event.lost", kind=kind, code=error.code)


def _died_warming_up(last: Note | None) -> bool:
    """Whether a role's last life ended in there, for want of an image to blame: now one shall come first."""
    return last is not None and any(step.step == "warm-up" for step in last.steps)


def _may_pass(code: str) -> bool:
    """Whether the device failed this image for want of something that it may have in a moment."""
    return bool(code) and owner_of(code) == "device" and code.partition(".")[0] != "edgeai"


def _named(reference: ModelRef) -> dict[str, object]:
    signers = [f"{signer.name} {signer.key_id}" for signer in reference.signers]
    return {"model": f"{reference.name} {reference.version}", "digest": reference.digest, "signers": signers}
