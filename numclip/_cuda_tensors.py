"""Lists of CUDA arrays: one table on the device, and one launch for all tensors of a dtype.

Nothing here waits for the device, but where a norm that is not finite shall raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from numclip import _array, _cuda_libraries, _cuda_memory
from numclip import _compile_cuda as compile_cuda
from numclip._cuda_array import Columns, CudaArray
from numclip._dtypes import NUMBERS, SEEN
from numclip._kernels import table as kernels
from numclip._kernels.clip import (
    ROOT,
    STATE,
    finish_norm_cuda,
    scale_chunks_cuda,
    take_norm_cuda,
)
from numclip._kernels.elementwise import map_chunks_cuda
from numclip._kernels.factor import slack_of
from numclip._kernels.norm import sum_chunks_cuda, sum_pieces_cuda
from numclip._kernels.rescue import find_largest_cuda, rescue_sums_cuda
from numclip._kernels.table import pieces_of

FLOATING = ("float16", "bfloat16", "float32", "float64")

_FLOAT64 = np.dtype(np.float64)

# Tables that stay on the device, as most steps come with the same arrays as the one before.
_KEPT_TABLES = 8


class CudaNorm(NamedTuple):
    """A norm on the device: an array without dimensions, and whether it is finite, if asked."""

    array: CudaArray
    is_finite: bool | None = None

    @property
    def value(self) -> Any:
        return self.array.array

    def on_host(self) -> float:
        return float(_cuda_memory.download(self.array))


class _Table:
    """A table on the device, and the room that the norm of its tensors takes."""

    def __init__(self, host: Any, like: CudaArray) -> None:
        sizes = host[:, kernels.SIZE]
        chunks = kernels.chunks_of(sizes)
        pieces = pieces_of(sizes)
        host[:, kernels.FIRST_CHUNK] = np.cumsum(chunks) - chunks
        host[:, kernels.FIRST_PIECE] = np.cumsum(pieces) - pieces
        larger = np.flatnonzero(pieces > 1)
        self.rows = len(host)
        self.chunks, self.pieces = int(chunks.sum()), int(pieces.sum())
        self.larger = len(larger)
        self.longest = int(sizes.max(initial=0))
        present = sizes > 0
        self.kinds = [int(kind) for kind in np.unique(host[present, kernels.KIND])]
        self.has_doubles = kernels.FLOAT64 in self.kinds
        self._memory = _cuda_memory.upload(np.concatenate([host.reshape(-1), larger]), like)
        self.address = self._memory.address
        self.larger_address = self.address + host.nbytes
        doubles = self.has_doubles
        room = [self.chunks, self.pieces, self.rows]
        room += [self.rows, self.chunks, self.chunks] if doubles else [0, 0, 0]
        self._room = _cuda_memory.empty((sum(room),), np.float64, like)
        starts = np.cumsum([0, *room]) * _FLOAT64.itemsize + self._room.address
        self.sums, self.sums_of_pieces, self.totals, self.exponents, self.largest, self.rescued = (
            starts[:-1].tolist()
        )
        self.state = _cuda_memory.empty((STATE,), np.float64, like)

    def is_finite(self) -> bool:
        """Wait for the norm that was taken last."""
        return bool(np.isfinite(_cuda_memory.download(self.state)[ROOT]))


class _Tables:
    """The tables that were used last, by what they hold and where."""

    def __init__(self) -> None:
        self._tables: list[tuple[Any, _Table]] = []

    def get(self, host: Any, like: CudaArray) -> _Table:
        key = (like.library, like.device, like.library.stream(like), host.tobytes())
        # Compared one by one: to hash the bytes of 200 rows takes 20 us.
        found = next((each for each in self._tables if each[0] == key), None)
        latest = (key, _Table(host, like)) if found is None else found
        others = [each for each in self._tables if each is not found]
        self._tables = [latest, *others[: _KEPT_TABLES - 1]]
        return latest[1]


TABLES = _Tables()


class Limited(NamedTuple):
    """A norm, and the table on the device that has the factors for a limit; it must be kept.

    The norms of the tensors are an array on the device, where they were asked for.
    """

    norm: CudaNorm
    table: _Table
    norms: CudaArray | None = None

    @property
    def state(self) -> int:
        """The address of the factors."""
        return int(self.table.state.address)

    def is_finite(self) -> bool:
        """Wait for the device."""
        return self.table.is_finite()


class CudaTensors(NamedTuple):
    """CUDA arrays of one device, with what they are written to.

    What kernels write to `buffers` is copied to `targets` afterwards.
    """

    like: CudaArray
    table: Any
    kept: Sequence[CudaArray]
    buffers: Sequence[CudaArray] = ()
    targets: Sequence[CudaArray] = ()

    def norm(self) -> CudaNorm:
        with compile_cuda.LAUNCHES:
            return CudaNorm(self._finish(TABLES.get(self.table, self.like), np.inf, 0, 0))

    def given_norm(self, use_norm: object) -> CudaArray:
        """Return a norm that the caller knows; one that the device has is not looked at."""
        found = _cuda_libraries.cuda_array(use_norm, "use_norm")
        if found is None:
            norm = np.array(_array.as_norm(use_norm, "use_norm"))
            return _cuda_memory.upload(norm, self.like)._replace(dtype=_FLOAT64, shape=())
        if not _array.is_floating(found.dtype):
            raise TypeError(f"`use_norm` must be floating, got {_array.describe(use_norm)}")
        if found.ndim != 0:
            raise ValueError(f"`use_norm` must be a scalar, got {_array.describe(use_norm)}")
        _array.check_one_place([("t_list", self.like), ("use_norm", found)])
        return found

    def scale(
        self, norm: CudaArray, limit: float, nonfinite: str = "propagate", roundings: int = 0
    ) -> CudaNorm:
        """Write what brings a norm, which is known, to the limit; `norm` is a CUDA array."""
        with compile_cuda.LAUNCHES:
            table = TABLES.get(self.table, self.like)
            number = SEEN[norm.dtype.name].number
            slack = self._slack(table, roundings)
            arguments = (number, norm.address, table.state.address, limit, slack)
            _cuda_memory.launch(take_norm_cuda, self.like, 1, *arguments)
            return CudaNorm(norm, self._write(table, nonfinite))

    def clip(
        self, limit: float, nonfinite: str = "propagate", roundings: int = 0, shift: int = 0
    ) -> CudaNorm:
        """Bring the norm, divided by 2**shift, to the limit.

        A norm that is not finite makes everything NaN, or zero, or with "raise" changes nothing.
        """
        with compile_cuda.LAUNCHES:
            table = TABLES.get(self.table, self.like)
            norm = self._finish(table, limit, self._slack(table, roundings), shift)
            return CudaNorm(norm, self._write(table, nonfinite))

    def limited(self, limit: float, keeps_norms: bool = False) -> Limited:
        """Return the norm, and what brings it to a limit and is left on the device."""
        with compile_cuda.LAUNCHES:
            table = TABLES.get(self.table, self.like)
            rows = (table.rows,)
            norms = _cuda_memory.empty(rows, np.float64, self.like) if keeps_norms else None
            norm = self._finish(table, limit, self._slack(table, 0), 0, norms)
            return Limited(CudaNorm(norm), table, norms)

    def map(self, operation: tuple[float, ...]) -> None:
        """Write what an operation of `_kernels/elementwise.py` makes of each number."""
        with compile_cuda.LAUNCHES:
            table = TABLES.get(self.table, self.like)
            for kind in table.kinds:
                source = (kind, table.address, table.rows, table.chunks)
                arguments = (operation, NUMBERS[kind], *source)
                _cuda_memory.launch(map_chunks_cuda, self.like, table.chunks, *arguments)
            self._deliver()

    def _slack(self, table: _Table, roundings: int) -> int:
        return int(slack_of(table.longest, table.rows)) + roundings

    def _finish(
        self, table: _Table, limit: float, slack: int, shift: int, norms: CudaArray | None = None
    ) -> CudaArray:
        """Enqueue what leaves the norm, and the factors for a limit, in the device's memory."""
        like = self.like
        norm = _cuda_memory.empty((), np.float64, like)
        with compile_cuda.LAUNCHES, compile_cuda.on_device(like.device):
            stream = like.library.stream(like)
            where = (like.device, stream)
            place = (table.address, table.rows)
            for kind in table.kinds:
                arguments = (NUMBERS[kind], kind, *place, table.chunks, table.sums)
                sum_chunks_cuda.launch(*where, table.chunks, *arguments)
            pieces = self._sum_pieces(table, table.sums, where)
            if table.has_doubles:
                sizes = (*place, table.chunks, table.pieces)
                find_largest_cuda.launch(*where, table.chunks, *sizes, pieces, table.largest)
                rescued = (table.sums, pieces, table.largest, table.exponents, table.rescued)
                rescue_sums_cuda.launch(*where, table.chunks, *sizes, *rescued)
                pieces = self._sum_pieces(table, table.rescued, where)
            finish_norm_cuda.launch(
                *where,
                1,
                *place,
                table.pieces,
                pieces,
                table.larger_address,
                table.larger,
                table.totals,
                table.exponents,
                int(table.has_doubles),
                norm.address,
                table.state.address,
                float(limit),
                slack,
                shift,
                0 if norms is None else norms.address,
            )
        return norm

    def _sum_pieces(self, table: _Table, sums: int, where: tuple[int, int]) -> int:
        """Return where the sums of pieces are: those of chunks, where a piece is one chunk."""
        if table.pieces == table.chunks:
            return sums
        arguments = (table.address, table.rows, table.chunks, sums, table.pieces)
        sum_pieces_cuda.launch(*where, table.pieces, *arguments, table.sums_of_pieces)
        return int(table.sums_of_pieces)

    def _write(self, table: _Table, nonfinite: str) -> bool | None:
        """Enqueue what writes the results; return whether the norm is finite, if that was asked."""
        is_finite = None
        if nonfinite == "raise":
            is_finite = table.is_finite()
            if not is_finite:
                return False
        zeros = int(nonfinite == "zero")
        for kind in table.kinds:
            source = (kind, table.address, table.rows, table.chunks, table.state.address)
            arguments = (NUMBERS[kind], *source, zeros)
            _cuda_memory.launch(scale_chunks_cuda, self.like, table.chunks, *arguments)
        self._deliver()
        return is_finite

    def _deliver(self) -> None:
        for buffer, target in zip(self.buffers, self.targets, strict=True):
            _cuda_memory.deliver(buffer, target)


def cuda_tensors(sources: Sequence[CudaArray], targets: Sequence[CudaArray]) -> CudaTensors:
    """Return a table of checked arrays of one device; those not in C order are copied."""
    buffers = [_cuda_memory.buffer_for(target) for target in targets]
    numbers = [
        _cuda_memory.readable(source, buffer)
        for source, buffer in zip(sources, buffers, strict=True)
    ]
    return CudaTensors(sources[0], table_of(numbers, buffers), numbers, buffers, targets)


def plain_tensors(
    arrays: Sequence[Any], in_place: bool, writes: bool
) -> tuple[CudaTensors, list[Any]] | None:
    """Return a table of arrays that need no copies, and what is written: new arrays, or they.

    None for arrays that are not of one library and device and in C order, and for those that
    overlap in place: they are checked one by one.
    """
    found = _cuda_libraries.columns(arrays)
    if found is None or not all(map(_seen_as, found.kinds)):
        return None
    table = table_of_columns(found)
    if in_place:
        starts, ends = found.spans()
        if np.any(ends[:-1] > starts[1:]):
            return None
    if in_place or not writes:
        return CudaTensors(found.like, table, ()), list(arrays)
    library = found.like.library
    results = library.empty_like_each(arrays)
    targets = library.columns(results)
    assert targets is not None
    table[:, kernels.TARGET] = targets.addresses
    return CudaTensors(found.like, table, ()), results


@cache
def _seen_as(dtype: Any) -> Any:
    # To ask a dtype for its name takes 2 us.
    return SEEN.get(dtype.name)


def table_of_columns(found: Columns) -> Any:
    table = np.zeros((len(found.sizes), kernels.WIDE_COLUMNS), np.int64)
    table[:, kernels.SOURCE] = table[:, kernels.TARGET] = found.addresses
    table[:, kernels.KIND] = found.by_dtype(lambda dtype: _seen_as(dtype).kind)
    table[:, kernels.SIZE] = found.sizes * found.by_dtype(lambda dtype: _seen_as(dtype).parts)
    return table


def table_of(sources: Sequence[CudaArray], targets: Sequence[CudaArray]) -> Any:
    seen = [SEEN[source.dtype.name] for source in sources]
    table = np.zeros((len(sources), kernels.WIDE_COLUMNS), np.int64)
    table[:, kernels.SOURCE] = [source.address for source in sources]
    table[:, kernels.TARGET] = [target.address for target in targets]
    table[:, kernels.SIZE] = [
        source.size * parts for source, (_, _, parts) in zip(sources, seen, strict=True)
    ]
    table[:, kernels.KIND] = [kind for kind, _, _ in seen]
    return table
