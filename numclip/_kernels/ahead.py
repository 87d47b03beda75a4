"""Memory asked for before it is needed, where the processor's own guess comes too late."""

from typing import Any

from numclip._compile import intrinsic, ir, types

# How many numbers are asked for at once.
STEP = 128

# Distances in bytes, and how near to the processor a line is loaded. Of those from 512 bytes to
# 8 KiB, alone and in pairs, the ones with which 2**26 float32 are read soonest; at 4 KiB, a page,
# the processor's own guess ends.
_AHEAD = ((1024, 3), (4096, 2))

_CACHE_LINE = 64


def generate_prefetch(builder: Any, pointer: Any, distance: int = 0, nearness: int = 3) -> None:
    """Have a cache line loaded, be there one or not."""
    byte, option = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = ir.FunctionType(ir.VoidType(), [byte, option, option, option])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], function)
    address = builder.gep(builder.bitcast(pointer, byte), [ir.IntType(64)(distance)])
    to_read, data = option(0), option(1)
    builder.call(prefetch, [address, to_read, option(nearness), data])


def generate_read_ahead(builder: Any, pointer: Any, offset: int) -> None:
    """Have loaded what a loop comes to soon, once for each line; `offset` is from its beginning."""
    if offset % _CACHE_LINE == 0:
        for distance, nearness in _AHEAD:
            generate_prefetch(builder, pointer, distance, nearness)


def _for_each_line(generate: Any) -> Any:
    def generate_all(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        itemsize = signature.args[0].dtype.bitwidth // 8
        for i in range(0, STEP, _CACHE_LINE // itemsize):
            index = builder.add(arguments[1], ir.IntType(64)(i))
            generate(builder, builder.gep(arguments[0], [index]))
        return context.get_dummy_value()

    return generate_all


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Have the 128 numbers from `first` on loaded, be they there or not."""
    return types.void(numbers, first), _for_each_line(generate_prefetch)


@intrinsic  # type: ignore[untyped-decorator]
def read_ahead(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Have loaded what a loop over 128 numbers at a time comes to after those from `first`."""

    def generate(builder: Any, pointer: Any) -> None:
        generate_read_ahead(builder, pointer, 0)

    return types.void(numbers, first), _for_each_line(generate)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_line(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Have the cache line loaded that a number lies on, be it there or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        generate_prefetch(builder, builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(numbers, first), generate
