"""The disk fills: no thanks for what is not kept, the sender keeps its image, and service resumes by itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgeai.testing.fakes import Misbehaviour
from edgeai.testing.require import require

pytestmark = pytest.mark.system

REFUSED = "Refused: OutOfResources"


def mount(cart: Any) -> subprocess.CompletedProcess[str]:
    """24 MB in memory where the cart keeps its data; needs root."""
    cart.data_dir.mkdir()
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(cart.data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )


def unmount(cart: Any) -> None:
    cart.close()
    subprocess.run(["umount", "-l", str(cart.data_dir)], check=False)


@pytest.fixture
def small_disk(cart: Any) -> Iterator[Path]:
    """A disk of 24 MB that is the cart's alone."""
    done = mount(cart)
    require("tmpfs", done.returncode == 0, f"no small disk can be mounted: {done.stderr.strip()}")
    yield cart.data_dir
    unmount(cart)


@pytest.fixture
def margin(cart: Any) -> Iterator[int]:
    """How much is free above the cart's reserve: on a small disk, or where none can be mounted on the machine's own, so
    much that what others write meanwhile does not matter.
    """
    is_small = mount(cart).returncode == 0
    margin = 8_000_000 if is_small else 1_500_000_000
    cart.profile["spool"]["reserve_bytes"] = shutil.disk_usage(cart.data_dir).free - margin
    yield margin
    if is_small:
        unmount(cart)


def fill(folder: Path) -> Path:
    """A file that takes every byte that is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        for size in (1 << 20, 4096, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    return path


def test_at_the_reserve_the_sender_keeps_its_image_until_there_is_room(cart: Any, margin: int, until: Any) -> None:
    cart.deploy()
    heard = cart.listen()
    cart.start()
    cart.send(count=2)
    filler = cart.data_dir / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 2 * margin)
    try:
        refused = [cart.phantom() for _ in range(3)]
        assert list(cart.store(*refused).values()) == [REFUSED] * 3
        assert until(lambda: heard.events("spool.full"))
        refusing = until(lambda: cart.problems()["intake.refusing"])
        assert (refusing["cause"], refusing["stops"]) == ("spool.disk-reserve", ["serving"])
        until(lambda: any(item["code"] == "intake.refusing" for item in heard.on("status")[-1]["problems"]))
        assert not heard.on("status")[-1]["serving"]
        until(lambda: list((cart.data_dir / "spool/tmp").iterdir()) == [])
    finally:
        filler.unlink()
    processes = cart.processes()
    assert set(cart.store(*refused).values()) == {"Success"}
    for phantom in refused:
        assert cart.result_of(phantom)["outcome"] == "completed"
    assert len(heard.results()) == 5
    assert until(lambda: heard.events("spool.room"))
    until(lambda: heard.on("status")[-1]["state"] == "online")
    assert cart.processes() == processes  # by itself: nothing was restarted


def test_a_backlog_that_is_full_is_refused_the_same_way(cart: Any, until: Any) -> None:
    flag = cart.folder / "hangs"
    flag.touch()
    cart.deploy(misbehave=Misbehaviour(how="hang", flag=str(flag)), deadline_s=600)
    cart.profile["spool"]["max_backlog"] = 10
    heard = cart.listen()
    cart.start()
    answers: dict[str, str] = {}
    waiting = [cart.phantom() for _ in range(30)]
    for phantom in waiting:
        answers |= cart.store(phantom)
    assert set(answers.values()) == {"Success", REFUSED}
    flag.unlink()
    cart.kill("infer:guard")

    def all_taken() -> bool:
        left = [each for each in waiting if answers.get(each.instance.sop_instance_uid) != "Success"]
        if left:
            answers.update(cart.store(*left))
        return not left

    until(all_taken)
    until(lambda: len(heard.results()) == 30)


def test_a_disk_that_is_full_to_the_last_byte_loses_nothing_and_keeps_no_halves(
    cart: Any, small_disk: Path, until: Any
) -> None:
    cart.deploy(misbehave=Misbehaviour(how="slow"))
    cart.profile["spool"]["reserve_bytes"] = 0
    heard = cart.listen()
    cart.start()
    kept = cart.send(count=12)  # acknowledged, and most of them not yet run
    filler = fill(small_disk)
    refused = [cart.phantom(side=700) for _ in range(4)]  # each more than all that leaves the spool meanwhile
    answers = cart.store(*refused)
    assert list(answers.values()) == [REFUSED] * 4
    spool = small_disk / "spool"
    until(lambda: list((spool / "tmp").iterdir()) == [])
    for role in ("infer:guard", "ingest", "publish"):  # and whoever dies meanwhile comes back too
        assert cart.kill(role)
    assert cart.store(refused[0]).get(refused[0].instance.sop_instance_uid) != "Success"
    filler.unlink()
    cart.wait_ready()
    until(lambda: set(cart.store(*refused).values()) == {"Success"})
    for phantom in (*kept, *refused):
        assert cart.result_of(phantom)["outcome"] == "completed"
    assert len(heard.results()) == 16
    until(lambda: cart.health()[1]["messages_waiting"] == 0)
    until(lambda: list((spool / "tmp").iterdir()) == list((spool / "instances").iterdir()) == [])


def test_the_service_starts_on_a_full_disk_as_soon_as_there_is_room(cart: Any, small_disk: Path, until: Any) -> None:
    cart.deploy()
    cart.profile["spool"]["reserve_bytes"] = 0
    cart.listen()
    filler = fill(small_disk)
    cart.start(ready=False)
    cart.keep_running()  # as systemd does
    until(lambda: cart.logged("role.failed"), what="a word about the full disk")
    assert cart.logged("role.failed")[0]["code"].startswith("spool.")
    filler.unlink()
    cart.wait_ready()
    assert cart.result_of(cart.send()[0])["outcome"] == "completed"
