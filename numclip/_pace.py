"""Whether loops that follow each other closely are faster on several threads: it is tried."""

from __future__ import annotations

from time import perf_counter

# Until so many numbers a loop on several threads does not pay for what it costs the program around
# it. After it GNU's OpenMP has its threads look for more work for milliseconds, on processors that
# BLAS needs for the next gradients: a training step of three layers of 235,000 numbers took 8.0 ms,
# and takes 2.6. Where loops follow each other closely, there is nothing else between them.
LARGE_SIZE = 1 << 22
_SECONDS_BETWEEN, _SECONDS_A_NUMBER = 3e-4, 2e-9

# So many loops in a row run on one thread, then as many on several, and the next ones that follow
# closely on what was faster. Threads that the system keeps on one processor wait for each other, so
# that several get no more than so many times what the loops on one thread took.
TRIED = 16
DECIDED = 1000
MOST = 4


class Pace:
    """How fast the loops of a program follow each other."""

    def __init__(self) -> None:
        self._started = 0.0
        self._size = 0
        self._in_a_row = 0
        self._on_one: list[float] = []
        self._on_several: list[float] = []
        self._left = 0
        self._is_faster_on_several = False

    def asks_for_threads(self, size: int) -> bool:
        """Tell whether a loop over so many numbers is to start on several threads."""
        return size >= LARGE_SIZE or self._follows_on_threads(size)

    def _follows_on_threads(self, size: int) -> bool:
        now = perf_counter()
        self._note(now - self._started)
        self._started, self._size = now, size
        if self._left > 0:
            return self._is_faster_on_several and self._in_a_row >= TRIED
        return len(self._on_one) == TRIED

    def _note(self, seconds: float) -> None:
        """Take the time from the start of the loop before."""
        is_close = seconds < _SECONDS_BETWEEN + self._size * _SECONDS_A_NUMBER
        self._in_a_row = self._in_a_row + 1 if is_close else 0
        if self._left > 0:
            self._left -= 1
        elif len(self._on_one) == TRIED:
            self._on_several.append(seconds / self._size)
            self._decide()
        elif is_close:
            self._on_one.append(seconds / self._size)
        else:
            self._on_one = []

    def _decide(self) -> None:
        one, several = self._on_one, self._on_several
        is_too_slow = sum(several) > MOST * sum(one)
        if is_too_slow or len(several) == TRIED:
            is_faster = _without_slowest(several) < _without_slowest(one)
            self._is_faster_on_several = is_faster and not is_too_slow
            self._left, self._on_one, self._on_several = DECIDED, [], []


def _without_slowest(times: list[float]) -> float:
    """Add all but the slowest quarter: those that something else, or a thread asleep, held up."""
    return sum(sorted(times)[: TRIED * 3 // 4])
