"""What a task's plugin judges with, with every method hosted and what it promises held."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

from edgeai.api import Assessed, Column, Drawing, Judge, Judged, Objective, Truth
from edgeai.hosting.faults import PluginInfo, broken, hosted_call, laid_on
from edgeai.hosting.figures import hosted_judged

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
        self.digest = _digest(info, f"{step}: digest", judge)
        self.answer = hosted_call(info, f"{step}: answer", judge.answer)
        self.alike = hosted_call(info, f"{step}: alike", judge.alike)
        self.targets = hosted_call(info, f"{step}: targets", judge.targets)
        self.stratum = _stratum(info, f"{step}: stratum", judge)
        self.subgroups = _subgroups(info, f"{step}: subgroups", judge)
        self.choose = hosted_call(info, f"{step}: choose", getattr(judge, "choose", _nothing))
        self.judged = _judged(info, step, judge)
        self.pictures = _pictures(info, f"{step}: pictures", judge)
        # One of before 1.3 says nothing of single answers, nor of what moves; one of before 1.4 moves no truth, and
        # keeps nothing of frames without a statement.
        self.assessed = _assessed(info, f"{step}: assessed", getattr(judge, "assessed", _says_nothing))
        self.true_answer = hosted_call(info, f"{step}: true_answer", getattr(judge, "true_answer", _says_nothing))
        self.unanswered = hosted_call(info, f"{step}: unanswered", getattr(judge, "unanswered", _says_nothing))
        self.moved = hosted_call(info, f"{step}: moved", getattr(judge, "moved", _says_nothing))
        self.moves_by_truth = bool(getattr(judge, "moves_by_truth", False))


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
    return lambda *args: hosted_judged(info, step, call(*args))


def _stratum(info: PluginInfo, step: str, judge: Judge) -> Callable[..., Hashable]:
    call = hosted_call(info, step, judge.stratum)

    def checked(*args: Any) -> Hashable:
        stratum: object = call(*args)
        try:
            hash(stratum)
        except TypeError:
            raise broken(info, step, f"returned {stratum!r}, which cannot be counted: it is not hashable") from None
        return stratum

    return checked


def _subgroups(info: PluginInfo, step: str, judge: Judge) -> Callable[..., Mapping[str, str]]:
    call = hosted_call(info, step, judge.subgroups)

    def checked(*args: Any) -> Mapping[str, str]:
        words: Any = call(*args)
        if not isinstance(words, Mapping) or not all(isinstance(word, str) for pair in words.items() for word in pair):
            raise broken(info, step, f"returned {words!r}, not name to value, both text")
        return words

    return checked


def _digest(info: PluginInfo, step: str, judge: Judge) -> Callable[..., bytes]:
    call = hosted_call(info, step, judge.digest)

    def checked(*args: Any) -> bytes:
        digest: object = call(*args)
        if not isinstance(digest, bytes):
            raise broken(info, step, f"returned {type(digest).__name__}, not bytes")
        return digest

    return checked


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
