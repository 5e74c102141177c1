"""A repository of models with real keys and real bundles, as an ops team makes it: by ``edgeai fleet``."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from pathlib import Path
from typing import Final

from edgeai.bundle.archive import pack
from edgeai.bundle.keys import make_keys
from edgeai.bundle.manifest import ArtifactDecl, TaskUse, TensorDecl, TransformStep
from edgeai.bundle.signing import sign_bundle, signer_of
from edgeai.cli.main import run
from edgeai.testing.bundles import small_manifest
from edgeai.testing.fakes import write_fake_artifact

ROLES: Final = ("root", "targets", "rollouts", "snapshot", "timestamp")
_IMAGE: Final = TensorDecl(name="image", dtype="float32", shape=(1, 8, 8, 1), layout="NHWC")
_SCORES: Final = TensorDecl(name="scores", dtype="float32", shape=(1, 2))


class OpsTeam:
    """Who runs a repository. Attributes of a repository's files are as ``edgeai fleet`` lays them out.

    Args:
        at: a folder for repository, keys and bundles; made if it is not there.
    """

    def __init__(self, at: Path) -> None:
        self.at = at
        self.repo = at / "repo"
        self.public = self.repo / "public"
        self.trust = at / "trust"

    def do(self, *words: str | Path) -> str:
        """``edgeai fleet`` with these words; what it printed.

        Raises:
            RuntimeError: it did not end well.
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            status = run(["fleet", *map(str, words)])
        if status:
            raise RuntimeError(printed.getvalue())
        return printed.getvalue()

    def key(self, name: str) -> str:
        """A private key; made when it is first asked for."""
        path = self.at / "keys" / f"{name}.key"
        if not path.exists():
            make_keys(name, path.parent)
        return str(path)

    def pub(self, name: str) -> str:
        """The public half."""
        return self.key(name).removesuffix(".key") + ".pub"

    def begin(self, *more: str) -> None:
        """A repository that is published and offers nothing; carts that trust ``trust/`` trust it."""
        self.trust.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self.pub("release"), self.trust / "release.pub")
        words = [word for role in ROLES for word in (f"--{role}", self.pub(role))]
        self.do("init", self.repo, "--trust", self.trust, *words, *more)
        self.sign("root", "targets", "rollouts")
        self.publish()
        shutil.copyfile(self.public / "metadata/1.root.json", self.trust / "root.json")

    def sign(self, *names: str) -> None:
        """With these keys, whatever they may sign."""
        self.do("sign", self.repo, *(word for name in names for word in ("--key", self.key(name))))

    def publish(self, *more: str) -> None:
        """What is staged and signed."""
        names = ("snapshot", "timestamp", *more)
        self.do("publish", self.repo, *(word for name in names for word in ("--key", self.key(name))))

    def offer(self, *bundles: Path, by: str = "targets") -> None:
        """Add, sign and publish."""
        self.do("add", self.repo, *bundles)
        self.sign(by)
        self.publish()

    def rollout(self, what: str, *words: str | Path, by: str = "rollouts") -> None:
        """``edgeai fleet rollout`` with these words, signed and published."""
        self.do("rollout", what, self.repo, *words, "--key", self.key(by))
        self.publish()

    def start(self, name: str = "tiny-2", *more: str | Path) -> None:
        """A rollout of the newest release of ``tiny``; to all at once, where nothing else is said."""
        self.rollout("start", name, "--model", "tiny", *(more or ("--phases", "100")))

    def bundle(
        self,
        name: str = "tiny",
        release: int = 1,
        *,
        signed: str | None = "release",
        min_edgeai: str = "0.1.0",
        weights: int = 100_000,
        other: bool = True,
    ) -> Path:
        """A signed bundle for ``fake-works``, and (``other``) with an artifact that no engine of any device opens.

        ``golden/shared.bin`` is the same in each release, ``golden/late.bin`` from the second on; the weights are not.
        """
        content = self.at / f"content-{name}-{release}"
        shutil.rmtree(content, ignore_errors=True)
        for folder in ("artifacts/fake-fp32", "artifacts/strange-fp32", "golden"):
            (content / folder).mkdir(parents=True)
        write_fake_artifact(content / "artifacts/fake-fp32/model.fake", [_IMAGE.spec()], [_SCORES.spec()])
        (content / "artifacts/fake-fp32/model.weights").write_bytes(noise(f"{name} {release}", weights))
        (content / "artifacts/strange-fp32/model.strange").write_bytes(noise(f"strange {name} {release}", 50_000))
        (content / "golden/shared.bin").write_bytes(noise(f"shared {name}", 60_000))
        if release > 1:
            (content / "golden/late.bin").write_bytes(noise(f"late {name}", 40_000))
        (content / "notes.txt").write_text(f"{name} {release} " * 400)
        artifacts = [
            ArtifactDecl(id="fake-fp32", format="fake", precision="fp32", path="artifacts/fake-fp32/model.fake"),
            ArtifactDecl(
                id="strange-fp32", format="strange", precision="fp32", path="artifacts/strange-fp32/model.strange"
            ),
        ]
        manifest = small_manifest(
            name=name,
            version=f"{release}.0.0",
            release=release,
            min_edgeai=min_edgeai,
            plugins=("fakes",),
            task=TaskUse(name="fake-classify", options={"labels": ["dull", "bright"]}),
            transforms=(TransformStep(transform="fake-subsample", options={"rows": 8, "columns": 8}),),
            inputs=(_IMAGE,),
            outputs=(_SCORES,),
            artifacts=tuple(artifacts if other else artifacts[:1]),
        )
        out = self.at / f"{name}-{release}.edgeai"
        out.unlink(missing_ok=True)
        pack(content, manifest, out)
        if signed is not None:
            sign_bundle(out, signer_of(self.key(signed), lambda what: ""))
        return out


def noise(seed: str, size: int) -> bytes:
    """Bytes that no packing makes smaller; the same for the same seed."""
    blocks = (hashlib.sha256(f"{seed} {number}".encode()).digest() for number in range(size // 32 + 1))
    return b"".join(blocks)[:size]
