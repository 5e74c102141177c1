"""The MQTT sink: results and events at QoS 1, a retained status and its last will, and an answer for each message.

Topics are ``edgeai/1/<site>/<device>/<channel>``; ``docs/asyncapi.yaml`` is the contract. What a broker's answers mean
stands in ``docs/reference/mqtt.md``.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeai.api.errors import MqttError, SinkFailed
from edgeai.api.hooks import hookimpl
from edgeai.api.sinks import Message, Receipt, SinkRequest, SinkSpec
from edgeai.config import Mqtt
from edgeai.mqtt import ACK_TIMEOUT_S, Connection, Loss, Outgoing, connect
from edgeai.mqtt.reasons import BLAMED, PATIENCE, answer_to
from edgeai.sinks.blame import QUIET_S, STRIKES, Blame, Twin
from edgeai.sinks.checked import checked_settings, settings_of
from edgeai.sinks.mqtt_settings import broker_of, tls_files_of
from edgeai.sinks.smaller import smaller, smallest

__all__ = ["EDGEAI_API", "MqttSink", "broker_of", "edgeai_sinks"]

EDGEAI_API = (1, 1)

PUT_S = 2.0
"""How long one ``put`` waits for answers; what has none by then stays on its way, and the next ``put`` asks for it."""

RENEW_AFTER_S = 5.0
"""So long renewed TLS files stand before a connection is opened anew for them: they are put there one by one."""

MAX_INCOMING_BYTES = 256 << 10
"""Who subscribes to nothing is sent short answers and no more."""

_STATUS = -1
"""Stands for the status among sequence numbers: the spool does not count it, and there is one at a time."""

_HANG_UPS = 5
"""Connections in a row that end at CONNECT before a broker is no longer held to MQTT 5."""


@dataclass(slots=True)
class _Flight:
    """A message that is on its way. ``alone``: no other was at any time, so that a break would be its own doing."""

    message: Message
    number: int
    sent_at: float
    alone: bool


class MqttSink:
    """One broker. Connects at the first ``put``, and again at the next after it was lost."""

    gives_receipts = True

    def __init__(self, request: SinkRequest) -> None:
        settings = checked_settings(Mqtt, request.settings, "mqtt")
        place = broker_of(settings, site=request.site, device_id=request.device_id)
        self._broker = replace(place, max_incoming_bytes=MAX_INCOMING_BYTES)
        self._tls = tls_files_of(settings)
        self._fresh: tuple[object, float] = (None, 0.0)
        """TLS files that the connection does not use, and since when there are those."""
        self._wished = self._broker.protocol
        self._prefix = f"edgeai/1/{request.site}/{request.device_id}"
        self._will = Outgoing(topic=f"{self._prefix}/status", body=_offline(request), retain=True)
        self._status: Message | None = None
        self._connection: Connection | None = None
        self._is_closed = False
        self._hang_ups = 0
        self._flights: dict[int, _Flight] = {}
        self._answered: dict[int, Receipt] = {}
        self._acks_here = self._refusals_here = 0
        self._blame = Blame()
        self._twin = Twin()
        self.tls_detail: dict[str, Any] | None = None
        self.verified = True
        """Whether the broker says of each message if it took it; with MQTT 3.1.1 it cannot refuse one."""

    def put(self, messages: Sequence[Message]) -> Sequence[Receipt]:
        """Send what is not on its way yet, wait a moment, and say what became of each message so far.

        With nothing to put it sees to it that the connection stands and the status is there.

        Raises:
            SinkFailed: with the code of the ``MqttError`` behind it; nothing became of any of these.
        """
        if _STATUS not in self._answered:  # what was refused is not to be kept
            self._status = next((message for message in messages if _key(message) == _STATUS), self._status)
        receipts, failure = self._offer(messages)
        if failure is not None and failure.code == "mqtt.lost":
            # Connections break, and Mosquitto 2.0 hangs up on whom it refuses a message: try once more at once.
            receipts, failure = self._offer(messages)
        if failure is not None:
            raise failure
        return receipts

    def _offer(self, messages: Sequence[Message]) -> tuple[list[Receipt], SinkFailed | None]:
        """Receipts, or why there is none."""
        if self._tls is not None:
            self.tls_detail = self._tls.detail()
            self._leave_for(self._tls.context())
        connection = self._connected()
        self._send(connection, messages)
        self._hang_up_if_mute(connection)
        receipts = self._take(messages)
        if connection.is_open:
            return receipts, None
        failure = self._fell(connection)
        receipts += self._take(messages)
        return receipts, None if receipts else failure

    def close(self) -> None:
        """Say offline in so many words, since a clean DISCONNECT suppresses the will."""
        if self._connection is not None and self._connection.is_open:
            with contextlib.suppress(MqttError):  # the broker is gone: it will publish the will itself
                self._connection.publish([self._will], timeout_s=2.0)
        self._drop()
        self._is_closed = True

    # --- connecting -------------------------------------------------------------------------------

    def _leave_for(self, context: object) -> None:
        """A connection that stands has the files of its handshake: renewed ones get one of their own, between messages.

        So what health says of them is so, and files that the broker does not take are found out while somebody is
        there, and not when the network breaks some night.
        """
        if self._connection is None or self._flights or context is self._broker.tls:
            return
        now = time.monotonic()
        if self._fresh[0] is not context:
            self._fresh = (context, now)
        if now - self._fresh[1] >= RENEW_AFTER_S:
            self._drop()

    def _connected(self) -> Connection:
        if self._is_closed:
            raise SinkFailed("this sink was closed")
        if self._connection is not None and not self._connection.is_open:
            failure = self._fell(self._connection)
            if failure.code == "mqtt.session-taken-over":
                raise failure
        if self._connection is None:
            if time.monotonic() < self._twin.resume_at:
                raise self._taken_over()
            self._connection = connection = self._open()
            if self._status is not None:  # the will has overwritten it
                self._send(connection, [self._status])
                if not connection.is_open:
                    raise self._fell(connection)
        return self._connection

    def _open(self) -> Connection:
        if self._tls is not None:
            self._broker = replace(self._broker, tls=self._tls.context())
        try:
            try:
                connection = connect(self._broker, will=self._will)
            except MqttError as error:
                if error.code != "mqtt.no-retain":
                    raise
                connection = connect(self._broker, will=replace(self._will, retain=False))
        except MqttError as error:
            self._twin.unreachable()
            self._hang_ups = self._hang_ups + 1 if error.code == "mqtt.lost" else 0
            if error.code == "mqtt.unsupported-version" or self._hang_ups >= _HANG_UPS:
                self._broker = replace(self._broker, protocol=self._wished)
            raise SinkFailed(str(error), code=error.code, remedy=error.remedy) from error
        self._hang_ups = self._acks_here = self._refusals_here = 0
        self.verified = connection.protocol == "5"
        if self.verified:  # a connection that breaks at CONNECT must not make it blind to refusals
            self._broker = replace(self._broker, protocol="5")
        return connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._flights.clear()

    # --- sending ----------------------------------------------------------------------------------

    def _send(self, connection: Connection, messages: Sequence[Message]) -> None:
        """Send all, as far as the window and the time allow, and wait for their answers; a loss is left to be seen."""
        deadline = time.monotonic() + PUT_S
        with contextlib.suppress(MqttError):
            for message in messages:
                if not self._launch(connection, message, deadline):
                    break
            mine = [self._flights[key].number for key in map(_key, messages) if key in self._flights]
            connection.wait(lambda: all(map(connection.is_answered, mine)), deadline - time.monotonic())
        self._collect(connection)

    def _launch(self, connection: Connection, message: Message, deadline: float) -> bool:
        """Send one, unless it is on its way or answered; False when it, and what follows it, must wait."""
        key = _key(message)
        flight = self._flights.get(key)
        if key in self._answered or (flight is not None and flight.message.body == message.body):
            return True
        is_suspect = self._blame.is_suspect(key)
        if is_suspect and not self._stands_alone(connection, message, deadline):
            return False
        outgoing = self._fitting(connection, message)
        if outgoing is None:
            return True
        if not self._has_room(connection, message, deadline):
            return False
        try:
            number = connection.send(outgoing)
        except ValueError as error:
            self._refuse(message, "mqtt.unsendable", f"no PUBLISH can carry it: {error}")
            return True
        for other in self._flights.values():
            other.alone = False
        self._flights[key] = _Flight(message, number, time.monotonic(), not self._flights)
        if is_suspect:
            connection.wait(lambda: connection.is_answered(number), deadline - time.monotonic())
            self._collect(connection)
        return not is_suspect or key not in self._flights

    def _stands_alone(self, connection: Connection, suspect: Message, deadline: float) -> bool:
        """Wait until nothing else is on its way and, for one that broke a connection, this one has stood a while."""
        numbers = [flight.number for flight in self._flights.values()]
        connection.wait(lambda: all(map(connection.is_answered, numbers)), deadline - time.monotonic())
        self._collect(connection)
        if self._flights:
            return False
        if self._blame.strikes(_key(suspect)):
            connection.wait(lambda: False, connection.opened_at + QUIET_S - time.monotonic())
            if not connection.is_open:
                self._blame.pardon(_key(suspect))
        return connection.is_open

    def _has_room(self, connection: Connection, message: Message, deadline: float) -> bool:
        """Wait until one more may be on its way; what is no result leaves half of the window to results."""
        is_result = _is_result(message)
        window = connection.window if is_result else max(1, connection.window // 2)
        while True:
            flights = [f for f in self._flights.values() if is_result or not _is_result(f.message)]
            if len(flights) < window:
                return True
            numbers = [flight.number for flight in flights]
            if not connection.wait(lambda: any(map(connection.is_answered, numbers)), deadline - time.monotonic()):  # noqa: B023
                return False
            self._collect(connection)

    def _outgoing(self, message: Message) -> Outgoing:
        is_status = message.channel == "status"
        return Outgoing(
            topic=f"{self._prefix}/{message.channel}", body=message.body, retain=is_status, expires=not is_status
        )

    def _fitting(self, connection: Connection, message: Message) -> Outgoing | None:
        """The message in a form that the broker takes; None, and refused, when there is none."""
        outgoing, limit = self._outgoing(message), connection.limits.packet_bytes
        if self._blame.strikes(_key(message)) == STRIKES - 1 and (body := smallest(message.body)):
            outgoing = replace(outgoing, body=body)  # the last try: MQTT 3.1.1 does not say what is too large
        size = connection.size(outgoing)
        if size <= limit:
            return outgoing
        for body in smaller(message.body):
            less = replace(outgoing, body=body)
            if connection.size(less) <= limit:
                return less
        self._refuse(message, "mqtt.too-large", f"its packet has {size} bytes, and the broker takes {limit}")
        return None

    # --- answers ----------------------------------------------------------------------------------

    def _take(self, messages: Sequence[Message]) -> list[Receipt]:
        """The receipts of these, and of the status, that were not given yet."""
        keys = dict.fromkeys([*map(_key, messages), _STATUS])
        return [self._answered.pop(key) for key in keys if key in self._answered]

    def _collect(self, connection: Connection) -> None:
        """Take in what the broker has answered."""
        for key, flight in list(self._flights.items()):
            reason = connection.answer(flight.number)
            if reason is not None:
                del self._flights[key]
                self._acks_here += 1
                self._answer(connection, flight.message, reason.value, str(reason))

    def _answer(self, connection: Connection, message: Message, value: int, words: str) -> None:
        answer, key = answer_to(value), _key(message)
        self._refusals_here += answer.meaning != "delivered"
        text = f"the broker at {self._broker.address} answered: {words}"
        if answer.meaning == "delivered":
            self._blame.delivered(key, message.channel)
            self._answered[key] = Receipt(sequence=message.sequence, verdict="delivered")
        elif answer.meaning == "refused":
            self._refuse(message, answer.code, text)
        elif answer.meaning == "doubtful" and self._blame.doubt(key, message.channel):
            self._refuse(message, answer.code, f"{text}, each time, and takes others")
        else:
            self._answered[key] = Receipt(sequence=message.sequence, verdict="later", code=answer.code, reason=text)
        if answer.meaning == "broken":
            connection.close(text)

    def _refuse(self, message: Message, code: str, reason: str) -> None:
        key = _key(message)
        self._blame.clear(key)
        if key == _STATUS:
            self._status = None
        self._answered[key] = Receipt(sequence=message.sequence, verdict="refused", code=code, reason=reason)

    # --- losing -----------------------------------------------------------------------------------

    def _hang_up_if_mute(self, connection: Connection) -> None:
        """A broker that answers others and not these for so long will never; one that answers nothing is just away."""
        late = [f for f in self._flights.values() if time.monotonic() - f.sent_at > ACK_TIMEOUT_S]
        if not late:
            return
        for flight in late:
            if self._acks_here:
                self._strike(flight.message, f"there was no PUBACK within {ACK_TIMEOUT_S:g} s")
        connection.close(f"there was no PUBACK within {ACK_TIMEOUT_S:g} s")

    def _fell(self, connection: Connection) -> SinkFailed:
        """A connection is over: who is to blame, and the error that says so."""
        self._collect(connection)
        loss = connection.loss
        assert loss is not None
        flights = list(self._flights.values())
        # Where the broker has refused something, its hanging up is no sign of a twin, and no other message's fault.
        is_taken = self._twin.lost(connection, is_idle=not flights and not self._refusals_here)
        if loss.by_peer and not is_taken:
            self._accuse(flights, loss)
        self._drop()
        if is_taken:
            return self._taken_over()
        code = PATIENCE.get(loss.code or 0, "mqtt.lost")
        return SinkFailed(f"lost the broker at {self._broker.address}: {loss.text}", code=code)

    def _accuse(self, flights: Sequence[_Flight], loss: Loss) -> None:
        if len(flights) == 1 and flights[0].alone and not self._refusals_here:
            if code := BLAMED.get(loss.code or 0):
                self._refuse(flights[0].message, code, f"the broker at {self._broker.address} hung up: {loss.text}")
            else:
                self._strike(flights[0].message, f"the connection broke ({loss.text})")
            return
        for flight in flights:
            self._blame.suspect(_key(flight.message))

    def _strike(self, message: Message, why: str) -> None:
        if self._blame.strike(_key(message)):
            reason = f"{STRIKES} times {why} when it was sent alone"
            self._refuse(message, "mqtt.breaks-connection", reason)

    def _taken_over(self) -> SinkFailed:
        return SinkFailed(
            f"another client connects to the broker at {self._broker.address} as {self._broker.client_id!r},"
            " and takes this device's session",
            code="mqtt.session-taken-over",
            remedy="give every device an id of its own (device.id), or its client one (mqtt.client_id)",
        )


def _is_result(message: Message) -> bool:
    return message.channel.startswith("result/")


def _key(message: Message) -> int:
    return _STATUS if message.channel == "status" else message.sequence


def _offline(request: SinkRequest) -> bytes:
    body = {"schema": 2, "site": request.site, "device_id": request.device_id, "state": "offline"}
    return json.dumps(body).encode()


@hookimpl
def edgeai_sinks() -> tuple[SinkSpec, ...]:
    """The ``mqtt`` sink."""
    return (
        SinkSpec(
            name="mqtt",
            open=MqttSink,
            help="an MQTT 5 or 3.1.1 broker, QoS 1",
            settings=settings_of(Mqtt),
        ),
    )
