"""What TensorFlow complains of becomes part of a sentence."""

from __future__ import annotations

import pytest

from edgeai_keras.complaints import words

_TRACED = (
    "Exception encountered when calling \x1b[1mConcatenate.call()\x1b[0m.\n\n\x1b[1mDimension 1 in both shapes must be "
    "equal, but are 40 and 41. Shapes are [1,40,40] and [1,41,41]. for '{{node net_1/skip_1/concat}} = ConcatV2[N=2]"
    "(a, b)' with input shapes: [1,40,40,4]\x1b[0m\n\nArguments received by Concatenate.call():\n  • inputs=[...]"
)
_RUN = (
    "Graph execution error:\n\nDetected at node net_1/fc_1/MatMul defined at (most recent call last):\n"
    "{{function_node __inference_7}} {{node net_1/fc_1/MatMul}} Matrix size-incompatible\n\t [[{{node x}}]] [Op:call]"
)


@pytest.mark.parametrize(
    ("told", "layers", "wanted"),
    [
        (
            _TRACED,
            {"net", "skip"},
            "layer skip: Dimension 1 in both shapes must be equal, but are 40 and 41. Shapes are [1,40,40]",
        ),
        (_TRACED, set(), "layer Concatenate: Dimension 1 in both"),
        ("no memory", {"skip"}, "no memory"),
        ("", set(), "ValueError"),
    ],
)
def test_the_layer_and_why(told: str, layers: set[str], wanted: str) -> None:
    assert words(ValueError(told), layers).startswith(wanted)


@pytest.mark.parametrize("told", [_TRACED, _RUN, "x" * 5000])
def test_nothing_is_left_that_only_they_understand(told: str) -> None:
    line = words(ValueError(told), {"fc"})
    assert len(line) < 400
    assert not [part for part in ("\x1b", "\n", "{{", "[Op:", "Arguments", "•") if part in line]
