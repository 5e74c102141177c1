"""A disk that is really full, under live processes: the cart stays on the old model, and goes on once there is room.

``data_dir`` is a small file system in memory; where this user may mount none, the test is skipped.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from edgeai.slots import SlotsError
from edgeai.testing.fakes import Misbehaviour

BRIGHT = 250
SIZE_MB = 24

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(updated: Any) -> Iterator[Path]:
    data = updated.cart.folder / "data"
    data.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(data)]
    try:
        mounted = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"no file system of its own: {mounted.stderr.strip()}")
    yield data
    if updated.cart.process is not None:
        updated.cart.stop()
    updated.cart.forget_spool()
    subprocess.run(["umount", "-l", str(data)], check=True)


def fill(disk: Path) -> None:
    """Not a byte is left."""
    with (disk / "ballast").open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
    assert os.statvfs(disk).f_bavail == 0


def test_on_a_full_disk_the_old_model_stays_and_it_goes_on_once_there_is_room(
    updated: Any, until: Any, small_disk: Path
) -> None:
    old = updated.configure("quiet_s = 0.1\nprobation_results = 5\n")
    updated.start()
    updated.runs(old)
    pid = updated.cart.pid("infer:guard")

    fill(small_disk)
    with pytest.raises((SlotsError, OSError)):
        updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    assert updated.running() == old
    (small_disk / "ballast").unlink()
    assert updated.digest_of(updated.cart.admit()) == old

    new = updated.bring(2, misbehave=Misbehaviour(how="nan", mean_above=0.8))
    fill(small_disk)
    until(lambda: updated.cart.logged("rehearsal.unwritten") or updated.cart.logged("role.failed"))
    assert updated.running() == old
    assert updated.cart.pid("infer:guard") == pid
    (small_disk / "ballast").unlink()
    updated.runs(new)

    os.kill(pid, signal.SIGSTOP)
    phantoms = [updated.cart.admit(BRIGHT) for _ in range(2)]
    fill(small_disk)
    os.kill(pid, signal.SIGCONT)
    until(lambda: any(item["role"] == "infer:guard" for item in updated.cart.logged("spool.trouble")))
    assert updated.cart.pid("infer:guard") == pid
    (small_disk / "ballast").unlink()
    for phantom in phantoms:
        assert updated.cart.result_of(phantom)["reason"]["code"] == "tensor.not-finite"
    updated.runs(old)
    assert updated.codes(new) == "slots.failures"
