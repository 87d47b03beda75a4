"""Whether loops that follow each other closely are faster on several threads: it is tried."""

from __future__ import annotations

from time import perf_counter

# Until so many numbers a loop on several threads does not pay for what it costs the program around
# it. After it GNU's OpenMP has its threads look for more work for milliseconds, on processors that
# BLAS needs for the next gradients: a training step of three layers of 235,000 numbers took 8.0 ms,
# and takes 2.6. Where loops follow each other closely, there is nothing else between them.
LARGE_SIZE = 1 << 22
_SECONDS_BETWEEN, _SECONDS_A_NUMBER = 3e-4, 2e-9

# So many loops in a row run on one thread, as many then on several, and those that follow on what
# was faster. Two threads that the system keeps on one processor take ten times as long as one.
TRIED = 16
DECIDED = 1000


class Pace:
    """How fast the loops of a program follow each other."""

    def __init__(self) -> None:
        self._started = 0.0
        self._size = 0
        self._loops = 0
        self._times: list[float] = []
        self._is_faster_on_threads = False

    def asks_for_threads(self, size: int) -> bool:
        """Tell whether a loop over so many numbers is to start on several threads."""
        return size >= LARGE_SIZE or self._follows_on_threads(size)

    def _follows_on_threads(self, size: int) -> bool:
        now = perf_counter()
        self._note(now - self._started)
        self._started, self._size = now, size
        tried = len(self._times)
        return tried >= TRIED and (tried < 2 * TRIED or self._is_faster_on_threads)

    def _note(self, seconds: float) -> None:
        """Take the time from the start of the loop before."""
        is_close = seconds < _SECONDS_BETWEEN + self._size * _SECONDS_A_NUMBER
        self._loops = self._loops + 1 if is_close else 0
        if self._loops % DECIDED == 0:
            self._times = []
        elif len(self._times) < 2 * TRIED:
            self._times.append(seconds / self._size)
            if len(self._times) == 2 * TRIED:
                one, several = self._times[:TRIED], self._times[TRIED:]
                self._is_faster_on_threads = _without_slowest(several) < _without_slowest(one)


def _without_slowest(times: list[float]) -> float:
    """Add all but the slowest quarter: those that something else, or a thread asleep, held up."""
    return sum(sorted(times)[: TRIED * 3 // 4])
