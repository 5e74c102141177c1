"""One simulated cart: shipped update client, slots, probation and status, around an engine that is none."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from benchmarks.thousand.clock import Clock
from benchmarks.thousand.kinds import GOOD, KINDS
from benchmarks.thousand.profiles import Fleet, profile
from benchmarks.thousand.quiet_spool import IMAGE_MS, QuietSpool
from edgeai import __version__
from edgeai.api import EngineRef, Failure, Finding, InstanceIds, ModelRef, Outcome, Result
from edgeai.api.errors import MqttError
from edgeai.config import load_config
from edgeai.health.account import DeploymentHealth, Health, RoleHealth
from edgeai.health.status import ALIVE_EVERY_S, StatusNews, status_body
from edgeai.mqtt import Broker, Connection, Outgoing, connect
from edgeai.roles.in_slots import InSlots
from edgeai.roles.rehearsals import waiting
from edgeai.roles.update import Pauses
from edgeai.slots import SlotFolder, summary
from edgeai.spool.ledger import JobsEntry, Ledger
from edgeai_update.profiles import root_of, source_of
from edgeai_update.updating import Updating

_TRIES: Final = 20
_TOLD: Final = ("outcome", "release", "digest", "code", "rollout")


class SimulatedCart:
    """A cart with one deployment, ``guard``.

    Args:
        fleet: that it is of.
        name: ``site/device``.
        kind: how the new release fails here; empty where it does not.
        clock: of its process, set to the moment before each call.
    """

    def __init__(self, fleet: Fleet, name: str, kind: str, clock: Clock) -> None:
        self.name, self.kind = name, kind
        self.site, self.device = name.split("/")
        self.fetched_bytes = self.looks = self.images = 0
        self.messages, self.message_bytes, self.parts_s = Counter[str](), Counter[str](), Counter[str]()
        self.codes: set[str] = set()
        self._fleet, self._clock = fleet, clock
        self._fails = KINDS[kind] if kind else GOOD
        self._random = random.Random(f"{fleet.seed} {name} life")
        self._config = load_config(profile(fleet, self.site, self.device))
        self._deployment = self._config.deployments[0]
        self._folder = SlotFolder.of_device(self._config, self._deployment)
        self._spool: Any = QuietSpool(self._config.device.data_dir / "spool", self.say)
        self._slots = InSlots(self._config, self._deployment, self._spool, lambda *_, **__: None)
        assert self._config.repository is not None
        self._pauses = Pauses(self._config.repository.every_s, self._random.uniform)
        # A fleet that runs: its carts did not all start in these ten minutes.
        self._look_at = clock.now + self._random.uniform(0.0, self._config.repository.every_s)
        self._image_at = clock.now + self._random.uniform(0.0, fleet.images_every_s)
        self._looked: dict[str, Any] | None = None
        self._news, self._since = StatusNews(), _moment(clock.now)
        self._alive_at = 0.0
        self._model: Any = None
        self._first_digest = ""
        self._on_probation = 0
        self._is_dark = False
        self._unanswered: list[int] = []
        self._broker = _connected(fleet.port, f"edgeai-{self.site}-{self.device}")
        self._open()
        self._first_digest = self._model.digest
        self._say_status()

    def live_until(self, until: float) -> None:
        """All that happens here up to then."""
        while not self._is_dark and (at := min(self._look_at, self._image_at, self._alive_at)) <= until:
            self._clock.now = at
            if at == self._look_at:
                with self._taking("looks"):
                    self._look()
            elif at == self._image_at:
                with self._taking("images"):
                    self._take_image()
            with self._taking("statuses"):
                self._say_status()

    def wait_for_answers(self) -> None:
        """Until the broker has taken everything that was sent."""
        numbers, self._unanswered = self._unanswered, []
        if not self._broker.wait(lambda: all(map(self._broker.is_answered, numbers)), 120.0):
            raise RuntimeError(f"the broker does not answer {self.name}")
        for number in numbers:
            self._broker.answer(number)

    def count_from_here(self) -> None:
        """What was said so far is not of the rollout."""
        self.messages.clear()
        self.message_bytes.clear()

    @property
    def release(self) -> int:
        """That runs."""
        running = self._folder.read().running
        return running.release if running else 0

    def close(self) -> None:
        """Away from the broker."""
        self._broker.close()

    def say(self, what: str, body: dict[str, Any], *, retain: bool = False) -> None:
        """Publish a message of this cart; it is answered later."""
        message = Outgoing(
            topic=f"edgeai/1/{self.site}/{self.device}/{what}", body=msgspec.json.encode(body), retain=retain
        )
        self._unanswered.append(self._broker.send(message))
        kind = what.partition("/")[0]
        self.messages[kind] += 1
        self.message_bytes[kind] += self._broker.size(message)

    @contextlib.contextmanager
    def _taking(self, what: str) -> Iterator[None]:
        """Whatever a thread does there is counted to a part; what its connection does is not."""
        before = time.thread_time()
        yield
        self.parts_s[what] += time.thread_time() - before

    # --- the update role, and a rehearsal ---------------------------------------------------------

    def _look(self) -> None:
        self.looks += 1
        source = source_of(self._config)
        try:
            updating = Updating(self._config, source, root_of(self._config), sleep=self._clock.sleep)
            told = updating.look(install=True).told()
        finally:
            source.close()
        (outcome,) = told["deployments"]
        self.fetched_bytes += outcome["fetched_bytes"]
        if outcome["code"]:
            self.codes.add(outcome["code"])
        is_well = outcome["outcome"] != "refused"
        self._look_at = self._clock.now + self._pauses.after(well=is_well)
        kept = {name: outcome[name] for name in _TOLD if outcome.get(name)}
        self._looked = {"at": _moment(self._clock.now), **kept, "message": outcome["message"][:200]}
        self._rehearse()
        self._serve()

    def _rehearse(self) -> None:
        digest = waiting(self._folder.state)
        if not digest:
            return
        if self._fails.rehearsal is None:
            self._folder.rehearsed(digest)
        else:
            self._folder.fail(*self._fails.rehearsal, digest)

    # --- infer ------------------------------------------------------------------------------------

    def _open(self) -> None:
        seen = self._slots.stamps()
        _, bundle = self._slots.open_bundle(seen, "")
        self._slots.opened(bundle.digest, seen)
        manifest = bundle.manifest
        self._model = ModelRef(name=manifest.name, version=manifest.version, digest=bundle.digest)
        self._on_probation = 0

    def _serve(self) -> None:
        """What infer does between two images: switch when it is due, and open what stands."""
        while self._slots.is_due(True):
            self._open()

    def _take_image(self) -> None:
        self._image_at = self._clock.now + self._random.expovariate(1.0 / self._fleet.images_every_s)
        self._serve()
        self.images += 1
        is_new = self._model.digest != self._first_digest
        if is_new and self._on_probation == self._fails.silent_after:
            self._is_dark = True
            return
        result = self._answer(self._fails if is_new else GOOD)
        self._slots.ended(result)
        self.say("result/guard", {"site": self.site, "device_id": self.device, **result.as_dict()})
        self._serve()

    def _answer(self, kind: Any) -> Result:
        uid = f"2.25.{self._random.getrandbits(100)}"
        common: dict[str, Any] = {
            "result_id": f"{self._random.getrandbits(128):032x}",
            "deployment": "guard",
            "model": self._model,
            "instance": InstanceIds(
                sop_class_uid="1.2.840.10008.5.1.4.1.1.6.1",
                sop_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                study_instance_uid=f"{uid}.2",
                modality="US",
            ),
            "created_at": _moment(self._clock.now),
            "edgeai_version": __version__,
            "timings_ms": {"run": IMAGE_MS * kind.slower * self._random.uniform(0.9, 1.1)},
        }
        self._on_probation += 1
        if kind.fails_after is not None and self._on_probation > kind.fails_after:
            why = Failure(code=kind.code, message="what the engine answers cannot be used")
            return Result(outcome=Outcome.FAILED, reason=why, **common)
        finding = Finding(kind="class", label="dull", probability=0.9, threshold=0.5, present=True)
        engine = EngineRef(backend="fake", engine="fake 1", device="CPU", artifact="fake-fp32", precision="fp32")
        return Result(outcome=Outcome.COMPLETED, findings=(finding,), engine=engine, **common)

    # --- publish ----------------------------------------------------------------------------------

    def _say_status(self) -> None:
        if self._is_dark:
            return
        deployment = DeploymentHealth(
            name="guard",
            state="ready",
            model=f"{self._model.name} {self._model.version}",
            digest=self._model.digest,
            backend="fake-works",
            device="CPU",
            artifact="fake-fp32",
            slots={**summary(self._folder.read()), "needed": self._config.updates.probation_results},
            update=self._looked,
        )
        alive = RoleHealth(role="infer:guard", alive=True, pid=1, state="ready", silent_s=0.0)
        ledger = Ledger(jobs=(JobsEntry(deployment="guard", acknowledged=self.images, finished=self.images),))
        health = Health(roles=(alive,), deployments=(deployment,), ledger=ledger, read_at=self._clock.now)
        body = status_body(self._config, health, self._since)
        if self._news.is_news(body):
            self.say("status", body, retain=True)
            self._alive_at = self._clock.now + ALIVE_EVERY_S + 1.0  # a beat later than it may


def _connected(port: int, client_id: str) -> Connection:
    """As the publisher does: again, where a busy broker does not answer in time."""
    for _ in range(_TRIES):
        with contextlib.suppress(MqttError):
            return connect(Broker(host="127.0.0.1", port=port, client_id=client_id, protocol="5"))
    raise RuntimeError(f"the broker lets {client_id} not in")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
