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
    from numclip import nn as nn
    from numclip import train as train
    from numclip._checkpoint import load as load
    from numclip._checkpoint import save as save
    from numclip._custom_gradient import custom_gradient as custom_gradient
    from numclip._gather import gather as gather
    from numclip._gradient import gradients as gradients
    from numclip._gradient import gradients_function as gradients_function
    from numclip._gradient import value_and_gradients as value_and_gradients
    from numclip._gradient_flow import clip_gradient as clip_gradient
    from numclip._gradient_flow import reverse_gradient as reverse_gradient
    from numclip._gradient_flow import sign as sign
    from numclip._gradient_flow import stop_gradient as stop_gradient
    from numclip._gradient_flow import straight_through as straight_through
    from numclip._gradient_override import gradient_override_map as gradient_override_map
    from numclip._gradient_override import register_gradient as register_gradient
    from numclip.train._gradient_history import GradientHistory as GradientHistory
    from numclip.train._gradient_summary import summarize_gradients as summarize_gradients

__version__ = "0.1.0"

__all__ = [
    "GradientHistory",
    "IndexedSlices",
    "RestoreReport",
    "Variable",
    "VariableStore",
    "clip_by_average_norm",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "clip_gradient",
    "custom_gradient",
    "filter_variables",
    "gather",
    "get_num_threads",
    "global_norm",
    "gradient_override_map",
    "gradients",
    "gradients_function",
    "load",
    "nn",
    "register_gradient",
    "reverse_gradient",
    "save",
    "set_num_threads",
    "sign",
    "stop_gradient",
    "straight_through",
    "summarize_gradients",
    "train",
    "trainable_variables",
    "value_and_gradients",
]


# Imported at first use: clipping does without, and gradients need autograd.
_LATER = {
    "GradientHistory": "numclip.train._gradient_history",
    "clip_gradient": "numclip._gradient_flow",
    "custom_gradient": "numclip._custom_gradient",
    "gather": "numclip._gather",
    "gradient_override_map": "numclip._gradient_override",
    "gradients": "numclip._gradient",
    "gradients_function": "numclip._gradient",
    "load": "numclip._checkpoint",
    "nn": "numclip.nn",
    "register_gradient": "numclip._gradient_override",
    "reverse_gradient": "numclip._gradient_flow",
    "save": "numclip._checkpoint",
    "sign": "numclip._gradient_flow",
    "stop_gradient": "numclip._gradient_flow",
    "straight_through": "numclip._gradient_flow",
    "summarize_gradients": "numclip.train._gradient_summary",
    "train": "numclip.train",
    "value_and_gradients": "numclip._gradient",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name])
    # Kept: the next time it is found without this function.
    globals()[name] = value = getattr(module, name, module)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
