"""What every fuzzer of bundles asks: do foreign bytes end as the bundle that was signed, or in a code?

Not a test module. ``test_bundle_fuzz.py`` runs it with hypothesis; with atheris it explores by coverage::

    python tests/fuzz/bundle_bytes.py -max_total_time=600 CORPUS_FOLDER tests/golden/bundles
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from edgeai.api import BundleRejected
from edgeai.bundle.reader import open_bundle, read_manifest, verify_bundle
from edgeai.bundle.trust import TrustPolicy

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "bundles"
SIGNED = GOLDEN / "good-signed-1.edgeai"
TRUST = TrustPolicy(keys=(GOLDEN / "trust",), threshold=1)


def contents(root: Path) -> dict[str, bytes]:
    """Every file below, signatures left out: they may be fewer, and are then still good."""
    files = {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    files.pop("signatures.json", None)
    return files


def expected() -> dict[str, bytes]:
    """What was signed."""
    with tempfile.TemporaryDirectory() as name:
        return contents(open_bundle(SIGNED, cache_dir=Path(name)).root)


def outcome(data: bytes, wanted: dict[str, bytes], trust: TrustPolicy | None = TRUST) -> str:
    """``ok`` for the very bundle that was signed, or the code of the refusal.

    Raises:
        AssertionError: another bundle than that was trusted; or something was written outside the cache.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "x.edgeai"
        path.write_bytes(data)
        try:
            bundle = open_bundle(path, cache_dir=folder / "cache" / "bundles", trust=trust)
        except BundleRejected as error:
            ending = error.code
            assert not list((folder / "cache").glob("bundles/[0-9a-f]*")), "what is refused is not kept"
        else:
            ending = "ok"
            if trust is not None:
                assert bundle.signers
                assert contents(bundle.root) == wanted
            for act in (read_manifest, verify_bundle):
                act(path)  # whoever looks at it less closely accepts it too
        there = {item.relative_to(folder).parts[0] for item in folder.iterdir()}
        assert there <= {"x.edgeai", "cache"}, "nothing is written elsewhere"
        assert path.read_bytes() == data
        return ending


def _one_input(data: bytes) -> None:
    outcome(data, _WANTED)
    outcome(data, _WANTED, None)


if __name__ == "__main__":
    import atheris  # pip install atheris; not needed by the suite

    _WANTED = expected()
    atheris.instrument_all()
    atheris.Setup(sys.argv, _one_input)
    atheris.Fuzz()
