"""A deployment that takes updates, as infer sees it: what runs is what stands in its slots, and it may have to go back.

The state of the slots is read whenever its file changed: others move them too. What happened to them is told by events
made of their own history, so that none is lost with the process that moved them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from statistics import median
from typing import Any, Final

from edgeai.api.errors import BundleRejected, EdgeaiError
from edgeai.api.results import Outcome, Result
from edgeai.bundle.admission import deciding_files, open_admitted
from edgeai.bundle.probation import bounds_of
from edgeai.bundle.reader import Bundle
from edgeai.bundle.releases import Numbered
from edgeai.bundle.stamps import Stamps, stamps
from edgeai.bundle.trust import TrustPolicy
from edgeai.config import Deployment, DeviceConfig
from edgeai.logs import Log
from edgeai.roles.moves_told import sayings
from edgeai.roles.probation import ENOUGH, MOST_KNOWN, TAKES_PLACE, judge, kind_of, spent_ms_of, stands_since
from edgeai.roles.stated import Stated
from edgeai.roles.tray import Tray
from edgeai.slots import Slot, SlotFolder, Slots, SlotsError, moves
from edgeai.slots.adopting import copy_of
from edgeai.slots.answered import Answer, append_answer, read_answers
from edgeai.slots.bounds import stricter
from edgeai.spool import Job, Spool
from edgeai.windows import is_open

LOOK_EVERY_S: Final = 0.5
"""Between two looks whether it can be switched."""

ADOPT_EVERY_S: Final = 60.0
"""Between two attempts to copy what runs into a slot, where the disk does not let it."""

DAMAGE: Final = frozenset(
    f"bundle.{what}"
    for what in (
        *("missing", "missing-file", "extra-file", "wrong-size", "wrong-hash", "not-a-bundle", "link"),
        *("bad-held-file", "invalid-manifest", "bad-signatures-file"),
    )
)
"""Codes that say of a bundle that was sound here once that the disk has changed it."""

_LATELY: Final = 100

log = Log("edgeai.roles.infer")


class InSlots:
    """Of one deployment; in the place of ``OnDisk``."""

    def __init__(self, config: DeviceConfig, deployment: Deployment, spool: Spool, event: Callable[..., None]) -> None:
        self.detail: dict[str, str] = {}
        self._config = config
        self._deployment = deployment
        self._rules = config.updates
        self._spool = spool
        self._event = event
        self._folder = SlotFolder.of_device(config, deployment)
        self._slots = Slots()
        self._seen: Stamps | None = None
        self._told = -1
        self._open_now = ("", "")
        self._spent_ms: deque[float] = deque(maxlen=_LATELY)
        self._stated = Stated()
        self._ended_at = -self._rules.quiet_s
        self._cannot_run = False
        self._opened_at = 0.0
        self._candidate = ("", 0.0)
        """Digest of what waits to be switched to, and since when."""
        self._looked_at = 0.0
        self._owed: list[Result] = []
        self._last: dict[str, str] = {}
        """Kind of result on probation -> why the last of that kind came to be."""
        self._refused = self._said = ""
        self._answered: tuple[Answer, ...] = ()
        self._tray = Tray(spool.folder, deployment.name)
        self._tray.clear()
        self._shown = ""
        """Digest of what images are lent to."""
        self._unwritten: tuple[str, str] | None = None
        """A roll-back that the disk has not taken yet."""

    # --- what is to be opened -----------------------------------------------------------------------

    def stamps(self) -> Stamps:
        """Of everything that decides what runs."""
        return stamps(self._folder.state, *deciding_files(self._config, self._deployment))

    def is_news(self) -> bool:
        """What lies at the profile's path is not looked at again."""
        return False

    def opened(self, digest: str, seen: Stamps) -> None:
        """This is open now."""
        self._open_now = (self._slots.active or "", digest)
        self._answered = read_answers(self._folder.folder)
        self._cannot_run = False
        self._opened_at = time.monotonic()

    @property
    def is_on_probation(self) -> bool:
        """Whether what is open has yet to show that it may stay."""
        return self._slots.probation is not None

    def open_bundle(self, seen: Stamps, running: str) -> tuple[Deployment, Bundle]:
        """The bundle that stands, verified; the profile's own is copied into a slot first, where there is none.

        Raises:
            EdgeaiError: as ``open_admitted``; ``slots.unreadable``.
        """
        if self._unwritten is None:
            self._look()
        if self._slots.active is None:
            self._adopt()
        else:
            self._judge_deaths()
        deployment, slots = self._deployment, self._slots
        if slots.active is not None:
            deployment = deployment.standing_at(self._folder.content(slots.active), slots.standing)
        bundle = open_admitted(self._config, deployment)
        if self.is_on_probation:
            self._rules = stricter(self._config.updates, bounds_of(bundle.root, bundle.manifest))
        return deployment, bundle

    def _judge_deaths(self) -> None:
        """This process may have died of what it is about to open, again and again."""
        try:
            self._judge(self._slots)
        except EdgeaiError as error:
            self._trouble(error)

    def _adopt(self) -> None:
        """Where the disk does not let it, the profile's path runs meanwhile."""
        bundle = open_admitted(self._config, self._deployment)
        fill = copy_of(self._deployment.bundle, TrustPolicy.of(self._config.trust))
        try:
            self._folder.recover()
            self._slots = self._folder.adopt(Numbered.of(bundle.manifest, bundle.digest), fill)
        except SlotsError as error:
            self._slots = self._folder.read()
            if self._slots.active is not None:
                return  # the update client was quicker
            if error.code != "slots.unwritable":
                raise
            log.error("slots.not-adopted", code=error.code, message=str(error))
            self._event("update.not-adopted", f"what runs takes no updates yet: {error}", code=error.code)

    def gave_up(self, error: EdgeaiError) -> bool:
        """What stands did not open; whether something else stands now instead, to be opened at once."""
        self._cannot_run = True
        if error.code.startswith("slots.") or self._slots.active is None:
            return False
        try:
            if error.code in DAMAGE:
                if self._slots.before is None:
                    return False
                self._slots = self._folder.damaged(self._slots.active, str(error))
                return True
            if self.is_on_probation:
                self._go_back(error.code, f"it did not open: {error}")
                return True
        except EdgeaiError as trouble:
            self._trouble(trouble)
        return False

    # --- when another takes its place ---------------------------------------------------------------

    def is_due(self, is_open: bool) -> bool:
        """Whether something else stands than what is open; it is switched here when its time has come."""
        try:
            self._look()
            if is_open and self._owes():
                self._count()
            self._switch()
        except EdgeaiError as error:
            self._trouble(error)
        if is_open and self._slots.active is None:
            return time.monotonic() - self._opened_at > ADOPT_EVERY_S
        return is_open and self._open_now != self._stands

    @property
    def _stands(self) -> tuple[str, str]:
        running = self._slots.running
        return (self._slots.active or "", running.digest if running else "")

    def _owes(self) -> bool:
        """Whether something is still to be written that a full disk, say, did not take."""
        probation = self._slots.probation
        return bool(self._owed) or (probation is not None and probation.completed >= probation.needed)

    def _look(self) -> None:
        """Read the state where its file changed, and tell what happened."""
        if self._unwritten is not None:
            self._write_later(*self._unwritten)
        seen = stamps(self._folder.state)
        if seen == self._seen:
            return
        self._slots = self._folder.read()
        self._seen = seen
        shadow = self._slots.in_shadow
        if self._shown and (shadow is None or shadow.digest != self._shown):
            self._tray.clear()
        self._shown = shadow.digest if shadow is not None else ""
        last = self._slots.history[-1].sequence if self._slots.history else 0
        if last != self._told:
            self._spool.say_moves(self._deployment.name, last, sayings(self._slots, self._deployment.name))
            self._told = last

    def _write_later(self, code: str, why: str) -> None:
        """What ran back in memory alone; whoever moved the slots meanwhile is right."""
        try:
            self._folder.roll_back(code, why)
        except SlotsError as error:
            if error.code == "slots.unwritable":
                raise
        self._unwritten = None

    def _switch(self) -> None:
        """Activate what was rehearsed, and shown beside what runs where that is asked, between studies and in its
        windows; a study that never ends may not keep it waiting for ever.
        """
        slots, now = self._slots, time.monotonic()
        waiting = slots.candidate
        if waiting is None or waiting.stage != "good" or slots.active is None or slots.probation is not None:
            self._candidate = ("", 0.0)
            return
        digest = waiting.digest
        if self._candidate[0] != digest or slots.in_shadow is not None:
            self._candidate = (digest, now)
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        if self._cannot_run:
            if slots.in_shadow is not None:
                self._slots = self._folder.shown("what stands cannot run, so that there is nothing to compare", digest)
        elif slots.in_shadow is not None or not self._may_be_now(waiting, now):
            return
        try:
            self._slots = self._folder.activate(self._rules.probation_results, waiting.digest, **self._figures_before())
            self._last.clear()
        except BundleRejected as error:  # the floor rose meanwhile; or it waits for the order that brought it
            if self._refused != waiting.digest:
                self._refused = waiting.digest
                message = f"what was rehearsed for {self._deployment.name} is not switched to: {error}"
                self._event("update.refused", message, digest=waiting.digest, code=error.code, remedy=error.remedy)

    def _may_be_now(self, waiting: Slot, now: float) -> bool:
        local = datetime.now().astimezone()
        if not all(is_open(windows, local) for windows in (self._rules.windows, waiting.asked.windows)):
            return False
        return now - self._candidate[1] > self._rules.switch_within_s or self._is_between_studies(now)

    def _is_between_studies(self, now: float) -> bool:
        if now - self._ended_at < self._rules.quiet_s:
            return False
        return not self._spool.is_mid_series(self._deployment.name, self._rules.switch_within_s)

    def _figures_before(self) -> dict[str, Any]:
        name = self._deployment.name
        seen, stated = self._stated.figures()
        share, of = self._spool.share_withheld(name, since=stands_since(self._slots))
        usual_ms = median(self._spent_ms) if len(self._spent_ms) >= ENOUGH else self._spool.usual_ms(name)
        return {
            "before_ms": round(usual_ms, 3),
            "before_withheld": round(min(share, MOST_KNOWN), 4) if of >= 2 * ENOUGH else 1.0,
            "deaths": self._spool.own_deaths(name),
            "faults": self._spool.last_fault(name)[0],
            "before_seen": seen,
            "before_stated": stated,
        }

    def _trouble(self, error: EdgeaiError) -> None:
        """What goes on for a while is logged once."""
        if str(error) != self._said:
            self._said = str(error)
            log.error("slots.trouble", code=error.code, message=str(error))

    # --- what is shown to another beside it -------------------------------------------------------

    def lends(self, job: Job, result: Result) -> bool:
        """Whether what waits in the other slot is shown this image too; asked before the image may be gone."""
        if not self._shown or result.outcome is Outcome.FAILED or result.model.digest != self._open_now[1]:
            return False
        return self._tray.lend(job.path, str(job.id), job.instance.series_instance_uid)

    def lent(self, job: Job, result: Result) -> None:
        """The answer to such an image is kept."""
        self._tray.answer(str(job.id), job.instance.series_instance_uid, result.as_dict())

    # --- what it shows --------------------------------------------------------------------------------

    def ended(self, result: Result) -> None:
        """An image of a patient came to its end."""
        self._ended_at = time.monotonic()
        if result.outcome is Outcome.COMPLETED and result.model.digest == self._open_now[1]:
            self._remember(result)
        if not self.is_on_probation:
            if result.outcome is Outcome.COMPLETED:
                self._spent_ms.append(spent_ms_of(result))
                self._stated.add(result)
            return
        self._owed.append(result)
        try:
            self._count()
        except EdgeaiError as error:  # it is tried again before anything else is done
            self._trouble(error)

    def _remember(self, result: Result) -> None:
        """The first answer of what is open, for `edgeai history`; nothing is decided by it."""
        model, before = result.model, self._answered[-1] if self._answered else None
        running = self._slots.running
        if running is None or (before is not None and before.digest == model.digest):
            return
        moved = next((move for move in reversed(self._slots.history) if move.move in TAKES_PLACE), None)
        left = moved.digest if moved is not None and moved.digest != model.digest else None
        answer = Answer(
            since=result.created_at,
            digest=model.digest,
            model=model.name,
            version=model.version,
            release=running.release,
            signers=tuple(f"{signer.name} {signer.key_id}" for signer in model.signers),
            by=moved.move if moved is not None else "",
            left=left or (before.digest if before is not None else ""),
            why=moved.why if moved is not None and left else "",
        )
        try:
            append_answer(self._folder.folder, answer)
        except OSError as error:
            log.error("slots.not-remembered", message=str(error))
            return
        self._answered = (*self._answered, answer)

    def _count(self) -> None:
        """What ended since it was counted last; then whether that is enough, or too much."""
        active = self._slots.running
        digest = active.digest if active else ""
        mine = [result for result in self._owed if result.model.digest == digest]
        if mine and self.is_on_probation:
            kinds = [kind_of(result, self._is_usual) for result in mine]
            for kind, reason in zip(kinds, (result.reason for result in mine), strict=True):
                if reason is not None:
                    self._last[kind] = f"{reason.code}, {reason.message}"
            completed = [result for kind, result in zip(kinds, mine, strict=True) if kind == "completed"]
            counts: dict[str, Any] = {name: kinds.count(name) for name in ("completed", "failed", "withheld")}
            spent_ms = [spent_ms_of(result) for result in completed]
            stated = [labels for result in completed if (labels := self._stated.of(result)) is not None]
            try:
                self._slots = self._folder.counted(**counts, spent_ms=spent_ms, stated=stated)
            except SlotsError:
                # On a full disk it may be too much all the same, though it cannot be noted.
                self._judge(moves.counted(self._slots, "", **counts, spent_ms=spent_ms), goes_well=False)
                raise
        self._owed.clear()
        self._judge(self._slots)

    def _is_usual(self, code: str) -> bool:
        """Whether what stood before failed with that too."""
        since, until = stands_since(self._slots, back=2), stands_since(self._slots)
        return self._spool.has_failed_with(self._deployment.name, code, since=since, until=until)

    def _judge(self, slots: Slots, *, goes_well: bool = True) -> None:
        probation = slots.probation
        if probation is None:
            return
        name = self._deployment.name
        deaths = max(0, self._spool.own_deaths(name) - probation.deaths)
        fault, misdeed = self._spool.last_fault(name)
        last = self._last.get("failed") or (misdeed if fault > probation.faults else "")
        end, code, why = judge(probation, self._rules, deaths=deaths, last=last, silent=self._last.get("withheld", ""))
        if end == "ends badly":
            self._go_back(code, why)
        elif end == "ends well" and goes_well:
            self._slots = self._folder.prove()
            self._spent_ms.clear()
            self._spent_ms.extend(probation.spent_ms)
            self._stated.forget()

    def _go_back(self, code: str, why: str) -> None:
        """What it did is its own: the engines that it died on are not to blame for it."""
        probation = self._slots.probation
        self._owed.clear()
        try:
            self._slots = self._folder.roll_back(code, why)
        except SlotsError as error:
            if error.code != "slots.unwritable":
                raise
            # A full disk, say: what stood before runs all the same, and it is written later.
            log.error("slots.unwritten", code=error.code, message=str(error))
            self._slots, self._unwritten = moves.roll_back(self._slots, code, why, ""), (code, why)
        self._spool.forgive_since(self._deployment.name, probation.faults if probation else 0)
