"""The converters' reader of ``.keras`` files is one file in three plugins, which share no code."""

from __future__ import annotations


def test_the_copies_are_equal(repo_root):
    copies = sorted((repo_root / "plugins").glob("edgeai-*/edgeai_*/keras_model.py"))
    assert len(copies) == 3
    assert len({copy.read_bytes() for copy in copies}) == 1, f"edit all of {[str(copy) for copy in copies]}"
