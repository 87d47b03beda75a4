"""128 sums in float64 that stay in the processor's registers: what a loop adds squares to.

Numba keeps an array of sums in memory, and loads and stores each sum for every number added. Here
LLVM is given vectors of eight: one register with AVX-512, two or four without it. The order of
additions, and so each bit of a sum, is the same on all of them.
"""

from typing import Any

from numclip._compile import cgutils, intrinsic, ir, models, register_model, types
from numclip._compile_cuda import cuda, cuda_function
from numclip._kernels.ahead import generate_read_ahead
from numclip._kernels.vector import VECTOR, WIDTH, Vector, add

LANES = 128

_VECTORS = LANES // WIDTH
_REGISTERS = ir.ArrayType(VECTOR, _VECTORS)


class Lanes(types.Type):  # type: ignore[misc]
    """Lane 8 * i + j is number j of vector i."""

    def __init__(self) -> None:
        super().__init__("Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _REGISTERS)


@intrinsic  # type: ignore[untyped-decorator]
def no_lanes(typing_context: Any) -> Any:
    """Return lanes of zeros."""
    return _lanes(), lambda context, builder, signature, arguments: ir.Constant(_REGISTERS, None)


@intrinsic  # type: ignore[untyped-decorator]
def plus(typing_context: Any, lanes: Any, rule: Any, numbers: Any, first: Any, count: Any) -> Any:
    """Add to the first `count` lanes what a rule makes of a number each, those from `first` on.

    The numbers are float32 or float64. None, as `count`, is 128, and what a loop comes to after
    them is asked for: between the numbers loaded, it comes sooner than before them.
    """
    vector = Vector(has_exact_products=numbers.dtype == types.float32)
    ruled = rule.get_call_type(typing_context, (vector,), {})
    return _lanes(lanes, rule, numbers, first, count), _generate(rule, ruled)


def _generate(rule: Any, ruled: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, _, numbers, first, count = arguments
        kind = signature.args[2]
        apply = context.get_function(rule, ruled)
        start = builder.gep(numbers, [first])
        stored = ir.VectorType(context.get_value_type(kind.dtype), WIDTH)
        for i in range(_VECTORS):
            pointer = builder.gep(start, [ir.IntType(64)(i * WIDTH)])
            pointer = builder.bitcast(pointer, stored.as_pointer())
            alignment = kind.dtype.bitwidth // 8
            if signature.args[4] == types.none:
                generate_read_ahead(builder, pointer, i * WIDTH * alignment, only_reads=True)
                values = builder.load(pointer, align=alignment)
            else:
                values = _load_some(builder, stored, pointer, alignment, count, i * WIDTH)
            if stored != VECTOR:
                values = builder.fpext(values, VECTOR)
            sums = add(builder, builder.extract_value(lanes, i), apply(builder, [values]))
            lanes = builder.insert_value(lanes, sums, i)
        return lanes

    return generate


def _load_some(
    builder: Any, stored: Any, pointer: Any, alignment: int, count: Any, position: int
) -> Any:
    """Load those of eight numbers that are among the first `count`, and zeros for the others."""
    indices = ir.VectorType(ir.IntType(32), WIDTH)
    count = builder.trunc(count, indices.element)
    counts = builder.insert_element(ir.Constant(indices, ir.Undefined), count, indices.element(0))
    first_lane = ir.Constant(indices, [0] * WIDTH)
    counts = builder.shuffle_vector(counts, ir.Constant(indices, ir.Undefined), first_lane)
    lanes = ir.Constant(indices, list(range(position, position + WIDTH)))
    mask = builder.icmp_signed("<", lanes, counts)
    kind = ir.FunctionType(stored, [pointer.type, indices.element, mask.type, stored])
    load = _intrinsic(builder, kind, f"llvm.masked.load.{_name_of(stored)}.p0")
    return builder.call(
        load, [pointer, indices.element(alignment), mask, ir.Constant(stored, None)]
    )


def _name_of(vector: Any) -> str:
    return f"v{WIDTH}{'f64' if vector == VECTOR else 'f32'}"


def _intrinsic(builder: Any, kind: Any, name: str) -> Any:
    return builder.module.globals.get(name) or ir.Function(builder.module, kind, name)


@intrinsic  # type: ignore[untyped-decorator]
def new_row(typing_context: Any, kind: Any) -> Any:
    """Return a pointer to room for 128 numbers, which lasts until the caller returns."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = context.get_value_type(kind)
        return cgutils.alloca_once(builder, stored, size=LANES)

    return types.CPointer(kind)(kind), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_lanes(typing_context: Any, lanes: Any, sums: Any, first: Any) -> Any:
    """Write the lanes to an array, from `first` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lanes, sums, first = arguments
        start = builder.bitcast(builder.gep(sums, [first]), VECTOR.as_pointer())
        for i in range(_VECTORS):
            pointer = builder.gep(start, [ir.IntType(64)(i)])
            builder.store(builder.extract_value(lanes, i), pointer, align=8)
        return context.get_dummy_value()

    return types.void(lanes, sums, first), generate


@intrinsic  # type: ignore[untyped-decorator]
def sum_of_lanes(typing_context: Any, lanes: Any) -> Any:
    """Add the lanes in a tree: seven times, the upper half to the lower."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = [builder.extract_value(arguments[0], i) for i in range(_VECTORS)]
        vector = _tree(builder, vectors)
        return _tree(
            builder, [builder.extract_element(vector, ir.IntType(32)(i)) for i in range(WIDTH)]
        )

    return types.float64(lanes), generate


def _tree(builder: Any, sums: list[Any]) -> Any:
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [builder.fadd(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


@cuda_function
def sum_of_lanes_cuda(lanes):
    """Add the lanes, which a block's threads have stored, in the same tree."""
    used = LANES
    while used > 1:
        used //= 2
        cuda.syncthreads()
        # Numba's `range` divides to find how often it runs.
        lane = cuda.threadIdx.x
        while lane < used:
            lanes[lane] += lanes[lane + used]
            lane += cuda.blockDim.x
    cuda.syncthreads()
    total = lanes[0]
    cuda.syncthreads()
    return total
