"""TensorFlow's gradient clipping and optimizers for plain NumPy arrays."""

from typing import TYPE_CHECKING, Any

from numclip import train as train
from numclip._clip import clip_by_average_norm as clip_by_average_norm
from numclip._clip import clip_by_global_norm as clip_by_global_norm
from numclip._clip import clip_by_norm as clip_by_norm
from numclip._clip import clip_by_value as clip_by_value
from numclip._norm import global_norm as global_norm
from numclip._slices import IndexedSlices as IndexedSlices
from numclip._threads import get_num_threads as get_num_threads
from numclip._threads import set_num_threads as set_num_threads
from numclip._variable import Variable as Variable
from numclip._variable import trainable_variables as trainable_variables

if TYPE_CHECKING:
    from numclip._gradient import gather as gather
    from numclip._gradient import gradients as gradients
    from numclip._gradient import value_and_gradients as value_and_gradients

__version__ = "0.1.0"

__all__ = [
    "IndexedSlices",
    "Variable",
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "gather",
    "get_num_threads",
    "global_norm",
    "gradients",
    "set_num_threads",
    "train",
    "trainable_variables",
    "value_and_gradients",
]


def __getattr__(name: str) -> Any:
    # Imported at first use, as it imports autograd, which clipping does without.
    if name in ("gather", "gradients", "value_and_gradients"):
        from numclip import _gradient

        return getattr(_gradient, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
