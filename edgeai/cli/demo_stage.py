"""The demo's stage: a broker, a cart as real processes, and a subscriber on the far side."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgeai.api.errors import EdgeaiError
from edgeai.mqtt import Broker, Connection, connect
from edgeai.testing.broker import Mosquitto, find_mosquitto, free_port

if TYPE_CHECKING:
    from edgeai.dicom.scu import Sent
    from edgeai.testing.embedded_broker import EmbeddedBroker

READY_TIMEOUT_S = 180.0
HEARTBEAT_S = 0.2
"""For who watches: what becomes of a cart is to be seen at once."""

_PROFILE = """schema = 1
[device]
id = "{device}"
site = "demo"
data_dir = "data"
[spool]
reserve_bytes = 50_000_000
{spool}
[ingest.scp]
port = {dicom}
[mqtt]
port = {broker}
protocol = "{protocol}"
[health]
port = {health}
[supervise]
heartbeat_s = {heartbeat_s}
"""
_MAY = """[plugins]
allow = ["tflite", "openvino", "gpu", "transforms", "classify"]
[trust]
unsigned = "accept"
"""
_DEPLOYMENT = """
[[deployments]]
name = "{name}"
bundle = {bundle}
backends = {backends}
"""


class CartProcess:
    """``edgeai run`` of a profile, as a process of its own.

    Args:
        profile: of the cart; its log lies beside it.
        health_port: as the profile has it.
    """

    def __init__(self, profile: Path, health_port: int) -> None:
        self._profile, self._health_port = profile, health_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it serves a little later."""
        command = [sys.executable, "-m", "edgeai", "run", str(self._profile)]
        with self._log.open("wb") as log:
            environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def wait_until_ready(self) -> None:
        """Wait until it serves.

        Raises:
            EdgeaiError: ``demo.not-ready`` with the cart's own words.
        """
        end = time.monotonic() + READY_TIMEOUT_S
        health: dict[str, Any] = {}
        while time.monotonic() < end:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            health = self.health()
            if health.get("serving"):
                return
            time.sleep(0.1)
        problems = "; ".join(item["message"] for item in health.get("problems", ()))
        why = problems or self._log.read_text(errors="replace")[-2000:]
        raise EdgeaiError(f"the cart did not come up: {why}", code="demo.not-ready", remedy="try `edgeai doctor`")

    def health(self) -> dict[str, Any]:
        """What the cart says of itself; empty while it says nothing."""
        address = f"http://127.0.0.1:{self._health_port}/health"
        try:
            with urllib.request.urlopen(address, timeout=2) as answer:
                body: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            body = json.load(error)
        except OSError:
            return {}
        return body

    def ask_to_end(self) -> None:
        """SIGTERM, where it runs."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End it. Twice is fine."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._process = None

    @property
    def _log(self) -> Path:
        return self._profile.with_name("cart.log")


def make_broker(folder: Path) -> Mosquitto | EmbeddedBroker:
    """Mosquitto where there is one, else a broker within this process; not started yet."""
    if find_mosquitto():
        return Mosquitto(folder)
    from edgeai.testing.embedded_broker import EmbeddedBroker

    return EmbeddedBroker()


def name_of(broker: Mosquitto | EmbeddedBroker) -> str:
    """For the reader."""
    return "Mosquitto" if isinstance(broker, Mosquitto) else "amqtt (MQTT 3.1.1; no Mosquitto here)"


def protocol_of(broker: Mosquitto | EmbeddedBroker) -> Literal["auto", "3.1.1"]:
    """For a client's profile."""
    return "auto" if isinstance(broker, Mosquitto) else "3.1.1"


def profile_head(
    device: str,
    broker: Mosquitto | EmbeddedBroker,
    *,
    dicom: int,
    health: int,
    spool: str = "",
    heartbeat_s: float = HEARTBEAT_S,
) -> str:
    """The profile of a cart of site ``demo``, up to what it may load and its deployments.

    Args:
        device: its id.
        broker: where its results go.
        dicom: port that it listens on.
        health: port of its health endpoint.
        spool: more lines of ``[spool]``.
        heartbeat_s: how often its roles say that they live.
    """
    return _PROFILE.format(
        device=device,
        spool=spool,
        heartbeat_s=heartbeat_s,
        dicom=dicom,
        broker=broker.port,
        protocol=protocol_of(broker),
        health=health,
    )


class Stage:
    """Starts everything when entered and ends it when left.

    Args:
        folder: for all that it writes.
        bundle: the model.
        backend: its engine, or ``auto``.
        deployments: of that model.
        spool: lines of the profile's ``[spool]``.
        heartbeat_s: how often the cart's roles say that they live.

    Raises:
        EdgeaiError: ``demo.not-ready`` with the cart's own words when it does not come up.
    """

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        backend: str,
        *,
        deployments: Sequence[str] = ("guard",),
        spool: str = "",
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self.dicom_port, self._health_port = free_port(), free_port()
        self._folder, self._bundle, self._backend = folder, bundle, backend
        self._deployments, self._spool, self._heartbeat_s = deployments, spool, heartbeat_s
        self._results: queue.Queue[dict[str, Any]] = queue.Queue()
        self._cart = CartProcess(folder / "profile.toml", self._health_port)
        self._subscriber: Connection | None = None
        self._broker = make_broker(folder)

    @property
    def broker_name(self) -> str:
        """For the reader."""
        return name_of(self._broker)

    @property
    def broker_port(self) -> int:
        """For further clients."""
        return self._broker.port

    def send(self, paths: Sequence[Path], told: Callable[[Sent], None]) -> None:
        """C-STORE each file, and tell of each answer."""
        from edgeai.dicom.scu import send

        for sent in send(paths, host="127.0.0.1", port=self.dicom_port, called_ae_title="EDGEAI"):
            told(sent)

    def results(self, timeout_s: float) -> Iterator[dict[str, Any]]:
        """What the subscriber has received by now; waits at most ``timeout_s`` for the first."""
        try:
            yield self._results.get(timeout=timeout_s)
            while True:
                yield self._results.get_nowait()
        except queue.Empty:
            return

    def __enter__(self) -> Stage:
        self._broker.start()
        try:
            self._start_cart()
            self._subscribe()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._cart.stop()
        if self._subscriber is not None:
            self._subscriber.close()
        self._broker.stop()

    def _start_cart(self) -> None:
        profile = self._folder / "profile.toml"
        ports = {"dicom": self.dicom_port, "health": self._health_port}
        deployments = [
            _DEPLOYMENT.format(
                name=name,
                bundle=json.dumps(str(self._bundle)),
                backends=json.dumps([] if self._backend == "auto" else [self._backend]),
            )
            for name in self._deployments
        ]
        head = profile_head("demo", self._broker, spool=self._spool, heartbeat_s=self._heartbeat_s, **ports)
        profile.write_text("".join([head, _MAY, *deployments]), encoding="utf-8")
        self._cart.start()
        self._cart.wait_until_ready()

    def health(self) -> dict[str, Any]:
        """What the cart says of itself; empty while it says nothing."""
        return self._cart.health()

    def _subscribe(self) -> None:
        protocol = protocol_of(self._broker)
        broker = Broker(host="127.0.0.1", port=self._broker.port, client_id="demo-subscriber", protocol=protocol)
        self._subscriber = connect(broker)
        self._subscriber.subscribe("edgeai/1/demo/demo/result/#", lambda _, body: self._results.put(json.loads(body)))
