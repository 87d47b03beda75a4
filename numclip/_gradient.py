"""Gradients of losses that read variables, by reverse-mode differentiation on autograd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VJPNode, VSpace, add_outgrads
from autograd.extend import defvjp, primitive
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import Box, isbox, new_box, notrace_primitives, toposort, trace_stack

from numclip import _array
from numclip._slices import IndexedSlices
from numclip._variable import Tape, Variable, read, tapes

# Lets autograd's functions take a recorded variable for its box.
Box.types.add(Variable)

# autograd numbers its traces by one counter for all threads.
_LOCK = threading.RLock()


class _Node(VJPNode):  # type: ignore[misc]
    """Hands arrays or boxes to the gradients of primitives, which know nothing of variables."""

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any
    ) -> None:
        args = tuple(arg.value if type(arg) is Variable else arg for arg in args)
        super().__init__(value, fun, args, kwargs, parent_argnums, parents)


# What autograd does not record, it does not record for this kind of node either.
notrace_primitives[_Node] = notrace_primitives[VJPNode]


def _register_scalar(kind: type[Any]) -> None:
    """Let autograd differentiate what sums give of dtypes other than NumPy's own: bfloat16."""
    if kind not in Box.type_mappings:
        ArrayBox.register(kind)
        VSpace.register(kind, ArrayVSpace)


class _Tape:
    """Records the variables that a loss reads: those given, or all trainable ones."""

    def __init__(self, watched: Iterable[Variable] | None, trace: int) -> None:
        self.watched = None if watched is None else frozenset(watched)
        self.trace = trace
        self.boxes: dict[Variable, Any] = {}

    def box_of(self, variable: Variable, outer: list[Tape]) -> Any:
        box = self.boxes.get(variable)
        if box is not None:
            return box
        if not _array.is_inexact(variable.dtype):
            return None
        if not isinstance(variable.array, np.ndarray):
            raise TypeError(
                f"{variable!r} is on a CUDA device, and gradients are computed on the host: hand"
                " `apply_gradients` the gradients that another library computes there"
            )
        if not (variable.trainable if self.watched is None else variable in self.watched):
            return None
        _register_scalar(variable.dtype.type)
        box = new_box(read(variable, outer), self.trace, _Node.new_root())
        self.boxes[variable] = box
        return box


@contextmanager
def _recording(watched: Iterable[Variable] | None) -> Iterator[_Tape]:
    top = trace_stack.top
    trace_stack.top = top + 1
    tape = _Tape(watched, top + 1)
    tapes.stack.append(tape)
    try:
        yield tape
    finally:
        tapes.stack.pop()
        trace_stack.top = top


def _evaluate(loss: Callable[[], Any], argument: str) -> Any:
    """Call a loss, and see that it can be differentiated."""
    if not callable(loss):
        raise TypeError(
            f"`{argument}` must be a function without arguments, got {_array.describe(loss)}"
        )
    result = loss()
    if isinstance(result, Variable):
        result = result.value
    if isinstance(result, IndexedSlices) or not _array.is_floating(_unboxed(result).dtype):
        raise TypeError(f"`{argument}` must return floating numbers, got {_array.describe(result)}")
    return result


def _unboxed(value: Any) -> Any:
    while isbox(value):
        value = value._value
    return np.asarray(value)


def _backward(end: Any, cotangent: Any, gradients: dict[Any, Any]) -> None:
    """Add what flows back from `end` to the gradients of the nodes where the tape begins."""
    outgrads = {end._node: (cotangent, False)}
    for node in toposort(end._node):
        outgrad = outgrads.pop(node)
        if not node.parents:
            gradients[node] = _add(gradients.get(node), outgrad)
            continue
        if isinstance(outgrad[0], IndexedSlices):
            outgrad = (outgrad[0].to_dense(), True)
        for parent, ingrad in zip(node.parents, node.vjp(outgrad[0]), strict=True):
            outgrads[parent] = _add(outgrads.get(parent), (ingrad, False))


def _add(sum_so_far: tuple[Any, bool] | None, summand: tuple[Any, bool]) -> tuple[Any, bool]:
    """Add as autograd does, and IndexedSlices as they do; the flag says what may be changed."""
    gradient = summand[0]
    if isinstance(gradient, IndexedSlices):
        if sum_so_far is None:
            return summand
        if isinstance(sum_so_far[0], IndexedSlices):
            return sum_so_far[0] + gradient, False
        gradient = gradient.to_dense()
    elif sum_so_far is not None and isinstance(sum_so_far[0], IndexedSlices):
        sum_so_far = (sum_so_far[0].to_dense(), True)
    return add_outgrads(sum_so_far, gradient)  # type: ignore[no-any-return]


def _as_gradient(gradient: Any, variable: Variable) -> Any:
    """Give a gradient its variable's dtype and shape, whatever the constants of the loss were."""
    if isinstance(gradient, IndexedSlices):
        return gradient._replace(values=np.array(gradient.values, variable.dtype))
    if anp.shape(gradient) != variable.shape:
        gradient = _sum_to_shape(gradient, variable.shape)
    if isbox(gradient):
        return gradient if gradient.dtype == variable.dtype else gradient.astype(variable.dtype)
    return np.asarray(gradient, variable.dtype)


def _sum_to_shape(gradient: Any, shape: tuple[int, ...]) -> Any:
    """Sum over what was broadcast, which autograd leaves out for some functions: anp.where."""
    gradient = anp.sum(gradient, axis=tuple(range(anp.ndim(gradient) - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and anp.shape(gradient)[i] != 1)
    return anp.sum(gradient, axis=stretched, keepdims=True)


def _own(pairs: list[tuple[Any, Variable]], foreign: Iterable[Any]) -> list[tuple[Any, Variable]]:
    """Copy gradients that show memory of one another, of variables or of the caller."""
    seen = {id(_array.owner(each)) for each in foreign}
    seen |= {id(_array.owner(variable.array)) for _, variable in pairs}
    owned = []
    for gradient, variable in pairs:
        if isinstance(gradient, np.ndarray):
            owner = id(_array.owner(gradient))
            if owner in seen or not gradient.flags.writeable:
                gradient = gradient.copy()
            seen.add(owner)
        owned.append((gradient, variable))
    return owned


def as_variables(xs: Any, argument: str) -> list[Variable]:
    """Take one Variable or several."""
    if isinstance(xs, Variable):
        return [xs]
    try:
        variables = list(xs)
    except TypeError as error:
        raise TypeError(f"`{argument}` must be Variables, got {_array.describe(xs)}") from error
    for i, variable in enumerate(variables):
        if not isinstance(variable, Variable):
            raise TypeError(
                f"`{argument}[{i}]` must be a Variable, got {_array.describe(variable)}"
            )
    return variables


def differentiate(
    losses: Sequence[Callable[[], Any]],
    variables: Sequence[Variable] | None,
    cotangents: Sequence[Any],
    loss_argument: str = "loss",
    cotangent_argument: str = "grad_loss",
) -> tuple[list[Any], list[tuple[Any, Variable]]]:
    """Return the values of the losses, and pairs of gradient and variable."""
    with _LOCK:
        with _recording(variables) as tape:
            results = [_evaluate(loss, loss_argument) for loss in losses]
        seeds = [
            _as_cotangent(cotangent, result, cotangent_argument)
            for cotangent, result in zip(cotangents, results, strict=True)
        ]
        gradients: dict[Any, Any] = {}
        for result, seed in zip(results, seeds, strict=True):
            if isbox(result) and result._trace == tape.trace:
                _backward(result, seed, gradients)
        pairs = []
        for variable in tape.boxes if variables is None else variables:
            node = tape.boxes[variable]._node if variable in tape.boxes else None
            gradient = gradients[node][0] if node in gradients else None
            pairs.append((None if gradient is None else _as_gradient(gradient, variable), variable))
    values = [
        result._value if isbox(result) and result._trace == tape.trace else result
        for result in results
    ]
    return values, _own(pairs, [*seeds, *values])


def _as_cotangent(cotangent: Any, result: Any, argument: str) -> Any:
    value = _unboxed(result)
    if cotangent is None:
        return np.ones(value.shape, value.dtype)
    if isinstance(cotangent, Variable):
        cotangent = cotangent.value
    if not isbox(cotangent):
        cotangent = _array.as_real(cotangent, argument).astype(value.dtype, copy=False)
    if anp.shape(cotangent) != value.shape:
        raise ValueError(
            f"`{argument}` must be of the shape {value.shape} of its loss,"
            f" got {anp.shape(cotangent)}"
        )
    return cotangent


def gradients(ys: Any, xs: Any, grad_ys: Any = None) -> list[Any]:
    r"""Return the gradients of losses with respect to variables.

    .. math:: g_x = \sum_y \frac{\partial y}{\partial x}^{\mathsf T} \text{grad\_y}

    Parameters
    ----------
    ys : callable or list of callables
        Functions without arguments that read Variables and return floating numbers. A loss of
        more than one element is summed.
    xs : Variable or list of Variables
        What to differentiate with respect to.
    grad_ys : array or list of arrays, optional
        What each loss's elements are weighted with, of its shape; ones by default.

    Returns
    -------
    list
        One entry for each variable, of its shape and dtype: an array, IndexedSlices where it was
        used by `gather` alone, None where no loss depends on it.

    Raises
    ------
    TypeError
        If a loss is not callable or does not return floating numbers, or `xs` are not Variables.
    ValueError
        If `grad_ys` does not fit `ys`.

    References
    ----------
    ``tf.gradients`` of TensorFlow 1; differentiation is that of autograd.

    Examples
    --------
    >>> import numclip as nc
    >>> x, y = nc.Variable([1.0, 2.0]), nc.Variable(3.0)
    >>> nc.gradients(lambda: x**2 * y, [x, y])
    [array([ 6., 12.]), array(5.)]
    """
    losses = list(ys) if isinstance(ys, list | tuple) else [ys]
    if grad_ys is None:
        cotangents = [None] * len(losses)
    else:
        cotangents = list(grad_ys) if isinstance(ys, list | tuple) else [grad_ys]
    if len(cotangents) != len(losses):
        raise ValueError(
            f"`grad_ys` must have one entry for each of `ys`, {len(losses)}, got {len(cotangents)}"
        )
    _, pairs = differentiate(losses, as_variables(xs, "xs"), cotangents, "ys", "grad_ys")
    return [gradient for gradient, _ in pairs]


def value_and_gradients(loss: Callable[[], Any], xs: Any) -> tuple[Any, list[Any]]:
    """Return a loss's value and its gradients with respect to variables, computing it once.

    Parameters
    ----------
    loss : callable
        As for `gradients`.
    xs : Variable or list of Variables
        As for `gradients`.

    Returns
    -------
    value : array
        What `loss` returned.
    gradients : list
        As of `gradients`.

    Raises
    ------
    TypeError
        As `gradients` does.

    References
    ----------
    A. G. Baydin, B. A. Pearlmutter, A. A. Radul, J. M. Siskind, Automatic differentiation in
    machine learning: a survey, JMLR 18, 2018, section 3.2.

    Examples
    --------
    >>> import numclip as nc
    >>> x = nc.Variable(3.0)
    >>> nc.value_and_gradients(lambda: x**2, [x])
    (np.float64(9.0), [array(6.)])
    """
    values, pairs = differentiate([loss], as_variables(xs, "xs"), [None])
    return values[0], [gradient for gradient, _ in pairs]


@primitive  # type: ignore[untyped-decorator]
def _take(params: Any, indices: Any) -> Any:
    return np.asarray(params)[indices]


@primitive  # type: ignore[untyped-decorator]
def _scatter_add(rows: Any, indices: Any, shape: tuple[int, ...]) -> Any:
    return _as_slices(rows, indices, shape).to_dense()


def _as_slices(rows: Any, indices: Any, shape: tuple[int, ...]) -> IndexedSlices:
    return IndexedSlices(rows.reshape(-1, *shape[1:]), indices.reshape(-1), shape)


def _take_vjp(_: Any, params: Any, indices: Any) -> Callable[[Any], Any]:
    shape = np.shape(params)

    def vjp(cotangent: Any) -> Any:
        if isbox(cotangent):
            return _scatter_add(cotangent, indices, shape)
        return _as_slices(cotangent, indices, shape)

    return vjp


defvjp(_take, _take_vjp)
defvjp(_scatter_add, lambda ans, rows, indices, shape: lambda g: _take(g, indices))


def gather(params: Any, indices: Any) -> Any:
    """Look up rows, so that their gradient is sparse.

    Parameters
    ----------
    params : Variable or array of shape (n, ...)
        The table.
    indices : integer array of any shape
        Rows of it, from 0 to n - 1, repeated or not.

    Returns
    -------
    array of shape ``indices.shape + params.shape[1:]``
        A copy of the rows. In a loss, the gradient of a Variable is IndexedSlices: of all uses
        joined, where it is used by `gather` alone, and dense otherwise.

    Raises
    ------
    TypeError
        If `indices` are not integers.
    ValueError
        If `params` has no dimension.
    IndexError
        If an index is out of range.

    References
    ----------
    ``tf.gather`` of TensorFlow.

    Examples
    --------
    >>> import numclip as nc
    >>> table = nc.Variable([[1.0], [2.0], [3.0]])
    >>> nc.gradients(lambda: nc.gather(table, [2, 0, 2]) ** 2, table)[0].to_dense()
    array([[ 2.],
           [ 0.],
           [12.]])
    """
    if isinstance(params, IndexedSlices):
        raise TypeError("`params` must be dense, got IndexedSlices")
    rows = _array.as_integers(indices, "indices")
    shape = anp.shape(params)
    if not shape:
        raise ValueError("`params` must have at least one dimension, got a scalar")
    if rows.size and not (0 <= int(rows.min()) and int(rows.max()) < shape[0]):
        raise IndexError(
            f"`indices` must be from 0 to {shape[0] - 1},"
            f" got {int(rows.min())} to {int(rows.max())}"
        )
    return _take(params, rows)
