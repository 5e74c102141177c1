"""What transforms, tasks and engines may raise of an image: no code by which edgeai says that no model was asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edgeai.api import (
    DicomRejected,
    EdgeaiError,
    Indeterminate,
    InferenceFailed,
    InputRejected,
    NotApplicable,
    PluginFault,
    SpoolError,
    TaskFailed,
    TensorMismatch,
    TransformFailed,
)
from edgeai.hosting import PluginInfo
from edgeai.hosting.engines import HostedSession
from edgeai.hosting.imaging import HostedMaskTask, HostedTransform

ACME = PluginInfo(name="acme", module="acme", distribution="acme", version="1")


def asked(step: str, error: BaseException) -> Callable[[], Any]:
    """A call into a plugin that raises the error there."""

    def raises(*_: Any, **__: Any) -> Any:
        raise error

    plugin: Any = SimpleNamespace(
        **dict.fromkeys(("apply", "interpret", "summarise", "alternatives", "masks", "run", "stream"), raises),
        close=lambda: None,
        device="cpu",
    )
    nothing: Any = None
    if step == "apply":
        return lambda: HostedTransform(ACME, "it", plugin).apply(nothing)
    if step == "run":
        return lambda: HostedSession(ACME, "it", plugin).run({})
    if step == "stream":
        return lambda: list(HostedSession(ACME, "it", plugin).stream([]))
    return lambda: getattr(HostedMaskTask(ACME, "it", plugin), step)(nothing)


STEPS = ("apply", "interpret", "summarise", "alternatives", "masks", "run", "stream")
"""All of them, of a plugin that answers each."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error",
    [
        TaskFailed("x", code="requires.not-met"),
        TransformFailed("x", code="job.interrupted"),
        InputRejected("x"),
        SpoolError("x"),
        InferenceFailed("x", code="guard.blank"),
        EdgeaiError("x", code="No Code"),
    ],
    ids=lambda error: error.code,
)
def test_what_says_who_else_ended_an_image_is_the_plugins_fault(step: str, error: EdgeaiError) -> None:
    with pytest.raises(PluginFault, match="acme") as caught:
        asked(step, error)()
    assert caught.value.code == "plugin.contract"
    assert repr(error.code) in str(caught.value)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "error",
    [
        TaskFailed("x"),
        TransformFailed("x", code="transform.memory"),
        TensorMismatch("x"),
        InferenceFailed("x"),
        DicomRejected("a step needs what the header states wrongly", code="dicom.bad-value"),
        PluginFault("x"),
        TaskFailed("x", code="acme.cast"),
    ],
    ids=lambda error: error.code,
)
def test_failures_of_its_own_pass_as_they_are(step: str, error: EdgeaiError) -> None:
    with pytest.raises(EdgeaiError) as caught:
        asked(step, error)()
    assert caught.value is error


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", [NotApplicable, Indeterminate])
def test_only_a_task_ends_an_image_without_a_statement(
    step: str, kind: type[NotApplicable] | type[Indeterminate]
) -> None:
    ending = kind("x", code="acme.cast")
    with pytest.raises(EdgeaiError) as caught:
        asked(step, ending)()
    if step in ("interpret", "summarise"):
        assert caught.value is ending
    else:
        assert caught.value.code == "plugin.contract"
        assert f"raised {kind.__name__}" in str(caught.value)


def test_what_the_host_raises_on_its_way_through_an_engine_is_not_the_engines() -> None:
    error = SpoolError("the file is gone")

    def inputs() -> Iterator[Any]:
        raise error
        yield

    session: Any = SimpleNamespace(run=None, close=lambda: None, stream=lambda each: (one for one in each))
    with pytest.raises(SpoolError) as caught:
        list(HostedSession(ACME, "it", session).stream(inputs()))
    assert caught.value is error
