"""``edgeai run PROFILE``: check the profile, then become the supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def command(profile: Annotated[Path, typer.Argument(help="the profile to run", show_default=False)]) -> None:
    """Run a device in the foreground until Ctrl-C or SIGTERM. Under systemd: Type=notify, with its watchdog.

    Exit status 0 when it was asked to stop, 2 for a profile with mistakes (all are listed), 70 when it cannot
    start: it runs already, or its data_dir cannot be used.
    """
    from edgeai.config import load_config

    load_config(profile)
    # The same process goes on as the supervisor, without what was imported for the command line: it lives as long
    # as the device, and systemd knows it by its number.
    sys.stdout.flush()
    os.execv(  # noqa: S606
        sys.executable, [sys.executable, "-m", "edgeai.roles", "supervise", "--config", str(profile.resolve())]
    )
