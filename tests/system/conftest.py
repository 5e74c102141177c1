"""A whole cart: ``edgeai run`` on free ports, a real Mosquitto, a subscriber that misses nothing, and ``storescu``.

Whatever a test does, every message that its subscriber received is held to ``docs/asyncapi.yaml`` and the schemas
when it ends, and no process of the cart outlives it.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from jsonschema import Draft202012Validator

from edgeai.spool import read_note
from edgeai.testing.broker import Mosquitto, free_port
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.distributions import none_steps_back, write_fake_backend, write_fakes
from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.mqtt_peers import BreakingWire, Subscriber
from edgeai.testing.phantoms import Phantom, write_instance
from edgeai.testing.waiting import PATIENCE_S, until

ROOT = Path(__file__).resolve().parents[2]
DULL, BRIGHT = 60, 250


class Contract:
    """``docs/asyncapi.yaml`` and the schemas that it names."""

    def __init__(self) -> None:
        document = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
        self.channels: dict[str, tuple[re.Pattern[str], Draft202012Validator]] = {}
        for name, channel in document["channels"].items():
            address = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/+#]+)", channel["address"])
            [message] = channel["messages"].values()
            payload = document["components"]["messages"][message["$ref"].rpartition("/")[2]]["payload"]
            schema = json.loads((ROOT / "docs" / payload["schema"]["$ref"]).resolve().read_text())
            self.channels[name] = (re.compile(address), Draft202012Validator(schema))
        self.of_a_device = {name for name, (address, _) in self.channels.items() if "device_id" in address.groupindex}
        """Those that a cart speaks on; a conductor has its own."""

    def check(self, topic: str, body: dict[str, Any]) -> str:
        """The one channel that the topic belongs to; the body obeys its schema and says the same as the topic."""
        [(name, match)] = [(name, m) for name, (address, _) in self.channels.items() if (m := address.fullmatch(topic))]
        self.channels[name][1].validate(body)
        for parameter, value in match.groupdict().items():
            assert body[parameter] == value, (topic, body)
        if name == "result":
            # Nothing looks like a negative unless a run completed.
            assert bool(body["findings"]) == (body["outcome"] == "completed"), body
            assert (body["reason"] is None) == (body["outcome"] == "completed"), body
        return name


class Cart:
    """One device and its surroundings. ``profile`` is written as it stands when the cart starts."""

    DULL, BRIGHT = DULL, BRIGHT

    def __init__(self, folder: Path, storescu: str) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.plugins = folder / "plugins"
        self.path = folder / "profile.toml"
        self.log = folder / "cart.log"
        self.dicom_port, self.health_port = free_port(), free_port()
        (folder / "broker").mkdir()
        self.broker = Mosquitto(folder / "broker")
        self.wire: BreakingWire | None = None
        self.subscriber: Any = None
        self.process: subprocess.Popen[bytes] | None = None
        self.sent: list[Phantom] = []
        self._storescu = storescu
        self._keeper: threading.Thread | None = None
        self._keep = False
        self._guard = threading.Lock()
        write_fakes(self.plugins)
        none_steps_back(self.plugins)
        self.profile: dict[str, Any] = {
            "schema": 1,
            "device": {"id": "cart", "site": "lab", "data_dir": str(self.data_dir)},
            "plugins": {"allow": ["fakes"]},
            "trust": {"unsigned": "accept"},
            "spool": {"reserve_bytes": 1_000_000},
            "ingest": {"scp": {"port": self.dicom_port}},
            "mqtt": {"port": self.broker.port},
            "health": {"port": self.health_port},
            "supervise": {"heartbeat_s": 0.2, "restart_min_s": 0.05, "restart_max_s": 1.0},
            "deployments": [],
        }

    def deploy(
        self,
        name: str = "guard",
        *,
        backends: Sequence[str] = ("fake-works",),
        misbehave: Misbehaviour | None = None,
        **more: Any,
    ) -> None:
        """Add a deployment of a model on fake engines."""
        bundle = self.folder / f"{name}.edgeai"
        pack_fake_bundle(self.folder / f"content-{name}", bundle, name=f"{name}-model", misbehave=misbehave)
        self.profile["deployments"].append({"name": name, "bundle": str(bundle), "backends": list(backends), **more})

    def add_backend(self, name: str, how: str | None = None, *, at: str = "run", prelude: str = "") -> str:
        """Install and allow a plugin with one backend, both called ``name``."""
        write_fake_backend(self.plugins, name=name, how=how, at=at, prelude=prelude)
        self.profile["plugins"]["allow"].append(name)
        return name

    def listen(self) -> Any:
        """Start the broker and the subscriber."""
        self.broker.start()
        self.subscriber = Subscriber(self.broker.port)
        return self.subscriber

    def end_broker(self, *, kill: bool = False) -> None:
        """End the broker, until the subscriber has noticed: nobody takes it for one that listens to the next."""
        self.broker.kill() if kill else self.broker.stop()
        until(lambda: not self.subscriber.is_listening.is_set(), what="the subscriber's noticing")

    def start_broker(self) -> None:
        """Start it again, until the subscriber listens: it keeps nothing for those who have not subscribed."""
        self.broker.start()
        until(self.subscriber.is_listening.is_set, what="the subscriber's coming back")

    def through_a_wire(self) -> BreakingWire:
        """Put a wire that breaks between cart and broker."""
        self.wire = BreakingWire(self.broker.port)
        self.profile["mqtt"]["port"] = self.wire.port
        return self.wire

    def write(self) -> Path:
        """Write the profile."""
        self.path.write_text(_toml(self.profile))
        return self.path

    @property
    def environment(self) -> dict[str, str]:
        """For processes that shall see the fake plugins."""
        return {**os.environ, "PYTHONPATH": str(self.plugins), "OMP_NUM_THREADS": "1"}

    def start(self, *, ready: bool = True) -> None:
        """``edgeai run``; wait until it serves."""
        if not self.path.exists():
            self.write()
        with self._guard, self.log.open("ab") as log:
            command = [sys.executable, "-m", "edgeai", "run", str(self.path)]
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        if ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        """Until ``/health`` says that it serves; a broker need not be there."""
        until(lambda: self.get("/health/serving")[0] == 200, what="the cart's coming up")

    def keep_running(self) -> None:
        """Start the supervisor again whenever it dies, as systemd does, until ``stop``."""
        self._keep = True

        def keep() -> None:
            while self._keep:
                if self.process is not None and self.process.poll() is not None:
                    time.sleep(0.1)
                    if self._keep:
                        self.start(ready=False)
                time.sleep(0.02)

        self._keeper = threading.Thread(target=keep, daemon=True)
        self._keeper.start()

    def stop(self, timeout_s: float = 120.0) -> int:
        """SIGTERM to the supervisor; its exit status."""
        self._keep = False
        if self._keeper is not None:
            self._keeper.join()
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def processes(self) -> dict[str, int]:
        """Role -> pid of what runs this moment, started or still starting."""
        supervisor = self.process.pid if self.process and self.process.poll() is None else 0
        running = {"supervise": supervisor} if supervisor else {}
        with suppress(OSError):
            for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
                words = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
                if "edgeai.roles" in words:
                    role, *rest = words[words.index("edgeai.roles") + 1 :]
                    name = rest[rest.index("--deployment") + 1] if "--deployment" in rest else ""
                    if role != "supervise":
                        running[f"{role}:{name}" if name else role] = int(child)
        return running

    def kill(self, role: str) -> bool:
        """``kill -9``, until it is dead: no answer of it is heard afterwards; whether there was such a process."""
        pid = self.processes().get(role, 0)
        if pid:
            with suppress(ProcessLookupError):
                process = os.pidfd_open(pid)
                try:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])
                finally:
                    os.close(process)
                return True
        return False

    def leftovers(self) -> list[int]:
        """Processes that have this cart's profile on their command line."""
        left = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and int(folder.name) != os.getpid():
                with suppress(OSError):
                    words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
                    if str(self.path) in words and "-m" in words:
                        left.append(int(folder.name))
        return left

    def command(self, *arguments: str, timeout_s: float = 600.0) -> subprocess.CompletedProcess[str]:
        """Run ``edgeai ARGUMENTS``."""
        return subprocess.run(
            [sys.executable, "-m", "edgeai", *arguments],
            env={**self.environment, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP GET; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health_port}{path}", timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of ``/health``."""
        status, body = self.get("/health")
        return status, json.loads(body) if body else {}

    def problems(self) -> dict[str, dict[str, Any]]:
        """Code -> problem, as ``/health`` names them now."""
        return {item["code"]: item for item in self.health()[1].get("problems", ())}

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What the roles logged of one kind."""
        text = self.log.read_text(errors="replace")
        whole = text[: text.rfind("\n") + 1]  # the last line may still be written
        lines = [line for line in whole.splitlines() if line.startswith('{"at"')]
        return [item for item in map(json.loads, lines) if item["event"] == event]

    def lines(self, path: Path) -> list[dict[str, Any]]:
        """What a sink of JSON lines has written there by now."""
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def note(self, role: str) -> Any:
        """What the role last said of itself, or None."""
        return read_note(self.data_dir / "spool" / "roles" / f"{role}.note")

    def phantom(self, level: int = DULL, side: int = 32, pixels: Any = None, **facts: Any) -> Phantom:
        """A new instance, not yet sent: of one level, which only fake models are asked about, or of ``pixels``."""
        path = self.folder / "images" / f"{len(self.sent):05d}.dcm"
        pixels = np.full((side, side), level, np.uint8) if pixels is None else pixels
        phantom = write_instance(path, pixels, **facts)
        self.sent.append(phantom)
        return phantom

    def store(self, *phantoms: Phantom, timeout_s: float = 600.0, options: Sequence[str] = ()) -> dict[str, str]:
        """One ``storescu`` run: SOP Instance UID -> the answer as DCMTK words it, for each that was answered."""
        command = [self._storescu, "-v", "-R", "-nh", "-to", "60", "-ta", "120", "-td", "240", "-ts", "240", *options]
        command += ["127.0.0.1", str(self.dicom_port), *(str(phantom.path) for phantom in phantoms)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        by_path = {str(phantom.path): phantom.instance.sop_instance_uid for phantom in phantoms}
        answers: dict[str, str] = {}
        sending = ""
        for line in (done.stdout + done.stderr).splitlines():
            if "Sending file: " in line:
                sending = by_path[line.partition("Sending file: ")[2].strip()]
            elif match := re.search(r"Received Store Response \((.*)\)", line):
                answers[sending] = match[1]
        return answers

    def send(self, level: int = DULL, count: int = 1, **facts: Any) -> list[Phantom]:
        """Send so many new instances, each acknowledged."""
        made = [self.phantom(level, **facts) for _ in range(count)]
        answers = self.store(*made)
        assert answers == {phantom.instance.sop_instance_uid: "Success" for phantom in made}
        return made

    def result_of(self, phantom: Phantom, deployment: str = "guard", timeout_s: float = PATIENCE_S) -> dict[str, Any]:
        """The instance's result, once the subscriber has it."""

        def find() -> dict[str, Any] | None:
            mine = [
                body
                for body in self.subscriber.results(deployment).values()
                if body["instance"]["sop_instance_uid"] == phantom.instance.sop_instance_uid
            ]
            assert len(mine) <= 1, mine
            return mine[0] if mine else None

        result: dict[str, Any] = until(find, timeout_s, f"the result of {phantom.path.name}")
        return result

    def close(self) -> None:
        """End everything, whatever state it is in."""
        self._keep = False
        if self._keeper is not None:
            self._keeper.join()
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.leftovers():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.subscriber is not None:
            self.subscriber.close()
        if self.wire is not None:
            self.wire.close()
        self.broker.stop()


def _toml(table: dict[str, Any], prefix: str = "") -> str:
    plain = {k: v for k, v in table.items() if not isinstance(v, dict) and not _is_tables(v)}
    lines = [f"{key} = {json.dumps(value)}" for key, value in plain.items()]
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            lines.append(f"[{name}]\n{_toml(value, name + '.')}")
        elif _is_tables(value):
            lines += [f"[[{name}]]\n{_toml(item, name + '.')}" for item in value]
    return "\n".join(lines) + "\n"


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) for item in value)


@pytest.fixture(scope="session")
def contract() -> Contract:
    """The published contract of all messages."""
    return Contract()


@pytest.fixture
def cart(tmp_path: Path, storescu: str, mosquitto: str, contract: Contract) -> Iterator[Cart]:
    """A cart without deployments that does not run yet."""
    made = Cart(tmp_path, storescu)
    yield made
    made.close()
    if made.subscriber is not None:
        for item in made.subscriber.received:
            contract.check(item.topic, item.body)


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of the cart's log under a test that failed."""
    outcome: Any = yield
    report = outcome.get_result()
    cart = getattr(item, "funcargs", {}).get("cart")
    if report.failed and isinstance(cart, Cart) and cart.log.exists():
        report.sections.append(("cart log, its end", cart.log.read_text(errors="replace")[-6000:]))
