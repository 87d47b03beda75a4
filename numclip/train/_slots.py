"""The slots of an optimizer: arrays like the variables', which it keeps from step to step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from numclip import _array, _cuda_memory
from numclip._array import Array
from numclip._cuda_libraries import cuda_array
from numclip._variable import Variable, key_for
from numclip.train._slot_memory import full_beside
from numclip.train._updates import Plan


class Slot(Variable):
    """A variable whose array stays the one it has, as steps keep its address."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "array" and hasattr(self, name):
            raise AttributeError(f"{self!r} is a slot and keeps its array: `assign` overwrites it")
        super().__setattr__(name, value)


class Slots:
    """The slots of variables, and those that were loaded for variables not seen yet.

    In a state a variable goes by its name; one without a name by "Variable", and where a name is
    taken "_1" and so on follow, in the order in which variables are first updated.
    """

    def __init__(
        self, names: Sequence[str], initial: Callable[[str], float], optimizer: str
    ) -> None:
        self._names = names
        self._initial = initial
        self._optimizer = optimizer
        self._slots: dict[Variable, dict[str, Variable]] = {}
        self._keys: dict[str, Variable] = {}
        self._loaded: dict[str, dict[str, Array]] = {}
        # That of the last step; it has addresses of slots, and goes when any of them do.
        self.plan: Plan | None = None

    @property
    def count(self) -> int:
        return len(self._names)

    def get(self, variable: Variable, name: str) -> Variable | None:
        return self._slots.get(variable, {}).get(name)

    def of(self, variable: Variable) -> Sequence[Variable] | None:
        """Return the slots of a variable in order, None before they are made."""
        slots = self._slots.get(variable)
        return None if slots is None else [slots[name] for name in self._names]

    def all(self) -> list[Variable]:
        return [slot for slots in self._slots.values() for slot in slots.values()]

    def make(self, variables: Iterable[Variable]) -> list[str]:
        """Make the slots that are not there yet; return the keys of their variables.

        Those that are there have to be of the size that their variable has now, and where it is.
        """
        made: list[str] = []
        try:
            for variable in variables:
                held = self._slots.get(variable)
                if held is None:
                    self.plan = None
                    key = key_for(variable, self._keys)
                    self._slots[variable] = self._new(variable, key)
                    self._keys[key] = variable
                    made.append(key)
                elif any([slot.size != variable.size for slot in held.values()]):
                    raise ValueError(
                        f"{variable!r} must have the size that it had when its slots were made,"
                        f" got slots {list(held.values())}"
                    )
                elif not _are_where(variable, held):
                    slot = next(iter(held.values()))
                    raise ValueError(
                        f"{variable!r} must be where its slots are, {_place_of(slot)}, got an array"
                        f" {_place_of(variable)}: load_state_dict(state_dict()) moves them"
                    )
        except BaseException:
            self.remove(made)
            raise
        return made

    def remove(self, keys: Iterable[str]) -> None:
        """Undo what `make` did."""
        self.plan = None
        for key in keys:
            del self._slots[self._keys.pop(key)]

    def keep(self, keys: Iterable[str]) -> None:
        """Settle what `make` did: what was loaded for these variables is theirs now."""
        for key in keys:
            self._loaded.pop(key, None)

    def _new(self, variable: Variable, key: str) -> dict[str, Variable]:
        loaded = self._loaded.get(key)
        if loaded is not None:
            _check_slots(loaded, variable, key)
        slots: dict[str, Variable] = {}
        for i, name in enumerate(self._names):
            suffix = f"_{i}" if i else ""
            slot_name = f"{variable.name or 'Variable'}/{self._optimizer}{suffix}"
            initial = self._initial(name)
            if initial > 0 and not np.asarray(initial, variable.dtype) > 0:
                raise ValueError(
                    f"the slot {name!r} must begin above 0, and {initial} is 0 in {variable.dtype},"
                    f" for {variable!r}"
                )
            array = _full(variable, initial, i)
            slots[name] = Slot(array, trainable=False, name=slot_name)
            if loaded is not None:
                slots[name].assign(loaded[name])
        return slots

    def state(self) -> dict[str, dict[str, Array]]:
        """Return copies of all slots, by the variables' names and their own."""
        held = {
            key: {name: _on_host(slot) for name, slot in self._slots[variable].items()}
            for key, variable in self._keys.items()
        }
        waiting = {
            key: {name: array.copy() for name, array in slots.items()}
            for key, slots in self._loaded.items()
        }
        return held | waiting

    def check(self, state: Any) -> dict[str, dict[str, Array]]:
        """Return copies of what `state` returned, if it fits the variables that are known."""
        if not isinstance(state, Mapping):
            raise TypeError(f"`state['slots']` must be a dict, got {_array.describe(state)}")
        return {key: self._checked(key, slots) for key, slots in state.items()}

    def _checked(self, key: Any, slots: Any) -> dict[str, Array]:
        if not isinstance(key, str):
            raise TypeError(
                f"`state['slots']` must have names as its keys, got {_array.describe(key)}"
            )
        where = f"state['slots'][{key!r}]"
        if not isinstance(slots, Mapping) or set(slots) != set(self._names):
            names = ", ".join(self._names) or "none"
            is_dict = isinstance(slots, Mapping)
            found = ", ".join(map(str, slots)) if is_dict else _array.describe(slots)
            raise ValueError(f"`{where}` must have the slots {names}, got {found}")
        checked = {
            name: np.array(_array.as_array(slots[name], f"{where}[{name!r}]"))
            for name in self._names
        }
        if key in self._keys:
            _check_slots(checked, self._keys[key], key)
        return checked

    def load(self, checked: dict[str, dict[str, Array]]) -> None:
        """Replace all slots by checked ones; those of variables not seen yet wait for them."""
        self.remove(
            [
                key
                for key, variable in self._keys.items()
                if key not in checked
                or any(slot.shape != variable.shape for slot in self._slots[variable].values())
                or not _are_where(variable, self._slots[variable])
            ]
        )
        for key, variable in self._keys.items():
            for name, slot in self._slots[variable].items():
                slot.assign(checked[key][name])
        self._loaded = {key: each for key, each in checked.items() if key not in self._keys}


# For steps that only take norms, and make no slots.
NO_SLOTS = Slots((), lambda name: 0.0, "")


def _check_slots(slots: Mapping[str, Array], variable: Variable, key: str) -> None:
    for name, array in slots.items():
        where = f"`state['slots'][{key!r}][{name!r}]`"
        if array.shape != variable.shape:
            raise ValueError(f"{where} must be of shape {variable.shape}, got {array.shape}")
        if not _array.same_dtype(array.dtype, variable.dtype):
            raise TypeError(f"{where} must be of dtype {variable.dtype}, got {array.dtype}")


def _place_of(variable: Variable) -> str:
    found = cuda_array(variable.array, "variable")
    return _array.place_of(variable.array if found is None else found)


def _are_where(variable: Variable, slots: Mapping[str, Variable]) -> bool:
    return set(map(_place_of, slots.values())) <= {_place_of(variable)}


def _on_host(variable: Variable) -> Array:
    found = cuda_array(variable.array, "variable")
    return variable.array.copy() if found is None else _cuda_memory.download(found)


def _full(variable: Variable, value: float, position: int) -> Any:
    """Return a new array like a variable's, where that is, for the slot at this position."""
    like = cuda_array(variable.array, "variable")
    if like is None:
        return full_beside(variable.array, value, position, variable.dtype)
    number = np.asarray(value, variable.dtype)[()]
    return _cuda_memory.full(variable.shape, number, like).array
