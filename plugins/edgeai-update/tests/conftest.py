"""A cart that takes updates, a repository that real keys signed, and a server that misbehaves as it is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.bundle.signing import signer_of
from edgeai.cli.main import run
from edgeai.config import DeviceConfig, load_config
from edgeai.slots import SlotFolder
from edgeai.testing.distributions import write_fakes
from edgeai.testing.repository import OpsTeam
from edgeai.testing.scripted_server import ScriptedServer
from edgeai_fleet import publishing
from edgeai_fleet.layout import Folder
from edgeai_fleet.staging import Staging, sign, staging
from edgeai_update import updating


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

    def outcome(self) -> tuple[str, str]:
        """The same in two words: what came of it, and the code."""
        answer = self.update()
        return answer["outcome"], answer["code"]

    def switch(self, *, proven: bool = True) -> None:
        """What was installed is rehearsed, switched to, and proven."""
        self.slots.rehearsed()
        self.slots.activate(1)
        if proven:
            self.slots.counted(completed=1)
            self.slots.prove()

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


@pytest.fixture(scope="session")
def offering_by_rollout(begun: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and release 2 by rollout only."""
    team = OpsTeam(shutil.copytree(begun, tmp_path_factory.mktemp("by-rollout") / "ops"))
    team.do("add", team.repo, team.bundle("tiny", 2), "--by-rollout", "--key", team.key("targets"))
    team.publish()
    return team.at


@pytest.fixture(scope="session")
def rolling_out(offering_by_rollout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and a rollout of it to all."""
    team = OpsTeam(shutil.copytree(offering_by_rollout, tmp_path_factory.mktemp("rolling-out") / "ops"))
    team.start()
    return team.at


@pytest.fixture
def known_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which artifacts the engines here open is asked of a process of its own each time; here it is known."""
    monkeypatch.setattr(updating, "needed", lambda *_: (("fake-fp32",), ()))


@pytest.fixture
def fleet(cart: Cart, ops: OpsTeam, server: ScriptedServer, offering_by_rollout: Path) -> OpsTeam:
    """A repository that offers release 2 of ``tiny`` by rollout only, to a cart that runs release 1."""
    return taking_the_place_of(ops, offering_by_rollout, cart, server)


@pytest.fixture
def started(cart: Cart, ops: OpsTeam, server: ScriptedServer, rolling_out: Path) -> OpsTeam:
    """The same, and a rollout of it to all."""
    return taking_the_place_of(ops, rolling_out, cart, server)


def taking_the_place_of(ops: OpsTeam, other: Path, cart: Cart, server: ScriptedServer) -> OpsTeam:
    shutil.rmtree(ops.at)
    shutil.copytree(other, ops.at)
    cart.serve(server.url)
    return ops


@pytest.fixture
def forge(ops: OpsTeam, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Publishes as somebody does who has the two online keys and asks nobody whether it is right."""

    def forged(change: Callable[[Staging], None], by: str = "rollouts") -> None:
        with staging(Folder(ops.repo)) as now:
            change(now)
            sign(now.staged.targets["rollouts"], signer_of(ops.key(by), lambda what: ""))
        with monkeypatch.context() as patch:
            patch.setattr(publishing, "hold", lambda change: None)
            ops.publish()

    return forged


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
