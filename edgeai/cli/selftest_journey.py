"""A self-test's way: phantoms made to measure, sent, awaited at the far end, and looked for where they got stuck."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from edgeai.api.errors import EdgeaiError
from edgeai.api.instances import InstanceRef
from edgeai.bundle.admission import read_admitted
from edgeai.bundle.manifest import Eligibility
from edgeai.cli.selftest_ways import FarEnd, OutOfSpool, WayIn, far_end, way_in
from edgeai.config import DeviceConfig
from edgeai.dicom.phantom import LEAST_SIDE, PHOTOMETRIC, Sitter, write_phantom
from edgeai.health import read_health
from edgeai.owners import owner_of
from edgeai.privacy import UidMask
from edgeai.selftest import UID_ROOT
from edgeai.slots import standing
from edgeai.spool import Spool
from edgeai.spool.tracing import ASIDE, jobs_of, unfinished_below, unsent_on

_T = TypeVar("_T")
Stage = Literal["send", "analyse", "deliver"]
POLL_S: Final = 0.1
SILENT_BEATS: Final = 5
"""Heartbeats that publish may be late with before that is why nothing leaves."""

_STATUS: Final = "see `edgeai status PROFILE`"
_LIST: Final = "`edgeai messages list PROFILE` says why it was refused; cure that, then retry or drop it"
_READ: Final = "let the broker's access list allow this device to read its own self-test topic"


class Stuck(EdgeaiError):
    """The phantom did not get through. ``stage`` says how far it came."""

    def __init__(self, message: str, *, stage: Stage, code: str, remedy: str | None = None) -> None:
        super().__init__(message, code=code, remedy=remedy)
        self.stage = stage


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How one deployment ended a phantom, and how long after it was sent that was heard."""

    deployment: str
    ended: str
    code: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Phantom:
    """What is sent, and the UID that it leaves the device with."""

    instance: InstanceRef
    masked: str
    path: Path


@dataclass(slots=True, kw_only=True)
class Journey:
    """A self-test that is under way, or over."""

    config: DeviceConfig
    spool: Spool
    limit_s: float
    ends: list[End] = field(default_factory=list)
    names: tuple[str, str] = ("", "")
    """The way in and the far end."""
    untested: list[str] = field(default_factory=list)
    """Deployments that want images of which no phantom can be written."""

    def run(self) -> None:
        """Send a phantom for every deployment, and wait for all ends.

        Raises:
            Stuck: at ``stage``.
        """
        rules = self._rules()
        self._check_the_road()
        mask = UidMask.of(self.config.privacy)
        entrance = _at("send", lambda: way_in(self.config))
        exit_ = _at("deliver", lambda: far_end(self.config, self.spool))
        self.names = (entrance.name, exit_.name)
        try:
            with tempfile.TemporaryDirectory(prefix="edgeai-selftest-") as folder:
                tested: set[str] = set()
                for number, sitter in enumerate(dict.fromkeys(sitter_for(rule) for rule in rules.values())):
                    path = Path(folder) / f"{number}.dcm"
                    phantom = write_phantom(path, sitter)
                    wanted = {name for name, rule in rules.items() if rule.why_not(phantom) is None}
                    tested |= wanted
                    self._one(Phantom(phantom, mask.uid(phantom.sop_instance_uid), path), wanted, entrance, exit_)
                self.untested = sorted(set(rules) - tested)
        finally:
            exit_.close()
            entrance.tidy()

    # --- before -----------------------------------------------------------------------------------

    def _rules(self) -> Mapping[str, Eligibility]:
        """Deployment -> what it is meant for."""
        if not self.config.deployments:
            raise Stuck(
                "the profile has no deployment: nothing would be analysed", stage="analyse", code="selftest.nothing"
            )
        return _at("analyse", self._read_rules)

    def _read_rules(self) -> dict[str, Eligibility]:
        standing_now = [standing(self.config, item) for item in self.config.deployments]
        return {item.name: read_admitted(self.config, item)[0].eligibility for item in standing_now}

    def _check_the_road(self) -> None:
        """A road that is known to be blocked gets no further phantom: they would only queue up."""
        deployed = {item.name for item in self.config.deployments}
        for hold in self.spool.holds():
            if hold.deployment in deployed:
                message = f"the deployment {hold.deployment} cannot run: {hold.reason}"
                raise Stuck(message, stage="analyse", code=hold.code, remedy=hold.remedy or None)
        if unfinished_below(self.spool.db, UID_ROOT):
            message = "the phantom of an earlier self-test has not been analysed yet"
            remedy = self._advice("serving", _STATUS)
            raise Stuck(message, stage="analyse", code="selftest.unfinished", remedy=remedy)
        for sink, place in unsent_on(self.spool.db, "selftest/*"):
            message = f"the end of an earlier self-test is {place} for the sink {sink}"
            remedy = self._advice("delivering", _LIST if place == ASIDE else _STATUS)
            raise Stuck(message, stage="deliver", code="selftest.undelivered", remedy=remedy)

    def _advice(self, half: Literal["serving", "delivering"], otherwise: str) -> str:
        """What to do about the first thing that is known to stand in the way; ``otherwise`` where nothing is."""
        health = read_health(self.spool, self.config)
        for item in health.problems:
            # How the last self-test on the timer ended says nothing more than this one.
            if item.stops in (half, "both") and item.code != "selftest.failed":
                return f"{item.message}; {item.remedy}"
        publish = next(role for role in health.roles if role.role == "publish")
        if half == "delivering" and publish.silent_s > SILENT_BEATS * self.config.supervise.heartbeat_s:
            return f"publish has said nothing for {publish.silent_s:.0f} s; restart the service if that goes on"
        return otherwise

    # --- one phantom ------------------------------------------------------------------------------

    def _one(self, phantom: Phantom, wanted: set[str], entrance: WayIn, exit_: FarEnd) -> None:
        uid = phantom.instance.sop_instance_uid
        if isinstance(exit_, OutOfSpool):
            exit_.wanted[phantom.masked] = uid
        begun = time.monotonic()
        _at("send", lambda: entrance.send(phantom.path))
        while wanted:
            ends = _at("deliver", exit_.ends)
            for deployment in sorted(wanted):
                end = ends.get((phantom.masked, deployment))
                if end is not None:
                    wanted.discard(deployment)
                    self._conclude(deployment, end, time.monotonic() - begun)
            if wanted and time.monotonic() - begun > self.limit_s:
                raise self._where(uid, sorted(wanted), entrance, exit_)
            time.sleep(POLL_S)

    def _conclude(self, deployment: str, end: Mapping[str, Any], seconds: float) -> None:
        ended, code = str(end.get("ended")), end.get("code")
        self.ends.append(End(deployment=deployment, ended=ended, code=code, seconds=round(seconds, 2)))
        # What no device could do with this image is an end like any other: the phantom is at fault.
        if ended == "failed" and owner_of(str(code or "")) != "image":
            message = f"the deployment {deployment} failed on the phantom: {end.get('message') or code}"
            raise Stuck(message, stage="analyse", code=str(code or "selftest.failed"))

    def _where(self, uid: str, wanted: list[str], entrance: WayIn, exit_: FarEnd) -> Stuck:
        """How far the phantom came, as the spool knows it."""
        traces = {trace.deployment: trace for trace in jobs_of(self.spool.db, uid)}
        for deployment in wanted:
            trace = traces.get(deployment)
            if trace is None:
                message = f"the phantom was sent ({entrance.name}) and did not become a job of {deployment}"
                remedy = self._advice("serving", "see ingest's log")
                return Stuck(message, stage="send", code="selftest.not-taken", remedy=remedy)
            if trace.state != "done":
                message = f"the phantom has been {trace.state} on {deployment} for {self.limit_s:g} s"
                remedy = self._advice("serving", _STATUS)
                return Stuck(message, stage="analyse", code="selftest.unfinished", remedy=remedy)
        unsent = unsent_on(self.spool.db, "selftest/*")
        places = ", ".join(sorted({f"{place} for {sink}" for sink, place in unsent}))
        message = (
            f"the phantom was analysed, and its end was not heard ({exit_.name}): {places or 'it has left the spool'}"
        )
        is_aside = any(place == ASIDE for _, place in unsent)
        remedy = self._advice("delivering", _LIST if is_aside else _STATUS if unsent else _READ)
        return Stuck(message, stage="deliver", code="selftest.undelivered", remedy=remedy)


def sitter_for(rule: Eligibility) -> Sitter:
    """A phantom that the rule takes, as far as one can be written."""

    def first(values: tuple[str, ...], default: str) -> str:
        return values[0] if values else default

    wanted = {item.strip().upper() for item in rule.photometric_interpretation}
    photometric = next((kind for kind in PHOTOMETRIC if not wanted or kind in wanted), PHOTOMETRIC[0])
    return Sitter(
        modality=first(rule.modality, "OT"),
        sop_class_uid=first(rule.sop_class_uid, ""),
        body_part_examined=first(rule.body_part_examined, ""),
        view_position=first(rule.view_position, ""),
        photometric_interpretation=photometric,
        rows=max(LEAST_SIDE, rule.min_rows),
        columns=max(LEAST_SIDE, rule.min_columns),
    )


def _at(stage: Stage, do: Callable[[], _T]) -> _T:
    """What ``do`` gives; what it raises belongs to this stage."""
    try:
        return do()
    except Stuck:
        raise
    except EdgeaiError as error:
        raise Stuck(str(error), stage=stage, code=error.code, remedy=error.remedy) from error
