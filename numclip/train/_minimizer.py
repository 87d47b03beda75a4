"""What computes gradients and applies them, be it one optimizer or several."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from numclip._variable import Variable
from numclip.train._step_result import StepResult


class Minimizer(ABC):
    """TensorFlow's interface to gradients, for whatever applies them."""

    GATE_NONE: ClassVar[int] = 0
    GATE_OP: ClassVar[int] = 1
    GATE_GRAPH: ClassVar[int] = 2

    def __init__(self, name: str) -> None:
        if not name:
            raise ValueError("`name` must not be empty: it names the slots")
        self._name = name

    @abstractmethod
    def apply_gradients(
        self, grads_and_vars: Any, global_step: Any = None, name: str | None = None
    ) -> StepResult:
        """Update variables by gradients."""

    def get_name(self) -> str:
        """Return the name that the optimizer was given.

        Examples
        --------
        >>> import numclip as nc
        >>> nc.train.AdamOptimizer().get_name()
        'Adam'
        """
        return self._name

    def compute_gradients(
        self,
        loss: Callable[[], Any],
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        grad_loss: Any = None,
    ) -> list[tuple[Any, Variable]]:
        """Return pairs of gradient and variable, for `apply_gradients`.

        Parameters
        ----------
        loss : callable
            A function without arguments that reads Variables and returns floating numbers; of
            more than one element, their sum is differentiated.
        var_list : iterable of Variable, optional
            By default the trainable variables that the loss reads, in the order in which it does.
        gate_gradients : {GATE_NONE, GATE_OP, GATE_GRAPH}
            Checked, and without effect: nothing runs in parallel with a gradient.
        aggregation_method : {None, 0, 1, 2}
            Checked, and without effect: gradients of several uses are added as they come.
        colocate_gradients_with_ops : bool
            Without effect.
        grad_loss : array, optional
            Weights of the loss's elements, ones by default.

        Returns
        -------
        list of (gradient, variable)
            A gradient is an array of its variable's shape and dtype, IndexedSlices where only
            `numclip.gather` used it, None where the loss does not depend on it or the variable is
            not trainable.

        Raises
        ------
        TypeError
            If `loss` is not callable or does not return floating numbers.
        ValueError
            If `gate_gradients`, `aggregation_method` or the shape of `grad_loss` is wrong.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.compute_gradients`` of TensorFlow.

        Examples
        --------
        >>> import numclip as nc
        >>> x = nc.Variable([1.0, 2.0], name="x")
        >>> nc.train.GradientDescentOptimizer(0.1).compute_gradients(lambda: (x**2).sum())
        [(array([2., 4.]), Variable(name='x', shape=(2,), dtype=float64))]
        """
        from numclip._gradient import as_variables, differentiate

        if gate_gradients not in (self.GATE_NONE, self.GATE_OP, self.GATE_GRAPH):
            raise ValueError(
                "`gate_gradients` must be Optimizer.GATE_NONE, GATE_OP or GATE_GRAPH,"
                f" got {gate_gradients}"
            )
        if aggregation_method not in (None, 0, 1, 2):
            raise ValueError(
                f"`aggregation_method` must be None, 0, 1 or 2, got {aggregation_method}"
            )
        if var_list is None:
            return differentiate([loss], None, [grad_loss])[1]
        variables = as_variables(var_list, "var_list")
        trainable = [variable for variable in variables if variable.trainable]
        found = iter(differentiate([loss], trainable, [grad_loss])[1])
        return [next(found) if v.trainable else (None, v) for v in variables]

    def minimize(
        self,
        loss: Callable[[], Any],
        global_step: Any = None,
        var_list: Iterable[Variable] | None = None,
        gate_gradients: int = GATE_OP,
        aggregation_method: int | None = None,
        colocate_gradients_with_ops: bool = False,
        name: str | None = None,
        grad_loss: Any = None,
    ) -> StepResult:
        """Take one step: `compute_gradients`, then `apply_gradients`.

        Parameters
        ----------
        loss, var_list, gate_gradients, aggregation_method, colocate_gradients_with_ops, grad_loss
            As of `compute_gradients`.
        global_step, name
            As of `apply_gradients`.

        Returns
        -------
        StepResult
            As of `apply_gradients`.

        Raises
        ------
        TypeError, ValueError, IndexError
            As those two, and ValueError if no variable has a gradient.

        References
        ----------
        ``tf.compat.v1.train.Optimizer.minimize`` of TensorFlow.

        Examples
        --------
        >>> import numclip as nc
        >>> x = nc.Variable([1.0, 2.0])
        >>> nc.train.GradientDescentOptimizer(0.25).minimize(lambda: (x**2).sum())
        StepResult(global_norm=None, scale=1.0, skipped=False)
        >>> x.value
        array([0.5, 1. ])
        """
        pairs = self.compute_gradients(
            loss,
            var_list,
            gate_gradients,
            aggregation_method,
            colocate_gradients_with_ops,
            grad_loss,
        )
        return self.apply_gradients(pairs, global_step, name)
