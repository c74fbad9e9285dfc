"""The compiled kernels against the reference, on every instruction set of the machine; their errors."""

import os
import platform
import shutil
import subprocess

import numpy as np
import pytest
from hypothesis import settings

from gluon_bnn.native import bindings, library
from gluon_bnn.reference import binary, bits

import programs
from needs import needs_library
from sizes import over_sizes

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run.sh")

pytestmark = needs_library


def problem(rng, rows, units, inputs):
    """x, w, alpha, bias with signs of all kinds: 0.0, -0.0 and NaN too."""
    x, w = rng.standard_normal((rows, inputs)), rng.standard_normal((units, inputs))
    x.flat[rng.integers(0, x.size, 3)] = 0.0, -0.0, np.nan
    w.flat[rng.integers(0, w.size, 2)] = 0.0, -0.0
    return (a.astype(np.float32) for a in (x, w, rng.standard_normal(units), rng.standard_normal(units)))


@settings(max_examples=100)
@over_sizes(rows=65, units=130, inputs=1000)
def test_products_of_bits(instruction_set, seed, rows, units, inputs):
    rng = np.random.default_rng(seed)
    x, w, alpha, bias = problem(rng, rows, units, inputs)
    x_bits, w_bits = bindings.pack_inputs(x), bindings.pack_weights(w)
    np.testing.assert_array_equal(x_bits, bits.pack_inputs(x))
    np.testing.assert_array_equal(w_bits, bits.pack_weights(w))
    dot = bits.xnor_dense(x_bits, w_bits, units, inputs)
    np.testing.assert_array_equal(
        bindings.xnor_dense(x_bits, w_bits, alpha, bias, inputs), alpha * dot.astype(np.float32) + bias
    )
    threshold = rng.choice(dot, axis=0) + rng.integers(-1, 2, units).astype(np.int32)
    np.testing.assert_array_equal(
        bindings.xnor_dense_bits(x_bits, w_bits, threshold, inputs), bits.pack_inputs(np.where(dot < threshold, -1, 1))
    )


def in_groups_of_four(x, signs):
    """The products of floats and signs, added in the one order that all kernels share: gluon_bnn.h."""
    pad = [(0, 0), (0, -x.shape[1] % 4)]
    x, signs = np.pad(x, pad), np.pad(signs, pad, constant_values=1).astype(np.float32)
    sums = np.zeros((len(x), len(signs)), np.float32)
    for begin in range(0, x.shape[1], 256):
        part = np.zeros_like(sums)
        for k in range(begin, min(begin + 256, x.shape[1]), 4):
            p = x[:, None, k : k + 4] * signs[:, k : k + 4]
            part += (p[..., 0] + p[..., 1]) + (p[..., 2] + p[..., 3])
        sums += part
    return sums


@over_sizes(rows=17, units=130, inputs=1000)
def test_products_of_floats(instruction_set, seed, rows, units, inputs):
    rng = np.random.default_rng(seed)
    x, w, alpha, bias = problem(rng, rows, units, inputs)
    x = np.nan_to_num(x, nan=1.0)
    found = bindings.binary_dense(x, bindings.pack_weights(w), alpha, bias)
    np.testing.assert_array_equal(found, alpha * in_groups_of_four(x, binary.sign(w)) + bias)


@over_sizes(rows=20, units=130, inputs=1000)
def test_products_of_pixels(instruction_set, seed, rows, units, inputs):
    rng = np.random.default_rng(seed)
    _, w, alpha, bias = problem(rng, 1, units, inputs)
    x = rng.integers(0, 256, (rows, inputs)).astype(np.uint8)
    found = bindings.binary_dense_u8(x, bindings.pack_weights(w), alpha, bias)
    dot = x.astype(np.int64) @ binary.sign(w).T.astype(np.int64)
    np.testing.assert_array_equal(found, alpha * dot.astype(np.float32) + bias)
    threshold = rng.integers(-3, 260, inputs).astype(np.int32)
    np.testing.assert_array_equal(
        bindings.pack_inputs_u8(x, threshold), bits.pack_inputs(np.where(x < threshold, -1, 1))
    )


def test_error_of_float_products_is_no_larger_than_that_of_mxnet(rng):
    """Against float64: at most twice the error of MXNet's own float32 product, plus one ulp."""
    from gluon_bnn._compat import mx

    for rows, units, inputs in ((64, 100, 784), (16, 64, 4096), (128, 33, 33), (4, 32, 20000)):
        x, w, alpha, bias = problem(rng, rows, units, inputs)
        x = np.nan_to_num(x, nan=1.0)
        signs = binary.sign(w)
        exact = x.astype(np.float64) @ signs.T.astype(np.float64)
        ones, zeros = np.ones(units, np.float32), np.zeros(units, np.float32)
        ours = bindings.binary_dense(x, bindings.pack_weights(w), ones, zeros)
        theirs = mx.nd.FullyConnected(mx.nd.array(x), mx.nd.array(signs), no_bias=True, num_hidden=units).asnumpy()
        bound = 2 * np.abs(theirs - exact).max() + np.spacing(np.abs(exact).max().astype(np.float32))
        assert np.abs(ours - exact).max() <= bound


@pytest.mark.parametrize("rows", (1, 2, 29))
def test_largest_sums_of_pixels(instruction_set, rows):
    """All pixels are 255 and all signs are equal: no partial sum of 8 or 16 bits may overflow."""
    inputs = 70000
    x = np.full((rows, inputs), 255, np.uint8)
    for sign in (-1, 1):
        w = np.full((17, inputs), sign, np.float32)
        one, zero = np.ones(17, np.float32), np.zeros(17, np.float32)
        found = bindings.binary_dense_u8(x, bindings.pack_weights(w), one, zero)
        np.testing.assert_array_equal(found, np.float32(sign * 255 * inputs))


def test_choice_of_the_instruction_set():
    best = library.instruction_sets()[-1]
    assert library.instruction_sets()[0] == "serial" and library.instruction_set() in library.instruction_sets()
    with library.use("serial"):
        assert library.instruction_set() == "serial"
        with library.use(best):
            assert library.instruction_set() == best
        assert library.instruction_set() == "serial"
    with pytest.raises(ValueError, match="serial.*got 'mmx'"):
        with library.use("mmx"):
            pass
    code = "from gluon_bnn.native import library; print(library.instruction_set())"

    assert programs.output("-c", code, GLUON_BNN_ISA="serial") == "serial\n"
    assert "ValueError: GLUON_BNN_ISA must be one of serial" in programs.run("-c", code, GLUON_BNN_ISA="mmx").stderr


def arrays(**changes):
    values = {
        "bits": np.zeros((2, 2), np.int32),
        "weight_bits": np.zeros((1, 2, 16), np.int32),
        "alpha": np.ones(3, np.float32),
        "bias": np.ones(3, np.float32),
        "inputs": 40,
    }
    return {**values, **changes}


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"bits": np.zeros((2, 2))}, TypeError, "bits of 40 inputs must be int32, got float64"),
        ({"bits": np.zeros((2, 3), np.int32)}, ValueError, r"shape \(any, 2\).*got \(2, 3\)"),
        ({"bits": np.zeros((0, 2), np.int32)}, ValueError, "not be empty"),
        ({"weight_bits": np.zeros((1, 1, 16), np.int32)}, ValueError, r"40 inputs to 3 units.*\(1, 2, 16\)"),
        ({"alpha": np.ones(17, np.float32)}, ValueError, r"\(2, 2, 16\)"),
        ({"bias": np.ones(2, np.float32)}, ValueError, r"bias must have shape \(3\)"),
        ({"bias": np.ones(3)}, TypeError, "bias must be float32"),
        ({"inputs": 65}, ValueError, r"shape \(any, 3\)"),
    ],
)
def test_wrong_arguments(change, error, message):
    with pytest.raises(error, match=message):
        bindings.xnor_dense(**arrays(**change))


def test_too_many_inputs_for_pixels():
    inputs = 8421505
    x, w = np.zeros((1, inputs), np.uint8), np.zeros((1, bindings.words(inputs), 16), np.int32)
    one = np.ones(1, np.float32)
    with pytest.raises(ValueError, match="from 1 to 8421504, got 8421505"):
        bindings.binary_dense_u8(x, w, one, one)


def test_arrays_that_are_not_contiguous(rng):
    x = rng.standard_normal((40, 6)).astype(np.float32).T
    w = rng.standard_normal((40, 5)).astype(np.float32).T
    np.testing.assert_array_equal(bindings.pack_inputs(x), bits.pack_inputs(x))
    np.testing.assert_array_equal(bindings.pack_weights(w), bits.pack_weights(w))


@pytest.mark.slow
def test_kernels_under_the_sanitizers():
    if not shutil.which("c++"):
        pytest.skip("there is no C++ compiler here")
    done = subprocess.run(["bash", RUN, "sanitize"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 5 and all(line.startswith("ok: serial") for line in lines)
    if platform.machine() in ("x86_64", "AMD64"):  # emulated, in all programs but test_memory
        assert sum("avx512 avx512vpopcntdq" in line for line in lines) == 4
