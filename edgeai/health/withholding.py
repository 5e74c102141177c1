"""Whether what stands before a model withholds many of the images that come: said as a rate, and never per image."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from edgeai.spool import Lately, Spool

LEAST: Final = 10
"""Results before which no rate is one."""
MUCH: Final = 0.2
"""Such a part is worth a word."""
LITTLE: Final = 0.1
"""Below it there is nothing to say until there is again."""


def is_much(lately: Lately) -> bool:
    """Whether so many were withheld that somebody should look."""
    return lately.of >= LEAST and lately.withheld >= MUCH * lately.of


class Withholding:
    """Says once of each deployment that it withholds much, until it has withheld little meanwhile."""

    def __init__(self, spool: Spool, say: Callable[[str, str, Mapping[str, object]], None]) -> None:
        self._spool = spool
        self._say = say
        self._told: set[str] = set()

    def look(self) -> None:
        """At the last results.

        Raises:
            SpoolError: the spool cannot be read.
        """
        for name, lately in self._spool.withheld_lately().items():
            if lately.withheld < LITTLE * lately.of:
                self._told.discard(name)
            elif is_much(lately) and name not in self._told:
                self._told.add(name)
                facts = {"deployment": name, "withheld": lately.withheld, "of": lately.of, "code": lately.code}
                self._say("deployment.withholding", f"{name} {lately}", facts)
