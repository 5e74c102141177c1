"""How a child is kept from network, home and write access: by bubblewrap, by the kernel's namespaces, or not at all."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

Way = Literal["bubblewrap", "namespaces", ""]

WAYS: Final[tuple[Way, ...]] = ("bubblewrap", "namespaces")
_HIDDEN: Final = ("/home", "/root", "/tmp", "/var/tmp", "/run", "/mnt", "/media", "/dev/shm")  # noqa: S108  hidden
_KEPT: Final = ("PATH", "LANG", "LD_LIBRARY_PATH", "TZ", "KERAS_BACKEND", "OMP_NUM_THREADS")
_KEPT_LIKE: Final = ("LC_", "TF_", "OPENVINO_", "XNNPACK_")
_TRIAL_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a child is kept from, and how.

    Attributes:
        way: empty where there is none.
        why: why no better way is there.
    """

    way: Way
    why: str = ""

    def __str__(self) -> str:
        """A sentence for whoever has the model loaded."""
        if not self.way:
            return f"loaded in a process that is NOT confined: {self.why}"
        means = "bubblewrap" if self.way == "bubblewrap" else "the kernel's namespaces"
        return f"loaded in a process without network, home and write access ({means})"


def find_confinement() -> Confinement:
    """The first way that works here, found out by trying it."""
    reasons: list[str] = []
    for way in WAYS:
        why = _why_not(way)
        if not why:
            return Confinement(way=way, why="; ".join(reasons))
        reasons.append(why)
    return Confinement(way="", why="; ".join(reasons))


def child_command(confined: Confinement, readable: Sequence[Path], module: Sequence[str]) -> list[str]:
    """The command line of a child that runs ``module`` with its arguments."""
    python = [sys.executable, "-P"]
    if confined.way == "bubblewrap":
        return [*_bubblewrap(readable), *python, "-m", *module]
    if confined.way == "namespaces":
        paths = {"hidden": hidden(), "readable": [str(path) for path in needed(readable)]}
        return [*python, str(Path(__file__).with_name("namespaces.py")), json.dumps(paths), *module]
    return [*python, "-m", *module]


def child_environment() -> dict[str, str]:
    """What a child is told: where its libraries are, and no secret. It has no GPU: the golden answers are a CPU's."""
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_LIKE)}
    path = os.pathsep.join(entry for entry in sys.path if entry and Path(entry).exists())
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), "/tmp")  # noqa: S108  the child's own
    return {**kept, **places, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "CUDA_VISIBLE_DEVICES": "-1"}


def hidden() -> list[str]:
    """Folders that a child finds empty."""
    homes = {str(Path.home()), os.environ.get("HOME", "")} - {"", "/"}
    return sorted(path for path in {*_HIDDEN, *homes} if Path(path).is_dir() and not Path(path).is_symlink())


def needed(readable: Sequence[Path]) -> list[Path]:
    """What a child must see of the hidden folders: the interpreter, its libraries and the model."""
    homes = {Path(path) for path in hidden()}
    above = homes | {parent for path in homes for parent in path.parents}
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, str(Path(sys.executable).parent), *filter(None, sys.path)]
    libraries = [path.absolute() for path in map(Path, own) if path.exists()]
    wanted = [*(path for path in libraries if path not in above and path.resolve() not in above), *readable]
    paths = dict.fromkeys(other for path in wanted for other in (path, path.resolve()))
    return [path for path in paths if any(path.is_relative_to(home) for home in homes)]


def _bubblewrap(readable: Sequence[Path]) -> list[str]:
    options = [
        "bwrap",
        "--unshare-all",
        "--die-with-parent",
        "--new-session",
        "--cap-drop",
        "ALL",
        "--ro-bind",
        "/",
        "/",
    ]
    options += ["--dev", "/dev", "--proc", "/proc"]
    for path in hidden():
        if path != "/dev/shm":  # noqa: S108  its own already
            options += ["--tmpfs", path]
    for one in needed(readable):
        options += ["--ro-bind", str(one), str(one)]
    return [*options, "--chdir", "/"]


@functools.cache
def _why_not(way: Way) -> str:
    """Empty where it works."""
    if way == "bubblewrap" and shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    command = child_command(Confinement(way=way), (), ["edgeai_workbench.apart.trial"])
    try:
        done = subprocess.run(
            command, env=child_environment(), capture_output=True, text=True, timeout=_TRIAL_S, check=False, cwd="/"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{way}: {error}"
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "")
    return "" if done.returncode == 0 else f"{way}: {last or f'status {done.returncode}'}"
