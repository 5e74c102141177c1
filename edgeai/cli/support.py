"""``edgeai support``: one archive for whoever is asked for help; no pixels, no identifiers, no secrets."""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import subprocess
import sys
import time
import zipfile
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from edgeai import __version__
from edgeai.api.errors import EdgeaiError

if TYPE_CHECKING:
    from edgeai.cli.support_cleaner import Cleaner
    from edgeai.config import DeviceConfig
    from edgeai.spool import Spool

LINES: Final = 5000
"""Of the log, the last so many."""
_DOCTOR_S: Final = 120.0
_JOURNAL_S: Final = 30.0
_README: Final = """A support archive of edgeai {version}.

versions.json   edgeai, Python, this machine, every installed distribution
plugins.json    plugins by their metadata; none was loaded
profile.json    the profile with its defaults, without user names and without words in settings of plugins and sinks
health.json     what `edgeai status --json` says, without its last results
metrics.txt     what /metrics says
spool.json      sizes, rows and schema of the spool; faults and quarantines of plugins; releases
doctor.json     what `edgeai doctor --json` says
log.jsonl       the last lines of the log: codes, figures, places in the code
notes.txt       what could not be had, and why

No image, no pixel, no UID, no digest of an image, no name of a file that arrived, no AE title of a sender, no password
and no key is meant to be in it. Look before you send it: `unzip -p ARCHIVE | less`.
"""


def command(
    profile: Annotated[Path, typer.Argument(help="the profile that the device runs with", show_default=False)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="the archive; edgeai-support-SITE-DEVICE-TIME.zip by default")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(help="a file with the service's log; `-` for standard input; the journal by default")
    ] = None,
    unit: Annotated[str, typer.Option(help="the systemd unit whose journal is read")] = "edgeai",
    no_doctor: Annotated[
        bool, typer.Option("--no-doctor", help="leave out `edgeai doctor`, which opens engines and the broker")
    ] = False,
) -> None:
    """Write one archive for whoever is asked for help: versions, profile, health, metrics, log, doctor's findings.

    It holds no pixels, no identifiers of patients or images, and no secrets of the profile; only its owner can read
    it. The service may be running or not, and what cannot be had is named in it.

    Example: edgeai support /etc/edgeai/profile.toml --out support.zip
    """
    from edgeai.cli.support_cleaner import Cleaner
    from edgeai.config import load_config

    config = load_config(profile)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    target = out or Path(f"edgeai-support-{config.device.site}-{config.device.id}-{stamp}.zip")
    archive = _Archive(Cleaner(config))
    file = _new_file(target)
    try:
        with file:
            archive.fill(config, profile, log=log, unit=unit, doctor=not no_doctor)
            file.write(archive.content())
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    typer.echo(f"{target}: {target.stat().st_size} bytes, {', '.join(archive.names)}")
    for note in archive.notes:
        typer.echo(f"  not in it: {note}")
    typer.echo("Look before you send it: it was made to hold no pixels, no identifiers and no secrets.")


def _new_file(path: Path) -> io.BufferedWriter:
    """A file that was not there, for its owner alone."""
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    except FileExistsError as error:
        raise EdgeaiError(f"{path} exists already", code="support.exists", remedy="name another with --out") from error
    except OSError as error:
        raise EdgeaiError(
            f"{path} cannot be written: {error.strerror}",
            code="support.unwritable",
            remedy="name a place that this user may write to with --out",
        ) from error


class _Archive:
    """What goes into the archive, part by part. A part that cannot be had costs a note and nothing else."""

    def __init__(self, cleaner: Cleaner) -> None:
        self._cleaner = cleaner
        self._parts: dict[str, str] = {}
        self.notes: list[str] = []

    @property
    def names(self) -> list[str]:
        return list(self._parts)

    def fill(self, config: DeviceConfig, profile: Path, *, log: Path | None, unit: str, doctor: bool) -> None:
        """Gather every part."""
        from edgeai.cli.support_cleaner import profile_of

        self._parts["README.txt"] = _README.format(version=__version__)
        self._add("versions.json", _versions)
        self._add("plugins.json", _plugins)
        self._add("profile.json", lambda: profile_of(config))
        self._add("spool.json", lambda: _spool(config))  # before the account: a spool may be broken
        self._of_running(config)
        if doctor:
            self._add("doctor.json", lambda: _doctor(profile))
        self._log(config, log, unit)
        self._parts["notes.txt"] = "\n".join(self.notes) + "\n"

    def content(self) -> bytes:
        """The archive's bytes."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in self._parts.items():
                archive.writestr(name, text)
        return buffer.getvalue()

    def _of_running(self, config: DeviceConfig) -> None:
        from edgeai.cli.device import existing_spool
        from edgeai.health import read_health

        try:
            with closing(existing_spool(config)) as spool:
                health = read_health(spool, config)
                self._cleaner.keep_digests(deployment.digest for deployment in health.deployments)
                self._add("health.json", health.as_dict)
                self._measured(spool, config)
        except (EdgeaiError, OSError) as error:
            self._note("health.json, metrics.txt", error)

    def _measured(self, spool: Spool, config: DeviceConfig) -> None:
        from edgeai.metrics import metrics_text

        try:
            self._parts["metrics.txt"] = self._cleaner.text(metrics_text(spool, config))
        except (EdgeaiError, OSError) as error:
            self._note("metrics.txt", error)

    def _log(self, config: DeviceConfig, path: Path | None, unit: str) -> None:
        try:
            lines = _log_lines(path, unit)
        except (OSError, subprocess.SubprocessError) as error:
            self._note("log.jsonl", error)
            return
        kept = [line for line in map(self._cleaner.log_line, lines) if line is not None]
        self._parts["log.jsonl"] = "".join(f"{line}\n" for line in kept)
        if len(kept) < len(lines):
            left_out = f"log.jsonl: {len(lines) - len(kept)} lines that are not edgeai's own JSON"
            if not kept and config.log.format == "console":
                left_out += '; the profile has log.format = "console": with "json" they would be here'
            self.notes.append(left_out)

    def _add(self, name: str, gather: Callable[[], Any]) -> None:
        try:
            value = self._cleaner.value(gather())
        except (EdgeaiError, OSError, ValueError, subprocess.SubprocessError) as error:
            self._note(name, error)
            return
        self._parts[name] = json.dumps(value, indent=1, default=str) + "\n"

    def _note(self, name: str, error: Exception) -> None:
        self.notes.append(f"{name}: {self._cleaner.text(str(error))}")


def _versions() -> dict[str, Any]:
    installed = {item.metadata["Name"]: item.version for item in distributions() if item.metadata["Name"]}
    return {
        "edgeai": __version__,
        "python": sys.version,
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "distributions": dict(sorted(installed.items(), key=lambda item: item[0].lower())),
    }


def _plugins() -> list[dict[str, Any]]:
    from edgeai.plugins import find

    return [asdict(info) for info in find()]


def _spool(config: DeviceConfig) -> dict[str, Any]:
    from edgeai.spool.figures import spool_figures

    return spool_figures(config.device.data_dir)


def _doctor(profile: Path) -> Any:
    """In a process of its own: an engine that ends or hangs takes nothing else with it."""
    command = [sys.executable, "-m", "edgeai", "doctor", str(profile), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_DOCTOR_S, check=False)
    if not done.stdout.strip():
        raise OSError(f"doctor ended with status {done.returncode} and said nothing")
    return {"status": done.returncode, "findings": json.loads(done.stdout)}


def _log_lines(path: Path | None, unit: str) -> list[str]:
    if path is not None and str(path) == "-":
        return _last(sys.stdin)
    if path is not None:
        with path.open(encoding="utf-8", errors="replace") as file:
            return _last(file)
    journalctl = shutil.which("journalctl")
    if journalctl is None:
        raise OSError("no journal on this machine; name the file with the service's log with --log")
    command = [journalctl, "-u", unit, "-o", "cat", "-n", str(LINES), "--no-pager", "-q"]
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", errors="replace", timeout=_JOURNAL_S, check=False
    )
    if done.returncode != 0:
        raise OSError(f"journalctl -u {unit}: {done.stderr.strip() or f'status {done.returncode}'}")
    if not done.stdout:
        raise OSError(f"the journal has nothing of {unit}; name another unit with --unit, or a file with --log")
    return done.stdout.splitlines()


def _last(lines: Iterable[str]) -> list[str]:
    return [line.rstrip("\n") for line in deque(lines, LINES)]
