"""Functions that come with a gradient of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import update_wrapper
from typing import Any

import numpy as np
from autograd.core import VJPNode, vspace
from autograd.tracer import Box, find_top_boxed_args, isbox, new_box
from autograd.util import subvals

from numclip import _array
from numclip._boxes import current, unboxed, unboxed_from
from numclip._gather import scatter_add
from numclip._gradient import Node, RecordingTape
from numclip._gradient_override import as_gradient_of, one_for_each, parts_of
from numclip._slices import IndexedSlices
from numclip._variable import Tape, Variable, read, tapes


class _Watcher:
    """Notes the variables that a function reads: those that some tape records, or might record."""

    def __init__(self, stack: list[Tape], arguments: Sequence[Any]) -> None:
        self._stack = stack
        self._arguments = [arg for arg in arguments if isinstance(arg, Variable)]
        self.values: dict[Variable, Any] = {}

    def box_of(self, variable: Variable, outer: list[Tape]) -> Any:
        value = read(variable, self._stack)
        might_be = variable.trainable and _array.is_inexact(variable.dtype)
        if (might_be or isbox(value)) and variable not in self._arguments:
            self.values[variable] = value


@contextmanager
def _watching(top: int, arguments: Sequence[Any]) -> Iterator[_Watcher]:
    """Hide the tape of a trace, and watch what is read meanwhile."""
    stack = tapes.stack
    watcher = _Watcher(stack, arguments)
    hidden = [tape for tape in stack if isinstance(tape, RecordingTape) and tape.trace >= top]
    tapes.stack = [*(tape for tape in stack if tape not in hidden), watcher]
    try:
        yield watcher
    finally:
        tapes.stack = stack


class _CustomGradient:
    """A function that is recorded as one step, with the gradient function that it returns."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._name = getattr(function, "__name__", repr(function))
        update_wrapper(self, function)

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        return _CustomGradient(self._function.__get__(instance, owner))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._check_recorded_are_positional(args, kwargs)
        given = list(map(current, args))
        traces = [tape.trace for tape in tapes.stack if isinstance(tape, RecordingTape)]
        top = max(traces + [arg._trace for arg in given if isbox(arg)], default=-1)
        if top < 0:
            return self._evaluate(given, kwargs)[0]
        with _watching(top, args) as watcher:
            value, gradient = self._evaluate([unboxed_from(arg, top) for arg in given], kwargs)
        accepts_variables = self._accepts_variables(gradient, watcher.values)
        variables = list(watcher.values) if accepts_variables else []
        inputs = (*given, *(watcher.values[variable] for variable in variables))
        outputs = [self._as_constant(output, inputs, top) for output in _listed(value)]

        def flow_back(upstream: Sequence[Any]) -> list[Any]:
            if not variables:
                return list(one_for_each(gradient(*upstream), given, self._name))
            returned = gradient(*upstream, variables=list(variables))
            return self._of_inputs_and_variables(returned, given, variables)

        if isinstance(value, tuple | list):
            box = _attach(tuple(outputs), lambda g: flow_back(parts_of(g)), inputs, self._name)
            return list(parts_of(box)) if isinstance(value, list) else parts_of(box)
        return _attach(outputs[0], lambda g: flow_back((g,)), inputs, self._name)

    def _evaluate(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        result = self._function(*args, **kwargs)
        if not isinstance(result, tuple | list) or len(result) != 2 or not callable(result[1]):
            raise TypeError(
                f"`{self._name}` must return its value and its gradient function,"
                f" got {_array.describe(result)}"
            )
        return result[0], result[1]

    def _check_recorded_are_positional(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        of_lists = [each for arg in args if isinstance(arg, tuple | list) for each in arg]
        for value in [*of_lists, *kwargs.values()]:
            if _is_recorded(value):
                raise TypeError(
                    f"`{self._name}` must be given what is being differentiated by position, each"
                    f" by itself, got {_array.describe(value)} in a list or by keyword"
                )

    def _accepts_variables(self, gradient: Any, values: dict[Variable, Any]) -> bool:
        if not values:
            return False
        parameters = inspect.signature(gradient).parameters.values()
        if any(p.name == "variables" or p.kind is p.VAR_KEYWORD for p in parameters):
            return True
        recorded = [variable for variable, value in values.items() if isbox(value)]
        if recorded:
            raise TypeError(
                f"the gradient function of `{self._name}` must have a keyword `variables`, as"
                f" `{self._name}` reads {recorded}"
            )
        return False

    def _as_constant(self, output: Any, inputs: Sequence[Any], top: int) -> Any:
        output = current(output)
        of_inputs = {trace for each in inputs for trace in _traces(each)}
        if not of_inputs - {top} >= _traces(output):
            raise TypeError(
                f"`{self._name}` must return what depends on its arguments and on variables, got"
                " what depends on something else that is being differentiated"
            )
        number = unboxed(output)
        if isinstance(number, IndexedSlices) or np.asarray(number).dtype.kind in "OSU":
            raise TypeError(f"`{self._name}` must return numbers, got {_array.describe(number)}")
        return number if type(number) in Box.type_mappings else np.asarray(number)

    def _of_inputs_and_variables(
        self, returned: Any, inputs: Sequence[Any], variables: list[Variable]
    ) -> list[Any]:
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise TypeError(
                f"the gradient function of `{self._name}` must return a pair, gradients of its"
                f" inputs and of `variables`, got {_array.describe(returned)}"
            )
        of_inputs, of_variables = returned
        if not inputs and of_inputs is None:
            of_inputs = []
        return [
            *one_for_each(of_inputs, inputs, self._name),
            *one_for_each(of_variables, variables, self._name),
        ]


def _is_recorded(value: Any) -> bool:
    return bool(isbox(value) and value._trace >= 0)


def _traces(value: Any) -> set[int]:
    """Return the numbers of the traces that record a value."""
    traces = set()
    while isbox(value):
        traces.add(value._trace)
        value = value._value
    return traces


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else [value]


def _attach(
    value: Any, flow_back: Callable[[Any], list[Any]], inputs: tuple[Any, ...], name: str
) -> Any:
    """Box a value once for each trace that records an input.

    What the gradient function holds may be in the boxes of traces that are still recording when
    it is called for an inner one, which is how second derivatives come to be. When it is called
    for the trace itself, those boxes are done with, unless the upstream gradient came in them.
    """
    boxes, trace, node_type, _ = find_top_boxed_args(inputs)
    if not boxes:
        return value
    if not issubclass(node_type, VJPNode):
        raise TypeError(f"`{name}` has a gradient of its own, and no forward derivative")
    positions = [i for i, _ in boxes]

    def vjp(upstream: Any) -> list[Any]:
        gradients = flow_back(upstream)
        done = max(trace, upstream._trace + 1) if isbox(upstream) else trace
        return [checked(_unboxed_from(gradients[i], done), inputs[i]) for i in positions]

    def checked(gradient: Any, of: Any) -> Any:
        gradient = as_gradient_of(of, gradient, name)
        if gradient is None and node_type is not Node:  # autograd's own knows no None
            return vspace(of).zeros()
        return gradient

    inner = subvals(inputs, [(i, box._value) for i, box in boxes])
    node = node_type.new_root()
    node.parents = [box._node for _, box in boxes]
    node.vjp = vjp
    return new_box(_attach(value, flow_back, inner, name), trace, node)


def _unboxed_from(gradient: Any, trace: int) -> Any:
    """Take away boxes; slices that are still recorded become dense."""
    if not isinstance(gradient, IndexedSlices):
        return unboxed_from(current(gradient), trace)
    values = unboxed_from(gradient.values, trace)
    if isbox(values):
        return scatter_add(values, gradient.indices, gradient.dense_shape)
    return gradient._replace(values=values)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """Give a function a gradient of its own.

    Parameters
    ----------
    f : callable
        Returns a pair: its value, an array or a tuple or list of arrays, and a gradient function.
        That is called with the upstream gradient, or one for each value, and returns a gradient
        for each positional argument of `f`, of its shape, None for nothing; bare, where there is
        one argument.

    Returns
    -------
    callable
        The function without its gradient function. It takes arrays and Variables by position,
        which `f` gets as arrays; what it takes by keyword is constant. A method works too.

    Raises
    ------
    TypeError
        If `f` does not return a pair, or a recorded argument is given by keyword or in a list;
        once gradients flow back, if they are not numbers.
    ValueError
        Once gradients flow back, if their number or shapes are not those of the arguments.

    Notes
    -----
    `f` is called once, and its own steps have no part in the gradient of its value. The gradient
    function is recorded itself, so second derivatives are right, if it computes with operators and
    functions of `autograd.numpy`.

    Trainable Variables that `f` reads without being given them are handed to the gradient function
    as a list, the keyword `variables`, in the order in which they were read. It then returns a
    pair: the gradients of the arguments, and a list of those of the variables. Where a gradient
    function has no such keyword, and one of them is being differentiated, that is a TypeError.

    References
    ----------
    ``tf.custom_gradient`` of TensorFlow.

    Examples
    --------
    >>> import autograd.numpy as anp, numclip as nc
    >>> @nc.custom_gradient
    ... def log1p_exp(x):
    ...     e = anp.exp(x)
    ...     return anp.log(1 + e), lambda upstream: upstream * (1 - 1 / (1 + e))
    >>> x = nc.Variable(100.0)
    >>> nc.gradients(lambda: log1p_exp(x), x)
    [array(1.)]
    """
    if not callable(f):
        raise TypeError(f"`f` must be a function, got {_array.describe(f)}")
    return _CustomGradient(f)
