"""One sink's thread: takes what the spool holds for it there, lane by lane, and tells the spool what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from edgeai.api.errors import EdgeaiError, PluginFault, SinkFailed
from edgeai.api.sinks import Message, Receipt, Sink, SinkRequest, SinkSpec
from edgeai.logs import Log
from edgeai.roles.lanes import Lane, Pause, Trouble
from edgeai.spool import Spool
from edgeai.spool.aside import Refusal

BATCH = 100
"""Messages offered at a time; between batches the spool is told what became of them."""

TEND_S = 1.0
"""How often a sink that gives receipts is asked whether its other side is there, while nothing waits for it."""

TRIED_ALONE = 4
"""Messages that may fail one after the other before the sink itself is taken to be away for now."""

TAKEN_OVER = "mqtt.session-taken-over"
TAKEN_OVER_S = 120.0
"""So long a taken session is spoken of, since it comes back in between."""

SAY_TAKEN_EVERY_S = 600.0
SAY_TROUBLE_EVERY_S = 10.0
"""So often at most the same is said by event: an event is a message for the sink in trouble, too."""

REFUSED = "mqtt.not-authorised"
REFUSED_AGAIN_S = 30.0
"""A status that an access list refused is offered again so often: a list is corrected without a word to us."""

STATUS = 0
"""The sequence number of a status, which is not the spool's."""

FAULT = "sink.fault"

log = Log("edgeai.publish")


class Delivery(threading.Thread):
    """Takes one sink's messages to it until it is asked to stop.

    Attributes:
        death: the exception that ended the thread, which nothing in here should let through.
    """

    def __init__(self, name: str, spec: SinkSpec, request: SinkRequest, spool: Spool) -> None:
        super().__init__(name=f"sink-{name}", daemon=True)
        self.sink_name = name
        self.death: BaseException | None = None
        self._spec, self._request, self._spool = spec, request, spool
        self._sink: Sink | None = None
        self._gives_receipts = False
        self._asked_at = -1e9
        self._status: Message | None = None
        self._offered_status: Message | None = None
        self._lanes = {lane: Lane(lane) for lane in ("status", "result", "event")}
        self._owed: tuple[list[int], list[Refusal]] = ([], [])
        self._refused_at = -1e9
        self._passed, self._condemned_at = 0, -1
        self._away: Trouble | None = None
        self._pause = Pause()
        self._is_up: bool | None = None
        self._since = time.time()
        self._is_told, self._told_at = False, -1e9
        self._taken_at = self._taken_told_at = -1e9
        self._rung = threading.Event()
        self._stopping = threading.Event()

    # --- what others call -------------------------------------------------------------------------

    @property
    def trouble(self) -> str | None:
        """Why something does not leave, in one sentence; ``None`` while all does."""
        trouble = self._trouble()
        return trouble.why if trouble else None

    @property
    def verified(self) -> bool:
        """Whether the other side says of each message if it took it."""
        return bool(getattr(self._sink, "verified", True))

    def state(self) -> dict[str, Any]:
        """For the heartbeat (`edgeai.health`): whether results leave, since when that is so, and what hinders."""
        trouble = self._trouble()
        return {
            "up": self._is_up,
            "since": self._since,
            "code": trouble.code if trouble else None,
            "why": trouble.why[:300] if trouble else None,
            "remedy": trouble.remedy[:300] if trouble and trouble.remedy else None,
            "taken": time.monotonic() - self._taken_at < TAKEN_OVER_S,
            "unverified": not self.verified,
            "tls": getattr(self._sink, "tls_detail", None),
            "refusing": {lane.name: lane.refusing for lane in self._lanes.values() if lane.refusing},
        }

    def ring(self) -> None:
        """There may be something to take."""
        self._rung.set()

    def say(self, status: Message) -> None:
        """Deliver this status next; an older one that was not delivered yet is forgotten."""
        self._status = status
        self.ring()

    def ask_to_stop(self) -> None:
        """Finish the batch under way and close the sink; ``join`` waits for it."""
        self._stopping.set()
        self.ring()

    # --- the thread -------------------------------------------------------------------------------

    def run(self) -> None:
        """Until it is asked to stop: deliver, or wait for the bell, or for the end of a pause."""
        try:
            while not self._stopping.is_set():
                self._rung.clear()
                pause_s = self._round()
                if pause_s > 0:
                    self._rung.wait(pause_s)
            self._close()
        except BaseException as error:  # noqa: BLE001  # the role notices, says so and starts anew
            self.death = error
            log.error("sink.thread-died", trace=True, sink=self.sink_name)
            self._spool.ring("publish")

    def _round(self) -> float:
        """Each lane in turn; for how long there is nothing to do afterwards, in seconds."""
        if not self._pause.is_over:
            return self._pause.until - time.monotonic()
        was_busy = False
        try:
            self._pay()
            for lane in self._lanes.values():
                if lane.pause.is_over and not self._stopping.is_set():
                    was_busy |= self._serve(lane)
            if self._away is not None and self._away.code.startswith("spool."):
                self._away = None  # it was the spool's trouble, and the spool has just been asked
            if not was_busy:
                self._tend()
        except EdgeaiError as error:
            self._fail(error)
        self._take_stock()
        if was_busy or self._away is not None:
            return 0.0
        now = time.monotonic()
        return min([TEND_S, *(due - now for lane in self._lanes.values() if (due := lane.due()) > now)])

    def _serve(self, lane: Lane) -> bool:
        """Offer one batch of a lane; whether there was any."""
        messages = self._batch(lane)
        if not messages:
            if not lane.surplus:
                lane.passed()  # what blocked it is gone
            return False
        if len(messages) > 1 and lane.must_be_alone(messages):
            self._offer_one_by_one(lane, messages)
        else:
            self._offer(lane, messages)
        return True

    def _batch(self, lane: Lane) -> list[Message]:
        if lane.name == "status":
            is_due = lane.refusing == REFUSED and time.monotonic() - self._refused_at > REFUSED_AGAIN_S
            self._offered_status = self._status or self._offered_status
            return [self._offered_status] if self._offered_status and (self._status or is_due) else []
        limit = BATCH + lane.surplus
        messages = self._spool.pending(limit, sink=self.sink_name, lane=lane.name)
        if len(messages) < limit:
            lane.keep(messages)
        return lane.ready(messages)[:BATCH]

    # --- offering ---------------------------------------------------------------------------------

    def _offer(self, lane: Lane, messages: Sequence[Message]) -> None:
        trouble = self._put(lane, messages)
        if trouble is None:
            return
        if len(messages) == 1 and self._strike(lane, messages[0], trouble):
            return
        lane.failures += 1
        if trouble.code == FAULT or lane.failures >= TRIED_ALONE:
            lane.separate(messages)
        if len(messages) == 1 or trouble.code != FAULT:  # a faulty batch is tried one by one at once
            lane.block(trouble)

    def _offer_one_by_one(self, lane: Lane, messages: Sequence[Message]) -> None:
        """What a sink failed on as a whole: one that fails must not keep the others, and a sink that is away not us."""
        before, trouble = self._passed, self._try_alone(lane, messages[0])
        failed = [messages[0]] if trouble else []
        for message in lane.probes(messages, TRIED_ALONE - 1) if trouble else messages[1:]:
            if self._stopping.is_set() or (self._passed == before and len(failed) >= TRIED_ALONE):
                break
            if why := self._try_alone(lane, message):
                trouble = why
                failed.append(message)
        if trouble and (self._passed == before or not lane.postpone(failed)):
            lane.block(trouble)

    def _try_alone(self, lane: Lane, message: Message) -> Trouble | None:
        """Why it is still to be delivered; None when it came to an end, be it that it was set aside."""
        trouble = self._put(lane, [message])
        return None if trouble is None or self._strike(lane, message, trouble) else trouble

    def _strike(self, lane: Lane, message: Message, trouble: Trouble) -> bool:
        """The sink failed on it alone; whether that was once too often, and it was set aside."""
        may_stand_alone = self._passed > self._condemned_at
        is_fault = trouble.code == FAULT
        if not lane.strike(message, self._passed, is_fault=is_fault, may_stand_alone=may_stand_alone):
            return False
        self._condemned_at = self._passed
        refusal = Receipt(sequence=message.sequence, verdict="refused", code=trouble.code, reason=trouble.why)
        self._settle(lane, [message], [refusal])
        return True

    def _put(self, lane: Lane, messages: Sequence[Message]) -> Trouble | None:
        """Offer these and settle what came of it; why the sink failed on them as a whole, where it did.

        Raises:
            EdgeaiError: a sink that gives receipts says of itself that it takes nothing for now.
        """
        sink = self._opened()
        self._asked_at = time.monotonic()
        try:
            receipts = sink.put(messages)
        except Exception as error:
            is_fault = isinstance(error, PluginFault) or not isinstance(error, EdgeaiError)
            if not is_fault and self._gives_receipts:
                raise
            log.warning("sink.failed", sink=self.sink_name, lane=lane.name, messages=len(messages), why=str(error))
            if not is_fault:
                return Trouble.of(error)
            self._close()
            return Trouble(code=FAULT, why=Trouble.of(error).why)
        self._reached()
        self._gives_receipts |= receipts is not None
        if receipts is None:
            receipts = [Receipt(sequence=message.sequence, verdict="delivered") for message in messages]
        self._settle(lane, messages, receipts)
        return None

    def _tend(self) -> None:
        """Ask a sink that gives receipts whether its other side is still there."""
        if not self._gives_receipts or time.monotonic() - self._asked_at < TEND_S:
            return
        sink = self._opened()
        self._asked_at = time.monotonic()
        try:
            receipts = sink.put([])
        except EdgeaiError:
            raise
        except Exception as error:
            self._close()
            raise SinkFailed(Trouble.of(error).why, code=FAULT) from error
        self._reached()
        self._settle(self._lanes["status"], [], receipts or [])

    def _opened(self) -> Sink:
        if self._sink is None:
            try:
                self._sink = self._spec.open(self._request)
            except EdgeaiError:
                raise
            except Exception as error:
                raise SinkFailed(Trouble.of(error).why, code=FAULT) from error
            self._gives_receipts |= bool(getattr(self._sink, "gives_receipts", False))
        return self._sink

    def _close(self) -> None:
        if self._sink is not None:
            with suppress(Exception):  # it is given up anyway
                self._sink.close()
            self._sink = None

    # --- settling ---------------------------------------------------------------------------------

    def _settle(self, lane: Lane, messages: Sequence[Message], receipts: Sequence[Receipt]) -> None:
        """What became of each: off the row, set aside, or offered again after a pause."""
        by_number = {receipt.sequence: receipt for receipt in receipts}
        if STATUS in by_number:
            self._settle_status(by_number[STATUS])
        if lane.name != "status":
            answers = [by_number.get(message.sequence) for message in messages]
            delivered = [answer.sequence for answer in answers if answer and answer.verdict == "delivered"]
            refused = [_refusal(answer) for answer in answers if answer and answer.verdict == "refused"]
            self._owed[0].extend(delivered)
            self._owed[1].extend(refused)
            lane.over([*delivered, *(refusal.sequence for refusal in refused)])
            self._passed += len(delivered)
            lane.refusing = refused[-1].code if refused else None if delivered else lane.refusing
            self._pay()
        mine = [receipt for receipt in receipts if (receipt.sequence == STATUS) == (lane.name == "status")]
        if mine:
            self._pace(lane, messages, mine)
        elif messages and time.monotonic() - self._asked_at < TEND_S / 10:
            lane.pause.begin()  # no answer yet; not to ask again at once

    def _pace(self, lane: Lane, messages: Sequence[Message], receipts: Sequence[Receipt]) -> None:
        """What is to come later is tried again after a pause: of the lane, or of its own where others went past it."""
        later = [receipt for receipt in receipts if receipt.verdict == "later"]
        ended = [receipt.sequence for receipt in receipts if receipt.verdict != "later"]
        if ended:
            lane.passed()
        if not later:
            return
        trouble = Trouble(code=later[-1].code or "sink.failed", why=later[-1].reason or "it takes this later")
        if not ended:
            lane.block(trouble)
            return
        numbers = {receipt.sequence for receipt in later}
        overtaken = [m for m in messages if m.sequence in numbers and m.sequence < max(ended)]
        if len(overtaken) < len(later):
            lane.pause.begin()
        if not lane.postpone(overtaken):
            lane.block(trouble)

    def _settle_status(self, receipt: Receipt) -> None:
        """Of the status there is one, and the latest is what counts: refused or not, it is over."""
        lane = self._lanes["status"]
        if receipt.verdict == "later":
            return
        if self._status is self._offered_status:
            self._status = None
        if receipt.verdict == "delivered":
            self._passed += 1
            lane.refusing = None
            return
        refusal, self._refused_at = _refusal(receipt), time.monotonic()
        if lane.refusing != refusal.code:
            log.warning("status.refused", sink=self.sink_name, code=refusal.code, why=refusal.reason)
            text = f"{self.sink_name} refused the status for good: {refusal.reason}"
            marks = {"channel": "status", "selftest": False}
            self._tell("message.set-aside", text, lane="status", code=refusal.code, key="status", held_back=0, **marks)
        lane.refusing = refusal.code

    def _pay(self) -> None:
        """Tell the spool what became of messages. What it could not write is told again, and not delivered again."""
        delivered, refused = self._owed
        if delivered or refused:
            self._spool.settle(self.sink_name, delivered, refused)
            self._owed = ([], [])

    # --- saying -----------------------------------------------------------------------------------

    def _reached(self) -> None:
        self._away = None
        self._pause.end()
        if self._is_up is None:
            self._is_up, self._since = True, time.time()

    def _fail(self, error: EdgeaiError) -> None:
        """The sink, or the spool, takes nothing for now."""
        self._away = Trouble.of(error)
        self._pause.begin()
        if error.code == TAKEN_OVER:
            self._taken_at = time.monotonic()
            if self._taken_at - self._taken_told_at > SAY_TAKEN_EVERY_S:
                self._taken_told_at = self._taken_at
                self._tell("mqtt.session-taken-over", f"{self.sink_name}: {error}", code=error.code)

    def _trouble(self) -> Trouble | None:
        lanes = (self._lanes[name].blocked for name in ("result", "event", "status"))
        return self._away or next((blocked for blocked in lanes if blocked), None)

    def _take_stock(self) -> None:
        """Say by log and event that something does not leave, and that all does again."""
        trouble = self._trouble()
        is_up = self._away is None and self._lanes["result"].blocked is None
        if is_up is not self._is_up and not (is_up and self._is_up is None):
            self._is_up, self._since = is_up, time.time()
        if trouble and not self._is_told and time.monotonic() - self._told_at > SAY_TROUBLE_EVERY_S:
            self._is_told, self._told_at = True, time.monotonic()
            log.warning("sink.trouble", sink=self.sink_name, code=trouble.code, why=trouble.why, remedy=trouble.remedy)
            self._tell("sink.trouble", f"{self.sink_name}: {trouble.why}", code=trouble.code)
        elif not trouble and self._is_told:
            self._is_told = False
            log.info("sink.recovered", sink=self.sink_name)
            self._tell("sink.recovered", f"{self.sink_name} takes messages again")

    def _tell(self, kind: str, message: str, **facts: object) -> None:
        try:
            self._spool.event(kind, message[:1000], sink=self.sink_name, **facts)
        except EdgeaiError as error:  # a full disk must not stop what would empty the spool
            log.error("event.lost", kind=kind, code=error.code)


def _refusal(receipt: Receipt) -> Refusal:
    """A refusal without a code or a reason is one all the same."""
    reason = str(receipt.reason) or "it gave no reason"
    return Refusal(sequence=receipt.sequence, code=str(receipt.code) or "sink.refused", reason=reason)
