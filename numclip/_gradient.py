"""Gradients of losses that read variables, by reverse-mode differentiation on autograd."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VJPNode, VSpace, add_outgrads
from autograd.numpy.numpy_boxes import ArrayBox
from autograd.numpy.numpy_vspaces import ArrayVSpace
from autograd.tracer import Box, isbox, new_box, notrace_primitives, toposort, trace_stack

from numclip import _array
from numclip._boxes import current, sum_to_shape, unboxed
from numclip._gradient_override import NotOverridden, overrides
from numclip._slices import IndexedSlices
from numclip._variable import Tape, Variable, read, tapes

# Lets autograd's functions take a recorded variable for its box.
Box.types.add(Variable)

# autograd numbers its traces by one counter for all threads.
_LOCK = threading.RLock()


class Node(VJPNode):  # type: ignore[misc]
    """One use of a primitive, by whose gradient, or the one put in its place, gradients flow back.

    That gradient is handed arrays or boxes, as autograd's know nothing of variables.
    """

    def __init__(
        self, value: Any, fun: Any, args: Any, kwargs: Any, parent_argnums: Any, parents: Any
    ) -> None:
        args = tuple(map(current, args))
        override = overrides.functions.get(fun)
        if override is None:
            super().__init__(value, fun, args, kwargs, parent_argnums, parents)
        else:
            self.parents = parents
            self.vjp = override.vjp(value, args, kwargs, parent_argnums)


# What autograd does not record, as its gradient is zero, has a node where another is put in place.
notrace_primitives[Node] = NotOverridden(notrace_primitives[VJPNode])


def _register_scalar(kind: type[Any]) -> None:
    """Let autograd differentiate what sums give of dtypes other than NumPy's own: bfloat16."""
    if kind not in Box.type_mappings:
        ArrayBox.register(kind)
        VSpace.register(kind, ArrayVSpace)


class RecordingTape:
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
        box = new_box(read(variable, outer), self.trace, Node.new_root())
        self.boxes[variable] = box
        return box


@contextmanager
def _recording(watched: Iterable[Variable] | None) -> Iterator[RecordingTape]:
    top = trace_stack.top
    trace_stack.top = top + 1
    tape = RecordingTape(watched, top + 1)
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
    return _as_loss(loss(), argument)


def _as_loss(result: Any, argument: str) -> Any:
    result = current(result)
    value = unboxed(result)
    if isinstance(value, IndexedSlices) or not _array.is_floating(np.asarray(value).dtype):
        raise TypeError(f"`{argument}` must return floating numbers, got {_array.describe(value)}")
    return result


def _backward(end: Any, cotangent: Any, gradients: dict[Any, Any]) -> None:
    """Add what flows back from `end` to the gradients of the nodes where the tape begins.

    A gradient function may give None, from where nothing flows on.
    """
    outgrads = {end._node: (cotangent, False)}
    for node in toposort(end._node):
        outgrad = outgrads.pop(node, None)
        if outgrad is None:
            continue
        if not node.parents:
            gradients[node] = _add(gradients.get(node), outgrad)
            continue
        if isinstance(outgrad[0], IndexedSlices):
            outgrad = (outgrad[0].to_dense(), True)
        for parent, ingrad in zip(node.parents, node.vjp(outgrad[0]), strict=True):
            if ingrad is not None:
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


def _as_gradient(gradient: Any, of: Any) -> Any:
    """Give a gradient its array's dtype and shape, whatever the constants of the loss were."""
    if isinstance(gradient, IndexedSlices):
        values, indices = np.array(gradient.values, of.dtype), np.array(gradient.indices)
        return gradient._replace(values=values, indices=indices)
    if anp.shape(gradient) != of.shape:
        # autograd leaves out the sum over what was broadcast for some functions: anp.where.
        gradient = sum_to_shape(gradient, of.shape)
    if isbox(gradient):
        return gradient if gradient.dtype == of.dtype else gradient.astype(of.dtype)
    return np.asarray(gradient, of.dtype)


def _own(gradients: list[Any], foreign: Iterable[Any]) -> list[Any]:
    """Copy gradients that show memory of one another, of variables or of the caller."""
    seen = {id(_array.owner(each)) for each in foreign}
    owned = []
    for gradient in gradients:
        if isinstance(gradient, np.ndarray):
            owner = id(_array.owner(gradient))
            if owner in seen or not gradient.flags.writeable:
                gradient = gradient.copy()
            seen.add(owner)
        owned.append(gradient)
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
        asked = list(tape.boxes) if variables is None else variables
        found = [_gradient_of(tape.boxes.get(each), each, gradients) for each in asked]
    values = [
        result._value if isbox(result) and result._trace == tape.trace else result
        for result in results
    ]
    owned = _own(found, [*(variable.array for variable in asked), *seeds, *values])
    return values, list(zip(owned, asked, strict=True))


def _gradient_of(box: Any, of: Any, gradients: dict[Any, Any]) -> Any:
    node = None if box is None else box._node
    return _as_gradient(gradients[node][0], of) if node in gradients else None


def _as_cotangent(cotangent: Any, result: Any, argument: str) -> Any:
    value = np.asarray(unboxed(result))
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
        cotangents = list(_as_list(grad_ys)) if isinstance(ys, list | tuple) else [grad_ys]
    if len(cotangents) != len(losses):
        raise ValueError(
            f"`grad_ys` must have one entry for each of `ys`, {len(losses)}, got {len(cotangents)}"
        )
    _, pairs = differentiate(losses, as_variables(xs, "xs"), cotangents, "ys", "grad_ys")
    return [gradient for gradient, _ in pairs]


def _as_list(grad_ys: Any) -> Any:
    if isinstance(grad_ys, list | tuple) or (isinstance(grad_ys, np.ndarray) and grad_ys.ndim):
        return grad_ys
    raise ValueError(f"`grad_ys` must be a list, as `ys` is, got {_array.describe(grad_ys)}")


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


def gradients_function(f: Callable[..., Any]) -> Callable[..., list[Any]]:
    r"""Return the function that computes the gradients of another one.

    .. math:: x_1, \ldots, x_n \mapsto \partial f / \partial x_1, \ldots, \partial f / \partial x_n

    Parameters
    ----------
    f : callable
        Takes arrays, by position, and returns floating numbers, computed with operators and
        functions of `autograd.numpy`. More than one element is summed.

    Returns
    -------
    callable
        Takes what `f` takes, and returns a list with one entry for each positional argument, of its
        shape and dtype; None where `f` does not depend on it, and where it is not floating
        numbers. What is given by keyword is constant. Its own gradients are second derivatives.

    Raises
    ------
    TypeError
        If `f` is not a function; when it is called, if no argument is floating numbers, or `f`
        does not return such.

    References
    ----------
    ``tf.contrib.eager.gradients_function`` of TensorFlow 1.

    Examples
    --------
    >>> import autograd.numpy as anp, numpy as np, numclip as nc
    >>> first = nc.gradients_function(lambda x: anp.sin(x) ** 2)
    >>> second = nc.gradients_function(lambda x: first(x)[0])
    >>> x = np.pi / 12
    >>> first(x)[0].round(12), second(x)[0].round(12)  # sin(2 x) and 2 cos(2 x)
    (np.float64(0.5), np.float64(1.732050807569))
    """
    if not callable(f):
        raise TypeError(f"`f` must be a function, got {_array.describe(f)}")

    @wraps(f)
    def gradients_of(*args: Any, **kwargs: Any) -> list[Any]:
        given = [_as_argument(arg, i) for i, arg in enumerate(args)]
        if not any(map(_is_differentiable, given)):
            raise TypeError(f"one argument at least must be floating numbers, got {args}")
        with _LOCK:
            with _recording(()) as tape:
                boxes = [
                    new_box(arg, tape.trace, Node.new_root()) if _is_differentiable(arg) else None
                    for arg in given
                ]
                inputs = [
                    arg if box is None else box for arg, box in zip(given, boxes, strict=True)
                ]
                result = _as_loss(f(*inputs, **kwargs), "f")
            gradients: dict[Any, Any] = {}
            if isbox(result) and result._trace == tape.trace:
                _backward(result, _as_cotangent(None, result, "f"), gradients)
            found = [
                _gradient_of(box, arg, gradients) for arg, box in zip(given, boxes, strict=True)
            ]
        return _own(found, given)

    return gradients_of


def _as_argument(arg: Any, position: int) -> Any:
    """Make arrays of floats and lists; others are constants, unless they are arrays."""
    arg = current(arg)
    if isinstance(arg, float | list | tuple):
        return _array.as_array(arg, f"argument {position}", lambda _: True)
    return arg


def _is_differentiable(arg: Any) -> bool:
    if isinstance(arg, np.ndarray | np.generic) and _array.is_floating(arg.dtype):
        _register_scalar(arg.dtype.type)
        return True
    return bool(isbox(arg))
