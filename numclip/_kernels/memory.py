"""Numbers in a GPU's memory, of which kernels are given the addresses."""

import ctypes
from typing import Any

import numpy as np

from numclip._compile import intrinsic, ir, overload, types
from numclip._kernels.table import WIDE_COLUMNS

_GLOBAL_MEMORY = 1
_VECTOR_BYTES = 16
_INT64 = np.int64(0)


def numbers_at(address, size, like):
    """Return what is indexed for the numbers at an address, of the type of `like`."""
    dtype = np.dtype(type(like))
    if size == 0:
        return np.empty(0, dtype)
    memory = (ctypes.c_byte * int(size * dtype.itemsize)).from_address(int(address))
    return np.frombuffer(memory, dtype)


@overload(numbers_at)
def _numbers_at(address, size, like):
    return lambda address, size, like: _pointer(address, like)


def table_at(address, rows):
    return numbers_at(address, rows * WIDE_COLUMNS, _INT64).reshape(rows, WIDE_COLUMNS)


@overload(table_at)
def _table_at(address, rows):
    return lambda address, rows: numbers_at(address, rows * WIDE_COLUMNS, _INT64)


@intrinsic  # type: ignore[untyped-decorator]
def _pointer(typing_context: Any, address: Any, like: Any) -> Any:
    pointer = types.CPointer(like)

    def convert(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        generic = context.get_value_type(pointer)
        in_memory = ir.PointerType(generic.pointee, _GLOBAL_MEMORY)
        return builder.addrspacecast(builder.inttoptr(arguments[0], in_memory), generic)

    return pointer(types.int64, like), convert


def load_4(numbers, first):
    """Return four numbers from `first` on, which lie at a multiple of their size or of 16 bytes."""
    return numbers[first], numbers[first + 1], numbers[first + 2], numbers[first + 3]


@overload(load_4)
def _load_4(numbers, first):
    return lambda numbers, first: _load_vectors(numbers, first)


def store_4(numbers, first, a, b, c, d):
    """Store four numbers where `load_4` loads them from."""
    numbers[first], numbers[first + 1], numbers[first + 2], numbers[first + 3] = a, b, c, d


@overload(store_4)
def _store_4(numbers, first, a, b, c, d):
    return lambda numbers, first, a, b, c, d: _store_vectors(numbers, first, (a, b, c, d))


_INDEX = ir.IntType(32)


def _vectors(builder: Any, numbers: Any, first: Any) -> tuple[list[Any], int]:
    """Return pointers to the vectors that hold four numbers, and the bytes of each.

    Halves come as two integers, each with a pair of them: as four they are loaded in two parts.
    """
    number = numbers.type.pointee
    size = {ir.DoubleType(): 8, ir.FloatType(): 4}.get(number) or number.width // 8
    count = min(4, _VECTOR_BYTES // size)
    vector = ir.VectorType(number, count) if size > 2 else ir.VectorType(_INDEX, 2)
    starts = [builder.add(first, first.type(i)) for i in range(0, 4, count)]
    pointers = [builder.gep(numbers, [start]) for start in starts]
    in_memory = ir.PointerType(vector, _GLOBAL_MEMORY)
    return [builder.addrspacecast(pointer, in_memory) for pointer in pointers], size * count


def _taken_apart(builder: Any, vector: Any, number: Any) -> list[Any]:
    parts = [builder.extract_element(vector, _INDEX(i)) for i in range(vector.type.count)]
    if vector.type.element == number:
        return parts
    shifts = [_INDEX(0), _INDEX(16)]
    return [builder.trunc(builder.lshr(p, shift), number) for p in parts for shift in shifts]


def _put_together(builder: Any, numbers: list[Any], vector: Any) -> Any:
    if numbers[0].type != vector.element:
        wide = [builder.zext(number, _INDEX) for number in numbers]
        upper = [builder.shl(number, _INDEX(16)) for number in wide[1::2]]
        numbers = [builder.or_(a, b) for a, b in zip(wide[::2], upper, strict=True)]
    result = ir.Constant(vector, ir.Undefined)
    for i, number in enumerate(numbers):
        result = builder.insert_element(result, number, _INDEX(i))
    return result


@intrinsic  # type: ignore[untyped-decorator]
def _load_vectors(typing_context: Any, numbers: Any, first: Any) -> Any:
    four = types.UniTuple(numbers.dtype, 4)

    def load(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers, size = _vectors(builder, *arguments)
        number = arguments[0].type.pointee
        loaded = []
        for pointer in pointers:
            loaded += _taken_apart(builder, builder.load(pointer, align=size), number)
        return context.make_tuple(builder, four, loaded)

    return four(numbers, types.int64), load


@intrinsic  # type: ignore[untyped-decorator]
def _store_vectors(typing_context: Any, numbers: Any, first: Any, four: Any) -> Any:
    def store(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointers, size = _vectors(builder, *arguments[:2])
        given = [builder.extract_value(arguments[2], i) for i in range(4)]
        count = len(given) // len(pointers)
        for i, pointer in enumerate(pointers):
            some = given[i * count : (i + 1) * count]
            vector = _put_together(builder, some, pointer.type.pointee)
            builder.store(vector, pointer, align=size)
        return context.get_dummy_value()

    return types.void(numbers, types.int64, types.UniTuple(numbers.dtype, 4)), store
