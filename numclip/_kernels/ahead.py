"""Memory asked for before it is needed, where the processor's own guess comes too late."""

from typing import Any

from numclip._compile import intrinsic, ir, processor_name, types

# How many numbers are asked for at once.
STEP = 128

# Distances in bytes, and how near to the processor a line is loaded. Of those from 512 bytes to
# 8 KiB, alone and in pairs, the ones with which an Intel Xeon reads 2**26 float32 soonest; at
# 4 KiB, a page, its own guess ends.
_AHEAD = ((1024, 3), (4096, 2))

# That of an AMD EPYC does not where nothing is written: in C, the norm of 2**25 float32 takes
# 2.4 ms without them, 2.8 with. 2**26 times a factor, to another array, take 14.4 and 12.4.
_GUESSES_READS = "znver"

_CACHE_LINE = 64


def generate_prefetch(builder: Any, pointer: Any, distance: int = 0, nearness: int = 3) -> None:
    """Have a cache line loaded, be there one or not."""
    byte, option = ir.IntType(8).as_pointer(), ir.IntType(32)
    function = ir.FunctionType(ir.VoidType(), [byte, option, option, option])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], function)
    address = builder.gep(builder.bitcast(pointer, byte), [ir.IntType(64)(distance)])
    to_read, data = option(0), option(1)
    builder.call(prefetch, [address, to_read, option(nearness), data])


def generate_read_ahead(builder: Any, pointer: Any, offset: int, only_reads: bool) -> None:
    """Have loaded what a loop comes to soon, once for each line; `offset` is from its beginning."""
    if offset % _CACHE_LINE or (only_reads and processor_name().startswith(_GUESSES_READS)):
        return
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
        generate_read_ahead(builder, pointer, 0, only_reads=False)

    return types.void(numbers, first), _for_each_line(generate)


@intrinsic  # type: ignore[untyped-decorator]
def only_read_ahead(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Do as `read_ahead`, in a loop that writes nothing."""

    def generate(builder: Any, pointer: Any) -> None:
        generate_read_ahead(builder, pointer, 0, only_reads=True)

    return types.void(numbers, first), _for_each_line(generate)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_line(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Have the cache line loaded that a number lies on, be it there or not."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        generate_prefetch(builder, builder.gep(arguments[0], [arguments[1]]))
        return context.get_dummy_value()

    return types.void(numbers, first), generate
