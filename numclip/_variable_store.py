"""Variables by name, in scopes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from numclip import _array, _nested, _restore
from numclip._name_patterns import Patterns
from numclip._rename import Rename
from numclip._restore import RestoreReport
from numclip._variable import Constraint, Variable


class _Scopes(threading.local):
    """The scope that is open in this thread, with the "/" that follows it; "" for none."""

    prefix = ""

    def __reduce__(self) -> Any:
        return _Scopes, ()


class VariableStore(Mapping[str, Variable]):
    """Keep variables by their names, made in scopes.

    A mapping of the names to the variables, in the order in which they were made. There is no
    store but those that are made: variables of two stores know nothing of each other.

    Notes
    -----
    A full name is a path: ``"backbone/block1/kernel"`` is in ``backbone/block1``, which is in
    ``backbone``. What takes a list of Variables takes ``store.values()``; `filter_variables` and
    `trainable_variables` choose from a store, and `save` writes one.

    A scope is open in the thread that has entered it. Threads may make variables in one store at
    once. A copy of a store, by `copy.deepcopy` or `pickle`, holds copies of the arrays.

    References
    ----------
    ``tf.compat.v1.variable_scope`` and ``get_variable`` of TensorFlow.

    Examples
    --------
    >>> import numpy as np, numclip as nc
    >>> store = nc.VariableStore()
    >>> with store.scope("backbone"):
    ...     kernel = store.variable("kernel", np.ones((2, 3)))
    >>> with store.scope("head"):
    ...     bias = store.variable("bias", np.zeros(3), trainable=False)
    >>> store
    VariableStore(variables=2, numbers=9)
    >>> list(store), store["backbone/kernel"] is kernel
    (['backbone/kernel', 'head/bias'], True)
    """

    def __init__(self) -> None:
        self._variables: dict[str, Variable] = {}
        self._scopes = _Scopes()

    def scope(self, name: str) -> AbstractContextManager[str]:
        """Open a scope, in which variables are made: the same one again, if it was there.

        Parameters
        ----------
        name : str
            Of one component or several, ``"block1/attention"``; the names of what is made in it
            begin with it, after those of the scopes around it.

        Returns
        -------
        context manager
            Gives the full name, of which filters make the scope's variables.

        Raises
        ------
        TypeError
            If `name` is not a string.
        ValueError
            If `name`, or a component of it, is empty.

        References
        ----------
        ``tf.compat.v1.variable_scope`` of TensorFlow.

        Examples
        --------
        >>> import numclip as nc
        >>> store = nc.VariableStore()
        >>> with store.scope("encoder"), store.scope("layer1") as scope:
        ...     bias = store.variable("bias", [0.0])
        >>> scope, bias.name
        ('encoder/layer1', 'encoder/layer1/bias')
        """
        _check_path(name, "name")
        return self._opened(name)

    @contextmanager
    def _opened(self, name: str) -> Iterator[str]:
        outer = self._scopes.prefix
        self._scopes.prefix = f"{outer}{name}/"
        try:
            yield f"{outer}{name}"
        finally:
            self._scopes.prefix = outer

    def variable(
        self,
        name: str,
        initial_value: Any,
        trainable: bool = True,
        constraint: Constraint | None = None,
        update_mask: Any = None,
    ) -> Variable:
        """Make a variable in the open scope.

        Parameters
        ----------
        name : str
            Its name in the scope, of one component or several.
        initial_value : array
            As for `Variable`: the array itself, which is not copied.
        trainable, constraint, update_mask
            As for `Variable`.

        Returns
        -------
        Variable
            Whose name is the full one.

        Raises
        ------
        TypeError
            If `name` is not a string, or as `Variable` does.
        ValueError
            If `name`, or a component of it, is empty, if the store has a variable of the full
            name, or as `Variable` does.

        References
        ----------
        ``tf.compat.v1.get_variable`` of TensorFlow, which does not take an array of the caller's.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> store, weights = nc.VariableStore(), np.zeros(2)
        >>> store.variable("head/weights", weights).assign([1.0, 2.0])
        Variable(name='head/weights', shape=(2,), dtype=float64)
        >>> weights
        array([1., 2.])
        """
        _check_path(name, "name")
        full_name = f"{self._scopes.prefix}{name}"
        with _array.named(full_name):
            made = Variable(
                initial_value,
                trainable,
                full_name,
                constraint=constraint,
                update_mask=update_mask,
            )
        # One call that finds out and enters, as two threads may make the same.
        if self._variables.setdefault(full_name, made) is not made:
            raise ValueError(f"`name` must be new in its scope, got {full_name!r}, which is there")
        return made

    @classmethod
    def from_dict(cls, arrays: Mapping[str, Any], trainable: bool = True) -> VariableStore:
        """Make a store of arrays.

        Parameters
        ----------
        arrays : dict of array or dict
            By full names, or nested: a dict is the scope of what is in it. Arrays are wrapped and
            not copied, on the host or on a CUDA device.
        trainable : bool
            Of all variables.

        Returns
        -------
        VariableStore
            In the order of the arrays.

        Raises
        ------
        TypeError
            If a key is not a string, or as `Variable` does.
        ValueError
            If a name is empty, has an empty component or is there twice, or as `Variable` does.

        References
        ----------
        ``flax.traverse_util.flatten_dict`` of Flax.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> arrays = {"head": {"bias": np.zeros(3)}, "body/kernel": np.ones((2, 3))}
        >>> list(nc.VariableStore.from_dict(arrays))
        ['head/bias', 'body/kernel']
        """
        if not isinstance(arrays, Mapping):
            raise TypeError(f"`arrays` must be a dict, got {_array.describe(arrays)}")
        store = cls()
        for keys, array in _nested.leaves(arrays, "arrays"):
            if isinstance(array, Mapping):
                continue
            argument = f"arrays{_nested.subscripts(keys)}"
            if isinstance(array, Variable):
                raise TypeError(f"`{argument}` must be an array, got {array!r}")
            name = "/".join(keys)
            _check_path(name, argument)
            store.variable(name, array, trainable)
        return store

    def to_dict(self, *, nested: bool = False) -> dict[str, Any]:
        """Return the arrays.

        Parameters
        ----------
        nested : bool
            Whether as dicts of dicts, one for each scope, and not by full names.

        Returns
        -------
        dict of array or dict
            The arrays themselves, not copies.

        Raises
        ------
        ValueError
            If `nested`, and a variable has the name of a scope.

        References
        ----------
        ``flax.traverse_util.unflatten_dict`` of Flax.

        Examples
        --------
        >>> import numclip as nc
        >>> store = nc.VariableStore.from_dict({"head/bias": [0.0], "head/kernel": [[1.0]]})
        >>> store.to_dict(nested=True)
        {'head': {'bias': array([0.]), 'kernel': array([[1.]])}}
        """
        if not nested:
            return {name: variable.array for name, variable in self.items()}
        arrays: dict[str, Any] = {}
        for name, variable in self.items():
            try:
                _nested.insert(arrays, tuple(name.split("/")), variable.array)
            except ValueError as error:
                raise ValueError(
                    "`nested` must be False where a variable has the name of a scope,"
                    f" got {name!r}: {error}"
                ) from error
        return arrays

    def restore(
        self,
        path_or_mapping: str | os.PathLike[str] | Mapping[str, Any],
        include: Patterns | None = None,
        exclude: Patterns | None = None,
        rename: Rename | None = None,
        strict: bool = True,
    ) -> RestoreReport:
        """Overwrite variables, all or some, with arrays that were trained before.

        Parameters
        ----------
        path_or_mapping : str, path, or dict of array or dict
            A file that `save` wrote, another .npz file, or a .safetensors file, which needs the
            package safetensors; or a dict, nested or not, or another store.
        include, exclude : pattern or list of patterns, optional
            Which of the store's variables, by their own names: as for `filter_variables`.
        rename : dict or callable, optional
            What the arrays there are called here. A dict leads from full names, or scopes, to
            those that take their place, ``""`` for none; of several that fit, the longest counts.
            A function leads from a full name to a full name.
        strict : bool
            Whether it is an error that an asked-for variable has no array, or one of another
            shape or kind of dtype, or that a pattern or a key of `rename` matches nothing.
            Otherwise the variable stays as it is, and the report says so.

        Returns
        -------
        RestoreReport
            What became of each variable, and which arrays there is no variable for.

        Raises
        ------
        TypeError
            If an argument is of a wrong kind, or an array's dtype cannot be cast to the
            variable's by "same_kind".
        ValueError
            If the file is damaged or not of these formats, if an array asked for is of objects,
            if two arrays go by one name, or where `strict` says so.
        OSError
            If the file cannot be opened, as the system says it.
        ImportError
            If a package is missing: safetensors, or ml_dtypes for bfloat16.

        Notes
        -----
        Nothing is changed if it raises. Nothing is ever unpickled. Numbers are written in place,
        to the arrays that the variables wrap, wherever these are. Arrays of a file that are not
        asked for are not read.

        Names are compared by their components: ``layer1.0.weight`` of PyTorch goes by
        ``layer1/0/weight`` too. TensorFlow's ``kernel:0`` is to be renamed.

        References
        ----------
        ``tf.compat.v1.train.init_from_checkpoint`` of TensorFlow, with its ``assignment_map``.

        Examples
        --------
        >>> import numpy as np, numclip as nc
        >>> store = nc.VariableStore.from_dict({"backbone/w": np.zeros(2), "head/w": np.zeros(3)})
        >>> trained = {"resnet/w": np.array([1.0, 2.0]), "resnet/step": 7}
        >>> store.restore(trained, exclude="head", rename={"resnet": "backbone"})
        RestoreReport(1 loaded: 'backbone/w'; 1 left: 'head/w'; 1 unused: 'resnet/step')
        >>> store["backbone/w"].value
        array([1., 2.])
        """
        return _restore.restore(self, path_or_mapping, include, exclude, rename, strict)

    def __getitem__(self, name: str) -> Variable:
        try:
            return self._variables[name]
        except KeyError:
            raise KeyError(f"the store has no variable {name!r}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)

    def __repr__(self) -> str:
        numbers = sum(variable.size for variable in self.values())
        return f"VariableStore(variables={len(self)}, numbers={numbers})"


def _check_path(name: object, argument: str) -> None:
    if not isinstance(name, str):
        raise TypeError(f"`{argument}` must be a string, got {_array.describe(name)}")
    if not all(name.split("/")):
        raise ValueError(f"`{argument}` must not have an empty component, got {name!r}")
