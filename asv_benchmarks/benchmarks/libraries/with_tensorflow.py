"""TensorFlow: its functions under `tf.function`. They return new tensors, never write in place."""

from __future__ import annotations

import math
from typing import Any

import tensorflow as tf

from ..answers import quick_norm
from ..peers import THREADS, Case
from ..workloads import Array, table_rows_of

tf.config.threading.set_intra_op_parallelism_threads(THREADS)
tf.config.threading.set_inter_op_parallelism_threads(1)


@tf.function(autograph=False)
def _clip(gradients: Any, limit: Any) -> Any:
    return tf.clip_by_global_norm(gradients, limit)


@tf.function(autograph=False)
def _global_norm(gradients: Any) -> Any:
    return tf.linalg.global_norm(gradients)


@tf.function(autograph=False)
def _clip_by_norm(matrix: Any, limit: Any, axes: int) -> Any:
    return tf.clip_by_norm(matrix, limit, axes)


@tf.function(autograph=False)
def _sum_rows(values: Any, indices: Any) -> Any:
    unique, positions = tf.unique(indices)
    return tf.math.unsorted_segment_sum(values, positions, tf.shape(unique)[0]), unique


def clip(arrays: list[Array]) -> Case:
    gradients = [tf.constant(array) for array in arrays]
    return Case(
        lambda limit: _clip(gradients, limit),
        lambda result: float(result[1]),
        as_limit=lambda limit: tf.constant(limit, gradients[0].dtype),
    )


def global_norm(arrays: list[Array]) -> Case:
    gradients = [tf.constant(array) for array in arrays]
    return Case(lambda limit: _global_norm(gradients), float)


def _clip_slices(arrays: list[Array], axes: int) -> Case:
    matrix = tf.constant(arrays[0])
    slices = matrix.shape[1 - axes]
    return Case(
        lambda limit: _clip_by_norm(matrix, limit, axes),
        lambda result: quick_norm([result.numpy()]),
        as_limit=lambda limit: tf.constant(limit / math.sqrt(slices), matrix.dtype),
    )


def clip_rows(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 1)


def clip_columns(arrays: list[Array]) -> Case:
    return _clip_slices(arrays, 0)


def coalesce(arrays: list[Array]) -> Case:
    values, indices = (tf.constant(array) for array in arrays)
    return Case(
        lambda limit: _sum_rows(values, indices), lambda result: quick_norm([result[0].numpy()])
    )


def _step(optimizer: Any, gradients: list[Any], shapes: list[tuple[int, ...]]) -> Case:
    variables = [tf.Variable(tf.ones(shape)) for shape in shapes]

    @tf.function(autograph=False)
    def step(gradients: list[Any]) -> None:
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

    return Case(lambda limit: step(gradients), lambda result: math.nan)


def _dense_step(optimizer: Any, arrays: list[Array]) -> Case:
    gradients = [tf.constant(array) for array in arrays]
    return _step(optimizer, gradients, [array.shape for array in arrays])


def _clipped_step(optimizer: Any, gradients: list[Any], shapes: list[tuple[int, ...]]) -> Case:
    variables = [tf.Variable(tf.ones(shape)) for shape in shapes]

    @tf.function(autograph=False)
    def step(gradients: list[Any], limit: Any) -> Any:
        clipped, norm = tf.clip_by_global_norm(gradients, limit)
        optimizer.apply_gradients(list(zip(clipped, variables, strict=True)))
        return norm

    return Case(lambda limit: step(gradients, limit), float, as_limit=tf.constant)


def _clipped_dense_step(optimizer: Any, arrays: list[Array]) -> Case:
    gradients = [tf.constant(array) for array in arrays]
    return _clipped_step(optimizer, gradients, [array.shape for array in arrays])


def clip_and_gradient_descent(arrays: list[Array]) -> Case:
    return _clipped_dense_step(tf.compat.v1.train.GradientDescentOptimizer(1e-3), arrays)


def clip_and_momentum(arrays: list[Array]) -> Case:
    return _clipped_dense_step(tf.compat.v1.train.MomentumOptimizer(1e-3, 0.9), arrays)


def clip_and_adagrad(arrays: list[Array]) -> Case:
    return _clipped_dense_step(tf.compat.v1.train.AdagradOptimizer(1e-3), arrays)


def clip_and_adam(arrays: list[Array]) -> Case:
    return _clipped_dense_step(tf.compat.v1.train.AdamOptimizer(1e-3), arrays)


def _clipped_rows_step(optimizer: Any, arrays: list[Array]) -> Case:
    """Clip by the norm of the rows' sums, as numclip does; TensorFlow itself takes each alone."""
    values, indices = (tf.constant(array) for array in arrays)
    shape = (table_rows_of(arrays), *arrays[0].shape[1:])
    variable = tf.Variable(tf.ones(shape))

    @tf.function(autograph=False)
    def step(values: Any, indices: Any, limit: Any) -> Any:
        summed, unique = _sum_rows(values, indices)
        (clipped,), norm = tf.clip_by_global_norm([summed], limit)
        gradient = tf.IndexedSlices(clipped, unique, tf.constant(shape))
        optimizer.apply_gradients([(gradient, variable)])
        return norm

    return Case(lambda limit: step(values, indices, limit), float, as_limit=tf.constant)


def clip_and_gradient_descent_rows(arrays: list[Array]) -> Case:
    return _clipped_rows_step(tf.compat.v1.train.GradientDescentOptimizer(1e-3), arrays)


def clip_and_adagrad_rows(arrays: list[Array]) -> Case:
    return _clipped_rows_step(tf.compat.v1.train.AdagradOptimizer(1e-3), arrays)


def _keras_step(name: str, arrays: list[Array], **options: Any) -> Case:
    """Step with Keras, whose limit is a number of the optimizer's, read when it is compiled."""
    gradients = [tf.constant(array) for array in arrays]
    variables = [tf.Variable(tf.ones(array.shape)) for array in arrays]
    limit = quick_norm(arrays) / 2
    optimizer = getattr(tf.keras.optimizers, name)(1e-3, global_clipnorm=limit, **options)
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(gradients: list[Any]) -> None:
        optimizer.apply_gradients(list(zip(gradients, variables, strict=True)))

    return Case(lambda limit: step(gradients), lambda result: float(_global_norm(gradients)))


def keras_clip_and_gradient_descent(arrays: list[Array]) -> Case:
    return _keras_step("SGD", arrays)


def keras_clip_and_momentum(arrays: list[Array]) -> Case:
    return _keras_step("SGD", arrays, momentum=0.9)


def keras_clip_and_adagrad(arrays: list[Array]) -> Case:
    return _keras_step("Adagrad", arrays)


def keras_clip_and_adam(arrays: list[Array]) -> Case:
    return _keras_step("Adam", arrays)


def step_gradient_descent(arrays: list[Array]) -> Case:
    return _dense_step(tf.compat.v1.train.GradientDescentOptimizer(1e-3), arrays)


def step_adam(arrays: list[Array]) -> Case:
    return _dense_step(tf.compat.v1.train.AdamOptimizer(1e-3), arrays)


def step_rows(arrays: list[Array]) -> Case:
    values, indices = arrays
    gradient = tf.IndexedSlices(
        tf.constant(values), tf.constant(indices), tf.constant(values.shape)
    )
    optimizer = tf.compat.v1.train.GradientDescentOptimizer(1e-3)
    return _step(optimizer, [gradient], [values.shape])
