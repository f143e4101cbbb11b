"""Reading ahead keeps the order, passes errors on, and leaves no thread behind."""

import threading
from collections.abc import Iterator

import pytest

from faceops.embedding.training.inputs import read_ahead


def readers() -> int:
    return sum(thread.name.startswith("read-ahead") for thread in threading.enumerate())


def test_items_come_in_order_with_what_was_loaded_in_one_other_thread() -> None:
    threads = set()

    def load(item: int) -> int:
        threads.add(threading.current_thread().name)
        return item * item

    assert list(read_ahead(range(50), load)) == [(item, item * item) for item in range(50)]
    assert len(threads) == 1
    assert threads != {threading.current_thread().name}
    assert readers() == 0
    assert list(read_ahead([], load)) == []


def test_it_loads_ahead_while_the_caller_works() -> None:
    loaded = [threading.Event() for _ in range(4)]
    reading = read_ahead(range(4), lambda item: loaded[item].set(), depth=2)
    next(reading)
    assert loaded[2].wait(timeout=30)  # nobody asked for it yet
    assert not loaded[3].is_set()
    assert len(list(reading)) == 3


def test_items_are_taken_in_the_callers_thread_and_no_further_than_depth() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(10):
            assert threading.current_thread() is threading.main_thread()
            taken.append(item)
            yield item

    for item, _ in read_ahead(items(), lambda item: item, depth=3):
        assert taken[-1] == min(item + 3, 9)


def test_an_error_of_loading_comes_where_its_item_would_have() -> None:
    def load(item: int) -> int:
        if item == 2:
            raise OSError("the disk is gone")
        return item

    reading = read_ahead(range(9), load)
    assert [next(reading), next(reading)] == [(0, 0), (1, 1)]
    with pytest.raises(OSError, match="the disk is gone"):
        next(reading)
    assert readers() == 0


def test_closing_early_ends_the_thread() -> None:
    reading = read_ahead(iter(range(10**9)), lambda item: item)
    next(reading)
    assert readers() == 1
    reading.close()
    assert readers() == 0
