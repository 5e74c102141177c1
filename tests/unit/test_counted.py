"""How many, as people say it."""

from __future__ import annotations

import pytest

from edgeai.counted import counted


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 carts"), (1, "1 cart"), (2, "2 carts"), (1000, "1000 carts"), (-1, "-1 carts")]
)
def test_one_is_no_plural(count: int, words: str) -> None:
    assert counted(count, "cart") == words
