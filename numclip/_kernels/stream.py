"""Results written to memory past the cache, which else is read before it is written."""

from typing import Any

from numclip._compile import intrinsic, ir, rule, types
from numclip._kernels.table import CHUNK, FIRST_CHUNK, SIZE

# Numbers that are written at once.
BLOCK = 512

_CACHE_LINE = 64
# From this number of numbers on: clipping 2**22 float32 takes 480 us in place of 920, 2**26 25 ms
# in place of 30. Of fewer, the cache still holds the targets: 2**20 take 95 us, past it 200.
_LARGE = 1 << 22

_LINE = ir.VectorType(ir.IntType(64), _CACHE_LINE // 8)


@rule
def is_large(table):
    """Tell whether the tensors of a table are too large to stay in the cache."""
    last = table.shape[0] - 1
    return last >= 0 and table[last, FIRST_CHUNK] * CHUNK + table[last, SIZE] >= _LARGE


@rule
def next_line(array, first):
    """Return the first position, from `first` on, that begins a cache line."""
    line = _CACHE_LINE // array.itemsize
    return first + -(array.ctypes.data // array.itemsize + first) % line


@intrinsic  # type: ignore[untyped-decorator]
def stream(typing_context: Any, source: Any, first: Any, target: Any, position: Any) -> Any:
    """Copy 512 numbers, from `first` on, to a position that begins a cache line."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        source, first, target, position = arguments
        origin = builder.bitcast(builder.gep(source, [first]), _LINE.as_pointer())
        destination = builder.bitcast(builder.gep(target, [position]), _LINE.as_pointer())
        itemsize = signature.args[0].dtype.bitwidth // 8
        past_cache = builder.module.add_metadata([ir.IntType(32)(1)])
        for i in range(BLOCK * itemsize // _CACHE_LINE):
            index = ir.IntType(64)(i)
            line = builder.load(builder.gep(origin, [index]), align=itemsize)
            store = builder.store(line, builder.gep(destination, [index]), align=_CACHE_LINE)
            store.set_metadata("nontemporal", past_cache)
        return context.get_dummy_value()

    return types.void(source, first, target, position), generate


@intrinsic  # type: ignore[untyped-decorator]
def end_stream(typing_context: Any) -> Any:
    """Let no other thread see what is written from here on before what was streamed."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic  # type: ignore[untyped-decorator]
def new_block(typing_context: Any, kind: Any) -> Any:
    """Return a pointer to room for 512 numbers, which lasts until the caller returns."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(context.get_value_type(kind), BLOCK)
        room.align = _CACHE_LINE
        return room

    return types.CPointer(kind)(kind), generate
