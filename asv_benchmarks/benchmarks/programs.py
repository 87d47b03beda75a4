"""What each peer takes to start: a program that clips one gradient and prints its norm."""

from __future__ import annotations

import math

SIZE = 1000
NORM = math.sqrt(SIZE)

FIRST_CLIP = {
    "numclip": f"""
import numpy as np
import numclip as nc
_, norm = nc.clip_by_global_norm([np.ones({SIZE}, np.float32)], 1.0)
print(float(norm))
""",
    "numpy": f"""
import math
import numpy as np
gradient = np.ones({SIZE}, np.float32)
norm = math.sqrt(np.vdot(gradient, gradient))
gradient *= min(1.0, 1.0 / norm)
print(norm)
""",
    "torch": f"""
import torch
parameter = torch.nn.Parameter(torch.zeros({SIZE}))
parameter.grad = torch.ones({SIZE})
print(float(torch.nn.utils.clip_grad_norm_([parameter], 1.0)))
""",
    "tensorflow": f"""
import tensorflow as tf
_, norm = tf.clip_by_global_norm([tf.ones({SIZE})], 1.0)
print(float(norm))
""",
    "optax": f"""
import jax
import optax
gradients = [jax.numpy.ones({SIZE})]
clip = optax.clip_by_global_norm(1.0)
jax.block_until_ready(jax.jit(clip.update)(gradients, optax.EmptyState()))
print(float(optax.global_norm(gradients)))
""",
}
