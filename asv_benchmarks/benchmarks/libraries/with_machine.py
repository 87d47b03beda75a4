"""The limit of the machine: loops that do nothing but read, or read and write, and numclip's."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numba import njit, prange

import numclip as nc

from ..copies import copied, copy_all
from ..peers import THREADS, Case
from ..workloads import Array

_FACTOR = 1 - 2.0**-12


@njit(nogil=True, cache=True, fastmath=True)
def _read(numbers):  # type: ignore[no-untyped-def]
    total = np.float32(0)
    for i in range(numbers.size):
        total += numbers[i]
    return total


@njit(parallel=True, cache=True)
def _read_in_parts(numbers, parts):  # type: ignore[no-untyped-def]
    totals = np.zeros(parts)
    for part in prange(parts):
        begin, end = numbers.size * part // parts, numbers.size * (part + 1) // parts
        totals[part] = _read(numbers[begin:end])
    return totals


@njit(nogil=True, cache=True)
def _multiply(numbers, factor):  # type: ignore[no-untyped-def]
    for i in range(numbers.size):
        numbers[i] *= factor


@njit(parallel=True, cache=True)
def _multiply_in_parts(numbers, factor, parts):  # type: ignore[no-untyped-def]
    for part in prange(parts):
        begin, end = numbers.size * part // parts, numbers.size * (part + 1) // parts
        _multiply(numbers[begin:end], factor)


@njit(nogil=True, cache=True)
def _add(target, numbers):  # type: ignore[no-untyped-def]
    for i in range(numbers.size):
        target[i] += numbers[i]


@njit(parallel=True, cache=True)
def _add_in_parts(target, numbers, parts):  # type: ignore[no-untyped-def]
    for part in prange(parts):
        begin, end = numbers.size * part // parts, numbers.size * (part + 1) // parts
        _add(target[begin:end], numbers[begin:end])


@njit(nogil=True, cache=True)
def _add_to_two(first, second, numbers):  # type: ignore[no-untyped-def]
    for i in range(numbers.size):
        first[i] += numbers[i]
        second[i] += numbers[i]


@njit(parallel=True, cache=True)
def _add_to_two_in_parts(first, second, numbers, parts):  # type: ignore[no-untyped-def]
    for part in prange(parts):
        begin, end = numbers.size * part // parts, numbers.size * (part + 1) // parts
        _add_to_two(first[begin:end], second[begin:end], numbers[begin:end])


@njit(nogil=True, cache=True)
def _add_to_three(first, second, third, numbers):  # type: ignore[no-untyped-def]
    for i in range(numbers.size):
        first[i] += numbers[i]
        second[i] += numbers[i]
        third[i] += numbers[i]


@njit(parallel=True, cache=True)
def _add_to_three_in_parts(first, second, third, numbers, parts):  # type: ignore[no-untyped-def]
    for part in prange(parts):
        begin, end = numbers.size * part // parts, numbers.size * (part + 1) // parts
        _add_to_three(first[begin:end], second[begin:end], third[begin:end], numbers[begin:end])


def norm(arrays: list[Array]) -> Case:
    return Case(lambda limit: nc.global_norm(arrays), float)


def plain_read(arrays: list[Array]) -> Case:
    (numbers,) = arrays
    return Case(lambda limit: _read_in_parts(numbers, THREADS), lambda result: math.nan)


def scale(arrays: list[Array]) -> Case:
    """Clip by a norm that is given, which leaves the scaling."""
    gradients = copied(arrays)
    return Case(
        lambda limit: nc.clip_by_global_norm(gradients, _FACTOR, use_norm=1.0, out=gradients),
        lambda result: math.nan,
        restore=lambda: copy_all(arrays, gradients),
    )


def plain_read_modify_write(arrays: list[Array]) -> Case:
    numbers = arrays[0].copy()
    factor = np.float32(_FACTOR)
    return Case(
        lambda limit: _multiply_in_parts(numbers, factor, THREADS),
        lambda result: math.nan,
        restore=lambda: copy_all(arrays, [numbers]),
    )


def _clipped_step(optimizer: nc.train.Optimizer, arrays: list[Array]) -> Case:
    pairs = [(array, nc.Variable(np.ones_like(array))) for array in arrays]
    return Case(lambda limit: optimizer.apply_gradients(pairs), lambda result: math.nan)


def _plain_step(add: Callable[..., None], held: int, arrays: list[Array]) -> Case:
    """Read a gradient, then read it again and read and write what is held: each one array."""
    gradient = np.concatenate([array.reshape(-1) for array in arrays])
    # Rows that begin a quarter of a page apart, as the cache takes some arrays for each other that
    # begin at the same place of a page.
    others = np.ones((held, gradient.size + 256), gradient.dtype)[:, : gradient.size]

    def call(limit: float) -> None:
        _read_in_parts(gradient, THREADS)
        add(*others, gradient, THREADS)

    return Case(call, lambda result: math.nan)


def clip_and_gradient_descent(arrays: list[Array]) -> Case:
    optimizer = nc.train.GradientDescentOptimizer(1e-3, global_clipnorm=_FACTOR)
    return _clipped_step(optimizer, arrays)


def plain_gradient_descent(arrays: list[Array]) -> Case:
    return _plain_step(_add_in_parts, 1, arrays)


def clip_and_momentum(arrays: list[Array]) -> Case:
    optimizer = nc.train.MomentumOptimizer(1e-3, 0.9, global_clipnorm=_FACTOR)
    return _clipped_step(optimizer, arrays)


def plain_momentum(arrays: list[Array]) -> Case:
    return _plain_step(_add_to_two_in_parts, 2, arrays)


def clip_and_adam(arrays: list[Array]) -> Case:
    return _clipped_step(nc.train.AdamOptimizer(global_clipnorm=_FACTOR), arrays)


def plain_adam(arrays: list[Array]) -> Case:
    return _plain_step(_add_to_three_in_parts, 3, arrays)
