"""Lists of tensors: checked once, and handed to kernels as one table.

Those of CUDA arrays become `CudaTensors`, which have the same methods.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from numclip import _array, _headers, _threads
from numclip._array import Array, Tensor
from numclip._cuda_array import CudaArray
from numclip._cuda_libraries import may_be_cuda
from numclip._kernels import table as kernels
from numclip._kernels.clip import clip_arrays, clip_factors, clip_table, clip_table_parallel
from numclip._kernels.elementwise import (
    Scale,
    ScaleInSteps,
    Zero,
    copy_chunks,
    copy_chunks_parallel,
    map_chunks,
    map_chunks_parallel,
)
from numclip._kernels.norm import norm_of_sums, norm_of_table, sum_chunks_parallel
from numclip._kernels.power import times_power_of_two
from numclip._operand import Operand, operand
from numclip._slices import IndexedSlices, check_lengths

if TYPE_CHECKING:
    from numclip._cuda_tensors import CudaNorm, CudaTensors


class Norm(NamedTuple):
    """The norm ``root * 2**exponent``."""

    root: float
    exponent: int = 0

    @property
    def is_finite(self) -> bool:
        return math.isfinite(self.root)

    def on_host(self) -> float:
        return float(self.value)

    @property
    def value(self) -> np.float64:
        if self.exponent == 0:
            return np.float64(self.root)
        return np.float64(times_power_of_two(self.root, self.exponent))


class Tensors(NamedTuple):
    """A table for kernels, with all that has to live as long as it does.

    What kernels write to `buffers` is copied to `targets` afterwards.
    """

    table: Array
    chunks: int
    size: int
    kept: Any
    buffers: Sequence[Array] = ()
    targets: Sequence[Array] = ()

    def _deliver(self) -> None:
        for buffer, target in zip(self.buffers, self.targets, strict=True):
            _array.deliver(buffer, target)

    def norm(self) -> Norm:
        parts = _threads.parts_for(self.size)
        if parts == 1:
            return Norm(*norm_of_table(self.table, self.chunks))
        sums = np.empty(self.chunks)
        _threads.on_threads(parts, sum_chunks_parallel, self.table, sums, self.chunks)
        return Norm(*norm_of_sums(self.table, sums))

    def given_norm(self, use_norm: object) -> Norm:
        """Return a norm that the caller knows."""
        return Norm(_array.as_norm(use_norm, "use_norm"))

    def scale(
        self, norm: Norm, limit: float, nonfinite: str = "propagate", roundings: int = 0
    ) -> Norm:
        """Write what brings a norm, which is known, to the limit."""
        if nonfinite != "propagate" and not norm.is_finite:
            if nonfinite == "zero":
                self.map(Zero())
            return norm
        single, double = clip_factors(self.table, *norm, limit, roundings)
        if single[0] == 1.0:
            self._copy()
        elif single[1] == double[1] == 0:
            self.map(Scale(single[0], double[0]))
        else:
            self.map(ScaleInSteps(*single, *double))
        return norm

    def _copy(self) -> None:
        self._loop(copy_chunks, copy_chunks_parallel, self.table)
        self._deliver()

    def _loop(
        self, loop: Callable[..., Any], parallel: Callable[..., Any], *arguments: Any
    ) -> None:
        _threads.in_parts(self.size, self.chunks, loop, parallel, *arguments)

    def clip(
        self, limit: float, nonfinite: str = "propagate", roundings: int = 0, shift: int = 0
    ) -> Norm:
        """Bring the norm, divided by 2**shift, to the limit.

        A norm that is not finite makes everything NaN, or zero, or with "raise" changes nothing.
        """
        if roundings:
            norm = self.norm()
            self.scale(norm._replace(exponent=norm.exponent - shift), limit, nonfinite, roundings)
            return norm
        parts = _threads.parts_for(self.size)
        arguments = (self.table, self.chunks, limit, nonfinite != "propagate")
        if parts == 1:
            root, exponent, is_done = clip_table(*arguments)
        else:
            root, exponent, is_done = _threads.on_threads(parts, clip_table_parallel, *arguments)
        norm = Norm(root, exponent)
        if not is_done:
            return self.scale(norm, limit, nonfinite)
        self._deliver()
        return norm

    def map(self, operation: tuple[float, ...]) -> None:
        """Write what an operation of `_kernels/elementwise.py` makes of each number."""
        self._loop(map_chunks, map_chunks_parallel, operation, self.table)
        self._deliver()


def _read_headers(
    items: tuple[Any, ...], targets: tuple[Any, ...] | None, descriptors: Array
) -> Tensors | None:
    """Make a table of arrays where they are; None unless kernels can read and write them there."""
    if not _headers.can_be_read():
        return None
    address = 0 if targets is None else id(targets)
    table = _new_table(len(items))
    chunks, size = kernels.fill_table(table, id(items), address, _headers.LAYOUT, descriptors)
    return None if chunks < 0 else Tensors(table, chunks, size, (items, targets))


def _new_table(rows: int) -> Array:
    return np.empty((rows, kernels.COLUMNS), np.int64)


def _table_of_views(numbers: tuple[Array, ...], targets: tuple[Array, ...]) -> Tensors:
    tensors = _read_headers(numbers, targets, _headers.VIEWS)
    if tensors is not None:
        return tensors
    table = np.zeros((len(numbers), kernels.COLUMNS), np.int64)
    chunks = 0
    for row, view, target in zip(table, numbers, targets, strict=True):
        row[kernels.SOURCE] = _array.address_of(view)
        row[kernels.TARGET] = _array.address_of(target)
        row[kernels.SIZE] = view.size
        row[kernels.KIND] = _headers.KIND_OF_VIEW[view.dtype]
        row[kernels.FIRST_CHUNK] = chunks
        chunks += kernels.chunks_of(view.size)
    return Tensors(table, chunks, sum(view.size for view in numbers), (numbers, targets))


def tensors_of(operands: Sequence[Operand]) -> Tensors | CudaTensors:
    """Return a table of checked tensors, which are all in one place."""
    sources = [each.values for each in operands]
    targets = [each.target for each in operands]
    if sources and isinstance(sources[0], CudaArray):
        return _cuda_tensors(sources, targets)
    return _host_tensors(sources, targets)


def _cuda_tensors(sources: Sequence[CudaArray], targets: Sequence[CudaArray]) -> CudaTensors:
    from numclip._cuda_tensors import cuda_tensors

    return cuda_tensors(sources, targets)


def _host_tensors(sources: Sequence[Array], targets: Sequence[Array]) -> Tensors:
    """Return a table of arrays; what kernels cannot read or write in place is copied."""
    for source in sources:
        _headers.recognize(source.dtype)
    buffers = [_array.buffer_for(target) for target in targets]
    numbers = tuple(map(_array.numbers_of, sources, buffers))
    tensors = _table_of_views(numbers, tuple(_array.flat(buffer) for buffer in buffers))
    if all(buffer is target for buffer, target in zip(buffers, targets, strict=True)):
        return tensors
    return tensors._replace(buffers=buffers, targets=targets)


def named_tensors(t_list: object, argument: str = "t_list") -> list[tuple[str, Any]]:
    """Return the entries of a list, tuple or dict, each with its name for messages."""
    if isinstance(t_list, Mapping):
        return [(f"{argument}[{key!r}]", t) for key, t in t_list.items()]
    if not isinstance(t_list, Sequence) or isinstance(t_list, IndexedSlices | str | bytes):
        raise TypeError(
            f"`{argument}` must be a list, tuple or dict of tensors, got {type(t_list).__name__}"
        )
    return [(f"{argument}[{i}]", t) for i, t in enumerate(t_list)]


def tensors_to_read(t_list: object) -> Tensors | CudaTensors:
    if type(t_list) is list or type(t_list) is tuple:
        tensors = _read_headers(tuple(t_list), None, _headers.TENSORS)
        if tensors is not None:
            return tensors
    plain = _plain_on_device(t_list, None, False)
    if plain is not None:
        return plain[0]
    named = [(name, _values_of(t, name)) for name, t in named_tensors(t_list) if t is not None]
    if named:
        _array.check_one_place(named)
    arrays: list[Any] = [array for _, array in named]
    if arrays and isinstance(arrays[0], CudaArray):
        return _cuda_tensors(arrays, arrays)
    for array in arrays:
        _headers.recognize(array.dtype)
    views = tuple([_array.flat(array) for array in arrays])
    return _table_of_views(views, views)


def _values_of(t: object, name: str) -> Tensor:
    return check_lengths(t, name)[0] if isinstance(t, IndexedSlices) else _array.as_tensor(t, name)


def _plain_targets(t_list: Any, out: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """Return inputs and targets that may be plain arrays; without `out`, new targets."""
    if type(t_list) is not list and type(t_list) is not tuple:
        return None
    items = tuple(t_list)
    if out is t_list:
        return items, items
    if out is None:
        if not all([t is None or type(t) is np.ndarray for t in items]):
            return None
        return items, _array.empty_like_each(items)
    if (type(out) is list or type(out) is tuple) and len(out) == len(items):
        return items, tuple(out)
    return None


def tensors_to_write(t_list: Any, out: Any) -> tuple[Tensors | CudaTensors, list[Any]]:
    """Return tensors to be written to `out`, or to new arrays, and the list of results."""
    plain = _plain_targets(t_list, out)
    if plain is not None:
        tensors = _read_headers(*plain, _headers.TENSORS)
        if tensors is not None:
            return tensors, list(plain[1])
    return _checked_to_write(t_list, out)


def _plain_on_device(t_list: Any, out: Any, writes: bool) -> tuple[CudaTensors, list[Any]] | None:
    """Return tensors of plain CUDA arrays, all alike, and the results; None for any others."""
    if type(t_list) not in (list, tuple, dict) or not (out is None or out is t_list):
        return None
    items = list(t_list.values()) if type(t_list) is dict else list(t_list)
    present = [t for t in items if t is not None]
    if not present or not may_be_cuda(present[0]):
        return None
    from numclip._cuda_tensors import plain_tensors

    plain = plain_tensors(present, in_place=out is not None, writes=writes)
    if plain is None:
        return None
    tensors, results = plain
    if len(results) == len(items):
        return tensors, results
    found = iter(results)
    return tensors, [None if t is None else next(found) for t in items]


def _checked_to_write(t_list: Any, out: Any) -> tuple[Tensors | CudaTensors, list[Any]]:
    plain = _plain_on_device(t_list, out, True)
    if plain is not None:
        return plain
    operands = _operands(t_list, out)
    present = [each for each in operands if each is not None]
    if out is not None:
        _array.check_disjoint(
            [each.target for each in present], [each.values for each in present], "out"
        )
    return tensors_of(present), [None if each is None else each.result for each in operands]


def clip_list(
    t_list: Any, out: Any, limit: float, nonfinite: str
) -> tuple[Norm | CudaNorm, list[Any]]:
    """Clip tensors by their common norm; return it, and the list of results."""
    plain = _plain_targets(t_list, out)
    if plain is None or not _headers.can_be_read():
        tensors, results = _checked_to_write(t_list, out)
        return tensors.clip(limit, nonfinite), results
    items, targets = plain
    table = _new_table(len(items))
    root, exponent, is_done, chunks, size = clip_arrays(
        table,
        id(items),
        id(targets),
        _headers.LAYOUT,
        _headers.TENSORS,
        limit,
        nonfinite != "propagate",
        _threads.SERIAL_SIZE,
    )
    if is_done:
        return Norm(root, exponent), list(targets)
    if chunks < 0:
        tensors, results = _checked_to_write(t_list, out)
    else:
        tensors, results = Tensors(table, chunks, size, plain), list(targets)
    return tensors.clip(limit, nonfinite), results


def _operands(t_list: Any, out: Any) -> list[Operand | None]:
    """Check all tensors and their targets; None where an entry is None."""
    named = named_tensors(t_list)
    if out is None:
        operands = [None if t is None else operand(t, None, name) for name, t in named]
    else:
        operands = _operands_with_targets(t_list, named, out)
    present = [
        (name, each.values)
        for (name, _), each in zip(named, operands, strict=True)
        if each is not None
    ]
    if present:
        _array.check_one_place(present)
    return operands


def _operands_with_targets(
    t_list: Any, named: list[tuple[str, Any]], out: Any
) -> list[Operand | None]:
    named_targets = named_tensors(out, "out")
    if _keys(out) != _keys(t_list) or len(named_targets) != len(named):
        raise ValueError(
            f"`out` must have the entries of `t_list`, {_entries(t_list)}, got {_entries(out)}"
        )
    if isinstance(t_list, Mapping):
        named_targets = [(f"out[{key!r}]", out[key]) for key in t_list]
    return [
        None if t is None else _operand_with_target(t, target, name, target_name)
        for (name, t), (target_name, target) in zip(named, named_targets, strict=True)
    ]


def _keys(tensors: Any) -> Any:
    return tensors.keys() if isinstance(tensors, Mapping) else None


def _entries(tensors: Any) -> str:
    keys = f" of keys {list(tensors)}" if isinstance(tensors, Mapping) else ""
    return f"{len(tensors)} in a {type(tensors).__name__}{keys}"


def _operand_with_target(t: Any, target: Any, name: str, target_name: str) -> Operand:
    if target is None:
        raise TypeError(f"`{target_name}` must be a NumPy array, got None")
    return operand(t, target, name, target_name)
