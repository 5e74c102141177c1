"""What the demo needs around the conductor: a broker, a web server, carts that run, images that keep coming."""

from __future__ import annotations

import itertools
import json
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from edgeai.api.errors import EdgeaiError
from edgeai.cli.demo_files import another, demo_files
from edgeai.cli.demo_stage import CartProcess, make_broker, name_of, profile_head, protocol_of
from edgeai.dicom.scu import send
from edgeai.mqtt import Broker, Connection, connect
from edgeai.testing.broker import free_port
from edgeai.testing.scripted_server import ScriptedServer

SITE: Final = "demo"
CARTS: Final = ("cart-1", "cart-2", "cart-3")
NEEDED: Final = 5
"""Completed results that prove a bundle on a cart of the demo."""
_PAUSE_S: Final = 0.25
_UPDATES: Final = """[plugins]
allow = ["{backend}", "transforms", "classify"]
[updates]
quiet_s = 0.2
switch_within_s = 5.0
probation_results = {needed}
probation_slowdown = 50.0
[repository]
url = "{url}"
every_s = 6.0
[[deployments]]
name = "guard"
bundle = "first.edgeai"
backends = ["{backend}"]
updates = true
"""


class FleetStage:
    """Starts everything when entered and ends it when left.

    Args:
        folder: for all that it writes.
        public: what is served of the repository.
        trust: the folder of keys that carts are given.
        bundle: what they run first.
        backend: the engine that they run it on.

    Raises:
        EdgeaiError: ``demo.not-ready``: a cart does not come up.
    """

    def __init__(self, folder: Path, public: Path, trust: Path, bundle: Path, backend: str) -> None:
        self._folder, self._public, self._trust, self._bundle, self._backend = folder, public, trust, bundle, backend
        self._ending = ExitStack()
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._dicom_ports: dict[str, int] = {}
        self.acknowledged: Counter[str] = Counter()
        """Images by cart."""
        self._results: dict[str, tuple[str, str]] = {}

    @property
    def broker_name(self) -> str:
        """For the reader."""
        return name_of(self._broker)

    def broker(self, client_id: str) -> Broker:
        """How a client reaches it."""
        return Broker(host="127.0.0.1", port=self._broker.port, client_id=client_id, protocol=protocol_of(self._broker))

    @property
    def ended(self) -> Counter[str]:
        """Images by cart that have a result."""
        with self._lock:
            return Counter(cart for cart, _ in self._results.values())

    @property
    def answered_by(self) -> dict[str, set[str]]:
        """Digest -> the carts that gave results by it."""
        with self._lock:
            by: dict[str, set[str]] = {}
            for cart, digest in self._results.values():
                by.setdefault(digest, set()).add(cart)
            return by

    def __enter__(self) -> FleetStage:
        try:
            self._broker = make_broker(self._folder)
            self._broker.start()
            self._ending.callback(self._broker.stop)
            server = self._ending.enter_context(ScriptedServer(self._public))
            subscriber: Connection = connect(self.broker("demo-subscriber"))
            self._ending.callback(subscriber.close)
            subscriber.subscribe(f"edgeai/1/{SITE}/+/result/#", self._on_result)
            carts = [self._start(name, server.url) for name in CARTS]
            for cart in carts:
                cart.wait_until_ready()
            feeder = threading.Thread(target=self._feed, args=(demo_files(),), daemon=True)
            self._ending.callback(self.stop_images, feeder)
            feeder.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ending.close()

    def stop_images(self, feeder: threading.Thread | None = None) -> None:
        """No image comes any more."""
        self._over.set()
        if feeder is not None:
            feeder.join(timeout=30.0)

    def _start(self, name: str, url: str) -> CartProcess:
        folder = self._folder / name
        shutil.copytree(self._trust, folder / "trust")
        shutil.copyfile(self._bundle, folder / "first.edgeai")
        dicom, health = free_port(), free_port()
        profile = folder / "profile.toml"
        head = profile_head(name, self._broker, dicom=dicom, health=health)
        updates = _UPDATES.format(needed=NEEDED, url=url, backend=self._backend)
        profile.write_text(head + updates, encoding="utf-8")
        self._dicom_ports[name] = dicom
        cart = CartProcess(profile, health)
        self._ending.callback(cart.stop)
        self._ending.callback(cart.ask_to_end)  # all of them at once, before any is waited for
        cart.start()
        return cart

    def _feed(self, paths: Sequence[Path]) -> None:
        """One image after another, to each cart in turn, each an instance of its own."""
        for path, name in zip(itertools.cycle(paths), itertools.cycle(CARTS), strict=False):
            if self._over.wait(_PAUSE_S):
                return
            fresh = another(path, self._folder / "image.dcm")
            try:
                for sent in send([fresh], host="127.0.0.1", port=self._dicom_ports[name], called_ae_title="EDGEAI"):
                    self.acknowledged[name] += sent.accepted
            except EdgeaiError:
                continue  # the cart takes none just now: a modality would come again

    def _on_result(self, topic: str, body: bytes) -> None:
        result: dict[str, Any] = json.loads(body)
        with self._lock:
            self._results[result["result_id"]] = topic.split("/")[3], result["model"]["digest"]
