"""What a task's plugin judges with, with every method hosted and what it promises held."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeai.api import (
    HIGHER,
    LOWER,
    Assessed,
    Column,
    Drawing,
    Figure,
    FigureUndefined,
    Judge,
    Judged,
    Objective,
    Truth,
)
from edgeai.hosting.faults import PluginInfo, broken, hosted_call, laid_on

_METHODS = ("read", "digest", "answer", "judged", "alike", "targets", "stratum", "subgroups", "pictures")
_ROUNDED = 1e-6
_FACTS = ("columns", "main", "labels", "folders", "objective")


class HostedJudge:
    """See ``Judge``."""

    def __init__(self, info: PluginInfo, step: str, judge: Judge) -> None:
        with laid_on(info, step):
            self.columns, self.main, self.labels = tuple(judge.columns), tuple(judge.main), tuple(judge.labels)
            self.folders: Mapping[str, Truth] = dict(judge.folders)
            self.objective = judge.objective
        self.read = hosted_call(info, f"{step}: read", judge.read)
        self.digest = hosted_call(info, f"{step}: digest", judge.digest)
        self.answer = hosted_call(info, f"{step}: answer", judge.answer)
        self.alike = hosted_call(info, f"{step}: alike", judge.alike)
        self.targets = hosted_call(info, f"{step}: targets", judge.targets)
        self.stratum = hosted_call(info, f"{step}: stratum", judge.stratum)
        self.subgroups = hosted_call(info, f"{step}: subgroups", judge.subgroups)
        self.choose = hosted_call(info, f"{step}: choose", getattr(judge, "choose", _nothing))
        self.judged = _judged(info, step, judge)
        self.pictures = _pictures(info, f"{step}: pictures", judge)
        # Since 1.3: one that was written before says nothing of single answers, nor of what moves.
        self.assessed = _assessed(info, f"{step}: assessed", getattr(judge, "assessed", _says_nothing))
        self.moved = hosted_call(info, f"{step}: moved", getattr(judge, "moved", _says_nothing))


def _nothing(*args: Any) -> Mapping[str, Any]:
    """What a judge of before 1.3 chooses."""
    return {}


def hosted_judge(info: PluginInfo, step: str, judge: Any) -> Judge:
    """The judge, hosted.

    Raises:
        PluginFault: ``plugin.contract``: it lacks what ``Judge`` has.
    """
    lacking = [name for name in _METHODS if not callable(getattr(judge, name, None))]
    lacking += [name for name in _FACTS if not hasattr(judge, name)]
    if lacking:
        raise broken(info, step, f"returned {type(judge).__name__}, which has no {', '.join(lacking)}")
    hosted = HostedJudge(info, step, judge)
    if not hosted.columns or not all(isinstance(column, Column) for column in hosted.columns):
        raise broken(info, step, "has columns that are not all Column, or none")
    if hosted.objective is not None and not isinstance(hosted.objective, Objective):
        raise broken(info, step, "has an objective that is no Objective")
    return hosted


def _judged(info: PluginInfo, step: str, judge: Judge) -> Callable[..., Judged]:
    call = hosted_call(info, f"{step}: judged", judge.judged)

    def checked(*args: Any) -> Judged:
        judged: object = call(*args)
        if not isinstance(judged, Judged) or not all(isinstance(figure, Figure) for figure in judged.figures):
            raise broken(info, f"{step}: judged", "did not return a Judged of figures")
        names = [figure.name for figure in judged.figures]
        if not names or len(set(names)) != len(names):
            raise broken(info, f"{step}: judged", f"has no figure, or one twice: {', '.join(names)}")
        point = hosted_call(info, f"{step}: point", judged.point)

        def at(name: str) -> Figure | None:
            figure = point(name)
            return None if figure is None else _figure(info, step, figure)

        return replace(judged, figures=tuple(_figure(info, step, one) for one in judged.figures), point=at)

    return checked


def _figure(info: PluginInfo, step: str, figure: Figure) -> Figure:
    where = f"{step}: figure {figure.name}"
    if figure.better not in (HIGHER, LOWER):
        raise broken(info, where, f"is better {figure.better!r}, which is neither {HIGHER} nor {LOWER}")
    value = hosted_call(info, where, figure.value)

    def number() -> float:
        known = float(value())
        if known != known:  # NaN
            raise FigureUndefined(f"{figure.name} is not a number for these samples")
        return known

    return replace(figure, value=number, over=hosted_call(info, where, figure.over))


def _says_nothing(*args: Any) -> None:
    return None


def _assessed(info: PluginInfo, step: str, assess: Callable[..., Any]) -> Callable[..., Assessed | None]:
    call = hosted_call(info, step, assess)

    def checked(*args: Any) -> Assessed | None:
        one: object = call(*args)
        if one is not None and not isinstance(one, Assessed):
            raise broken(info, step, f"returned {type(one).__name__}, not an Assessed or None")
        if one is not None and one.confidence is not None and not -_ROUNDED <= one.confidence <= 1 + _ROUNDED:
            raise broken(info, step, f"is {one.confidence!r} sure, which is no share")
        return one

    return checked


def _pictures(info: PluginInfo, step: str, judge: Judge) -> Callable[..., Sequence[Drawing]]:
    call = hosted_call(info, step, judge.pictures)

    def checked(*args: Any) -> Sequence[Drawing]:
        drawings: Any = call(*args)
        if not isinstance(drawings, Sequence) or not all(isinstance(drawing, Drawing) for drawing in drawings):
            raise broken(info, step, "did not return a sequence of Drawing")
        return tuple(drawings)

    return checked
