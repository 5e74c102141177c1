"""The version of the plugin contract, and when a plugin's declared version may load."""

from __future__ import annotations

from typing import Final

API_VERSION: Final[tuple[int, int]] = (1, 4)
"""(major, minor). A major breaks plugins; a minor only adds."""


def is_compatible(declared: object, host: tuple[int, int] = API_VERSION) -> bool:
    """Whether a plugin that declares ``EDGEAI_API = declared`` may load.

    The major must be equal and the minor not newer than the host's. Anything that is
    not a pair of integers is incompatible, never an exception.
    """
    match declared:
        case (int(major), int(minor)):
            return major == host[0] and 0 <= minor <= host[1]
        case _:
            return False
