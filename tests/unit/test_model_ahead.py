"""Working ahead on threads: order, errors in their place, and nothing that runs on."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgeai.model.ahead import Ahead, in_turn


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "edgeai-ahead"]


@pytest.mark.parametrize("sources", [1, 2, 3, 5])
@pytest.mark.parametrize("items", [0, 1, 2, 7, 50])
def test_every_item_in_order(sources: int, items: int) -> None:
    with in_turn([range(first, items, sources) for first in range(sources)], depth=4) as ahead:
        assert list(ahead) == list(range(items))
    assert not running()


def test_an_error_comes_after_everything_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("broke off")

    seen = []
    with pytest.raises(ValueError, match="broke off"), Ahead(items(), depth=8) as ahead:
        seen.extend(iter(ahead))
    assert seen == [1, 2]
    assert not running()


def test_no_more_than_the_depth_is_made_early() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            if number == 4:
                enough.set()
            yield number

    with Ahead(items(), depth=4) as ahead:
        assert enough.wait(240)
        assert next(ahead) == 0
        assert len(made) <= 4 + 3
    assert len(made) < 20


def test_leaving_early_closes_the_source_on_its_own_thread() -> None:
    closed_on: list[str] = []

    def items() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            closed_on.append(threading.current_thread().name)

    with in_turn([items(), items()], depth=4) as ahead:
        assert next(ahead) == 0
    assert closed_on == ["edgeai-ahead"] * 2
    assert not running()


def test_leaving_by_an_error_of_the_consumer() -> None:
    def consume() -> None:
        with in_turn([iter(range(1000))], depth=2) as ahead:
            next(ahead)
            raise RuntimeError("the engine died")

    with pytest.raises(RuntimeError):
        consume()
    assert not running()


def test_after_the_end_it_stays_ended() -> None:
    with Ahead([1], depth=1) as ahead:
        assert list(ahead) == [1]
        assert list(ahead) == []


def test_leaving_when_an_interrupt_came_between_an_item_and_its_place() -> None:
    """Ctrl-C may come there: what waits for that place must not be waited for."""
    ahead = Ahead(iter(range(1000)), depth=1)
    ahead.__enter__()
    ahead._ready.get()  # and no place is given back
    leaving = threading.Thread(target=ahead.__exit__, args=(None, None, None), daemon=True)
    leaving.start()
    leaving.join(30)
    assert not leaving.is_alive()
    assert not running()
