"""A cart for the tests of roles: real processes under a real supervisor, with fake engines that misbehave on demand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeai.bundle.archive import Archive, pack
from edgeai.bundle.floors import FLOORS_NAME
from edgeai.bundle.manifest import Eligibility, GoldenCase, TransformStep
from edgeai.bundle.reader import read_manifest
from edgeai.bundle.releases import Numbered
from edgeai.bundle.uses import GuardUse
from edgeai.config import load_config
from edgeai.dicom.content import ContentDigest
from edgeai.slots import SlotFolder, Slots
from edgeai.spool import Spool
from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.distributions import none_steps_back, write_fake_backend, write_fakes
from edgeai.testing.fakes import Misbehaviour, answer_of
from edgeai.testing.phantoms import Phantom, write_instance
from edgeai.testing.waiting import until

DULL, BRIGHT = 60, 250
"""Pixel levels below and above what a poisonous artifact reacts to."""


class Cart:
    """A profile with one deployment ``guard`` on fake engines, and JSON lines as its sink."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.plugins = folder / "plugins"
        self.profile = folder / "profile.toml"
        self.log = folder / "log.jsonl"
        self.allow = ["fakes"]
        self.backends: Sequence[str] = ("fake-works",)
        self.process: subprocess.Popen[bytes] | None = None
        self._spool: Spool | None = None
        self._messages: list[dict[str, Any]] = []
        self._sink = self._read = 0
        write_fakes(self.plugins)
        none_steps_back(self.plugins)

    # --- setting up -------------------------------------------------------------------------------

    def add_backend(
        self, name: str, how: str | None = None, at: str = "run", version: str = "1.0", prelude: str = ""
    ) -> None:
        """A plugin with one backend, both called ``name``."""
        write_fake_backend(self.plugins, name=name, how=how, at=at, version=version, prelude=prelude)
        self.allow.append(name)

    def configure(self, misbehave: Misbehaviour | None = None, more: str = "", deployment: str = "") -> None:
        """Write bundle and profile."""
        pack_fake_bundle(self.folder / "content", self.folder / "guard.edgeai", name="guard-model", misbehave=misbehave)
        self.profile.write_text(
            'schema = 1\n[device]\nid = "cart"\nsite = "lab"\ndata_dir = "data"\n'
            f"[plugins]\nallow = {json.dumps(self.allow)}\n"
            + ("" if "[trust]" in more else '[trust]\nunsigned = "accept"\n')
            + "[mqtt]\nenabled = false\n[health]\nenabled = false\n"
            '[jsonl]\npath = "results.jsonl"\n'
            f'[[deployments]]\nname = "guard"\nbundle = "guard.edgeai"\nbackends = {json.dumps(list(self.backends))}\n'
            f"{deployment}\n"
            + (more if "[ingest" in more else f"[ingest.scp]\nenabled = false\n{more}")
            + ("" if "[spool]" in more else "\n[spool]\nreserve_bytes = 1000000\n")
            + ("" if "[supervise]" in more else "\n[supervise]\nrestart_min_s = 0.05\nrestart_max_s = 0.5\n")
        )

    # --- running ----------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """For processes that shall see the fake plugins."""
        return {**os.environ, "PYTHONPATH": str(self.plugins), "OMP_NUM_THREADS": "1"}

    def start(self, role: str = "supervise", *more: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start the supervisor (or one role alone)."""
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "edgeai.roles", role, "--config", str(self.profile), *more],
                env={**self.environment, **environment},
                stderr=log,
            )
        if role == "supervise":
            self.process = process
        return process

    def stop(self) -> int:
        """SIGTERM to the supervisor; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(120)

    @property
    def spool(self) -> Spool:
        """The spool, as another process sees it."""
        if self._spool is None:
            self._spool = Spool.of(load_config(self.profile))
        return self._spool

    def forget_spool(self) -> None:
        """Let go of the database, for tests that put another in its place."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def pid(self, role: str) -> int:
        """The living process of a role, once there is one that has spoken."""

        def living() -> int:
            note = self.spool.notes().get(role)
            return note.pid if note and Path(f"/proc/{note.pid}").exists() else 0

        return int(until(living))

    def ready(self) -> None:
        """Wait until the model is open."""
        until(lambda: (note := self.spool.notes().get("infer:guard")) and note.state == "ready")

    def command(self, *words: str) -> str:
        """What ``edgeai`` prints."""
        call = [sys.executable, "-m", "edgeai", *words]
        environment = {**self.environment, "COLUMNS": "400", "NO_COLOR": "1"}
        return subprocess.run(call, env=environment, capture_output=True, text=True, timeout=300, check=False).stdout

    # --- working ----------------------------------------------------------------------------------

    def admit(self, level: int = DULL, deployments: Sequence[str] = ("guard",), **facts: Any) -> Phantom:
        """Put one instance into the spool, as ingest does: not while a supervisor that starts puts the spool right."""
        until(lambda: self.process is None or self.process.poll() is not None or self._is_begun(self.process.pid))
        pixels = facts.pop("pixels", np.full((16, 16), level, np.uint8))
        path = self.spool.tmp / f"{time.monotonic_ns()}.dcm"
        phantom = write_instance(path, pixels, **facts)
        digest = ContentDigest.of_file(path)
        spool, instance = self.spool, phantom.instance
        assert spool.admit(instance, path, content=digest.result, deployments=deployments, source="test").is_new
        return phantom

    def _is_begun(self, pid: int) -> bool:
        note = self.spool.notes()["supervise"]
        return note.pid == pid and note.state != "starting"

    def messages(self) -> list[dict[str, Any]]:
        """What the sink has, results and events."""
        path = self.folder / "results.jsonl"
        if not path.exists():
            return []
        with path.open("rb") as file:
            which = os.fstat(file.fileno()).st_ino
            if which != self._sink:
                self._sink, self._read, self._messages = which, 0, []
            file.seek(self._read)  # tests ask again and again, and it only grows
            more = file.read()
        whole = more[: more.rfind(b"\n") + 1]
        self._read += len(whole)
        self._messages += [_body(json.loads(line)) for line in whole.splitlines()]
        return list(self._messages)

    def results(self) -> list[dict[str, Any]]:
        """What the sink has of results."""
        return [item for item in self.messages() if "outcome" in item]

    def events(self, kind: str) -> list[dict[str, Any]]:
        """What the sink has of events of one kind."""
        return [item for item in self.messages() if item.get("kind") == kind]

    def result_of(self, phantom: Phantom, timeout_s: float = 240.0) -> dict[str, Any]:
        """The result of one instance, once it is there."""
        uid = phantom.instance.sop_instance_uid

        def found() -> dict[str, Any] | None:
            mine = [item for item in self.results() if item["instance"]["sop_instance_uid"] == uid]
            return mine[0] if mine else None

        result: dict[str, Any] = until(found, timeout_s)
        return result

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What the roles logged of one kind."""
        text = self.log.read_text()
        whole = text[: text.rfind("\n") + 1]  # the last line may still be written
        lines = [line for line in whole.splitlines() if line.startswith("{")]
        return [item for item in map(json.loads, lines) if item["event"] == event]


def _body(line: dict[str, Any]) -> dict[str, Any]:
    return line.get("body", line) if isinstance(line.get("body", line), dict) else json.loads(line["body"])


@pytest.fixture
def cart(tmp_path: Path) -> Iterator[Cart]:
    """A cart that is not yet configured; whatever of it runs is killed afterwards: roles die with their supervisor."""
    made = Cart(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.kill()
        made.process.wait()
    if made._spool is not None:
        made._spool.close()


@pytest.fixture(name="until")
def _until() -> Callable[..., Any]:
    return until


QUICK = "[supervise]\nheartbeat_s = 0.1\nrestart_min_s = 0.05\nrestart_max_s = 0.5\n"
CASE = GoldenCase(id="grey", inputs={"image": "golden/in.npy"}, outputs={"scores": "golden/out.npy"})


@dataclass
class Updated:
    """A cart with slots, and bundles that come into them as the update role brings them."""

    cart: Cart
    until: Callable[..., Any]

    def configure(
        self,
        rules: str = "quiet_s = 0.1\nprobation_results = 3\n",
        deployment: str = "",
        more: str = "",
        mqtt: str = "",
        first: dict[str, Any] | None = None,
    ) -> str:
        """Profile and first bundle, release 1; its digest.

        Args:
            rules: of ``[updates]``.
            deployment, more: further lines, of the deployment and at the end.
            mqtt: in the place of ``[mqtt]``.
            first: of the first bundle, as ``make`` takes it.
        """
        rules = f"[updates]\n{rules}\n"
        self.cart.configure(deployment=f"updates = true\n{deployment}", more=f"{more}\n{rules}\n{QUICK}")
        if mqtt:
            profile = self.cart.profile
            profile.write_text(profile.read_text().replace("[mqtt]\nenabled = false\n", mqtt))
        return self.make(1, self.cart.folder / "guard.edgeai", **(first or {}))

    def make(
        self,
        release: int,
        out: Path,
        *,
        misbehave: Misbehaviour | None = None,
        golden: float | None = None,
        modality: tuple[str, ...] = (),
        first: tuple[TransformStep, ...] = (),
        guard: GuardUse | None = None,
    ) -> str:
        """Pack a bundle; ``golden``: how far its golden case is off; ``first``: steps before its own; its digest."""
        folder = self.cart.folder / f"content-{out.stem}"
        (folder / "golden").mkdir(parents=True, exist_ok=True)
        pack_fake_bundle(folder, out, name="guard-model", release=release, misbehave=misbehave)
        manifest = read_manifest(out)[0]
        image = np.full((1, 8, 8, 1), 0.25, np.float32)
        scores = answer_of(folder / "model.fake", 0.25, manifest.output_specs()[0]) + np.float32(golden or 0.0)
        np.save(folder / "golden/in.npy", image)
        np.save(folder / "golden/out.npy", scores)
        changed = msgspec.structs.replace(
            manifest,
            schema=1 if guard is None else 2,
            guard=guard,
            files={},
            golden=(CASE,),
            eligibility=Eligibility(modality=modality),
            transforms=(*first, *manifest.transforms),
        )
        return pack(folder, changed, out)

    @property
    def folder(self) -> SlotFolder:
        config = load_config(self.cart.profile)
        return SlotFolder.of_device(config, config.deployments[0])

    @property
    def state(self) -> Slots:
        return self.folder.read()

    def bring(self, release: int, **facts: Any) -> str:
        """A new bundle into the spare slot; its digest."""
        out = self.cart.folder / f"new-{release}.edgeai"
        digest = self.make(release, out, **facts)
        manifest = read_manifest(out)[0]

        def fill(folder: Path) -> None:
            folder.mkdir()
            with Archive(out) as archive:
                archive.unpack(folder)

        self.folder.install(Numbered.of(manifest, digest), fill)
        return digest

    def start(self) -> None:
        self.cart.start()
        self.cart.ready()

    def running(self) -> str:
        slot = self.state.running
        return slot.digest if slot else ""

    def runs(self, digest: str) -> None:
        """Wait until infer has this open."""
        note = lambda: self.cart.spool.notes()["infer:guard"]  # noqa: E731
        self.until(lambda: note().state == "ready" and note().detail.get("digest") == digest)

    def digest_of(self, phantom: Any) -> str:
        return str(self.cart.result_of(phantom)["model"]["digest"])

    def event(self, kind: str) -> dict[str, Any]:
        """The first of a kind, once it is there."""
        found: dict[str, Any] = self.until(lambda: self.cart.events(kind))[0]
        return found

    def floors(self) -> dict[str, Any]:
        path: Path = self.cart.folder / "data" / FLOORS_NAME
        return json.loads(path.read_text())["floors"] if path.exists() else {}  # type: ignore[no-any-return]

    def codes(self, digest: str) -> str:
        return self.state.bad[digest].code


@pytest.fixture
def updated(cart: Cart) -> Updated:
    return Updated(cart, until)
