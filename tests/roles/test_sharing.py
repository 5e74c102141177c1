"""Several deployments of one image as real processes: what they do alike is done once, and each ends as if alone."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import JPEG2000Lossless, RLELossless

from edgeai.testing.bundles import pack_fake_bundle
from edgeai.testing.distributions import write_fake_distribution

NAMES = ("first", "second", "third")

PLUGIN = """
import os, time
from pathlib import Path
from edgeai.api import TransformSpec, hookimpl
from edgeai.testing import fake_parts

EDGEAI_API = (1, 0)
FOLDER = Path({folder!r})
_inner = fake_parts.transform("watched-subsample")

class Watched:
    def __init__(self, options):
        self._inner = _inner.build(options)

    def apply(self, frame):
        if frame.rows > 64:  # and not the blank plane
            with (FOLDER / "made").open("a") as file:
                file.write(f"{{os.getpid()}}\\n")
            if (FOLDER / "dies-always").exists():
                os.abort()
            try:
                (FOLDER / "dies-once").unlink()
            except FileNotFoundError:
                pass
            else:
                os.abort()
            while (FOLDER / "waits").exists():
                time.sleep(0.01)
        return self._inner.apply(frame)

@hookimpl
def edgeai_transforms():
    build = lambda options: Watched(options)
    return (TransformSpec(name="watched-subsample", build=build, options=_inner.options, help="", source=""),)
"""

PROFILE = """
schema = 1
[device]
id = "cart"
site = "lab"
data_dir = "data"
[plugins]
allow = ["fakes", "watched"]
[trust]
unsigned = "accept"
[mqtt]
enabled = false
[health]
enabled = false
[ingest.scp]
enabled = false
[jsonl]
path = "results.jsonl"
[supervise]
restart_min_s = 0.05
restart_max_s = 0.5
job_attempts = {attempts}
[spool]
reserve_bytes = 1000000
keep_files = "always"
max_shared_bytes = {max_bytes}
"""

DEPLOYMENT = """
[[deployments]]
name = "{name}"
bundle = "guard.edgeai"
backends = ["fake-works"]
deadline_s = 600.0
"""


@pytest.fixture
def shared(cart: Any, until: Any) -> Callable[..., Any]:
    """``shared(max_bytes)``: a cart of three deployments, started and ready."""

    def start(max_bytes: int = 256_000_000, attempts: int = 3, names: tuple[str, ...] = NAMES) -> Any:
        shutil.rmtree(cart.plugins / "watched-1.0.dist-info", ignore_errors=True)  # of a cart before this one
        write_fake_distribution(cart.plugins, name="watched", module_source=PLUGIN.format(folder=str(cart.folder)))
        write_bundle(cart.folder)
        profile = PROFILE.format(max_bytes=max_bytes, attempts=attempts)
        cart.profile.write_text(profile + "".join(DEPLOYMENT.format(name=name) for name in names))
        begin(cart, until, names)
        return cart

    return start


def begin(cart: Any, until: Any, names: tuple[str, ...] = NAMES) -> None:
    cart.start()
    for name in names:
        until(lambda name=name: (note := cart.spool.notes().get(f"infer:{name}")) and note.state == "ready")


def write_bundle(folder: Path) -> None:
    pack_fake_bundle(
        folder / "content",
        folder / "guard.edgeai",
        name="watched",
        release=1,
        plugins=("fakes", "watched"),
        transform="watched-subsample",
    )


def admit(cart: Any, kind: str = "jpeg2000", number: int = 1) -> None:
    values = np.random.default_rng(number).integers(0, 4096, (4, 600, 500) if kind == "cine" else (600, 500))
    uid = f"2.25.{number}"
    facts: dict[str, Any] = {"series_instance_uid": "2.25.100", "study_instance_uid": "2.25.200"}
    facts |= {"jpeg2000": {"transfer_syntax": JPEG2000Lossless}, "cine": {"transfer_syntax": RLELossless}}.get(kind, {})
    cart.admit(deployments=NAMES, pixels=values.astype(np.uint16), bits_stored=12, sop_instance_uid=uid, **facts)


def is_gone(pid: int) -> bool:
    """No process, or one that is dead and that nobody has asked for yet, as in a container without an init."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def made(cart: Any) -> list[int]:
    """Who has prepared a frame, in order."""
    path = cart.folder / "made"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def ends(cart: Any) -> dict[tuple[str, str], dict[str, Any]]:
    varying = ("timings_ms", "created_at", "instance", "result_id")  # what was written anew has another content
    return {
        (result["deployment"], result["instance"]["sop_instance_uid"]): {
            key: value for key, value in result.items() if key not in varying
        }
        for result in cart.results()
    }


def planes(cart: Any) -> list[str]:
    return sorted(path.name for path in cart.spool.planes.rglob("*") if path.suffix != ".recipe")


KINDS = ("mapped", "jpeg2000", "cine")


def run_all(cart: Any, until: Any) -> dict[tuple[str, str], dict[str, Any]]:
    for number, kind in enumerate(KINDS, 1):
        admit(cart, kind, number)
    until(lambda: len(cart.results()) == len(NAMES) * len(KINDS))
    return ends(cart)


def test_three_end_as_each_alone_and_every_frame_is_prepared_once(shared: Any, until: Any) -> None:
    cart = shared()
    together = run_all(cart, until)
    assert {end["outcome"] for end in together.values()} == {"completed"}
    assert len(made(cart)) == 1 + 1 + 4
    until(lambda: planes(cart) == [])
    assert len(list(cart.spool.instances.iterdir())) == 3, "these stay, as configured"
    assert cart.stop() == 0
    cart.forget_spool()
    for name in ("data", "results.jsonl", "made", "content"):
        (cart.folder / name).rename(cart.folder / f"former-{name}")
    alone = run_all(shared(max_bytes=0), until)
    assert len(made(cart)) == 3 * (1 + 1 + 4)
    assert not cart.spool.planes.exists()
    assert together == alone


def test_a_single_deployment_shares_nothing(shared: Any, until: Any) -> None:
    cart = shared(names=("first",))
    cart.admit(deployments=("first",), pixels=np.zeros((600, 500), np.uint16))
    until(lambda: len(cart.results()) == 1)
    assert not cart.spool.planes.exists()


def test_killed_in_its_turn_it_holds_up_nobody_and_leaves_nothing(shared: Any, until: Any) -> None:
    cart = shared()
    (cart.folder / "waits").touch()
    admit(cart)
    [maker] = until(lambda: made(cart))
    assert len(planes(cart)) == 2, "the folder, and a plane at work"
    os.kill(maker, signal.SIGKILL)
    until(lambda: len(made(cart)) == 2)
    (cart.folder / "waits").unlink()
    until(lambda: len(cart.results()) == 3)
    assert {end["outcome"] for end in ends(cart).values()} == {"completed"}
    assert len(made(cart)) == 3, "the one that died, one for all, and the one that died again by itself"
    assert maker not in made(cart)[1:]
    until(lambda: planes(cart) == [])
    [died] = cart.logged("role.died")
    assert died["cause"] == "interrupted"


def test_a_death_of_its_own_is_its_own_and_it_does_its_next_attempt_alone(shared: Any, until: Any) -> None:
    cart = shared()
    (cart.folder / "dies-once").touch()
    admit(cart)
    until(lambda: len(cart.results()) == 3)
    assert {end["outcome"] for end in ends(cart).values()} == {"completed"}
    makers = made(cart)
    assert len(makers) == 3, "the one that died, one for all, and the one that died again by itself"
    [died] = cart.logged("role.died")
    assert died["cause"] == "crashed"
    assert cart.events("plugin.fault") == []
    until(lambda: planes(cart) == [])


@pytest.mark.parametrize("max_bytes", [256_000_000, pytest.param(0, marks=pytest.mark.torture)])
def test_an_image_that_kills_fails_in_each_by_a_death_of_each(shared: Any, until: Any, max_bytes: int) -> None:
    cart = shared(max_bytes=max_bytes, attempts=1)
    (cart.folder / "dies-always").touch()
    admit(cart)
    until(lambda: len(cart.results()) == 3)
    assert {end["reason"]["code"] for end in ends(cart).values()} == {"job.crashed"}
    assert len(made(cart)) == 3
    assert {death["of"] for death in cart.logged("role.died")} == {f"infer:{name}" for name in NAMES}
    (cart.folder / "dies-always").unlink()
    admit(cart, number=2)
    until(lambda: len(cart.results()) == 6)
    assert [end["outcome"] for (_, uid), end in ends(cart).items() if uid == "2.25.2"] == ["completed"] * 3
    until(lambda: planes(cart) == [])


def test_after_the_whole_cart_was_killed_nothing_is_left(shared: Any, until: Any) -> None:
    cart = shared()
    (cart.folder / "waits").touch()
    admit(cart)
    [maker] = until(lambda: made(cart))
    cart.process.kill()
    cart.process.wait()
    until(lambda: is_gone(maker))
    assert len(planes(cart)) == 2
    [folder] = [path for path in cart.spool.planes.iterdir() if path.is_dir()]
    (folder / "stray").write_bytes(b"pixels")
    (cart.spool.planes / "stray.dcm").mkdir()
    begin(cart, until)
    until(lambda: len(made(cart)) >= 2)
    assert not {"stray", "stray.dcm"} & set(planes(cart))
    (cart.folder / "waits").unlink()
    until(lambda: len(cart.results()) == 3)
    until(lambda: planes(cart) == [])
