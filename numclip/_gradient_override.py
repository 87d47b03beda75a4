"""Gradients put in the place of those of primitives, by name, as in TensorFlow's graphs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import numpy as np
from autograd.tracer import isbox

from numclip import _array
from numclip._boxes import unboxed
from numclip._slices import IndexedSlices

Function = TypeVar("Function", bound=Callable[..., Any])


class Operation(NamedTuple):
    """One use of a primitive: what it was called with, and what it returned."""

    inputs: tuple[Any, ...]
    keywords: dict[str, Any]
    outputs: tuple[Any, ...]


class _Override(NamedTuple):
    name: str
    function: Callable[..., Any]

    def vjp(
        self, value: Any, args: tuple[Any, ...], kwargs: dict[str, Any], positions: tuple[int, ...]
    ) -> Callable[[Any], list[Any]]:
        is_several = isinstance(unboxed(value), tuple | list)
        operation = Operation(args, kwargs, parts_of(value) if is_several else (value,))

        def flow_back(gradient: Any) -> list[Any]:
            upstream = parts_of(gradient) if is_several else (gradient,)
            returned = self.function(operation, *upstream)
            gradients = one_for_each(returned, args, self.name)
            return [as_gradient_of(args[i], gradients[i], self.name) for i in positions]

        return flow_back


def parts_of(sequence: Any) -> tuple[Any, ...]:
    """Return the entries of a tuple or list, or of its box."""
    return tuple([sequence[i] for i in range(len(sequence))])


def one_for_each(returned: Any, inputs: Sequence[Any], name: str) -> Sequence[Any]:
    """Take what a gradient function returned, which may be bare where there is one input."""
    is_bare = not isinstance(returned, tuple | list) or isinstance(returned, IndexedSlices)
    gradients: Sequence[Any] = [returned] if is_bare else returned
    if len(gradients) != len(inputs):
        raise ValueError(
            f"the gradient function of `{name}` must return one gradient for each input,"
            f" {len(inputs)}, got {len(gradients)}"
        )
    return gradients


def as_gradient_of(value: Any, gradient: Any, name: str) -> Any:
    """Check a gradient that a gradient function returned; None stays None."""
    if gradient is None:
        return None
    if isinstance(gradient, IndexedSlices):
        found = gradient.shape
    else:
        if not isbox(gradient):
            # A copy: the caller is free to write to gradients, and the function may keep its own.
            gradient = np.array(
                _array.as_array(gradient, f"gradient of {name}", _is_number, "numbers")
            )
        found = np.shape(unboxed(gradient))
    shape = np.shape(unboxed(value))
    if found != shape:
        raise ValueError(
            f"the gradient function of `{name}` must return gradients of the shapes of its inputs,"
            f" {shape}, got {found}"
        )
    return gradient


def _is_number(dtype: np.dtype[Any]) -> bool:
    return dtype.kind in "biufc" or _array.is_inexact(dtype)


class _Overrides(threading.local):
    """What stands in the place of the gradients of primitives in this thread."""

    def __init__(self) -> None:
        self.functions: dict[Any, _Override] = {}


overrides = _Overrides()
_registered: dict[str, Callable[..., Any]] = {}


class NotOverridden:
    """The primitives of a set, but for those whose gradient is overridden."""

    def __init__(self, primitives: set[Any]) -> None:
        self._primitives = primitives

    def __contains__(self, primitive: Any) -> bool:
        return primitive in self._primitives and primitive not in overrides.functions


def register_gradient(name: str) -> Callable[[Function], Function]:
    """Give a gradient function a name, by which `gradient_override_map` finds it.

    Parameters
    ----------
    name : str
        Any that is not taken.

    Returns
    -------
    callable
        A decorator, which returns the function as it is. The function is called with an operation
        and the upstream gradient, or one for each output. The operation has ``inputs``, a tuple of
        all positional arguments; ``keywords``, a dict of the others; and ``outputs``, a tuple. It
        returns a gradient for each input, of its shape, None for nothing; bare, where there is
        one input.

    Raises
    ------
    TypeError
        If `name` is not a string, or what is decorated is not a function.
    ValueError
        If the name is taken.

    Notes
    -----
    It is recorded itself, so second derivatives are right, if it computes with operators and
    functions of `autograd.numpy`.

    References
    ----------
    ``tf.RegisterGradient`` of TensorFlow.

    Examples
    --------
    >>> import autograd.numpy as anp, numclip as nc
    >>> @nc.register_gradient("ForgetfulTanh")
    ... def forgetful_tanh(operation, upstream):
    ...     (y,) = operation.outputs
    ...     return upstream * (1 - y**2) / 2
    >>> x = nc.Variable(0.0)
    >>> with nc.gradient_override_map({anp.tanh: "ForgetfulTanh"}):
    ...     nc.gradients(lambda: anp.tanh(x), x)
    [array(0.5)]
    """
    if not isinstance(name, str):
        raise TypeError(f"`name` must be a string, got {_array.describe(name)}")
    _check_free(name)

    def register(function: Function) -> Function:
        if not callable(function):
            raise TypeError(f"a gradient must be a function, got {_array.describe(function)}")
        _check_free(name)
        _registered[name] = function
        return function

    return register


def _check_free(name: str) -> None:
    if name in _registered:
        raise ValueError(f"`name` must not be taken, got {name!r}, which is {_registered[name]!r}")


@contextmanager
def gradient_override_map(op_type_map: Mapping[Any, str]) -> Iterator[None]:
    """Put registered gradients in the place of those of primitives, as long as the context lasts.

    Parameters
    ----------
    op_type_map : dict
        From primitives, such as ``autograd.numpy.sign``, to names of `register_gradient`.

    Returns
    -------
    context manager
        What counts is where a primitive is called in a loss, and not where its gradient is
        computed later. It holds for this thread. Inside another one, it adds to it, and goes before
        it.

    Raises
    ------
    TypeError
        If a key is not a primitive of autograd.
    ValueError
        If nothing is registered under a name.

    Notes
    -----
    It changes numclip's gradients, and none that `autograd.grad` computes.

    References
    ----------
    ``tf.Graph.gradient_override_map`` of TensorFlow 1, whose keys are names of operations.

    Examples
    --------
    >>> import autograd.numpy as anp, numclip as nc
    >>> @nc.register_gradient("Straight")
    ... def straight(operation, upstream):
    ...     return upstream
    >>> x = nc.Variable([-0.3, 2.0])
    >>> with nc.gradient_override_map({anp.sign: "Straight"}):
    ...     nc.gradients(lambda: 3.0 * anp.sign(x), x)
    [array([3., 3.])]
    """
    if not isinstance(op_type_map, Mapping):
        raise TypeError(f"`op_type_map` must be a dict, got {_array.describe(op_type_map)}")
    added = {op: _Override(name, _find(op, name)) for op, name in op_type_map.items()}
    before = overrides.functions
    overrides.functions = {**before, **added}
    try:
        yield
    finally:
        overrides.functions = before


def _find(op: Any, name: Any) -> Callable[..., Any]:
    if not getattr(op, "_is_autograd_primitive", False):
        raise TypeError(
            "`op_type_map` must have primitives of autograd as keys, such as autograd.numpy.sign,"
            f" got {_array.describe(op)}"
        )
    if name not in _registered:
        raise ValueError(
            f"`op_type_map` must have registered names as values, got {name!r}; registered are"
            f" {sorted(_registered)}"
        )
    return _registered[name]
