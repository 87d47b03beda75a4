"""Operations of neural networks, under TensorFlow's names."""

from numclip._convolution import conv2d as conv2d
from numclip._convolution import conv2d_backprop_filter as conv2d_backprop_filter
from numclip._convolution import conv2d_backprop_input as conv2d_backprop_input
