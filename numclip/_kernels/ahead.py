"""Memory asked for before it is needed, where the processor's own guess comes too late."""

from typing import Any

from numclip._compile import intrinsic, ir, types

# Of 256 to 2,048 numbers the distance at which 2**26 float32 are read, and scaled, soonest.
AHEAD = 512

# How many numbers are asked for at once.
STEP = 128

_CACHE_LINE = 64


@intrinsic  # type: ignore[untyped-decorator]
def read_ahead(typing_context: Any, numbers: Any, first: Any) -> Any:
    """Have 128 numbers loaded that come 512 after `first`, whether or not they are there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, option = ir.IntType(8).as_pointer(), ir.IntType(32)
        start = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte)
        function = ir.FunctionType(ir.VoidType(), [byte, option, option, option])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [byte], function)
        to_read, to_keep, data = option(0), option(3), option(1)
        itemsize = signature.args[0].dtype.bitwidth // 8
        for offset in range(AHEAD * itemsize, (AHEAD + STEP) * itemsize, _CACHE_LINE):
            line = builder.gep(start, [ir.IntType(64)(offset)])
            builder.call(prefetch, [line, to_read, to_keep, data])
        return context.get_dummy_value()

    return types.void(numbers, first), generate
