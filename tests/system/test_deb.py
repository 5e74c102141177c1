"""The Debian package of a cart: what its builder makes, and what dpkg does with it on a machine.

The builder is held to its word with a wheel of one module. The whole package (`make deb-test`) is installed, started,
upgraded with a full spool, removed and purged by the real dpkg, on a machine that lies over this one: its root is this
machine's, written to memory alone, in mount and process namespaces of its own, without this checkout and its Pythons.
There is no systemd in it: a stand-in of ``systemctl`` starts and stops what the unit says, as the unit's user.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeai.testing.broker import Mosquitto
from edgeai.testing.mqtt_peers import Subscriber
from edgeai.testing.phantoms import write_instance
from edgeai.testing.require import require
from edgeai_workbench.drawings import head

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]
ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "firmware-configs"
TAG = f"py3-none-manylinux_2_31_{platform.machine()}"
MINOR = f"{sys.version_info[0]}.{sys.version_info[1]}"


def listed() -> list[tuple[int, str, str]]:
    """Mode, file of the checkout, place on the cart."""
    lines = (CONFIGS / "cart-files.txt").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return [(int(mode, 8), source, target) for mode, source, target in rows]


# --- what the builder makes ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package of one wheel: what it holds is below the folder, and DEBIAN beside it."""
    require("dpkg-deb", shutil.which("dpkg-deb") is not None, "dpkg-deb is not installed")
    folder = tmp_path_factory.mktemp("deb")
    wheels = folder / "wheels"
    wheels.mkdir()
    info = "edgeai-9.8.dist-info"
    files = {
        "edgeai.py": "def main():\n    print('it runs')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: edgeai\nVersion: 9.8\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {TAG}\n",
        f"{info}/entry_points.txt": "[console_scripts]\nedgeai = edgeai:main\n",
    }
    with zipfile.ZipFile(wheels / f"edgeai-9.8-{TAG}.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD")))
    subprocess.run("sha256sum -- *.whl > SHA256SUMS", shell=True, cwd=wheels, check=True)
    environment = {**os.environ, "PYTHON": sys.executable, "DEB_VERSION": "9.8", "DEB_COMPRESSION": "none"}
    command = [CONFIGS / "debian/build.sh", wheels, folder / "out"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, umask=0o077)
    assert done.returncode == 0, done.stdout + done.stderr
    [package] = (folder / "out").iterdir()
    subprocess.run(["dpkg-deb", "-R", package, folder / "content"], check=True)
    return folder / "content"


def test_the_package_holds_an_environment_that_runs_at_its_own_place(small: Path) -> None:
    env = small / "opt/edgeai"
    assert re.match(r"#!/opt/edgeai/bin/python3[.0-9]*\n", (env / "bin/edgeai").read_text())
    assert (env / "bin/python3").readlink().name == f"python{MINOR}"
    assert (env / f"bin/python{MINOR}").readlink() == Path(f"/usr/bin/python{MINOR}")
    assert "home = /usr/bin\n" in (env / "pyvenv.cfg").read_text()
    compiled = list((env / "lib").rglob("edgeai.*.pyc"))
    assert len(compiled) == 1
    assert int.from_bytes(compiled[0].read_bytes()[4:8], "little") == 0b01, "by its source's hash, not looked at again"
    for path in env.rglob("*"):
        if path.is_file() and not path.is_symlink() and env / "share" not in path.parents:
            assert not re.search(rb"/tmp/|/root/|" + os.fsencode(ROOT), path.read_bytes()), path


def test_everybody_may_read_the_package_and_nobody_write_it(small: Path) -> None:
    for path in (small / "opt", *(small / "opt").rglob("*")):
        mode = path.lstat().st_mode
        assert path.is_symlink() or (mode & 0o444 == 0o444 and not mode & 0o022), path


def test_the_package_says_what_it_needs(small: Path) -> None:
    control = (small / "DEBIAN/control").read_text()
    assert "\nVersion: 9.8\n" in control
    assert f"Depends: python{MINOR}, libc6 (>= 2.31), " in control
    sums = (small / "DEBIAN/md5sums").read_text()
    assert "  opt/edgeai/bin/edgeai\n" in sums
    done = subprocess.run(["md5sum", "-c", "--quiet", "DEBIAN/md5sums"], cwd=small, check=False)
    assert done.returncode == 0


def test_the_package_holds_every_file_of_the_list(small: Path) -> None:
    for mode, source, target in listed():
        there = small / target.lstrip("/")
        assert there.read_bytes() == (ROOT / source).read_bytes(), target
        assert there.stat().st_mode & 0o777 == mode


def test_a_wheel_that_was_changed_is_not_packed(small: Path, tmp_path: Path) -> None:
    wheels = shutil.copytree(small.parent / "wheels", tmp_path / "wheels")
    next(wheels.glob("*.whl")).write_bytes(b"another")
    command = [CONFIGS / "debian/build.sh", wheels, tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert not (tmp_path / "out").exists()


def test_the_container_takes_the_same_files_by_the_same_script() -> None:
    text = (CONFIGS / "containers/Containerfile").read_text()
    assert "firmware-configs/install-cart-files.sh . /cart" in text
    assert "COPY --from=build /cart /\n" in text
    taken = [word for line in text.splitlines() if line.startswith("COPY ") for word in line.split()[1:-1]]
    for _, source, _ in listed():
        assert any(source == word or source.startswith(word.rstrip("/") + "/") for word in taken), source


# --- what dpkg does with it ---------------------------------------------------------------------------

SYSTEMCTL = """#!/bin/bash
# Starts and stops what the unit says, as its user.
unit=/usr/lib/systemd/system/edgeai.service; pid=/run/edgeai.pid
echo "$*" >> /run/systemctl.log
is_up() { [ -e $pid ] && grep -qs '^State:.*[RSD] ' "/proc/$(cat $pid)/status"; }
case "$*" in
start\\ *)
    command=$(sed -n 's/^ExecStart=//p' $unit)
    setsid setpriv --reuid edgeai --regid edgeai --clear-groups $command >> /run/edgeai.log 2>&1 < /dev/null &
    echo $! > $pid ;;
stop\\ *)
    kill "$(cat $pid)"; while is_up; do sleep 0.1; done; rm $pid ;;
is-active\\ *)
    is_up && echo active && exit 0; echo inactive; exit 3 ;;
esac
"""
PROFILE = """schema = 1
[device]
id = "cart"
site = "lab"
data_dir = "/var/lib/edgeai"
[trust]
unsigned = "accept"
[spool]
reserve_bytes = 1_000_000
[[ingest.folders]]
path = "/var/lib/edgeai/inbox"
settle_s = 0.5
[[deployments]]
name = "guard"
bundle = "/opt/edgeai/share/modality-guard-1.0.1.edgeai"
[mqtt]
port = {port}
[health]
enabled = false
[ingest.scp]
enabled = false
"""
UNDER = """set -e
mount -t tmpfs -o size=4g tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
mount -t proc proc proc
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mount -t tmpfs tmpfs tmp
for place in root home work opt; do mkdir -p $place; mount -t tmpfs tmpfs $place; done
mkdir -p run/systemd/system
echo ready
exec chroot . sleep infinity
"""


class Machine:
    """A root of its own over this machine's; what is written to it is gone with it."""

    def __init__(self, folder: Path) -> None:
        lower = os.environ.get("EDGEAI_DEB_ROOT", "/")
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", UNDER, "sh", str(folder), lower],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._holder.stdout is not None
        first = self._holder.stdout.readline()
        require("overlay", first == "ready\n", f"no machine over this one can be made here: {first.strip()}")
        children = Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children")
        self._pid = children.read_text().split()[0]
        self.root = Path(f"/proc/{self._pid}/root")

    def call(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """A command in it, as root."""
        command = ["nsenter", "-t", self._pid, "-m", "-p", "-r", "-w", *map(str, words)]
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND": "noninteractive", "LANG": "C.UTF-8"}
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=False, timeout=900)
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done

    def dpkg(self, *words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.call("dpkg", "--force-unsafe-io", *words, check=check)

    def put(self, path: str, data: str | bytes, mode: int = 0o644) -> None:
        there = self.root / path.lstrip("/")
        there.write_bytes(data.encode() if isinstance(data, str) else data)
        there.chmod(mode)

    def has(self, path: str) -> bool:
        return os.path.lexists(self.root / path.lstrip("/"))

    def end(self) -> None:
        self._holder.kill()  # and all processes in it, by --kill-child
        self._holder.wait()


@pytest.fixture(scope="module")
def package() -> Path:
    """As ``make deb`` made it."""
    folder = os.environ.get("EDGEAI_DEB")
    if folder is None:
        pytest.skip("`make deb-test` runs this: it packs a whole cart, which takes minutes")
    return max(Path(folder).glob("edgeai_*.deb"), key=lambda path: path.stat().st_mtime)


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The next version: one file less, and one more."""
    folder = tmp_path_factory.mktemp("newer")
    subprocess.run(["dpkg-deb", "-R", package, folder / "content"], check=True)
    control = folder / "content/DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", "Version: 99.0", control.read_text()))
    (folder / "content/opt/edgeai/share/profiles/dev.toml").rename(folder / "content/opt/edgeai/share/new.toml")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Znone", "--build", folder / "content", folder / "newer.deb"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    shutil.rmtree(folder / "content")
    return folder / "newer.deb"


@pytest.fixture
def machine(package: Path, newer: Path, tmp_path: Path) -> Iterator[Machine]:
    require("root", os.geteuid() == 0, "namespaces and dpkg want root")
    require("unshare", shutil.which("unshare") is not None, "unshare is not installed")
    made = Machine(tmp_path)
    try:
        had = made.call(f"/usr/bin/python{MINOR}", "--version", check=False)
        require("python", had.returncode == 0, f"the machine has no /usr/bin/python{MINOR}, which the wheels are for")
        made.put("/usr/bin/systemctl", SYSTEMCTL, 0o755)
        made.put("/tmp/now.deb", package.read_bytes())
        made.put("/tmp/newer.deb", newer.read_bytes())
        yield made
    finally:
        made.end()


def status(machine: Machine) -> str:
    edgeai = ("/opt/edgeai/bin/edgeai", "status", "/etc/edgeai/profile.toml", "--json")
    return machine.call("setpriv", "--reuid=edgeai", "--regid=edgeai", "--clear-groups", *edgeai, check=False).stdout


def test_a_cart_is_installed_started_upgraded_with_a_full_spool_removed_and_purged(
    machine: Machine, mosquitto: str, tmp_path: Path, until: object
) -> None:
    assert callable(until)
    machine.dpkg("-i", "/tmp/now.deb")
    assert machine.call("/opt/edgeai/bin/edgeai", "--version").stdout.startswith("edgeai ")
    for plain in ("start", "enable"):
        assert plain not in (machine.root / "run/systemctl.log").read_text(), "it is installed switched off"
    modes = {"/etc/edgeai": "750 root edgeai", "/var/lib/edgeai": "700 edgeai edgeai", "/opt/edgeai": "755 root root"}
    for folder, told in modes.items():
        assert machine.call("stat", "-c", "%a %U %G", folder).stdout.strip() == told, folder
    assert machine.dpkg("--verify", "edgeai").stdout == ""

    (tmp_path / "broker").mkdir()
    broker = Mosquitto(tmp_path / "broker")
    machine.put("/etc/edgeai/profile.toml", PROFILE.format(port=broker.port))
    machine.call("/opt/edgeai/bin/edgeai", "config", "check", "/etc/edgeai/profile.toml")
    machine.call("systemctl", "start", "edgeai")
    until(lambda: machine.has("/var/lib/edgeai/inbox"), 240)
    uids = []
    for number in range(40):
        phantom = write_instance(tmp_path / f"{number}.dcm", head(number), modality="US")
        uids.append(phantom.instance.sop_instance_uid)
        machine.put(f"/var/lib/edgeai/inbox/{number}.dcm", phantom.path.read_bytes())
    until(lambda: (json.loads(status(machine) or "{}").get("messages_waiting", 0)) > 5, 240)

    machine.dpkg("-i", "/tmp/newer.deb")
    log = (machine.root / "run/systemctl.log").read_text().splitlines()
    assert log.count("stop edgeai") == 1
    assert log.index("stop edgeai") < len(log) - 1 - log[::-1].index("start edgeai")
    assert machine.has("/opt/edgeai/share/new.toml")
    assert not machine.has("/opt/edgeai/share/profiles/dev.toml")
    broker.start()
    heard = Subscriber(broker.port)
    try:
        until(lambda: len(heard.results()) == len(uids), 240)
        results = list(heard.results().values())
        assert sorted(each["instance"]["sop_instance_uid"] for each in results) == sorted(uids)
        assert {each["outcome"] for each in results} == {"completed"}

        machine.dpkg("-r", "edgeai")
        assert "inactive" in machine.call("systemctl", "is-active", "edgeai", check=False).stdout
        assert not machine.has("/opt/edgeai/bin")
        assert not list((machine.root / "opt").rglob("*.py")), "nothing of it is left"
        assert machine.has("/var/lib/edgeai/spool/spool.sqlite")
        assert machine.has("/etc/edgeai/profile.toml")
        machine.dpkg("-i", "/tmp/newer.deb")
        machine.call("systemctl", "start", "edgeai")
        again = write_instance(tmp_path / "again.dcm", head(200), modality="US")
        machine.put("/var/lib/edgeai/inbox/again.dcm", again.path.read_bytes())
        until(lambda: len(heard.results()) == len(uids) + 1, 240)
        assert len(heard.attempts()) == len(uids) + 1, "nothing was done twice"
    finally:
        heard.close()
        broker.stop()
    machine.dpkg("--purge", "edgeai")
    for path in ("/var/lib/edgeai", "/etc/edgeai", "/opt/edgeai", "/usr/lib/systemd/system/edgeai.service"):
        assert not machine.has(path), path


def test_an_environment_made_by_hand_is_not_mixed_with_the_packages(machine: Machine) -> None:
    (machine.root / "opt/edgeai").mkdir()
    machine.put("/opt/edgeai/pyvenv.cfg", "by hand")
    done = machine.dpkg("-i", "/tmp/now.deb", check=False)
    assert done.returncode != 0
    assert "move it away first" in done.stdout + done.stderr
    assert (machine.root / "opt/edgeai/pyvenv.cfg").read_text() == "by hand"
    assert not machine.has("/opt/edgeai/bin")


def test_a_service_that_stands_is_not_started_by_an_upgrade(machine: Machine) -> None:
    machine.dpkg("-i", "/tmp/now.deb")
    machine.dpkg("-i", "/tmp/newer.deb")
    assert "start" not in (machine.root / "run/systemctl.log").read_text().split()
