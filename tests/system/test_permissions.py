"""Files of another user: every command and the service say whose they are in one sentence, and as whom to call it.

As an integrator meets it who calls ``edgeai status`` without ``sudo -u edgeai``, or once started the service by hand as
root. A test that runs as root gives up the capabilities by which root reads everything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeai.spool import Spool

pytestmark = pytest.mark.system

COMMANDS = [
    ("status", ()),
    ("selftest", ()),
    ("rerun", ()),
    ("messages", ("list",)),
    ("spool", ("downgrade",)),
]


def plainly() -> list[str]:
    """What makes root an ordinary user."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("setpriv is not installed, and root reads every file")
    return [setpriv, "--bounding-set=-dac_override,-dac_read_search,-fowner", "--inh-caps=-all"]


def call(cart: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*plainly(), sys.executable, "-m", "edgeai", *arguments],
        env={**cart.environment, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture
def cart_that_ran(cart: Any) -> Iterator[Any]:
    cart.deploy()
    cart.listen()
    cart.write()
    Spool(cart.data_dir / "spool").close()
    (cart.data_dir / "spool" / "roles" / "supervise.note").touch()
    yield cart
    for path in (cart.data_dir, cart.data_dir / "spool", *sorted((cart.data_dir / "spool").rglob("*"))):
        path.chmod(0o700)


CLOSED = ["", "spool", "spool/roles", "spool/spool.sqlite", "spool/roles/supervise.note"]
"""Below ``data_dir``."""


@pytest.mark.parametrize("closed", CLOSED)
@pytest.mark.parametrize(("command", "more"), COMMANDS)
def test_a_command_on_a_spool_that_is_closed_to_its_caller(
    cart_that_ran: Any, command: str, more: tuple[str, ...], closed: str
) -> None:
    path = cart_that_ran.data_dir / closed
    path.chmod(0)
    done = call(cart_that_ran, command, *more, str(cart_that_ran.path))
    assert (done.returncode, done.stdout) == (1, ""), done
    assert "error[spool.unreadable]: " in done.stderr
    assert f"{path} is closed" in done.stderr
    assert "what to do: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", CLOSED)
def test_the_service_ends_with_its_reason_and_no_traceback(cart_that_ran: Any, closed: str) -> None:
    path = cart_that_ran.data_dir / closed
    path.chmod(0)
    done = call(cart_that_ran, "run", str(cart_that_ran.path))
    assert done.returncode == 70
    assert "spool.unreadable" in done.stdout + done.stderr
    assert f"{path} is closed" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_a_folder_above_that_is_closed(cart_that_ran: Any) -> None:
    above = cart_that_ran.folder / "above"
    above.mkdir()
    cart_that_ran.profile["device"]["data_dir"] = str(above / "data")
    cart_that_ran.write()
    above.chmod(0)
    try:
        done = call(cart_that_ran, "status", str(cart_that_ran.path))
    finally:
        above.chmod(0o700)
    assert done.returncode == 1
    assert "a folder above it is closed" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_blames_the_folder_and_no_engine(cart_that_ran: Any) -> None:
    (cart_that_ran.data_dir / "spool").chmod(0)
    done = call(cart_that_ran, "doctor", str(cart_that_ran.path))
    failed = [line for line in done.stdout.splitlines() if line.startswith("FAIL")]
    assert len(failed) == 1, done.stdout
    assert "FAIL  data_dir: " in failed[0]
    assert "closed to its own user" in failed[0]


def test_a_bundle_that_may_not_be_read_is_no_damaged_one(cart_that_ran: Any) -> None:
    bundle = Path(cart_that_ran.profile["deployments"][0]["bundle"])
    bundle.chmod(0)
    done = call(cart_that_ran, "doctor", str(cart_that_ran.path))
    assert done.returncode == 1
    assert "bundle.unreadable" in done.stdout
    assert "may not be read by this user" in done.stdout
    assert "not a bundle" not in done.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_whose_it_is_and_as_whom_to_call_it(cart_that_ran: Any) -> None:
    spool = cart_that_ran.data_dir / "spool"
    os.chown(spool, 65534, 65534)
    done = call(cart_that_ran, "status", str(cart_that_ran.path))
    assert f"{spool} belongs to nobody, and root may not use it" in done.stderr
    assert "sudo -u nobody" in done.stderr
    assert f"chown -R root: {cart_that_ran.data_dir}" in done.stderr
