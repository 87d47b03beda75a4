"""TensorFlow's gradient clipping and optimizers for plain NumPy arrays."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from numclip._clip import clip_by_average_norm as clip_by_average_norm
from numclip._clip import clip_by_global_norm as clip_by_global_norm
from numclip._clip import clip_by_norm as clip_by_norm
from numclip._clip import clip_by_value as clip_by_value
from numclip._filter import filter_variables as filter_variables
from numclip._filter import trainable_variables as trainable_variables
from numclip._norm import global_norm as global_norm
from numclip._restore import RestoreReport as RestoreReport
from numclip._slices import IndexedSlices as IndexedSlices
from numclip._threads import get_num_threads as get_num_threads
from numclip._threads import set_num_threads as set_num_threads
from numclip._variable import Variable as Variable
from numclip._variable_store import VariableStore as VariableStore

if TYPE_CHECKING:
    from numclip import train as train
    from numclip._checkpoint import load as load
    from numclip._checkpoint import save as save
    from numclip._gradient import gather as gather
    from numclip._gradient import gradients as gradients
    from numclip._gradient import gradients_function as gradients_function
    from numclip._gradient import value_and_gradients as value_and_gradients

__version__ = "0.1.0"

__all__ = [
    "IndexedSlices",
    "RestoreReport",
    "Variable",
    "VariableStore",
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "filter_variables",
    "gather",
    "get_num_threads",
    "global_norm",
    "gradients",
    "gradients_function",
    "load",
    "save",
    "set_num_threads",
    "train",
    "trainable_variables",
    "value_and_gradients",
]


# Imported at first use: clipping does without, and gradients need autograd.
_LATER = {
    "gather": "numclip._gradient",
    "gradients": "numclip._gradient",
    "load": "numclip._checkpoint",
    "save": "numclip._checkpoint",
    "gradients_function": "numclip._gradient",
    "train": "numclip.train",
    "value_and_gradients": "numclip._gradient",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
