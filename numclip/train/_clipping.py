"""How an optimizer clips gradients as it reads them, and what it does where they are not finite."""

from __future__ import annotations

from typing import Any, NamedTuple, TypedDict

from numclip import _array
from numclip.train._gradient_history import GradientHistory
from numclip.train._hyperparameter import Hyperparameter


class ClippingOptions(TypedDict, total=False):
    """Keyword arguments of every optimizer; its history comes with them, as it takes the norms."""

    clipvalue: Hyperparameter | None
    clipnorm: Hyperparameter | None
    global_clipnorm: Hyperparameter | None
    nonfinite: str
    history: GradientHistory | None


class Limits(NamedTuple):
    """What gradients are clipped to in one step; None where they are not."""

    value: float | None
    norm: float | None
    global_norm: float | None
    nonfinite: str
    # Whether the norm of each gradient is to be known afterwards.
    keeps_norms: bool = False

    @property
    def clips(self) -> bool:
        return self[:3] != (None, None, None)

    @property
    def takes_norms(self) -> bool:
        """Tell whether any norm has to be known, of each gradient or of all."""
        return self.norm is not None or self.needs_norm

    @property
    def needs_norm(self) -> bool:
        """Tell whether the norm of all gradients has to be known."""
        return self.global_norm is not None or self.nonfinite != "propagate" or self.keeps_norms


class Clipping:
    """The clipping options of an optimizer, checked."""

    def __init__(
        self,
        clipvalue: Hyperparameter | None = None,
        clipnorm: Hyperparameter | None = None,
        global_clipnorm: Hyperparameter | None = None,
        nonfinite: str = "propagate",
        keeps_norms: bool = False,
    ) -> None:
        self._options = {
            "clipvalue": clipvalue,
            "clipnorm": clipnorm,
            "global_clipnorm": global_clipnorm,
        }
        given = [f"`{name}`" for name, value in self._options.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"only one of {', '.join(self._options)} may be given, got {given}")
        if nonfinite not in ("propagate", "raise", "skip"):
            raise ValueError(
                '`nonfinite` must be "propagate", "raise" or "skip",'
                f" got {_array.describe(nonfinite)}"
            )
        self._nonfinite = nonfinite
        self._keeps_norms = keeps_norms
        self._constant = None if any(map(callable, self._options.values())) else self._read()

    @property
    def is_used(self) -> bool:
        """Tell whether any option was given."""
        given = any(value is not None for value in self._options.values())
        return given or self._nonfinite != "propagate"

    def read(self) -> Limits:
        """Return the limits as they are now."""
        return self._read() if self._constant is None else self._constant

    def _read(self) -> Limits:
        value, norm, global_norm = [_read_limit(*option) for option in self._options.items()]
        return Limits(value, norm, global_norm, self._nonfinite, self._keeps_norms)


def _read_limit(argument: str, value: Any) -> float | None:
    value = value() if callable(value) else value
    return None if value is None else _array.as_limit(value, argument)
