"""What a judge says of one answer alone, where it can (since 1.3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessed:
    """One answer, held against what is true.

    Attributes:
        right: whoever acts on the answer does what the truth asks for; ``False`` where nothing is stated.
        withheld: the answer makes no statement.
        confidence: 0 to 1, how sure the model says it is of its statement, of what is wrong in it where it is wrong;
            ``None`` where it does not say: whoever reads such a statement takes it to be sure.
    """

    right: bool
    withheld: bool = False
    confidence: float | None = None
