"""TensorFlow 1's optimizers."""

from numclip.train._adam import AdamOptimizer as AdamOptimizer
from numclip.train._gradient_descent import GradientDescentOptimizer as GradientDescentOptimizer
from numclip.train._optimizer import Optimizer as Optimizer
