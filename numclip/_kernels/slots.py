"""One number of each slot of a variable: tuples, as rules take and return them.

The slots of a variable are a tuple of what is indexed for the numbers of each, as many as the rule
has. Numba unrolls the loops over them, which here are written for it as recursions.
"""

from numclip._compile import overload
from numclip._kernels.ahead import prefetch_line
from numclip._kernels.half import narrow, widen
from numclip._kernels.memory import load_4, store_4


def load_slots(slots, i):
    return tuple([slot[i] for slot in slots])


@overload(load_slots)
def _load_slots(slots, i):
    if len(slots) == 0:
        return lambda slots, i: ()
    return lambda slots, i: (slots[0][i], *load_slots(slots[1:], i))


def prefetch_slots(slots, i):
    """Have loaded what lies near a number of each slot, for `store_slots` soon."""


@overload(prefetch_slots)
def _prefetch_slots(slots, i):
    if len(slots) == 0:
        return lambda slots, i: None

    def prefetch(slots, i):
        prefetch_line(slots[0], i)
        prefetch_slots(slots[1:], i)

    return prefetch


def store_slots(slots, i, numbers):
    for slot, number in zip(slots, numbers, strict=True):
        slot[i] = number


@overload(store_slots)
def _store_slots(slots, i, numbers):
    if len(slots) == 0:
        return lambda slots, i, numbers: None

    def store(slots, i, numbers):
        slots[0][i] = numbers[0]
        store_slots(slots[1:], i, numbers[1:])

    return store


def load_slots_4(slots, i):
    return tuple([load_4(slot, i) for slot in slots])


@overload(load_slots_4)
def _load_slots_4(slots, i):
    if len(slots) == 0:
        return lambda slots, i: ()
    return lambda slots, i: (load_4(slots[0], i), *load_slots_4(slots[1:], i))


def lane_of_slots(fours, lane):
    return tuple([four[lane] for four in fours])


@overload(lane_of_slots)
def _lane_of_slots(fours, lane):
    if len(fours) == 0:
        return lambda fours, lane: ()
    return lambda fours, lane: (fours[0][lane], *lane_of_slots(fours[1:], lane))


def store_slots_4(slots, i, a, b, c, d):
    for slot, *numbers in zip(slots, a, b, c, d, strict=True):
        store_4(slot, i, *numbers)


@overload(store_slots_4)
def _store_slots_4(slots, i, a, b, c, d):
    if len(slots) == 0:
        return lambda slots, i, a, b, c, d: None

    def store(slots, i, a, b, c, d):
        store_4(slots[0], i, a[0], b[0], c[0], d[0])
        store_slots_4(slots[1:], i, a[1:], b[1:], c[1:], d[1:])

    return store


def widen_slots(numbers):
    return tuple(map(widen, numbers))


@overload(widen_slots)
def _widen_slots(numbers):
    if len(numbers) == 0:
        return lambda numbers: ()
    return lambda numbers: (widen(numbers[0]), *widen_slots(numbers[1:]))


def narrow_slots(values, numbers):
    return tuple(map(narrow, values, numbers))


@overload(narrow_slots)
def _narrow_slots(values, numbers):
    if len(numbers) == 0:
        return lambda values, numbers: ()
    return lambda values, numbers: (
        narrow(values[0], numbers[0]),
        *narrow_slots(values[1:], numbers[1:]),
    )
