"""How classify and segment read a model that no card describes: what goes with an output, and what has to be asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeai.api import Guess, GuessRequest, TaskFailed, TaskMisfit, TensorSpec
from edgeai_tasks.classify.guess import guessed as of_frame
from edgeai_tasks.segment.guess import guessed as of_places


def _request(*shape: int | None, layout: str = "", **known: Any) -> GuessRequest:
    output = TensorSpec(name="y", dtype="float32", shape=(1, *shape), layout=layout)
    return GuessRequest(output=output, labels=lambda count: tuple("abcdefgh"[:count]), **known)


@pytest.mark.parametrize(
    ("shape", "known", "options"),
    [
        ((3,), {"activation": "none"}, {"labels": ["a", "b", "c"], "mode": "multi-class", "activation": "softmax"}),
        ((1, 1, 2), {"activation": "softmax"}, {"labels": ["a", "b"], "mode": "multi-class", "activation": "none"}),
        ((1,), {"activation": "sigmoid"}, {"labels": ["a", "b"], "mode": "binary", "activation": "none"}),
        (
            (1,),
            {"activation": "none", "mode": "multi-label"},
            {"labels": ["a"], "mode": "multi-label", "activation": "sigmoid"},
        ),
        (
            (2,),
            {"activation": "none", "several": True, "scale": (0.5, 3)},
            {
                "labels": ["a", "b"],
                "mode": "multi-class",
                "activation": "softmax",
                "output": "y",
                "dequantise": [0.5, 3],
            },
        ),
    ],
)
def test_a_row_is_classified(shape: tuple[int, ...], known: dict[str, Any], options: dict[str, Any]) -> None:
    guess = of_frame(_request(*shape, **known))
    assert guess.settled
    assert guess.options == options


@pytest.mark.parametrize(
    ("shape", "known", "options"),
    [
        (
            (8, 8, 3),
            {"activation": "softmax"},
            {"labels": ["a", "b", "c"], "mode": "multi-class", "activation": "none"},
        ),
        ((8, 8, 2), {"activation": "sigmoid"}, {"labels": ["a", "b"], "activation": "none"}),
        ((2, 8, 8), {"activation": "sigmoid", "layout": "NCHW"}, {"labels": ["a", "b"], "activation": "none"}),
        ((8, 8), {"activation": "none"}, {"labels": ["a"], "activation": "sigmoid"}),
    ],
)
def test_a_map_is_segmented(shape: tuple[int, ...], known: dict[str, Any], options: dict[str, Any]) -> None:
    assert of_places(_request(*shape, **known)) == Guess(
        options=options, says=of_places(_request(*shape, **known)).says
    )


def test_each_leaves_the_others_outputs_alone() -> None:
    with pytest.raises(TaskMisfit, match="a map"):
        of_frame(_request(8, 8, 2))
    for shape in ((4,), (1, 1, 4), (4, 4, 4, 2)):
        with pytest.raises(TaskMisfit):
            of_places(_request(*shape))


@pytest.mark.parametrize(
    ("reads", "request_", "says"),
    [
        (of_frame, _request(5, activation="sigmoid"), "5 sigmoids"),
        (of_frame, _request(5, activation="sigmoid", mode="multi-class"), "5 sigmoids"),
        (of_frame, _request(None), "is open"),
        (of_frame, _request(1, mode="multi-class"), "gives one answer"),
        (of_frame, _request(2, mode="binary"), "gives 2 answers"),
        (of_frame, _request(2, answers=[np.array([[0.9, 0.9]])]), "do not sum to 1"),
        (of_frame, _request(2, activation="softmax", mode="multi-label"), "softmax, so that its 2 labels exclude"),
        (
            of_frame,
            _request(3, mode="multi-label", answers=[np.array([[0.1, 0.2, 0.7]]), np.array([[0.5, 0.2, 0.3]])]),
            "always sum to 1",
        ),
        (of_places, _request(8, 8, 3, activation="softmax", mode="multi-label"), "softmax, so that"),
        (of_places, _request(8, 8, 3, activation="none"), "exclude one another"),
        (of_places, _request(8, 8, 3, activation="sigmoid", mode="multi-class"), "3 sigmoids"),
    ],
)
def test_what_has_to_be_said_is_asked_for(reads: Any, request_: GuessRequest, says: str) -> None:
    with pytest.raises(TaskFailed, match=says) as caught:
        reads(request_)
    assert caught.value.code == "task.guess"
    assert caught.value.remedy


@pytest.mark.parametrize("last", ["relu", "softplus", "exponential", "elu", "tanh", "log_softmax", "somebody>own"])
@pytest.mark.parametrize(("reads", "shape"), [(of_frame, (1,)), (of_frame, (3,)), (of_places, (8, 8, 1))])
def test_what_ends_in_neither_probabilities_nor_logits_is_another_tasks(
    reads: Any, shape: tuple[int, ...], last: str
) -> None:
    known = {"activation": last, "answers": [np.full((1, *shape), 0.5)]}
    for mode in ("", "multi-label"):
        with pytest.raises(TaskMisfit, match=f"output y ends in {last}, which gives neither probabilities"):
            reads(_request(*shape, mode=mode, **known))


def test_a_hard_sigmoid_is_read_as_a_sigmoid() -> None:
    assert of_frame(_request(1, activation="hard_sigmoid")).options["activation"] == "none"
    with pytest.raises(TaskFailed, match="5 sigmoids"):
        of_frame(_request(5, activation="hard_sigmoid"))


def test_answers_show_what_no_layer_does() -> None:
    assert not of_frame(_request(2)).settled
    whole, logits = np.array([[0.25, 0.75]]), np.array([[-3.0, 2.0]])
    assert of_frame(_request(2, answers=[whole])).options["activation"] == "none"
    assert of_frame(_request(2, answers=[whole, logits])).options["activation"] == "softmax"
    plane = np.stack([np.full((1, 4, 4), 0.2), np.full((1, 4, 4), 0.8)], axis=1)
    assert of_places(_request(2, 4, 4, layout="NCHW", answers=[plane])).options["mode"] == "multi-class"
