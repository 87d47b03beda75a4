"""Convolution of images, and its gradients."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .common import REPEAT
from .peers import THREADS, is_installed, set_environment

set_environment()


class _Layer(NamedTuple):
    """Images of height, width and channels, and square filters; zeros around keep the size."""

    images: int
    size: int
    channels: int
    width: int
    outputs: int

    def arrays(self) -> list[Any]:
        """Return images, filters and an upstream gradient."""
        random = np.random.default_rng(0)
        image = (self.images, self.size, self.size)
        shapes = (
            (*image, self.channels),
            (self.width, self.width, self.channels, self.outputs),
            (*image, self.outputs),
        )
        return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


_LAYERS = {
    "32x28x28x16, 32 3x3": _Layer(32, 28, 16, 3, 32),
    "32x7x7x512, 512 3x3": _Layer(32, 7, 512, 3, 512),
    "128x28x28x1, 6 5x5": _Layer(128, 28, 1, 5, 6),
}


class _Calls(NamedTuple):
    forward: Callable[[], Any]
    backward: Callable[[], Any]
    """Both gradients, without the convolution itself."""


def _numclip(image: Any, filters: Any, upstream: Any) -> _Calls:
    nn = importlib.import_module("numclip").nn

    def backward() -> Any:
        return (
            nn.conv2d_backprop_input(image.shape, filters, upstream, 1, "SAME"),
            nn.conv2d_backprop_filter(image, filters.shape, upstream, 1, "SAME"),
        )

    return _Calls(lambda: nn.conv2d(image, filters, 1, "SAME"), backward)


def _torch(image: Any, filters: Any, upstream: Any) -> _Calls:
    """Take images in PyTorch's memory format for channels that lie last, as they do here."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(THREADS)
    layout = torch.channels_last
    x, f, g = (
        torch.from_numpy(array.transpose(order)).contiguous(memory_format=layout)
        for array, order in (
            (image, (0, 3, 1, 2)),
            (filters, (3, 2, 0, 1)),
            (upstream, (0, 3, 1, 2)),
        )
    )
    padding = filters.shape[0] // 2

    def backward() -> Any:
        return (
            torch.nn.grad.conv2d_input(x.shape, f, g, padding=padding),
            torch.nn.grad.conv2d_weight(x, f.shape, g, padding=padding),
        )

    return _Calls(lambda: torch.nn.functional.conv2d(x, f, padding=padding), backward)


_PEERS = {"numclip": _numclip, "torch": _torch}


class Convolution:
    """Forward, and backward to images and filters, in float32."""

    timeout = 300.0
    repeat = REPEAT
    params = (tuple(_LAYERS), tuple(_PEERS))
    param_names = ("layer", "peer")

    def setup(self, layer: str, peer: str) -> None:
        if not is_installed(peer):
            raise NotImplementedError(f"{peer} is not installed")
        self.calls = _PEERS[peer](*_LAYERS[layer].arrays())
        self.calls.forward()
        self.calls.backward()

    def time_forward(self, layer: str, peer: str) -> None:
        self.calls.forward()

    def time_backward(self, layer: str, peer: str) -> None:
        self.calls.backward()
