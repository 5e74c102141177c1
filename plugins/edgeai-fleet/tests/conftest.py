"""A repository with real keys and real bundles, driven by its command line; a real server; python-tuf's own client."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeai.bundle.keys import make_keys
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.cli.main import run
from edgeai.testing.bundles import pack_fake_bundle
from edgeai_fleet.layout import Folder

ROLES = ("root", "targets", "rollouts", "snapshot", "timestamp")


@dataclass
class Ops:
    """An ops team with its folder, its keys and its terminal."""

    at: Path
    capture: pytest.CaptureFixture[str]
    kept: Path
    made: set[str] = field(default_factory=set)

    @property
    def repo(self) -> Path:
        return self.at / "repo"

    @property
    def folder(self) -> Folder:
        return Folder(self.repo)

    def key(self, name: str) -> str:
        """A private key; made when it is first asked for."""
        if name not in self.made:
            make_keys(name, self.at / "keys")
            self.made.add(name)
        return str(self.at / "keys" / f"{name}.key")

    def pub(self, name: str) -> str:
        return self.key(name).removesuffix(".key") + ".pub"

    def call(self, *words: str | Path) -> tuple[int, str, str]:
        self.capture.readouterr()
        status = run(["fleet", *map(str, words)])
        taken = self.capture.readouterr()
        return status, taken.out, taken.err

    def do(self, *words: str | Path) -> str:
        status, out, err = self.call(*words)
        assert status == 0, err
        return out

    def refused(self, *words: str | Path) -> str:
        """The code of what was refused."""
        status, _, err = self.call(*words)
        assert status != 0, "it was taken"
        assert err.startswith("error["), err
        return err.removeprefix("error[").partition("]")[0]

    def told(self, *words: str | Path) -> dict[str, Any]:
        body = json.loads(self.call(*words, "--json")[1])
        assert isinstance(body, dict)
        return body

    def codes(self, *more: str | Path) -> set[str]:
        """What a cart objects to."""
        return {each["code"] for each in self.told("check", self.repo, *more)["objections"]}

    def init(self, *more: str | Path, roots: tuple[str, ...] = ("root",)) -> None:
        self.trust_release()
        words: list[str | Path] = ["init", self.repo, "--trust", self.at / "trust", *more]
        for name in roots:
            words += ["--root", self.pub(name)]
        for role in ROLES[1:]:
            words += [f"--{role}", self.pub(role)]
        self.do(*words)

    def trust_release(self) -> None:
        (self.at / "trust").mkdir(exist_ok=True)
        (self.at / "trust/release.pub").write_bytes(Path(self.pub("release")).read_bytes())

    def sign(self, *names: str) -> None:
        self.do("sign", self.repo, *(word for name in names for word in ("--key", self.key(name))))

    def publish(self, *more: str) -> str:
        keys = [word for name in ("snapshot", "timestamp", *more) for word in ("--key", self.key(name))]
        return self.do("publish", self.repo, *keys)

    def as_after(self, name: str, make: Callable[[], None]) -> None:
        """What ``make`` makes; made once, and copied for later tests."""
        kept = self.kept / name
        if not kept.exists():
            make()
            shutil.copytree(self.at, kept)
        else:
            shutil.copytree(kept, self.at, dirs_exist_ok=True)
            self.made |= {path.stem for path in (self.at / "keys").glob("*.key")}

    def begin(self) -> None:
        """A repository, published, that offers nothing."""

        def make() -> None:
            self.init()
            self.sign("root", "targets", "rollouts")
            self.publish()

        self.as_after("begun", make)

    def begin_with_one(self) -> None:
        """The same, and it offers release 1 of ``tiny``."""

        def make() -> None:
            self.begin()
            self.offer(self.bundle("tiny", 1))

        self.as_after("with one", make)

    def begin_rollout(self) -> None:
        """The same, and release 2 comes by rollout only: ``tiny-2``, in two phases of halves without soak."""

        def make() -> None:
            self.begin_with_one()
            self.do("add", self.repo, self.bundle("tiny", 2), "--by-rollout")
            words = ("--model", "tiny", "--phases", "50,100", "--soak", "0", "--key", self.key("rollouts"))
            self.sign("targets")
            self.do("rollout", "start", self.repo, "tiny-2", *words)
            self.publish()

        self.as_after("conducted", make)

    def bundle(self, name: str = "tiny", release: int = 1, *, signed: str | None = "release", text: str = "") -> Path:
        content = self.at / f"content-{name}-{release}-{text}"
        content.mkdir(exist_ok=True)
        (content / "notes.txt").write_text(f"{name} {release} {text} " * 400)
        (content / "shared.bin").write_bytes(b"the same in every release " * 5000)
        out = self.at / f"{name}-{release}{text}.edgeai"
        pack_fake_bundle(content, out, name=name, release=release)
        if signed is not None:
            sign_bundle(out, signer_of(self.key(signed), lambda what: ""))
        return out

    def offer(self, *bundles: Path, by: str = "targets") -> None:
        self.do("add", self.repo, *bundles)
        self.sign(by)
        self.publish()


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def ops(tmp_path: Path, capsys: pytest.CaptureFixture[str], kept: Path) -> Ops:
    (tmp_path / "ops").mkdir()
    return Ops(tmp_path / "ops", capsys, kept)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[Path], str]]:
    """Serves a folder by HTTP, as a static web server does."""
    servers: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(folder: Path) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()
