"""The update client behind the command line that tuf-conformance speaks; README.md says how it is run."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from tuf.api.exceptions import LengthOrHashMismatchError
from tuf.api.metadata import TargetFile

from edgeai.api.errors import EdgeaiError
from edgeai_update.repository import Repository
from edgeai_update.web import WebSource

_GIVEN = "given-root"
"""What the device was given, beside what it has seen since; no ``.json``, for the suite takes those for seen."""


def main() -> int:
    """What the suite asks for; 0 or 1, as it demands."""
    asked = _asked()
    if asked.command == "init":
        shutil.copyfile(asked.root, asked.metadata_dir / _GIVEN)
        shutil.copyfile(asked.root, asked.metadata_dir / "root.json")
        return 0
    try:
        with _refreshed(asked.metadata_url, asked.metadata_dir) as repository:
            return 0 if all(_download(repository, name, asked.target_dir) for name in asked.target_name) else 1
    except EdgeaiError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1


@contextmanager
def _refreshed(url: str, kept: Path) -> Iterator[Repository]:
    """Our own source and repository; the newest root shown under the name at which the suite looks."""
    source = WebSource(url.rstrip("/").removesuffix("/metadata"), proxy="")
    try:
        with Repository(source, kept, kept / _GIVEN).refreshed() as repository:
            yield repository
    finally:
        source.close()
        roots = (kept / "root_history").glob("*.root.json")
        newest = max(roots, key=lambda path: int(path.name.split(".")[0]), default=kept / _GIVEN)
        shutil.copyfile(newest, kept / "root.json")


def _download(repository: Repository, name: str, folder: Path) -> bool:
    target = repository.find(name)
    if target is None:
        print(f"no role lists {name}", file=sys.stderr)
        return False
    path = folder / quote(name, "")
    if not _is_there(target, path):
        repository.fetch(target, path)
    return True


def _is_there(target: TargetFile, path: Path) -> bool:
    try:
        target.verify_length_and_hashes(path.read_bytes())
    except (OSError, LengthOrHashMismatchError):
        return False
    return True


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--metadata-url")
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("no_proxy", "127.0.0.1")
    sys.exit(main())
