"""The loops of all optimizers, whatever the rule and its number of slots.

What clips a gradient, and what keeps a variable within bounds, are operations of `elementwise.py`;
their numbers are those of the variable's row in the table.
"""

import numpy as np

from numclip._compile import (
    array_at,
    kernel,
    overload,
    parallel_kernel,
    pointer_at,
    pointer_to,
    prange,
    rule,
    subkernel,
)
from numclip._compile_cuda import cuda, cuda_function, cuda_kernel
from numclip._kernels.ahead import prefetch_line
from numclip._kernels.clip import DOUBLE, DOUBLE_POWER, SINGLE, SINGLE_POWER, STATE
from numclip._kernels.elementwise import MAP_THREADS, Bounds, Clip, Copy, Scale
from numclip._kernels.memory import load_4, numbers_at, store_4, table_at
from numclip._kernels.rows import heads_group, sum_of_group
from numclip._kernels.rules import Everything, MaskAt, slots_at, step
from numclip._kernels.slots import (
    lane_of_slots,
    load_slots,
    load_slots_4,
    prefetch_slots,
    store_slots,
    store_slots_4,
)
from numclip._kernels.table import (
    CHUNK,
    DOUBLE_FACTOR,
    FACTOR,
    FIRST_CHUNK,
    FIRST_SLOT,
    HIGHEST,
    KIND,
    LOWEST,
    MASK,
    ROWS,
    SIZE,
    SOURCE,
    TARGET,
    WIDE_COLUMNS,
    WIDTH,
    entry,
    part_of,
    row_of,
    row_onward,
)

# Chunks that are walked forward at once, while the tensors are walked backward: after a norm was
# taken, the end of the gradients is still in the cache.
_PIECE = 64

# Rows lie anywhere in memory: they are asked for so many rows before they are updated, and up to so
# many numbers of each. 8,192 rows of 64 take 250 us in place of 310.
_ROWS_AHEAD, _MOST_AHEAD, _LINE = 8, 256, 16

_INT64, _FLOAT64, _BYTE = np.int64(0), np.float64(0), np.uint8(0)


def _clip_of_row(clip, numbers):
    """Return what clips the gradient of a row; factors are the row's own."""


@overload(_clip_of_row)
def _overload_clip_of_row(clip, numbers):
    if clip.instance_class is Scale:
        return lambda clip, numbers: Scale(numbers[FACTOR], numbers[DOUBLE_FACTOR])
    return lambda clip, numbers: clip


def _bound_of_row(bound, numbers):
    """Return what keeps the variable of a row within its own bounds, if any has some."""


@overload(_bound_of_row)
def _overload_bound_of_row(bound, numbers):
    if bound.instance_class is Bounds:
        return lambda bound, numbers: Bounds(numbers[LOWEST], numbers[HIGHEST])
    return lambda bound, numbers: bound


def _mask_of_row(mask, table, row):
    """Return the mask of a row, where all rows have one."""


@overload(_mask_of_row)
def _overload_mask_of_row(mask, table, row):
    if mask.instance_class is Everything:
        return lambda mask, table, row: mask
    return lambda mask, table, row: pointer_at(table[row, MASK], _BYTE)


@rule
def _update_number(hyperparameters, clip, bound, mask, numbers, place, gradient, slots):
    """Update one number of a variable by its gradient."""
    numbers[place], new_slots = step(
        hyperparameters,
        clip,
        bound,
        mask,
        place,
        numbers[place],
        gradient,
        load_slots(slots, place),
    )
    store_slots(slots, place, new_slots)


@subkernel
def _update_numbers(
    hyperparameters, clip, bound, mask, numbers, gradient, slots, shift, first, last
):
    for i in range(first, last):
        _update_number(hyperparameters, clip, bound, mask, numbers, i + shift, gradient[i], slots)


@subkernel
def _prefetch_row(numbers, slots, first, width):
    """Have the beginning of a row loaded; the processor itself goes on with what follows."""
    for i in range(first, first + min(width, _MOST_AHEAD), _LINE):
        prefetch_line(numbers, i)
        prefetch_slots(slots, i)


@subkernel
def _update_some_rows(
    hyperparameters, clip, bound, mask, numbers, gradient, slots, rows, width, first, last
):
    while first < last:
        position = first // width
        stop = min(last, (position + 1) * width)
        following = position + _ROWS_AHEAD
        if following * width < last:
            _prefetch_row(numbers, slots, rows[following] * width, width)
        shift = (rows[position] - position) * width
        _update_numbers(
            hyperparameters, clip, bound, mask, numbers, gradient, slots, shift, first, stop
        )
        first = stop


@kernel
def update_chunks(hyperparameters, clip, bound, mask, like, kind, table, first, last):
    """Update the variables of one kind by these chunks of the gradients, the last one first.

    Those of a gradient by rows are taken in order.
    """
    reals = table.view(np.float64)
    row = row_of(table, table.shape[0], last - 1, FIRST_CHUNK)
    while first < last:
        start = max(first, table[row, FIRST_CHUNK])
        if table[row, KIND] == kind:
            numbers = pointer_at(table[row, TARGET], like)
            gradient = pointer_at(table[row, SOURCE], like)
            slots = slots_at(hyperparameters, table, row, 0, like)
            clip_here = _clip_of_row(clip, reals[row])
            bound_here = _bound_of_row(bound, reals[row])
            mask_here = _mask_of_row(mask, table, row)
            offset = table[row, FIRST_CHUNK]
            end = min((last - offset) * CHUNK, table[row, SIZE])
            begin = (start - offset) * CHUNK
            if table[row, ROWS] != 0:
                rows = pointer_at(table[row, ROWS], _INT64)
                width = table[row, WIDTH]
                _update_some_rows(
                    hyperparameters,
                    clip_here,
                    bound_here,
                    mask_here,
                    numbers,
                    gradient,
                    slots,
                    rows,
                    width,
                    begin,
                    end,
                )
                end = begin
            while begin < end:
                piece = max(begin, end - _PIECE * CHUNK)
                _update_numbers(
                    hyperparameters,
                    clip_here,
                    bound_here,
                    mask_here,
                    numbers,
                    gradient,
                    slots,
                    0,
                    piece,
                    end,
                )
                end = piece
        last = start
        row -= 1


@parallel_kernel
def update_chunks_parallel(hyperparameters, clip, bound, mask, like, kind, table, chunks, parts):
    for part in prange(parts):
        first, last = part * chunks // parts, (part + 1) * chunks // parts
        update_chunks(hyperparameters, clip, bound, mask, like, kind, table, first, last)


@kernel
def update_all_rows(hyperparameters, clip, bound, mask, like, table, order, first, last):
    """Update these rows of a variable, those without a gradient by zero.

    The table is of this variable alone, `order` what sorts the indices of its gradient.
    """
    reals = table.view(np.float64)[0]
    numbers, gradient = pointer_at(table[0, TARGET], like), pointer_at(table[0, SOURCE], like)
    slots = slots_at(hyperparameters, table, 0, 0, like)
    clip_here, bound_here = _clip_of_row(clip, reals), _bound_of_row(bound, reals)
    mask_here = _mask_of_row(mask, table, 0)
    width = table[0, WIDTH]
    rows = array_at(table[0, ROWS], order.size, _INT64)
    zeros = np.zeros(width, array_at(table[0, SOURCE], width, like).dtype)
    position = 0
    while position < order.size and rows[order[position]] < first:
        position += 1
    for row in range(first, last):
        if position < order.size and rows[order[position]] == row:
            begin = order[position] * width
            _update_numbers(
                hyperparameters,
                clip_here,
                bound_here,
                mask_here,
                numbers,
                gradient,
                slots,
                row * width - begin,
                begin,
                begin + width,
            )
            position += 1
        else:
            _update_numbers(
                hyperparameters,
                Copy(),
                bound_here,
                mask_here,
                numbers,
                pointer_to(zeros),
                slots,
                row * width,
                0,
                width,
            )


@parallel_kernel
def update_all_rows_parallel(hyperparameters, clip, bound, mask, like, table, order, rows, parts):
    for part in prange(parts):
        first, last = part * rows // parts, (part + 1) * rows // parts
        update_all_rows(hyperparameters, clip, bound, mask, like, table, order, first, last)


@cuda_function
def _clip_at(state_address, lowest, highest):
    """Return what clips: by the factors of a state, if there is one, and to bounds."""
    if state_address == 0:
        return Clip(1.0, 0, 1.0, 0, lowest, highest)
    state = numbers_at(state_address, STATE, _FLOAT64)
    return Clip(
        state[SINGLE],
        int(state[SINGLE_POWER]),
        state[DOUBLE],
        int(state[DOUBLE_POWER]),
        lowest,
        highest,
    )


@cuda_function
def _bound_at(table_address, rows, row):
    reals = numbers_at(table_address, rows * WIDE_COLUMNS, _FLOAT64)
    start = row * WIDE_COLUMNS
    return Bounds(reals[start + LOWEST], reals[start + HIGHEST])


@cuda_function
def _update_chunk_cuda(
    hyperparameters, clip, bound, mask, numbers, gradient, slots, first, last, in_vectors
):
    if in_vectors:
        stop = first + (last - first) // 4 * 4
        for i in range(first + 4 * cuda.threadIdx.x, stop, 4 * cuda.blockDim.x):
            n, g, s = load_4(numbers, i), load_4(gradient, i), load_slots_4(slots, i)
            a, a_slots = step(
                hyperparameters, clip, bound, mask, i + 0, n[0], g[0], lane_of_slots(s, 0)
            )
            b, b_slots = step(
                hyperparameters, clip, bound, mask, i + 1, n[1], g[1], lane_of_slots(s, 1)
            )
            c, c_slots = step(
                hyperparameters, clip, bound, mask, i + 2, n[2], g[2], lane_of_slots(s, 2)
            )
            d, d_slots = step(
                hyperparameters, clip, bound, mask, i + 3, n[3], g[3], lane_of_slots(s, 3)
            )
            store_4(numbers, i, a, b, c, d)
            store_slots_4(slots, i, a_slots, b_slots, c_slots, d_slots)
        first = stop
    for i in range(first + cuda.threadIdx.x, last, cuda.blockDim.x):
        _update_number(hyperparameters, clip, bound, mask, numbers, i, gradient[i], slots)


@cuda_kernel(MAP_THREADS)
def update_cuda(
    hyperparameters, like, kind, table_address, rows, chunks, state_address, lowest, highest
):
    """Update the variables of one kind."""
    table = table_at(table_address, rows)
    clip = _clip_at(state_address, lowest, highest)
    first, last = part_of(cuda.blockIdx.x, cuda.gridDim.x, chunks)
    row = row_of(table, rows, first, FIRST_CHUNK)
    for chunk in range(first, last):
        row = row_onward(table, row, rows, chunk)
        if entry(table, row, KIND) == kind:
            size = entry(table, row, SIZE)
            source, target = entry(table, row, SOURCE), entry(table, row, TARGET)
            addresses = source | target
            for i in range(ROWS - FIRST_SLOT):
                addresses |= entry(table, row, FIRST_SLOT + i)
            begin = (chunk - entry(table, row, FIRST_CHUNK)) * CHUNK
            _update_chunk_cuda(
                hyperparameters,
                clip,
                _bound_at(table_address, rows, row),
                MaskAt(entry(table, row, MASK), size),
                numbers_at(target, size, like),
                numbers_at(source, size, like),
                slots_at(hyperparameters, table, row, size, like),
                begin,
                min(begin + CHUNK, size),
                addresses % 16 == 0,
            )


@cuda_kernel(MAP_THREADS)
def update_rows_cuda(
    hyperparameters,
    like,
    table_address,
    rows,
    size,
    keys_address,
    order_address,
    in_order,
    state_address,
    lowest,
    highest,
):
    """Update the rows that occur, by the sum of their group.

    With `in_order` each of a group updates its row, one after another.
    """
    table = table_at(table_address, 1)
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    width = entry(table, 0, WIDTH)
    numbers = numbers_at(entry(table, 0, TARGET), rows * width, like)
    gradient = numbers_at(entry(table, 0, SOURCE), size * width, like)
    slots = slots_at(hyperparameters, table, 0, rows * width, like)
    clip, bound = _clip_at(state_address, lowest, highest), _bound_at(table_address, 1, 0)
    mask = MaskAt(entry(table, 0, MASK), rows * width)
    for i in range(cuda.grid(1), size * width, cuda.gridsize(1)):
        position, column = i // width, i % width
        if not heads_group(keys, position):
            continue
        place = keys[position] * width + column
        if in_order:
            while True:
                of_row = gradient[order[position] * width + column]
                _update_number(hyperparameters, clip, bound, mask, numbers, place, of_row, slots)
                position += 1
                if position == size or heads_group(keys, position):
                    break
        else:
            summed = sum_of_group(gradient, width, column, keys, order, position, size)
            _update_number(hyperparameters, clip, bound, mask, numbers, place, summed, slots)


@cuda_kernel(MAP_THREADS)
def place_groups_cuda(rows, size, keys_address, places_address):
    """Store for each row where its group begins; the places are -1 before."""
    keys = numbers_at(keys_address, size, _INT64)
    places = numbers_at(places_address, rows, _INT64)
    for position in range(cuda.grid(1), size, cuda.gridsize(1)):
        if heads_group(keys, position):
            places[keys[position]] = position


@cuda_kernel(MAP_THREADS)
def update_all_rows_cuda(
    hyperparameters,
    like,
    table_address,
    rows,
    size,
    keys_address,
    order_address,
    places_address,
    state_address,
    lowest,
    highest,
):
    """Update every row, by the sum of its group or by zero."""
    table = table_at(table_address, 1)
    keys, order = numbers_at(keys_address, size, _INT64), numbers_at(order_address, size, _INT64)
    places = numbers_at(places_address, rows, _INT64)
    width = entry(table, 0, WIDTH)
    numbers = numbers_at(entry(table, 0, TARGET), rows * width, like)
    gradient = numbers_at(entry(table, 0, SOURCE), size * width, like)
    slots = slots_at(hyperparameters, table, 0, rows * width, like)
    clip, bound = _clip_at(state_address, lowest, highest), _bound_at(table_address, 1, 0)
    mask = MaskAt(entry(table, 0, MASK), rows * width)
    for i in range(cuda.grid(1), rows * width, cuda.gridsize(1)):
        position = places[i // width]
        summed = type(like)(0)
        if position >= 0:
            summed = sum_of_group(gradient, width, i % width, keys, order, position, size)
        _update_number(hyperparameters, clip, bound, mask, numbers, i, summed, slots)
