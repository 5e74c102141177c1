"""``python -m edgeai``, and the ``edgeai`` command."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; the exit status.

    0: all is well; 1: something failed; 2: the command or a configuration cannot be used as it stands.
    """
    from edgeai.cli import output
    from edgeai.cli.main import run

    output.ends_with_command()
    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
