"""A cart that takes updates, a repository that real keys signed, and a server that misbehaves as it is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.cli.main import run
from edgeai.config import DeviceConfig, load_config
from edgeai.slots import SlotFolder
from edgeai.testing.distributions import write_fakes
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer


class Cart:
    """A profile with one deployment that takes updates, on a fake engine."""

    def __init__(self, at: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.at = at
        self.profile = at / "cart.toml"
        self.capture = capture
        self.backends = ["fake-works"]
        self.more = ""
        self.repository = ""

    def write(self, trust: Path, bundle: Path) -> None:
        (self.at / "trust").mkdir(parents=True, exist_ok=True)
        for path in trust.iterdir():
            shutil.copyfile(path, self.at / "trust" / path.name)
        shutil.copyfile(bundle, self.at / "first.edgeai")
        self.rewrite()

    def rewrite(self) -> None:
        backends = ", ".join(f'"{each}"' for each in self.backends)
        self.profile.write_text(
            'schema = 1\n[device]\nid = "cart-1"\nsite = "ward"\ndata_dir = "var"\n'
            '[plugins]\nallow = ["fakes"]\n[mqtt]\nenabled = false\n[spool]\nreserve_bytes = 1000\n'
            f'[[deployments]]\nname = "guard"\nbundle = "first.edgeai"\nbackends = [{backends}]\nupdates = true\n'
            f"{self.more}\n[repository]\n{self.repository}"
        )

    def serve(self, url: str, *more: str) -> None:
        self.repository = "\n".join([f'url = "{url}"', *more])
        self.rewrite()

    @property
    def config(self) -> DeviceConfig:
        return load_config(self.profile)

    @property
    def slots(self) -> SlotFolder:
        return SlotFolder.of_device(self.config, self.config.deployments[0])

    @property
    def kept(self) -> Path:
        return self.at / "var/update"

    def call(self, *words: str | Path) -> tuple[int, str, str]:
        self.capture.readouterr()
        status = run(["update", str(self.profile), *map(str, words)])
        taken = self.capture.readouterr()
        return status, taken.out, taken.err

    def told(self, *words: str | Path) -> dict[str, Any]:
        status, out, _ = self.call(*words, "--json")
        body = json.loads(out)
        assert isinstance(body, dict)
        assert (status == 0) == (
            body["refused"] is None and all(d["outcome"] != "refused" for d in body["deployments"])
        )
        return body

    def update(self, *words: str | Path) -> dict[str, Any]:
        """What came of the one deployment, or why nothing is known."""
        body = self.told("--once", *words)
        return body["refused"] or dict(body["deployments"][0])


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository that offers release 1 of ``tiny``; made once."""
    at = tmp_path_factory.mktemp("begun") / "ops"
    team = OpsTeam(at)
    team.begin()
    team.offer(team.bundle("tiny", 1))
    return at


@pytest.fixture
def ops(begun: Path, tmp_path: Path) -> OpsTeam:
    shutil.copytree(begun, tmp_path / "ops")
    return OpsTeam(tmp_path / "ops")


@pytest.fixture
def cart(ops: OpsTeam, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cart:
    """A cart on which release 1 of ``tiny`` runs."""
    write_fakes(tmp_path / "plugins")
    path = os.pathsep.join(filter(None, (str(tmp_path / "plugins"), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    cart = Cart(tmp_path / "cart", capsys)
    cart.write(ops.trust, ops.at / "tiny-1.edgeai")
    return cart


@pytest.fixture
def server(ops: OpsTeam) -> Iterator[ScriptedServer]:
    with ScriptedServer(ops.public) as server:
        yield server
