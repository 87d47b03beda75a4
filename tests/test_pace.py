"""Loops of a middle size run on several threads where that was seen to be faster."""

from collections.abc import Callable

import pytest

from numclip import _compile, _pace, _threads
from numclip._pace import DECIDED, MOST, TRIED, Pace

SIZE = 1 << 17
CLOSE, FAR = 1e-4, 1e-3


class Program:
    """Loops that follow each other at the times that are given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = 1000.0
        self._pace = Pace()
        monkeypatch.setattr(_pace, "LARGE_SIZE", 1 << 22)
        monkeypatch.setattr(_pace, "perf_counter", lambda: self._now)

    def run(self, loops: int, seconds: Callable[[bool], float], size: int = SIZE) -> list[bool]:
        """Return which loops ran on threads; `seconds` go by from the start of one to the next."""
        found = []
        for _ in range(loops):
            found.append(self._pace.asks_for_threads(size))
            self._now += seconds(found[-1])
        return found


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    return Program(monkeypatch)


@pytest.mark.parametrize("is_faster", [False, True])
def test_what_was_faster_is_kept_to_and_tried_again(program: Program, is_faster: bool) -> None:
    trial = [False] * TRIED + [True] * TRIED
    decided = [is_faster] * DECIDED
    seconds = {False: CLOSE, True: CLOSE / 2 if is_faster else CLOSE * 2}
    expected = 2 * (trial + decided) + trial
    assert program.run(len(expected), seconds.__getitem__) == expected


def test_threads_that_wait_for_each_other_are_given_up(program: Program) -> None:
    slow = CLOSE * MOST * TRIED / 2.5
    found = program.run(DECIDED, lambda on_threads: slow if on_threads else CLOSE)
    assert found == [False] * TRIED + [True] * 3 + [False] * (DECIDED - TRIED - 3)


def test_one_slow_loop_decides_nothing(program: Program) -> None:
    slow = iter([CLOSE] * (TRIED + 3) + [3 * CLOSE])
    found = program.run(100, lambda on_threads: next(slow, CLOSE / 2 if on_threads else CLOSE))
    assert found[-1]


def test_loops_that_do_not_follow_closely_take_one_thread(program: Program) -> None:
    for _ in range(3):
        assert not any(program.run(TRIED - 1, lambda _: CLOSE) + program.run(1, lambda _: FAR))


def test_after_a_pause_what_was_faster_is_kept_to(program: Program) -> None:
    def seconds(on_threads: bool) -> float:
        return CLOSE / 2 if on_threads else CLOSE

    assert program.run(2 * TRIED + 2, seconds)[-1]
    program.run(1, lambda _: FAR)
    assert program.run(TRIED + 9, seconds) == [False] * TRIED + [True] * 9


def test_the_larger_a_loop_is_the_longer_it_takes_itself(program: Program) -> None:
    assert program.run(TRIED + 1, lambda _: FAR, 1 << 20)[-1]


def test_loops_of_several_sizes_are_compared_by_number(program: Program) -> None:
    for size in (SIZE, 4 * SIZE) * TRIED:
        program.run(1, lambda on_threads, size=size: size * (3e-10 if on_threads else 4e-10), size)
    assert program.run(2, lambda _: CLOSE) == [True, True]


def test_large_loops_need_no_trial(program: Program) -> None:
    assert program.run(3, lambda _: FAR, 1 << 22) == [True] * 3


def test_small_loops_take_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_compile, "threads_are_safe", lambda: True)
    monkeypatch.setattr(_threads, "get_num_threads", lambda: 2)
    assert _threads.parts_for(_threads.SERIAL_SIZE) == 2
    assert _threads.parts_for(_threads.SERIAL_SIZE - 1) == 1
