"""Choosing some of 100,000 small variables."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from .common import REPEAT, set_environment

set_environment()

_BLOCKS, _LAYERS = 2_500, 10
_LEAVES = ("kernel", "bias", "scale", "offset")
_PATTERNS: dict[str, Any] = {
    "scope": "block7",
    "glob": "block*/layer1",
    "regular expression": re.compile("block7/"),
    "function": lambda name: name.endswith("bias"),
    "1,000 scopes": [f"block{i}/layer3" for i in range(1_000)],
}


class FilterVariables:
    repeat = REPEAT
    params = (tuple(_PATTERNS),)
    param_names = ("pattern",)

    def setup(self, pattern: str) -> None:
        import numclip

        self.numclip = numclip
        self.pattern = _PATTERNS[pattern]
        self.store = numclip.VariableStore.from_dict(
            {
                f"block{block}/layer{layer}/{leaf}": np.zeros(1)
                for block in range(_BLOCKS)
                for layer in range(_LAYERS)
                for leaf in _LEAVES
            }
        )

    def time_include(self, pattern: str) -> None:
        self.numclip.filter_variables(self.store, self.pattern)

    def time_exclude(self, pattern: str) -> None:
        self.numclip.filter_variables(self.store, exclude=self.pattern)
