"""What is clipped: lists of gradients with the shapes of models, and numbers of a fixed seed."""

from __future__ import annotations

import itertools
import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]

_CAPPED_LENGTH = 16


class Workload(NamedTuple):
    """A list of gradients; `name` is for commands, `title` for readers."""

    name: str
    title: str
    shapes: tuple[Shape, ...]

    @property
    def size(self) -> int:
        return sum(math.prod(shape) for shape in self.shapes)

    def capped(self) -> Workload:
        """Return as many tensors with short axes, to try something out."""
        shapes = tuple(tuple(min(n, _CAPPED_LENGTH) for n in shape) for shape in self.shapes)
        return self._replace(shapes=shapes)


def _multilayer_perceptron(*widths: int) -> tuple[Shape, ...]:
    pairs = itertools.pairwise(widths)
    return tuple(shape for rows, columns in pairs for shape in ((rows, columns), (columns,)))


def _convolution(inputs: int, outputs: int, width: int) -> tuple[Shape, ...]:
    """Return the shapes of a convolution and of the normalization after it."""
    return ((outputs, inputs, width, width), (outputs,), (outputs,))


def _resnet_50() -> tuple[Shape, ...]:
    """K. He et al., Deep residual learning for image recognition, CVPR 2016, table 1."""
    shapes = [*_convolution(3, 64, 7)]
    inputs = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        outputs = 4 * width
        for block in range(blocks):
            shapes += _convolution(inputs, width, 1)
            shapes += _convolution(width, width, 3)
            shapes += _convolution(width, outputs, 1)
            if block == 0:
                shapes += _convolution(inputs, outputs, 1)
            inputs = outputs
    return (*shapes, (1000, inputs), (1000,))


def _dense(inputs: int, outputs: int) -> tuple[Shape, ...]:
    return ((outputs, inputs), (outputs,))


def _bert_base() -> tuple[Shape, ...]:
    """J. Devlin et al., BERT, NAACL 2019, section 3, with the English vocabulary."""
    width, inner = 768, 3072
    normalization = ((width,), (width,))
    attention = _dense(width, width) * 4
    layer = (
        *attention,
        *normalization,
        *_dense(width, inner),
        *_dense(inner, width),
        *normalization,
    )
    embeddings = ((30522, width), (512, width), (2, width), *normalization)
    pooler = _dense(width, width)
    return (*embeddings, *layer * 12, *pooler)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("1k", "one 1k", ((1000,),)),
        Workload("mlp", "mlp", _multilayer_perceptron(784, 256, 128, 10)),
        Workload("tiny", "tiny, 1,000 x 64", ((64,),) * 1000),
        Workload("1M", "one 1M", ((1 << 20,),)),
        Workload("resnet-50", "ResNet-50", _resnet_50()),
        Workload("bert-base", "BERT-base", _bert_base()),
        Workload("32M", "one 32M", ((1 << 25,),)),
        Workload("64M", "one 64M", ((1 << 26,),)),
        Workload("matrix", "4096 x 4096", ((4096, 4096),)),
        # Rows of a gradient, and the number of rows of the table they belong to.
        Workload("rows-1k", "1,024 rows of 64", ((1 << 10, 64), (1 << 10,))),
        Workload("rows-1M", "1,048,576 rows of 64", ((1 << 20, 64), (1 << 20,))),
        Workload("rows-8k", "8,192 rows of 1,048,576 x 64", ((1 << 13, 64), (1 << 20,))),
    )
}


def gradients(workload: Workload, dtype: str = "float32") -> list[Array]:
    """Return normally distributed numbers of a fixed seed."""
    generator = np.random.default_rng(0)
    drawn = np.float64 if dtype == "float64" else np.float32
    kind = as_dtype(dtype)
    return [
        generator.standard_normal(shape, dtype=drawn).astype(kind, copy=False)
        for shape in workload.shapes
    ]


def sparse_gradient(workload: Workload, dtype: str = "float32") -> list[Array]:
    """Return rows, and for each of them a row of the table, of which some occur repeatedly."""
    rows, (table_rows,) = workload.shapes
    generator = np.random.default_rng(1)
    indices = generator.integers(0, table_rows, rows[0])
    if table_rows > rows[0]:
        # A quarter of the rows occur before.
        indices[3::4] = generator.permuted(indices[0::4])
    return [*gradients(workload._replace(shapes=(rows,)), dtype), indices]


def table_rows_of(workload_arrays: list[Array]) -> int:
    """Return how many rows the table has that a sparse gradient is of."""
    values, indices = workload_arrays
    return len(values) if len(values) > indices.max() else 1 << 20


def arrays_of(workload: Workload, dtype: str = "float32") -> list[Array]:
    is_sparse = workload.name.startswith("rows-")
    return sparse_gradient(workload, dtype) if is_sparse else gradients(workload, dtype)


def as_dtype(name: str) -> np.dtype[Any]:
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)
