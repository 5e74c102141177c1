"""What comes with ``edgeai-workbench`` alone: imported when used; a command that needs none of it starts sooner."""

from __future__ import annotations

from functools import partial

from edgeai.api.imports import build_library

needed = partial(build_library, brought_by="edgeai-workbench")
"""Import a library of the build host. Raises ``ConfigError``, ``build.extra-missing``."""
