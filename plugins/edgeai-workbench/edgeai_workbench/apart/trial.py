"""Whether a child is confined: ``python -m edgeai_workbench.apart.trial``, status 0 when it is."""

from __future__ import annotations

import os
import socket
import sys
import tempfile


def why_not() -> str:
    """What it can do that it should not be able to; empty when all is well."""
    if any(name != "lo" for _, name in socket.if_nameindex()):
        return "the network is there"
    for folder in ("/", "/usr", "/etc", "/var", sys.prefix):
        if os.access(folder, os.W_OK):
            return f"{folder} can be written"
    with tempfile.TemporaryFile() as scratch:  # what libraries must have
        scratch.write(b"x")
    return ""


def main() -> int:
    """Look."""
    why = why_not()
    if why:
        print(why, file=sys.stderr)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
