"""What the extra ``edgeai-tasks[build]`` brings, which no cart installs: imported when a figure needs it."""

from __future__ import annotations

from functools import partial

from edgeai.api import build_library

needed = partial(build_library, brought_by="edgeai-tasks[build]")
"""Import a library of the build host. Raises ``ConfigError``, ``build.extra-missing``."""
