"""Workers: the first error wins, with slices of scratch in its traceback or not; turns."""

from __future__ import annotations

import threading
import time

import pytest

from vhdfast.engine import Turns, pace, run


def test_an_error_is_raised_as_it_is_though_its_traceback_holds_scratch() -> None:
    def do(item: int, scratch: memoryview) -> int:
        part = scratch[100:200]
        raise ValueError(len(part))

    with pytest.raises(ValueError, match="100"):
        run(iter(range(3)), do, what="testing", total=3, jobs=2)


def test_turns_come_in_the_order_of_the_work() -> None:
    turns = Turns()
    order: list[int] = []

    def do(item: int, scratch: memoryview) -> int:
        time.sleep(0.002 * (-item % 4))
        assert turns.wait(item)
        order.append(item)
        turns.done()
        return 1

    run(iter(range(40)), do, what="testing", total=40, jobs=4)
    assert order == list(range(40))


def test_who_waits_for_a_turn_gives_up_where_another_fails() -> None:
    turns = Turns()
    waiting = threading.Event()
    answers: list[bool] = []

    def do(item: int, scratch: memoryview) -> int:
        if item == 0:
            assert waiting.wait(10)
            raise ValueError("the first")
        waiting.set()
        answers.append(turns.wait(item))
        return 1

    with pytest.raises(ValueError, match="the first"):
        run(iter(range(2)), do, what="testing", total=2, jobs=2)
    assert answers == [False]


def test_what_a_worker_finds_out_to_move_counts_against_the_rate() -> None:
    def do(item: int, scratch: memoryview) -> int:
        pace(item)
        return 1

    started = time.monotonic()
    run(iter([400, 1]), do, what="testing", total=2, jobs=1, rate=1000)
    assert time.monotonic() - started >= 0.4


def test_who_waits_for_the_rate_gives_up_where_another_fails() -> None:
    waiting = threading.Event()

    def do(item: int, scratch: memoryview) -> int:
        if item == 0:
            assert waiting.wait(10)
            raise ValueError("the first")
        pace(10**6)
        waiting.set()
        pace(1)  # for which it would wait for days
        return 1

    with pytest.raises(ValueError, match="the first"):
        run(iter(range(2)), do, what="testing", total=2, jobs=2, rate=1)
