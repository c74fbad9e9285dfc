"""The reference: finite differences where functions are smooth, the printed formula where they are not."""

import numpy as np
import pytest

from gluon_bnn.reference import binary, bits, dense, notebook, optimizer

import programs
from sizes import over_sizes


def numeric(f, x, step=1e-6):
    """Central differences of the scalar f at x, one element at a time."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + step
        up = f()
        x[i] = old - step
        gradient[i] = (up - f()) / (2 * step)
        x[i] = old
    return gradient


def close(found, expected):
    # central differences with step 1e-6 in float64: 3e-9 seen
    np.testing.assert_allclose(found, expected, atol=3e-8, rtol=0)


@pytest.mark.parametrize("name", ["sigmoid", "relu", "hard_tanh"])
def test_activation_gradients(rng, name):
    x, d = rng.standard_normal((5, 7)), rng.standard_normal((5, 7))
    forward, backward = getattr(dense, name), getattr(dense, name + "_backward")
    close(backward(d, x), numeric(lambda: (d * forward(x)).sum(), x))


def test_affine_gradients(rng):
    x, w, b = rng.standard_normal((5, 7)), rng.standard_normal((3, 7)), rng.standard_normal(3)
    d = rng.standard_normal((5, 3))
    gradients = dense.affine_backward(d, x, w)
    for name, array in (("x", x), ("weight", w), ("bias", b)):
        close(gradients[name], numeric(lambda: (d * dense.affine(x, w, b)).sum(), array))


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "squared_hinge"])
def test_loss_gradients(rng, name):
    x, labels = rng.standard_normal((6, 10)), rng.integers(0, 10, 6)
    loss, backward = getattr(dense, name), getattr(dense, name + "_backward")
    close(backward(x, labels), numeric(lambda: loss(x, labels), x))


def test_batch_norm_gradients(rng):
    x, d = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    gamma, beta = rng.standard_normal(4), rng.standard_normal(4)
    gradients = dense.batch_norm_backward(d, x, gamma)
    for name, array in (("x", x), ("gamma", gamma), ("beta", beta)):
        close(gradients[name], numeric(lambda: (d * dense.batch_norm(x, gamma, beta)).sum(), array))


def test_batch_norm_inference_gradients(rng):
    x, d = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    gamma, beta, mean, var = *rng.standard_normal((3, 4)), rng.random(4)
    gradients = dense.batch_norm_inference_backward(d, x, gamma, mean, var)
    for name, array in (("x", x), ("gamma", gamma), ("beta", beta)):
        close(
            gradients[name], numeric(lambda: (d * dense.batch_norm_inference(x, gamma, beta, mean, var)).sum(), array)
        )


def test_running_average_of_equal_batches_goes_to_them():
    running = np.zeros(3)
    for _ in range(400):
        running = dense.running_average(running, np.array([1.0, -2.0, 3.0]))
    np.testing.assert_allclose(running, [1, -2, 3])
    np.testing.assert_allclose(dense.running_average(np.ones(1), np.zeros(1), 0.75), 0.75)


def test_batch_norm_inference_agrees_with_training(rng):
    x, gamma, beta = rng.standard_normal((6, 4)), rng.standard_normal(4), rng.standard_normal(4)
    found = dense.batch_norm_inference(x, gamma, beta, x.mean(0), x.var(0))
    np.testing.assert_allclose(found, dense.batch_norm(x, gamma, beta), atol=1e-14)


def test_sign_at_zeros_and_nan():
    x = np.array([-1.5, -0.0, 0.0, 2.0, np.nan, -np.inf, np.inf])
    np.testing.assert_array_equal(binary.sign(x), [-1, 1, 1, 1, 1, -1, 1])
    np.testing.assert_array_equal(binary.binary_sigmoid(x), [0, 1, 1, 1, 1, 0, 1])


def test_stochastic_sign(rng):
    x = np.array([-2, -1, -0.5, 0, 0.3, 1, 5])
    uniform = rng.random((20000, len(x)))
    p = np.clip((x + 1) / 2, 0, 1)
    drawn = binary.stochastic_sign(x, uniform)
    assert set(np.unique(drawn)) == {-1, 1}
    assert (np.abs((drawn > 0).mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / 20000)).all()


def test_loss_scale_is_the_nearest_in_the_weighted_norm(rng):
    """alpha s minimises sum L (W - alpha s)^2; ones for L give mean |W|; L's own scale does not matter."""
    w, curvature = rng.standard_normal((5, 9)), rng.random((5, 9)) + 0.01
    signs, alpha = binary.sign_scale(w, "loss", curvature)

    def distance(alpha, signs=signs):
        return (curvature * (w - alpha * signs) ** 2).sum()

    assert alpha.shape == (1,) and distance(alpha) < min(distance(alpha - 1e-4), distance(alpha + 1e-4))
    for i in np.ndindex(w.shape):
        other = signs.copy()
        other[i] *= -1
        assert distance(alpha) < distance(alpha, other)
    np.testing.assert_allclose(binary.sign_scale(w, "loss", np.ones_like(w))[1], np.abs(w).mean())
    np.testing.assert_allclose(binary.sign_scale(w, "loss", 1e-6 * curvature)[1], alpha)
    g = rng.standard_normal(w.shape)
    np.testing.assert_array_equal(binary.sign_scale_backward(g, w, "loss", "ste", None, curvature), g)


def adam_loops(w, g, m, v, t, lr, beta1, beta2, epsilon, wd, clip_gradient, rescale_grad):
    """Algorithm 1 of Kingma and Ba, a weight at a time; their epsilon is ours / sqrt(1 - beta2^t)."""
    new = [np.empty_like(w) for _ in range(3)]
    for i in np.ndindex(w.shape):
        gradient = g[i] * rescale_grad + wd * w[i]
        gradient = max(-clip_gradient, min(clip_gradient, gradient))
        m_i = beta1 * m[i] + (1 - beta1) * gradient
        v_i = beta2 * v[i] + (1 - beta2) * gradient * gradient
        m_hat, v_hat = m_i / (1 - beta1**t), v_i / (1 - beta2**t)
        new[0][i] = w[i] - lr * m_hat / (v_hat**0.5 + epsilon / (1 - beta2**t) ** 0.5)
        new[1][i], new[2][i] = m_i, v_i
    return new


@pytest.mark.parametrize("t", [1, 2, 1000])
def test_adam(rng, t):
    w, g, m = (rng.standard_normal((3, 7)) for _ in range(3))
    v = rng.random((3, 7))
    options = dict(lr=0.1, beta1=0.8, beta2=0.99, epsilon=1e-3, wd=0.1, clip_gradient=0.7, rescale_grad=2.0)
    expected = adam_loops(w, g, m, v, t, **options)
    for found, wanted in zip(optimizer.adam(w, g, m, v, t, **options), expected):
        np.testing.assert_allclose(found, wanted, rtol=1e-12)
    found = optimizer.binary_adam(w, g, m, v, t, **options)
    np.testing.assert_allclose(found[0], np.clip(expected[0], -1, 1), rtol=1e-12)
    options["lr"] *= np.sqrt(10 / 1.5)
    scaled = optimizer.binary_adam(w, g, m, v, t, glorot=True, **{**options, "lr": 0.1})
    np.testing.assert_allclose(scaled[0], np.clip(adam_loops(w, g, m, v, t, **options)[0], -1, 1), rtol=1e-12)


def test_learning_rate_scale_of_convolutions():
    """As many inputs and outputs as a weight's channel has, in all places of the kernel."""
    assert optimizer.learning_rate_scale((3, 7, 1, 1)) == optimizer.learning_rate_scale((3, 7))
    np.testing.assert_allclose(optimizer.learning_rate_scale((3, 7, 5)), np.sqrt(10 * 5 / 1.5))


def test_curvature():
    np.testing.assert_array_equal(optimizer.curvature(np.array([0.0, 4.0])), [1e-8, 2 + 1e-8])


def loops(g, w, scale, gradient, clip):
    """The four rules as they are printed, one weight at a time."""
    groups = [[(i, j) for i in range(w.shape[0]) for j in range(w.shape[1])]]
    if scale == "channel":
        groups = [[(i, j) for j in range(w.shape[1])] for i in range(w.shape[0])]
    dw = np.zeros_like(w)
    for group in groups:
        n = len(group)
        alpha = sum(abs(w[i]) for i in group) / n if scale else 1.0
        total = sum(g[i] * (-1 if w[i] < 0 else 1) for i in group)
        for i in group:
            s, m = (-1 if w[i] < 0 else 1), float(clip is None or abs(w[i]) <= clip)
            dw[i] = {
                "ste": g[i] * m,
                "xnor": g[i] * (1 / n + alpha * m),
                "exact": alpha * m * g[i] + s / n * total,
                "notebook": g[i] * (1 / n + (abs(w[i]) <= 5) * w[i] * alpha / n),
            }[gradient]
            if alpha == 0:
                dw[i] = 0
    return dw


@pytest.mark.parametrize("clip", [1.0, 0.5, None])
@pytest.mark.parametrize(
    "scale, gradient", [(s, g) for s in ("layer", "channel", None) for g in binary.GRADIENTS if s or g == "ste"]
)
def test_rules(rng, scale, gradient, clip):
    w, g = 2 * rng.standard_normal((5, 9)), rng.standard_normal((5, 9))
    w[0, :6] = 1.0, -1.0, 0.0, -0.0, 5.0, -5.5
    w[3] = 0
    found = binary.sign_scale_backward(g, w, scale, gradient, clip)
    np.testing.assert_allclose(found, loops(g, w, scale, gradient, clip), atol=1e-14)


def test_exact_rule_is_the_derivative_of_hard_tanh_and_alpha(rng):
    """With sign's derivative taken as that of hard tanh, "exact" is a derivative of a real function."""
    w, g = 0.5 * rng.standard_normal((3, 4)), rng.standard_normal((3, 4))
    signs, alpha = binary.sign_scale(w)

    def linear():  # alpha(w) * (signs + hard_tanh(w) - hard_tanh(w0))
        return (g * np.abs(w).mean() * (signs + np.clip(w, -1, 1) - start)).sum()

    start = np.clip(w, -1, 1).copy()
    close(binary.sign_scale_backward(g, w, "layer", "exact"), numeric(linear, w))


@pytest.mark.parametrize("scale", ["layer", "channel", None])
def test_binary_dense(rng, scale):
    x, w, b, d = (rng.standard_normal(s) for s in ((6, 9), (4, 9), (4,), (6, 4)))
    alpha = {"layer": np.full(4, np.abs(w).mean()), "channel": np.abs(w).mean(1), None: np.ones(4)}[scale]
    dense_weights = alpha[:, None] * np.where(w < 0, -1, 1)
    np.testing.assert_allclose(binary.binary_dense(x, w, b, scale), x @ dense_weights.T + b, atol=1e-13)
    gradients = binary.binary_dense_backward(d, x, w, scale, "ste", None)
    for name, array in (("x", x), ("bias", b)):
        close(gradients[name], numeric(lambda: (d * (x @ dense_weights.T + b)).sum(), array))
    expected = dense.affine_backward(d, x, w)["weight"]  # what a dense layer would give
    np.testing.assert_allclose(gradients["weight"], expected, atol=1e-13)


@pytest.mark.parametrize(
    "wrong",
    [
        dict(scale="row"),
        dict(gradient="foo"),
        dict(clip=-1),
        dict(clip=0),
        dict(clip=float("nan")),
        dict(clip=0, gradient=(lambda w, alpha, n, m: m, False)),
        dict(scale=None, gradient="xnor"),
        dict(scale="loss", gradient="ste"),
        dict(curvature=np.ones((2, 3))),
        dict(scale="loss", gradient="xnor", curvature=np.ones((2, 3))),
        dict(scale="loss", gradient="ste", curvature=np.ones((3, 2))),
        dict(scale="loss", gradient="ste", curvature=np.zeros((2, 3))),
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match="got"):
        binary.sign_scale_backward(np.ones((2, 3)), np.ones((2, 3)), **wrong)


def test_wrong_shapes():
    for call in (
        lambda: binary.sign_scale(np.zeros((0, 3))),
        lambda: binary.sign_scale(np.float32(1)),
        lambda: binary.binary_dense(np.ones((2, 3)), np.ones((4, 5))),
        lambda: binary.binary_dense_backward(np.ones((2, 1)), np.ones((2, 3)), np.ones((4, 3))),
        lambda: binary.binary_dense_backward(np.ones((1, 4)), np.ones((2, 3)), np.ones((4, 3))),
        lambda: binary.sign_scale_backward(np.ones((2, 2)), np.ones((2, 3))),
    ):
        with pytest.raises(ValueError, match="got"):
            call()


@over_sizes(rows=9, units=40, k=1000)
def test_bits_and_their_product(seed, rows, units, k):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((rows, k)), rng.standard_normal((units, k))
    x.flat[0], w.flat[0] = np.nan, -0.0
    input_bits, weight_bits = bits.pack_inputs(x), bits.pack_weights(w)
    assert input_bits.dtype == weight_bits.dtype == np.int32
    assert weight_bits.shape == (-(-units // 16), -(-k // 32), 16)
    for unit in range(units):  # the layout, spelled out
        for j in range(0, k, 7):
            word = int(weight_bits[unit // 16, j // 32, unit % 16])
            assert (word >> (j % 32)) & 1 == (w[unit, j] < 0)
    if k % 32:
        assert not (input_bits.view(np.uint32)[:, -1] >> np.uint32(k % 32)).any(), "tail bits must be 0"
    np.testing.assert_array_equal(bits.unpack_inputs(input_bits, k), binary.sign(x))
    np.testing.assert_array_equal(bits.unpack_weights(weight_bits, units, k), binary.sign(w))
    dots = bits.xnor_dense(input_bits, weight_bits, units, k)
    assert dots.dtype == np.int32
    np.testing.assert_array_equal(dots, (binary.sign(x) @ binary.sign(w).T).astype(np.int32))


def test_bits_refuse_wrong_arrays():
    good = bits.pack_inputs(np.ones((2, 40)))
    for call in (
        lambda: bits.pack_inputs(np.ones(3)),
        lambda: bits.unpack_inputs(good, 80),
        lambda: bits.unpack_inputs(good.astype(np.int64), 40),
        lambda: bits.unpack_weights(good, 2, 40),
        lambda: bits.xnor_dense(good, bits.pack_weights(np.ones((3, 40))), 3, 80),
    ):
        with pytest.raises(ValueError, match="got"):
            call()


class TestNotebook:
    """The twelve functions; weights are (in, hidden)."""

    def test_smooth_gradients(self, rng):
        x, w, d = rng.standard_normal((5, 7)), rng.standard_normal((7, 3)), rng.standard_normal((5, 3))
        gradients = notebook.affine_(d, x, w)
        close(gradients["x"], numeric(lambda: (d * notebook.affine(x, w)).sum(), x))
        close(gradients["w"], numeric(lambda: (d * notebook.affine(x, w)).sum(), w))
        upstream = rng.standard_normal(d.shape)
        close(notebook.sigmoid_(upstream, d), numeric(lambda: (upstream * notebook.sigmoid(d)).sum(), d))
        y = rng.integers(0, 3, 5)
        close(notebook.softmax_ce_(d, y), numeric(lambda: notebook.softmax_ce(d, y), d))

    def test_softmax_ce_does_not_overflow(self):
        x = np.array([[1e4, 0.0], [0.0, 1e4]])
        assert notebook.softmax_ce(x, np.array([0, 0])) == 5e3
        assert np.isfinite(notebook.softmax_ce_(x, np.array([0, 0]))).all()

    def test_b_affine_is_the_printed_formula(self, rng):
        x, w, d = np.array([[-1.0, 2.0, 3.0]]), 4 * rng.standard_normal((3, 3)), np.ones((1, 3))
        assert notebook.l1(w) == pytest.approx(np.abs(w).sum() / 9)
        np.testing.assert_allclose(notebook.b_affine(x, w), x @ (np.abs(w).mean() * np.sign(w)))
        gradients, n, dw_ = notebook.b_affine_(d, x, w), w.size, x.T @ d
        for i, j in np.ndindex(w.shape):
            inside = w[i, j] if -5 <= w[i, j] <= 5 else 0.0
            assert gradients["w"][i, j] == pytest.approx(dw_[i, j] * (1 / n + inside * np.abs(w).mean() / n))
        np.testing.assert_allclose(gradients["x"], d @ (np.abs(w).mean() * np.sign(w)).T)
        rule = binary.sign_scale_backward(dw_.T, w.T, "layer", "notebook")
        np.testing.assert_allclose(gradients["w"].T, rule)

    def test_b_sigmoid(self, rng):
        x, d = rng.standard_normal(9), rng.standard_normal(9)
        np.testing.assert_array_equal(notebook.b_sigmoid(x), (notebook.sigmoid(x) >= 0.5).astype(float))
        np.testing.assert_array_equal(notebook.b_sigmoid(np.array([0.0, -0.0])), [1, 1])
        close(notebook.b_sigmoid_(d, x), numeric(lambda: (d * notebook.sigmoid(x)).sum(), x))


def test_needs_no_mxnet():
    code = (
        "import sys; sys.modules['mxnet'] = None; import gluon_bnn.reference as r; import numpy as np; "
        "r.binary.sign_scale(np.ones((2, 3))); print('fine')"
    )
    assert programs.output("-c", code) == "fine\n"
