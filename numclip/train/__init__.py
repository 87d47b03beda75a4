"""Optimizers, TensorFlow 1's and more, what works with them, and learning rates that decay."""

from numclip.train._accumulator import GradientAccumulator as GradientAccumulator
from numclip.train._adadelta import AdadeltaOptimizer as AdadeltaOptimizer
from numclip.train._adagrad import AdagradOptimizer as AdagradOptimizer
from numclip.train._adagrad_da import AdagradDAOptimizer as AdagradDAOptimizer
from numclip.train._adam import AdamOptimizer as AdamOptimizer
from numclip.train._adamw import AdamWOptimizer as AdamWOptimizer
from numclip.train._cosine_decay import cosine_decay as cosine_decay
from numclip.train._cosine_decay import cosine_decay_restarts as cosine_decay_restarts
from numclip.train._cosine_decay import linear_cosine_decay as linear_cosine_decay
from numclip.train._cosine_decay import noisy_linear_cosine_decay as noisy_linear_cosine_decay
from numclip.train._decay import exponential_decay as exponential_decay
from numclip.train._decay import inverse_time_decay as inverse_time_decay
from numclip.train._decay import natural_exp_decay as natural_exp_decay
from numclip.train._decay import piecewise_constant as piecewise_constant
from numclip.train._decay import polynomial_decay as polynomial_decay
from numclip.train._ftrl import FtrlOptimizer as FtrlOptimizer
from numclip.train._gradient_descent import GradientDescentOptimizer as GradientDescentOptimizer
from numclip.train._group import GroupedOptimizer as GroupedOptimizer
from numclip.train._momentum import MomentumOptimizer as MomentumOptimizer
from numclip.train._optimizer import Optimizer as Optimizer
from numclip.train._proximal_adagrad import ProximalAdagradOptimizer as ProximalAdagradOptimizer
from numclip.train._proximal_gradient_descent import (
    ProximalGradientDescentOptimizer as ProximalGradientDescentOptimizer,
)
from numclip.train._rmsprop import RMSPropOptimizer as RMSPropOptimizer
from numclip.train._step_result import StepResult as StepResult
