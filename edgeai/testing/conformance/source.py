"""What the host relies on in a source: frames of their own, until it is closed."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from edgeai.api import ConfigError, EdgeaiError, Frame, Options, PluginFault, Source, SourceRequest, SourceSpec
from edgeai.testing.conformance.suite import Suite, assert_refused, needs, since

_PATIENCE_S = 30.0


class SourceConformance(Suite):
    """Subclass it once for each source and give ``settings`` with which frames come without hardware.

    Attributes:
        source: ``SourceSpec.name``.
        nonsense: settings that ``open`` must refuse as ``ConfigError``.
        frames_to_take: how many frames each rule looks at.
    """

    kind: ClassVar[str] = "source"
    source: ClassVar[str] = ""
    nonsense: ClassVar[Sequence[Options]] = ()
    frames_to_take: ClassVar[int] = 3

    def settings(self, folder: Path) -> Options:
        """Settings with which frames come; ``folder`` is empty and this test's own."""
        needs("settings(folder), with which frames come without hardware")

    @property
    def spec(self) -> SourceSpec:
        """The spec under test."""
        spec: SourceSpec = self.any_spec()
        return spec

    @pytest.fixture
    def opened(self, tmp_path: Path) -> Iterator[Source]:
        """A source that works."""
        source = self.spec.open(SourceRequest(settings=self.settings(tmp_path)))
        yield source
        source.close()

    def _some(self, source: Source) -> list[Frame]:
        return list(itertools.islice(source.frames(), self.frames_to_take))

    @since(1, 1)
    def test_prints_nothing(self, silence: Callable[[], AbstractContextManager[None]], tmp_path: Path) -> None:
        """Opening, giving frames and closing write nothing to standard output."""
        with silence():
            source = self.spec.open(SourceRequest(settings=self.settings(tmp_path)))
            self._some(source)
            source.close()

    @since(1, 0)
    def test_gives_frames(self, opened: Source) -> None:
        """Frames come, as the API describes them: native numbers, a geometry of their size, rising numbers."""
        frames = self._some(opened)
        assert len(frames) == self.frames_to_take
        for frame in frames:
            assert isinstance(frame, Frame)
            assert frame.pixels.ndim in (2, 3)
            assert frame.pixels.dtype.isnative
            assert frame.pixels.flags.c_contiguous
            assert (frame.geometry.source_rows, frame.geometry.source_columns) == (frame.rows, frame.columns)
        numbers = [frame.number for frame in frames]
        assert numbers == sorted(set(numbers)), f"frame numbers do not rise: {numbers}"
        assert numbers[0] >= 1

    @since(1, 0)
    def test_frames_are_the_hosts(self, opened: Source) -> None:
        """A frame that is kept is not written over by the next one."""
        frames = opened.frames()
        first = next(frames)
        kept = first.pixels.copy()
        later = list(itertools.islice(frames, self.frames_to_take))
        np.testing.assert_array_equal(first.pixels, kept)
        assert not any(np.shares_memory(first.pixels, frame.pixels) for frame in later)

    @since(1, 0)
    def test_close_ends_the_frames(self, opened: Source) -> None:
        """Close, from another thread, ends an iteration that is waiting or running."""
        started, ended = threading.Event(), threading.Event()

        def watch() -> None:
            for _ in opened.frames():
                started.set()
            ended.set()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        assert started.wait(_PATIENCE_S), "no frame came"
        opened.close()
        assert ended.wait(_PATIENCE_S), "frames() goes on after close()"

    @since(1, 0)
    def test_close_twice(self, opened: Source) -> None:
        """Closing a source that is closed does nothing."""
        opened.close()
        opened.close()

    @since(1, 0)
    def test_no_frames_after_close(self, opened: Source) -> None:
        """A closed source gives no more frames."""
        opened.close()
        assert self._some(opened) == []

    @since(1, 0)
    def test_refuses_nonsense_settings(self) -> None:
        """Settings that make no sense are ConfigError when the source is opened."""
        if not self.nonsense:
            needs("nonsense, sets of settings that make no sense")
        for settings in self.nonsense:
            assert_refused(ConfigError, partial(self._open_and_close, settings), f"{settings!r}")

    def _open_and_close(self, settings: Options) -> None:
        self.spec.open(SourceRequest(settings=settings)).close()

    @since(1, 0)
    def test_refuses_unknown_settings(self) -> None:
        """A setting that the spec does not list is refused."""
        with pytest.raises(EdgeaiError) as caught:
            self.spec.open(SourceRequest(settings={"no_such_setting": 1})).close()
        assert not isinstance(caught.value, PluginFault)
