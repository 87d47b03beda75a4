"""Convolution: TensorFlow's sums to the last digit, and gradients that are each other's."""

import itertools
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import autograd.numpy as anp
import ml_dtypes
import numpy as np
import pytest
from gradients import GOLDEN, Array, finite_differences
from hypothesis import given
from hypothesis import strategies as st

import numclip as nc

Function = Callable[..., Any]
conv2d, of_input, of_filters = (
    nc.nn.conv2d,
    nc.nn.conv2d_backprop_input,
    nc.nn.conv2d_backprop_filter,
)
GEOMETRY = ("strides", "padding", "dilations")


def integers(shape: Any, step: int) -> Array:
    """Return the numbers of tests/golden/gradients.py."""
    return ((np.arange(np.prod(shape, dtype=int)) * step % 101) % 7 - 3.0).reshape(shape)


def name_of(case: dict[str, Any]) -> str:
    return " ".join(str(case[key]) for key in ("image", "filters", *GEOMETRY))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", GOLDEN["convolutions"], ids=name_of)
def test_sums_are_tensorflows(case: dict[str, Any], dtype: Any) -> None:
    image, filters = (integers(case[key], step) for key, step in (("image", 17), ("filters", 23)))
    image, filters = image.astype(dtype), filters.astype(dtype)
    geometry = {key: case[key] for key in GEOMETRY}
    value = conv2d(image, filters, **geometry)
    upstream = integers(value.shape, 29).astype(dtype)
    found = {
        "value": value,
        "of_input": of_input(image.shape, filters, upstream, **geometry),
        "of_filters": of_filters(image, filters.shape, upstream, **geometry),
    }
    assert list(value.shape) == case["shape"]
    assert found["of_input"].shape == image.shape
    assert found["of_filters"].shape == filters.shape
    for key, result in found.items():
        assert result.dtype == dtype
        assert result.ravel().tolist() == case[key]
    variables = [nc.Variable(image), nc.Variable(filters)]
    gradients = nc.gradients(lambda: conv2d(*variables, **geometry), variables, upstream)
    np.testing.assert_array_equal(gradients[0], found["of_input"])
    np.testing.assert_array_equal(gradients[1], found["of_filters"])


def by_definition(image: Array, filters: Array, strides: Any, pads: Any, dilations: Any) -> Array:
    """Sum over all pixels of each window, one after another."""
    padded = np.pad(image, ((0, 0), *pads, (0, 0)))
    reach = [(n - 1) * d + 1 for n, d in zip(filters.shape[:2], dilations, strict=True)]
    sizes = [(n - r) // s + 1 for n, r, s in zip(padded.shape[1:3], reach, strides, strict=True)]
    result = np.zeros((image.shape[0], *sizes, filters.shape[3]))
    for row, column in np.ndindex(*sizes):
        for i, j in np.ndindex(*filters.shape[:2]):
            y, x = row * strides[0] + i * dilations[0], column * strides[1] + j * dilations[1]
            result[:, row, column] += padded[:, y, x] @ filters[i, j]
    return result


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.tuples(st.integers(0, 4), st.integers(0, 4))] * 2)


@given(
    st.tuples(st.integers(0, 2), st.integers(1, 8), st.integers(1, 8), st.integers(1, 3)),
    pairs,
    st.integers(1, 3),
    pairs,
    pairs,
    pads,
)
def test_sums_are_those_of_the_definition(
    shape: Any, size: Any, outputs: int, strides: Any, dilations: Any, padding: Any
) -> None:
    image, filters = integers(shape, 17), integers((*size, shape[3], outputs), 23)
    reach = [(n - 1) * d + 1 for n, d in zip(size, dilations, strict=True)]
    if any(r > n + sum(p) for r, n, p in zip(reach, shape[1:3], padding, strict=True)):
        with pytest.raises(ValueError, match="`filters` must not be larger"):
            conv2d(image, filters, strides, padding, dilations=dilations)
        return
    expected = by_definition(image, filters, strides, padding, dilations)
    geometry = {"strides": strides, "padding": padding, "dilations": dilations}
    np.testing.assert_array_equal(conv2d(image, filters, **geometry), expected)
    # The transposed maps: <conv(x, f), g> = <x, of_input(f, g)> = <f, of_filters(x, g)>.
    upstream = integers(expected.shape, 29)
    product = np.sum(expected * upstream)
    assert np.sum(image * of_input(image.shape, filters, upstream, **geometry)) == product
    assert np.sum(filters * of_filters(image, filters.shape, upstream, **geometry)) == product


def test_large_filters_are_multiplied_at_once() -> None:
    # Beyond what stays in the cache, all windows are one matrix.
    image, filters = integers((2, 6, 5, 64), 17), integers((3, 3, 64, 40), 23)
    ones = ((1, 1), ((1, 1), (1, 1)), (1, 1))
    expected = by_definition(image, filters, *ones)
    np.testing.assert_array_equal(conv2d(image, filters, 1, "SAME"), expected)
    upstream = integers(expected.shape, 29)
    product = np.sum(expected * upstream)
    assert np.sum(filters * of_filters(image, filters.shape, upstream, 1, "SAME")) == product


CASES = [
    {"strides": strides, "padding": padding, "dilations": dilations}
    for strides, padding, dilations in itertools.product(
        (1, (2, 1)), ("VALID", "SAME", ((3, 0), (1, 2))), (1, (1, 2))
    )
]


@pytest.mark.parametrize("geometry", CASES, ids=str)
def test_gradients_are_finite_differences(geometry: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    image, filters = random.standard_normal((1, 4, 5, 2)), random.standard_normal((2, 3, 2, 2))
    shape = conv2d(image, filters, **geometry).shape
    upstream = random.standard_normal(shape)
    functions: list[tuple[Function, list[Array]]] = [
        (lambda x, f: anp.sin(conv2d(x, f, **geometry)), [image, filters]),
        (lambda f, g: anp.sin(of_input(image.shape, f, g, **geometry)), [filters, upstream]),
        (lambda x, g: anp.sin(of_filters(x, filters.shape, g, **geometry)), [image, upstream]),
    ]
    for function, arrays in functions:
        gradients = nc.gradients_function(function)

        def slope(*arguments: Any, gradients: Function = gradients) -> Any:
            return sum(anp.sum(anp.cos(g)) for g in gradients(*arguments))

        for f in (function, slope):
            for of, found in enumerate(nc.gradients_function(f)(*arrays)):
                expected = finite_differences(f, arrays, of)
                np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-7)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
def test_halves_are_rounded_once(dtype: Any) -> None:
    random = np.random.default_rng(0)
    image = random.standard_normal((2, 6, 7, 5)).astype(dtype)
    filters = random.standard_normal((3, 3, 5, 4)).astype(dtype)
    wide = [array.astype(np.float64) for array in (image, filters)]
    found, exact = conv2d(image, filters, 1, "SAME"), conv2d(*wide, 1, "SAME")
    upstream = random.standard_normal(found.shape).astype(dtype)
    results = {
        "value": (found, exact),
        "of input": (
            of_input(image.shape, filters, upstream, 1, "SAME"),
            of_input(image.shape, wide[1], upstream.astype(np.float64), 1, "SAME"),
        ),
        "of filters": (
            of_filters(image, filters.shape, upstream, 1, "SAME"),
            of_filters(wide[0], filters.shape, upstream.astype(np.float64), 1, "SAME"),
        ),
    }
    for result, expected in results.values():
        assert result.dtype == dtype
        if np.dtype(dtype).itemsize == 2:
            error = np.abs(result.astype(np.float64) - expected)
            spacing = float(ml_dtypes.finfo(dtype).eps) * np.abs(expected)
            assert np.all(error <= 0.51 * spacing + 1e-5)
        else:
            np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_a_gradient_is_of_its_variables_dtype() -> None:
    image = nc.Variable(np.ones((1, 3, 3, 1), np.float32))
    filters = nc.Variable(np.ones((2, 2, 1, 1), np.float32))
    found = nc.gradients(lambda: conv2d(image, filters, 1, "VALID") * np.ones(1), [image, filters])
    assert [gradient.dtype for gradient in found] == [np.float32, np.float32]


@pytest.mark.parametrize("change", ["fortran", "strided", "byte-swapped", "read-only", "list"])
def test_arrays_of_any_layout(change: str) -> None:
    image, filters = integers((2, 5, 6, 2), 17), integers((3, 2, 2, 3), 23)
    changed: dict[str, Callable[[Array], Any]] = {
        "fortran": np.asfortranarray,
        "strided": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        "byte-swapped": lambda array: array.astype(">f8"),
        "read-only": lambda array: np.broadcast_to(array, array.shape),
        "list": lambda array: array.tolist(),
    }
    expected = conv2d(image, filters, 1, "SAME")
    found = conv2d(changed[change](image), changed[change](filters), 1, "SAME")
    np.testing.assert_array_equal(found, expected)


def test_arguments_are_not_changed_and_not_shared() -> None:
    image, filters = integers((1, 3, 3, 1), 17), np.ones((1, 1, 1, 1))
    result = conv2d(image, filters, 1, "VALID")
    np.testing.assert_array_equal(result, image)
    assert not np.shares_memory(result, image)


@pytest.mark.parametrize(
    ("image", "filters", "padding"),
    [
        ((2, 3, 3, 1), (2, 2, 1, 0), "VALID"),
        ((1, 0, 3, 1), (2, 2, 1, 4), ((1, 1), (0, 0))),
        ((0, 3, 3, 2), (2, 2, 2, 4), "SAME"),
    ],
)
def test_gradients_of_nothing(image: Any, filters: Any, padding: Any) -> None:
    variables = [nc.Variable(np.ones(image)), nc.Variable(np.ones(filters))]
    gradients = nc.gradients(lambda: conv2d(*variables, 1, padding), variables)
    assert [gradient.shape for gradient in gradients] == [image, filters]
    assert not any(gradient.any() for gradient in gradients)


def test_threads_at_once() -> None:
    start, wrong = threading.Barrier(4), []
    case = GOLDEN["convolutions"][2]

    def work() -> None:
        image = nc.Variable(integers(case["image"], 17))
        filters = nc.Variable(integers(case["filters"], 23))
        upstream = integers(case["shape"], 29)
        start.wait()
        for _ in range(20):
            (found,) = nc.gradients(lambda: conv2d(image, filters, 1, "SAME"), filters, upstream)
            if found.ravel().tolist() != case["of_filters"]:
                wrong.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def large() -> tuple[Array, Array, Array]:
    """Return images, filters and an upstream gradient that are worth two threads."""
    random = np.random.default_rng(5)
    shapes = ((33, 24, 24, 16), (3, 3, 16, 8), (33, 24, 24, 8))
    image, filters, upstream = (random.standard_normal(shape, np.float32) for shape in shapes)
    return image, filters, upstream


def all_three(image: Array, filters: Array, upstream: Array) -> list[Array]:
    return [
        conv2d(image, filters, 1, "SAME"),
        of_input(image.shape, filters, upstream, 1, "SAME"),
        of_filters(image, filters.shape, upstream, 1, "SAME"),
    ]


@pytest.fixture
def all_threads() -> Iterator[int]:
    before = nc.get_num_threads()
    yield before
    nc.set_num_threads(before)


def test_same_bits_on_any_number_of_threads(all_threads: int) -> None:
    image, filters, upstream = large()
    nc.set_num_threads(1)
    expected = all_three(image, filters, upstream)
    some = conv2d(image[:2], filters, 1, "SAME")
    np.testing.assert_array_equal(expected[0][:2], some)
    for threads in range(2, all_threads + 1):
        nc.set_num_threads(threads)
        found = all_three(image, filters, upstream)
        for one, other in zip(expected, found, strict=True):
            assert one.tobytes() == other.tobytes()


def test_threads_have_the_callers_errstate() -> None:
    image, filters, _ = (np.ones_like(array) for array in large())
    image[-1] = 3e38
    with np.errstate(over="raise"), pytest.raises(FloatingPointError, match="overflow"):
        conv2d(image, filters, 1, "SAME")
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(conv2d(image, filters, 1, "SAME")[-1]).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_child_has_threads_of_its_own() -> None:
    arrays = large()
    expected = [each.tobytes() for each in all_three(*arrays)]
    child = os.fork()
    if child == 0:
        found = [each.tobytes() for each in all_three(*arrays)]
        os._exit(0 if found == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


IMAGE, FILTERS, UPSTREAM = np.ones((1, 4, 4, 2)), np.ones((3, 3, 2, 5)), np.ones((1, 2, 2, 5))
ERRORS: dict[str, tuple[Function, type[Exception], str]] = {
    "dimensions": (
        lambda: conv2d(IMAGE[0], FILTERS, 1, "SAME"),
        ValueError,
        "`input` must have fo",
    ),
    "channels": (
        lambda: conv2d(IMAGE, FILTERS[:, :, :1], 1, "SAME"),
        ValueError,
        r"`filters` must be for the 2 channels of the images, got shape \(3, 3, 1, 5\)",
    ),
    "channels of sizes": (
        lambda: of_filters(IMAGE, (3, 3, 1, 5), UPSTREAM, 1, "VALID"),
        ValueError,
        "`filter_sizes` must be for the 2 channels",
    ),
    "dtypes": (
        lambda: conv2d(IMAGE, FILTERS.astype("f"), 1, "SAME"),
        TypeError,
        "`filters` must be of the dtype float64 of `input`, got float32",
    ),
    "integers": (lambda: conv2d(IMAGE.astype(int), FILTERS, 1, "SAME"), TypeError, "`input` must"),
    "recorded complex numbers": (
        lambda: nc.gradients_function(lambda x: conv2d(x * 1j, FILTERS, 1, "SAME"))(IMAGE),
        TypeError,
        "`input` must be float16",
    ),
    "empty filters": (
        lambda: conv2d(IMAGE, FILTERS[:0], 1, "SAME"),
        ValueError,
        "must not be empty",
    ),
    "large filters": (
        lambda: conv2d(IMAGE, np.ones((5, 3, 2, 1)), 1, "VALID"),
        ValueError,
        "`filters` must not be larger than the images with their padding, 4 pixels, got 5",
    ),
    "no stride": (lambda: conv2d(IMAGE, FILTERS, 0, "SAME"), ValueError, "`strides` must be pos"),
    "three strides": (lambda: conv2d(IMAGE, FILTERS, [1, 1, 1], "SAME"), ValueError, "`strides`"),
    "strides of images": (
        lambda: conv2d(IMAGE, FILTERS, [2, 1, 1, 1], "SAME"),
        ValueError,
        "`strides` must be 1 for images and channels",
    ),
    "half a stride": (
        lambda: conv2d(IMAGE, FILTERS, 0.5, "SAME"),
        TypeError,
        "`strides` must be in",
    ),
    "no dilation": (
        lambda: conv2d(IMAGE, FILTERS, 1, "SAME", dilations=0),
        ValueError,
        "`dilations` must be positive",
    ),
    "padding": (lambda: conv2d(IMAGE, FILTERS, 1, "same"), ValueError, "`padding` .* got 'same'"),
    "negative padding": (
        lambda: conv2d(IMAGE, FILTERS, 1, [[0, 0], [-1, 0]]),
        ValueError,
        "`padding` must be",
    ),
    "padding of channels": (
        lambda: conv2d(IMAGE, FILTERS, 1, [[0, 0], [1, 1], [1, 1], [1, 1]]),
        ValueError,
        "`padding` must be zero for images and channels",
    ),
    "half a padding": (
        lambda: conv2d(IMAGE, FILTERS, 1, [[0.5, 0], [1, 0]]),
        TypeError,
        "`padding` must be integers",
    ),
    "data format": (
        lambda: conv2d(IMAGE, FILTERS, 1, "SAME", "NCHW"),
        ValueError,
        "`data_format` must be \"NHWC\", got 'NCHW'",
    ),
    "sizes": (
        lambda: of_input((4, 4), FILTERS, UPSTREAM, 1, "VALID"),
        ValueError,
        "`input_sizes` must be four sizes",
    ),
    "upstream": (
        lambda: of_input(IMAGE.shape, FILTERS, UPSTREAM, 1, "SAME"),
        ValueError,
        r"`out_backprop` must be of the shape \(1, 4, 4, 5\) of the convolution",
    ),
    "upstream of other images": (
        lambda: of_filters(IMAGE, FILTERS.shape, np.ones((2, 2, 2, 5)), 1, "VALID"),
        ValueError,
        r"`out_backprop` must be of the shape \(1, 2, 2, 5\)",
    ),
    "upstream of another dtype": (
        lambda: of_input(IMAGE.shape, FILTERS, UPSTREAM.astype("f"), 1, "VALID"),
        TypeError,
        "`out_backprop` must be of the dtype float64 of `filters`",
    ),
    "name": (
        lambda: conv2d(IMAGE, FILTERS, 0, "SAME", name="layer 1"),
        ValueError,
        "^layer 1: `strides`",
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_change_nothing(name: str) -> None:
    function, error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        function()
    assert all(np.all(array == 1.0) for array in (IMAGE, FILTERS, UPSTREAM))
