"""Parts of a model: those of its variables whose names a filter chooses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import compress
from typing import Any, TypeVar, overload

from numclip import _array, _name_patterns
from numclip._name_patterns import Patterns
from numclip._variable import Variable
from numclip._variable_store import VariableStore

_T = TypeVar("_T")


@overload
def filter_variables(  # type: ignore[overload-overlap]
    variables: VariableStore,
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    *,
    strict: bool = True,
) -> list[Variable]: ...


@overload
def filter_variables(  # type: ignore[overload-overlap]
    variables: Mapping[str, _T],
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    *,
    strict: bool = True,
) -> dict[str, _T]: ...


@overload
def filter_variables(
    variables: Iterable[_T],
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    *,
    strict: bool = True,
) -> list[_T]: ...


def filter_variables(
    variables: Any,
    include: Patterns | None = None,
    exclude: Patterns | None = None,
    *,
    strict: bool = True,
) -> Any:
    r"""Return those of some variables whose names are included and not excluded.

    Parameters
    ----------
    variables : VariableStore, dict, or iterable of Variables or of pairs of name and array
        Where to choose from. PyTorch's ``named_parameters()`` are such pairs; what else has an
        attribute ``name`` is taken as a Variable is.
    include, exclude : pattern or list of patterns, optional
        All is included that any pattern of a list matches, everything where there is none; then
        what is excluded is left out. A pattern is one of

        - a scope: ``"layer1"`` is the variable of that name and those under ``layer1/``, and not
          ``layer10``;
        - a scope with wildcards: ``"block*/kernel"``. They stand for a part of one component, as
          in a shell: ``*`` for any characters, ``?`` for one, ``[0-3]`` for one of some; and
          ``**/`` for any number of components, none among them;
        - a compiled regular expression, which is matched with the beginning of the name, as by
          `re.match`;
        - a function of the name, which says whether it is chosen.

        Components are separated by ``/``; by dots in names that have no ``/``. A scope may be
        written with either.
    strict : bool
        Whether a pattern that matches none of the names, included or not, is an error.

    Returns
    -------
    list or dict
        In the order given: Variables of a store, or of Variables; a dict of a dict, pairs of
        pairs. With `include`, variables without a name are left out; none is excluded.

    Raises
    ------
    TypeError
        If a pattern or something in `variables` is of another kind.
    ValueError
        If a pattern, or a list of them, is empty, or matches nothing and `strict` holds.

    References
    ----------
    ``filter_variables`` of TF-Slim, whose patterns are regular expressions only, and may match
    nothing.

    Examples
    --------
    >>> import numclip as nc
    >>> names = ["block1/kernel", "block1/bias", "block10/kernel", "head/kernel"]
    >>> variables = [nc.Variable([0.0], name=name) for name in names]
    >>> [variable.name for variable in nc.filter_variables(variables, "block1")]
    ['block1/kernel', 'block1/bias']
    >>> [variable.name for variable in nc.filter_variables(variables, "*/kernel", "head")]
    ['block1/kernel', 'block10/kernel']
    """
    names, entries = _named(variables)
    chosen = compress(entries, _name_patterns.choose(names, include, exclude, strict))
    is_dict = isinstance(variables, Mapping) and not isinstance(variables, VariableStore)
    return dict(chosen) if is_dict else list(chosen)


def _named(variables: Any) -> tuple[list[str | None], list[Any]]:
    """Return names and what goes by them: items, of a dict."""
    if isinstance(variables, VariableStore):
        # Half of what items() takes.
        return list(variables), [variables[name] for name in variables]
    if isinstance(variables, Mapping):
        items = list(variables.items())
        return [_checked_key(key) for key, _ in items], items
    entries = _as_list(variables)
    if set(map(type, entries)) == {Variable}:
        # A third of what it takes to ask each for its kind.
        return [entry.name for entry in entries], entries
    return [_name_of(entry, i) for i, entry in enumerate(entries)], entries


def _checked_key(key: object) -> str:
    if not isinstance(key, str):
        raise TypeError(f"`variables` must have strings as keys, got {_array.describe(key)}")
    return key


def _as_list(variables: Any) -> list[Any]:
    # A Variable has a length, and could be iterated over.
    if isinstance(variables, Variable) or not isinstance(variables, Iterable):
        raise TypeError(
            "`variables` must be a list of Variables, a store or a dict,"
            f" got {_array.describe(variables)}"
        )
    return list(variables)


def _name_of(entry: Any, position: int) -> str | None:
    if isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str):
        return entry[0]
    name = getattr(entry, "name", 0)
    if name is None or isinstance(name, str):
        return name
    raise TypeError(
        f"`variables[{position}]` must be a Variable, or a pair of name and array,"
        f" got {_array.describe(entry)}"
    )


def trainable_variables(
    variables: Iterable[Variable] | Mapping[str, Variable],
    scope: str | re.Pattern[str] | None = None,
) -> list[Variable]:
    """Return the trainable ones of some variables, all or those of a scope.

    Parameters
    ----------
    variables : VariableStore, dict of Variables, or iterable of Variables
        Where to choose from.
    scope : str or compiled regular expression, optional
        As for `filter_variables`; the empty string is every name.

    Returns
    -------
    list of Variable
        In the order given. With a scope, variables without a name are left out; where nothing
        matches, the list is empty.

    Raises
    ------
    TypeError
        If `scope` is neither, or something is not a Variable.

    References
    ----------
    ``tf.compat.v1.trainable_variables`` of TensorFlow, where ``"layer1"`` is ``layer10`` too.

    Examples
    --------
    >>> import numclip as nc
    >>> names = ["layer1/weights", "layer1/bias", "layer10/weights"]
    >>> variables = [nc.Variable([0.0], name=name) for name in names]
    >>> [variable.name for variable in nc.trainable_variables(variables, "layer1")]
    ['layer1/weights', 'layer1/bias']
    """
    if scope is not None and not (isinstance(scope, str) or _name_patterns.is_expression(scope)):
        raise TypeError(
            "`scope` must be a string or a compiled regular expression of one,"
            f" got {_array.describe(scope)}"
        )
    names, entries = _named_variables(variables)
    if scope is None:
        chosen = [True] * len(names)
    elif isinstance(scope, str) and not scope.rstrip("/"):
        chosen = [name is not None for name in names]
    else:
        chosen = _name_patterns.match(names, [scope], "scope", strict=False)
    return [variable for variable in compress(entries, chosen) if variable.trainable]


def _named_variables(variables: Any) -> tuple[list[str | None], list[Variable]]:
    if isinstance(variables, VariableStore):
        return _named(variables)
    is_dict = isinstance(variables, Mapping)
    given = dict(variables) if is_dict else dict(enumerate(_as_list(variables)))
    for key, variable in given.items():
        if not isinstance(variable, Variable):
            raise TypeError(
                f"`variables[{key!r}]` must be a Variable, got {_array.describe(variable)}"
            )
    entries = list(given.values())
    return [*map(_checked_key, given)] if is_dict else [each.name for each in entries], entries
