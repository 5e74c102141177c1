"""What the kit does to artifacts: damage that an engine can tell, whatever its format is."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeai.testing.conformance.damage import CASES, _damaged
from edgeai.testing.examples import ArtifactExample


@pytest.mark.parametrize("size", [1, 64, 4096, 9000])
@pytest.mark.parametrize("kind", ["beside it", "in a folder"])
def test_raw_weights_are_never_merely_replaced_by_others(tmp_path: Path, kind: str, size: int) -> None:
    """They have no form: as many bytes of noise are weights, too, and nobody could refuse them."""
    folder = tmp_path / "whole.model" if kind == "in a folder" else tmp_path
    folder.mkdir(exist_ok=True)
    (folder / "net.graph").write_bytes(b"graph" * 20)
    (folder / "net.weights").write_bytes(bytes(size))
    path = folder if kind == "in a folder" else folder / "net.graph"
    example = ArtifactExample(path=path, inputs=(), outputs=(), files=("net.graph", "net.weights"))
    made = _damaged(example, tmp_path / "damaged")
    assert {case for case, _, _ in made} <= set(CASES)
    of_weights = [(what, artifact) for _, what, artifact in made if what.endswith(" net.weights")]
    assert [what for what, _ in of_weights] == ["the first half of net.weights", "noise, too short for net.weights"]
    for _, artifact in of_weights:
        assert ((artifact if artifact.is_dir() else artifact.parent) / "net.weights").stat().st_size < size
