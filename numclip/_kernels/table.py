"""A list of tensors as kernels see it: a table of addresses, read from the arrays' own headers.

Asking NumPy for an array's address costs a microsecond, reading it where CPython and NumPy keep it
4 ns. `layout` says where; `_headers.py` finds it out and tests it.
"""

import numpy as np

from numclip._compile import integer_at, locked_kernel, overload, rule, types

CHUNK = 4096

# Columns of a table. A tensor has one row; None has size 0, and no part in a norm.
SOURCE, TARGET, SIZE, KIND, FIRST_CHUNK, COLUMNS = 0, 1, 2, 3, 4, 5

# And those that a wide table has besides, for a GPU and for optimizers. A piece is a chunk of the
# sums of chunks; a gradient by rows has the address of their indices, and a row's length; a mask
# has a byte for each number of a variable. From `FACTOR` on the columns hold float64.
FIRST_PIECE, FIRST_SLOT, ROWS, WIDTH, MASK = 5, 6, 9, 10, 11
FACTOR, DOUBLE_FACTOR, LOWEST, HIGHEST, WIDE_COLUMNS = 12, 13, 14, 15, 16

FLOAT32, FLOAT64, FLOAT16, BFLOAT16 = 0, 1, 2, 3
NONE_KIND = -1
ITEMSIZES = (4, 8, 2, 2)

_INT64 = np.int64(0)
_INT32 = np.int32(0)

_C_CONTIGUOUS, _OWNS_DATA, _ALIGNED, _WRITEABLE = 0x0001, 0x0004, 0x0100, 0x0400


def entry(table, row, column):
    return table[row, column]


@overload(entry)
def _entry(table, row, column):
    if isinstance(table, types.CPointer):  # on a GPU
        return lambda table, row, column: table[row * WIDE_COLUMNS + column]
    return entry


@rule
def chunks_of(size):
    return (size + CHUNK - 1) // CHUNK


@rule
def row_of(table, rows, chunk, column):
    """Return the row that holds a chunk: the last one that begins at it or before it."""
    low, high = 0, rows
    while high - low > 1:
        middle = (low + high) // 2
        if entry(table, middle, column) <= chunk:
            low = middle
        else:
            high = middle
    return low


@rule
def row_onward(table, row, rows, chunk):
    """Return, as `row_of`, the row that holds a chunk, at a row before it or there."""
    while row + 1 < rows and entry(table, row + 1, FIRST_CHUNK) <= chunk:
        row += 1
    return row


@rule
def pieces_of(size):
    """Return how many sums are left when the sums of a tensor's chunks are added by chunks."""
    return chunks_of(chunks_of(size))


@rule
def part_of(part, parts, chunks):
    """Return the first and the last of the chunks that one of many blocks walks."""
    return part * chunks // parts, (part + 1) * chunks // parts


@rule
def end_of_row(table, row, last):
    """Return the last chunk of a row, or where a block's part ends in it."""
    return min(last, entry(table, row, FIRST_CHUNK) + chunks_of(entry(table, row, SIZE)))


# Entries of `layout`: offsets in an array object, in a tuple, and two addresses to recognise.
(
    ARRAY_TYPE,
    NONE,
    TYPE_OFFSET,
    DATA_OFFSET,
    DIMENSIONS_OFFSET,
    SHAPE_OFFSET,
    DESCRIPTOR_OFFSET,
    FLAGS_OFFSET,
    FIRST_ITEM_OFFSET,
) = range(9)


@rule
def _kind_of(descriptor, descriptors):
    for i in range(descriptors.shape[0]):
        if descriptors[i, 0] == descriptor:
            return descriptors[i, 1], descriptors[i, 2]
    return -1, 0


@rule
def _is_plain(item, flags, layout):
    """Tell an exact ndarray whose flags, among them C-contiguity and alignment, are all set."""
    if integer_at(item + layout[TYPE_OFFSET], _INT64) != layout[ARRAY_TYPE]:
        return False
    return integer_at(item + layout[FLAGS_OFFSET], _INT32) & flags == flags


@rule
def _same_shape(item, other, layout):
    dimensions = integer_at(item + layout[DIMENSIONS_OFFSET], _INT32)
    if integer_at(other + layout[DIMENSIONS_OFFSET], _INT32) != dimensions:
        return False
    shape = integer_at(item + layout[SHAPE_OFFSET], _INT64)
    other_shape = integer_at(other + layout[SHAPE_OFFSET], _INT64)
    for i in range(dimensions):
        if integer_at(shape + 8 * i, _INT64) != integer_at(other_shape + 8 * i, _INT64):
            return False
    return True


@rule
def _size_of(item, layout):
    size = 1
    shape = integer_at(item + layout[SHAPE_OFFSET], _INT64)
    for i in range(integer_at(item + layout[DIMENSIONS_OFFSET], _INT32)):
        size *= integer_at(shape + 8 * i, _INT64)
    return size


@rule
def _are_distinct(addresses):
    """Tell whether no address occurs twice."""
    capacity = 16
    while capacity < 2 * addresses.size:
        capacity *= 2
    seen = np.zeros(capacity, np.int64)
    for i in range(addresses.size):
        slot = (addresses[i] >> 4) & (capacity - 1)
        while seen[slot] != 0:
            if seen[slot] == addresses[i]:
                return False
            slot = (slot + 1) & (capacity - 1)
        seen[slot] = addresses[i]
    return True


@rule
def _sort_spans(starts, ends):
    """Sort spans by their starts: a Shell sort, as compiling NumPy's takes a second."""
    gap = 1
    while gap < starts.size // 3:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(gap, starts.size):
            start, end = starts[i], ends[i]
            hole = i
            while hole >= gap and starts[hole - gap] > start:
                starts[hole], ends[hole] = starts[hole - gap], ends[hole - gap]
                hole -= gap
            starts[hole], ends[hole] = start, end
        gap //= 3


@rule
def are_disjoint(table, slots, own_their_data):
    """Tell whether no two targets or slots, and none of them and another's source, overlap.

    Arrays that own their data overlap only if they are the same: for 1,000 arrays this takes 3 us,
    and sorting 9 more.
    """
    if table.shape[0] == 1 and slots == 0 and table[0, SOURCE] == table[0, TARGET]:
        return True
    starts = np.empty((2 + slots) * table.shape[0], np.int64)
    ends = np.empty((2 + slots) * table.shape[0], np.int64)
    spans = 0
    for i in range(table.shape[0]):
        length = table[i, SIZE] * ITEMSIZES[table[i, KIND]]
        if length <= 0:
            continue
        if table[i, SOURCE] != table[i, TARGET]:
            starts[spans], ends[spans] = table[i, SOURCE], table[i, SOURCE] + length
            spans += 1
        starts[spans], ends[spans] = table[i, TARGET], table[i, TARGET] + length
        spans += 1
        for slot in range(slots):
            start = table[i, FIRST_SLOT + slot]
            if start != 0:
                starts[spans], ends[spans] = start, start + length
                spans += 1
    starts, ends = starts[:spans], ends[:spans]
    if own_their_data:
        return _are_distinct(starts)
    _sort_spans(starts, ends)
    for i in range(1, spans):
        if ends[i - 1] > starts[i]:
            return False
    return True


@rule
def fill(table, items, targets, layout, descriptors):
    """Fill a table as `fill_table`; return besides whether all arrays own their data."""
    chunks = 0
    numbers = 0
    own_their_data = True
    for i in range(table.shape[0]):
        item = integer_at(items + layout[FIRST_ITEM_OFFSET] + 8 * i, _INT64)
        target = item
        if targets != 0:
            target = integer_at(targets + layout[FIRST_ITEM_OFFSET] + 8 * i, _INT64)
        table[i, FIRST_CHUNK] = chunks
        if item == layout[NONE]:
            if target != item:
                return -1, 0, False
            table[i, SOURCE] = table[i, TARGET] = table[i, SIZE] = 0
            table[i, KIND] = NONE_KIND
            continue
        if not _is_plain(item, _C_CONTIGUOUS | _ALIGNED, layout):
            return -1, 0, False
        descriptor = integer_at(item + layout[DESCRIPTOR_OFFSET], _INT64)
        kind, multiple = _kind_of(descriptor, descriptors)
        if kind < 0:
            return -1, 0, False
        if targets != 0:
            if not _is_plain(target, _C_CONTIGUOUS | _ALIGNED | _WRITEABLE, layout):
                return -1, 0, False
            if target != item and (
                integer_at(target + layout[DESCRIPTOR_OFFSET], _INT64) != descriptor
                or not _same_shape(item, target, layout)
            ):
                return -1, 0, False
        own_their_data = (
            own_their_data
            and integer_at(item + layout[FLAGS_OFFSET], _INT32) & _OWNS_DATA != 0
            and integer_at(target + layout[FLAGS_OFFSET], _INT32) & _OWNS_DATA != 0
        )
        size = _size_of(item, layout) * multiple
        table[i, SOURCE] = integer_at(item + layout[DATA_OFFSET], _INT64)
        table[i, TARGET] = integer_at(target + layout[DATA_OFFSET], _INT64)
        table[i, SIZE] = size
        table[i, KIND] = kind
        chunks += chunks_of(size)
        numbers += size
    return chunks, numbers, own_their_data


@locked_kernel
def fill_table(table, items, targets, layout, descriptors):
    """Fill a table from two tuples of arrays, given by address; `targets` may be `items` or 0.

    Returns the number of its chunks, and that of its numbers; -1 and 0 if an array is not one that
    can be read like this, or if arrays overlap.
    """
    chunks, numbers, own_their_data = fill(table, items, targets, layout, descriptors)
    if chunks < 0 or (targets != 0 and not are_disjoint(table, 0, own_their_data)):
        return -1, 0
    return chunks, numbers
