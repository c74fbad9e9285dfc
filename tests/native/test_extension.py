"""MXNet's extension interface as the library implements it: names, signatures, errors, attributes, shapes, types."""

import ctypes
import importlib.util
import locale
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from gluon_bnn._compat import mx
from gluon_bnn.native import library
from gluon_bnn.reference import binary

import programs
from needs import needs_library

pytestmark = needs_library
NATIVE = os.path.dirname(os.path.abspath(library.__file__))
OPERATORS = [
    "adam",
    "batch_norm",
    "binary_conv",
    "binary_dense",
    "conv_data_gradient",
    "data_gradient",
    "max_pool",
    "pack",
    "pack_image",
    "packed_conv",
    "packed_dense",
    "packed_flatten",
    "packed_max_pool",
    "scale_bias",
    "sign",
    "sign_scale",
    "squared_hinge",
]


@pytest.fixture(autouse=True)
def operators():
    library.load_operators()


# ---- The header in MXNet's wheel ----


@pytest.fixture(scope="module")
def header():
    """The text of the header, without comments."""
    package = os.path.dirname(importlib.util.find_spec("mxnet").origin)
    file = os.path.join(package, "include", "mxnet", "lib_api.h")
    if not os.path.isfile(file):
        pytest.skip(f"this MXNet came without the header of its extension interface, {file}")
    return text_of(file)


def text_of(file):
    with open(file, encoding="utf-8") as source:
        return re.sub(r"/\*.*?\*/|//[^\n]*", "", source.read(), flags=re.DOTALL)


def types_of(arguments):
    """The types of a C function's arguments, all pointers to functions as "function"."""
    function = re.compile(r"(?!int64_t|size_t)\w+_t|Count|InferType|InferShape|Compute|Mutated|Function")
    types = []
    for argument in arguments.replace("mxnet::ext::", "").split(",") if arguments else ():
        words = re.findall(r"\w+|\*", argument)[:-1]  # the last is the argument's name
        types.append(["function" if function.fullmatch(word) else word for word in words])
    return types


def looked_up(header):
    """Of every name that MXNet looks up: what the header declares for it."""
    found = {}
    for name, declared in re.findall(r'#define MXLIB_\w+_STR "(\w+)"\s+typedef (.*?);', header, flags=re.DOTALL):
        found[name] = re.fullmatch(r"(\w+) \(\*\w+\)\((.*)\)", declared, flags=re.DOTALL).groups()
    return found


def test_version_and_types(header):
    ours = text_of(os.path.join(NATIVE, "src", "mxnet", "extension.cc"))
    (version,) = re.findall(r"#define MX_LIBRARY_VERSION (\d+)", header)
    assert re.findall(r"kVersion = (\d+);", ours) == [version]
    ours = text_of(os.path.join(NATIVE, "src", "mxnet", "extension.h"))
    numbers = [
        dict(re.findall(r"\b(k\w+)\s*=\s*(\d+)", re.search(f"enum {name}[^{{]*{{(.*?)}}", text, re.DOTALL)[1]))
        for name, text in (("MXDType", header), ("Type", ours))
    ]
    assert numbers[0].pop("kUNSET") and numbers[0] == numbers[1] and len(numbers[1]) == 7


def test_signatures(header):
    """Of all functions that MXNet calls."""
    declared = looked_up(header)
    assert len(declared) == 30
    source = text_of(os.path.join(NATIVE, "src", "mxnet", "extension.cc"))
    ours = dict(re.findall(r"^int (\w+)\(([^()]*)\) {", source, re.MULTILINE))
    assert set(ours) >= set(declared)
    called = set(declared) - {name for name, arguments in ours.items() if arguments == "void"}
    assert called == {
        "initialize",
        "_opRegGet",
        "_opCallFree",
        "_opCallParseAttrs",
        "_opCallInferShape",
        "_opCallInferType",
        "_opCallFCompute",
        "_opCallMutateInputs",
        "_opVersion",
        "_msgGet",
    }
    for name in called:
        result, arguments = declared[name]
        assert result == "int" and types_of(arguments) == types_of(ours[name]), name


def test_exported_names(header):
    """What the C header of the library declares and what MXNet looks up, nothing else."""
    if not sys.platform.startswith("linux") or not shutil.which("nm"):
        pytest.skip("knows how to list what a library shows on Linux with nm only")
    listed = subprocess.run(["nm", "-D", "--defined-only", library.path()], capture_output=True, text=True, check=True)
    c_interface = re.findall(r"\b(gluon_bnn_\w+)\(", text_of(os.path.join(NATIVE, "include", "gluon_bnn.h")))
    assert "gluon_bnn_run" in c_interface
    assert {line.split()[-1] for line in listed.stdout.splitlines()} == {*c_interface, *looked_up(header)}


def test_operators():
    assert [name[10:] for name in dir(mx.nd) if name.startswith("gluon_bnn_")] == OPERATORS


# ---- Errors ----


class Boundary:
    """The library's side of the interface, called as MXNet calls it."""

    def __init__(self):
        self.library = ctypes.CDLL(library.path())
        self.functions = {}
        for i in range(self.library._opRegSize()):
            name, number, pointer = ctypes.c_char_p(), ctypes.c_int(), [ctypes.c_void_p() for _ in range(11)]
            counts = [ctypes.c_int() for _ in range(3)]
            arrays = [
                argument
                for k in range(3)
                for argument in (*map(ctypes.byref, pointer[2 * k : 2 * k + 2]), ctypes.byref(counts[k]))
            ]
            self.library._opRegGet(
                i, ctypes.byref(name), ctypes.byref(number), *arrays, *map(ctypes.byref, pointer[6:])
            )
            self.functions[name.value.decode()] = dict(zip(("parse", "type", "stype", "shape", "mutate"), pointer[6:]))

    def parse(self, op, **attributes):
        names, texts = (
            (ctypes.c_char_p * len(attributes))(*(str(text).encode() for text in side))
            for side in (attributes, attributes.values())
        )
        inputs, outputs = ctypes.c_int(), ctypes.c_int()
        return self.library._opCallParseAttrs(
            self.functions[f"gluon_bnn_{op}"]["parse"],
            names,
            texts,
            len(attributes),
            ctypes.byref(inputs),
            ctypes.byref(outputs),
        )

    def message(self):
        """All that MXNet would show now on this thread."""
        shown, text = [], ctypes.c_char_p()
        for i in range(self.library._msgSize()):
            self.library._msgGet(i, ctypes.byref(text))
            shown.append(text.value.decode())
        return "".join(shown)


@pytest.fixture(scope="module")
def boundary():
    return Boundary()


def test_a_message_stays_with_its_thread(boundary):
    """Also while other threads fail in between."""
    wrong = [None] * 8
    barrier = threading.Barrier(len(wrong), timeout=60)

    def work(i):
        for turn in range(50):
            assert boundary.parse("sign", clip=f"text {i} {turn}") == 0
            barrier.wait()
            message = boundary.message()
            barrier.wait()
            if not message.endswith(f"clip must be a number above 0 or None, got text {i} {turn}"):
                wrong[i] = message

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(wrong))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [None] * len(wrong)


@pytest.mark.parametrize("padding", range(4))
def test_long_messages_are_cut_between_characters(padding):
    for text in ("é" * 50_000, "\U0001f600" * 20_000):
        for _ in range(3):  # and do not add up
            with pytest.raises(mx.base.MXNetError, match="got .*cut off") as error:
                mx.nd.gluon_bnn_sign(mx.nd.ones(3), clip="x" * padding + text)
            assert 3000 < len(str(error.value).encode()) < 6000


def test_messages_of_some_length_are_whole():
    with pytest.raises(mx.base.MXNetError, match=f"got {'x' * 3000}\n"):
        mx.nd.gluon_bnn_sign(mx.nd.ones(3), clip="x" * 3000)


NO_MEMORY = """
import resource
from test_extension import Boundary
boundary, many = Boundary(), 4_000_000
text = ",".join(["1"] * many)
limits = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 30 * 2**20, limits[1]))
result = boundary.parse("adam", lr=text, wd=0, beta1=0.9, beta2=0.9, epsilon=1, rescale_grad=1)
resource.setrlimit(resource.RLIMIT_AS, limits)
print(result, boundary.message())
"""


@pytest.mark.slow
def test_no_exception_passes_the_boundary(boundary):
    pointers = [ctypes.byref(ctypes.c_void_p()) for _ in range(4)]
    assert (
        boundary.library._opCallInferShape(
            boundary.functions["gluon_bnn_sign"]["shape"], None, None, 0, None, None, -1, *pointers, 1
        )
        == 0
    )
    assert "vector" in boundary.message()  # what the standard library has to say
    if not sys.platform.startswith("linux"):
        pytest.skip("knows how to take memory away on Linux only")
    printed = programs.output("-c", NO_MEMORY, PYTHONPATH=os.pathsep.join([os.path.dirname(__file__), *sys.path]))
    assert printed == "0 there is not enough memory\n"


# ---- Attributes ----

X = np.array([-np.inf, -1e38, -1, -1e-5, -1e-40, -1e-45, -0.0, 0.0, 1e-45, 9e-41, 1.1e-40, 1e-5, 1.1e-5, 1, 1.1, 1e38])
CLIPS = ["1e-05", "1e-40", "1e-50", "5e-324", "1.0", "1", "0.1", "1e+38", "3.0000000000000004", "inf", "None"]


def clip_of(text, dtype):
    """As the operators understand it: rounded to the type of what it is compared with."""
    return None if text in ("None", "inf") else np.dtype(dtype).type(text)


def gradient_at(op, arrays, of, **attributes):
    for array in arrays:
        array.attach_grad()
    with mx.autograd.record():
        y = getattr(mx.nd, f"gluon_bnn_{op}")(*arrays, **attributes)
        y = y[0] if isinstance(y, list) else y
    y.backward(mx.nd.ones(y.shape, dtype=y.dtype))
    return arrays[of].grad.asnumpy()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", CLIPS)
def test_clip(clip, dtype):
    """Denormals, a bound below every number but 0, none at all: as the reference has it, in every operator."""
    x = X.astype(dtype)
    expected = binary.sign_backward(np.ones_like(x), x, clip_of(clip, dtype))
    assert 0 < expected.sum() <= len(x)
    found = gradient_at("sign", [mx.nd.array([*x, np.nan], dtype=dtype)], 0, clip=clip)
    np.testing.assert_array_equal(found, [*expected, clip in ("None", "inf")])
    w = mx.nd.array(x.reshape(4, 4), dtype=dtype)
    found = gradient_at("sign_scale", [w], 0, scale="None", gradient="ste", clip=clip)
    np.testing.assert_array_equal(found.ravel(), expected)
    if dtype == "float32":
        found = gradient_at(
            "binary_dense", [mx.nd.ones((1, 4)), w], 1, units=4, scale="None", gradient="ste", clip=clip, no_bias=True
        )
        np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize("clip", ["nan", "0", "0.0", "-1", "-inf", "-1e-50", "1,5", "1.5x", "1.5 ", "", "none", "True"])
def test_wrong_clip(boundary, clip):
    adam = dict(lr="1,1,1", wd=0, beta1=0.9, beta2=0.9, epsilon=1, rescale_grad=1)
    for op, name, more in (
        ("sign", "clip", {}),
        ("sign_scale", "clip", {}),
        ("binary_dense", "clip", {"units": 3}),
        ("adam", "clip_gradient", adam),
    ):
        assert boundary.parse(op, **{name: clip}, **more) == 0
        assert boundary.message() == f"{name} must be a number above 0 or None, got {clip}"
    assert boundary.parse("adam", clip_weights=f"1,{clip},1", **adam) == 0
    assert "clip_weights must" in boundary.message()


@pytest.mark.parametrize(
    "op, name, more",
    [
        ("binary_dense", "units", {}),
        ("pack", "in_units", {}),
        ("packed_dense", "units", {"in_units": 3}),
        ("packed_dense", "in_units", {"units": 3}),
        ("pack_image", "channels", {}),
        ("packed_flatten", "in_units", {"channels": 1}),
        ("packed_max_pool", "channels", {"axes": 2}),
    ],
)
def test_sizes(boundary, op, name, more):
    for right in (1, 7, 2**30):
        assert boundary.parse(op, **{name: right}, **more) == 1
    for wrong in (0, -1, 2**30 + 1, 2**64 + 1, 2**80, "", "3.0", "1e3", " 3", "3 ", "+3", "0x3", "three"):
        assert boundary.parse(op, **{name: wrong}, **more) == 0
        assert boundary.message() == f"{name} must be a whole number from 1 to 1073741824, got {wrong}"
    assert boundary.parse(op, **more) == 0
    assert boundary.message() == f"{name} must be a whole number from 1 to 1073741824, got nothing"


WINDOW = {"kernel": (3, 2), "strides": (1, 2), "padding": (0, 1), "dilation": (1, 1)}
PACKED_CONV = {"channels": 8, "in_channels": 4, **WINDOW}


@pytest.mark.parametrize("op, more", [("packed_conv", PACKED_CONV), ("binary_conv", {"channels": 8, **WINDOW})])
def test_windows(boundary, op, more):
    assert boundary.parse(op, **more) == 1
    for name, least in (("kernel", 1), ("strides", 1), ("padding", 0), ("dilation", 1)):
        for wrong in (
            3,
            "",
            "()",
            "(3",
            "(3,4",
            "3,4)",
            "(3;4)",
            "(3.0, 2)",
            f"({least - 1}, 2)",
            f"(1, {2**30 + 1})",
            "(1, 2) ",
        ):
            assert boundary.parse(op, **{**more, name: wrong}) == 0
            assert (
                f"{name} must be a tuple of whole numbers from {least} to 1073741824, got {wrong}" == boundary.message()
            )
        if name != "kernel":
            assert boundary.parse(op, **{**more, name: "(1,)"}) == 0
            assert "must have as many numbers as kernel=(3, 2), got (1,)" in boundary.message()
    assert boundary.parse(op, **{**more, "kernel": "(1, 2, 3)"}) == 0
    assert boundary.message().endswith("one axis or two, got kernel=(1, 2, 3)")


def test_packed_convolutions(boundary):
    """From 0 and 1 there is no -1 outside of the image, and sums of a window are int32."""
    assert boundary.parse("packed_conv", **PACKED_CONV, source="bits01", pad="minus") == 0
    assert boundary.message() == "from bits01, 0 and 1, pad must be zero or plus, got minus"
    assert boundary.parse("packed_conv", **{**PACKED_CONV, "kernel": (2**14, 2**14), "in_channels": 5}) == 0
    assert "a window must have at most 1073741824 inputs" in boundary.message()


def test_numbers(boundary):
    right = dict(lr=1, wd=0, beta1=0.9, beta2=0.9, epsilon=1e-8, rescale_grad=1)
    for number in (0.1, -1e-05, 5e-324, 1e-40, 3.4e38, 1e22, -0.0, 123456789012345678):
        assert boundary.parse("adam", **{**right, "lr": repr(number)}) == 1, boundary.message()
    for number in ("inf", "nan", "1e39", "", "1.2.3", "0,9", "nothing"):
        assert boundary.parse("adam", **{**right, "beta1": number}) == 0
        assert boundary.message() == f"beta1 must be a finite number, got {number}"


@pytest.fixture
def decimal_comma(tmp_path, monkeypatch):
    """The numbers of this process are written with a decimal comma, as a host program may have it."""
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "de_DE", "-f", "UTF-8", str(tmp_path / "de_DE.UTF-8")], capture_output=True
    )
    before = locale.setlocale(locale.LC_NUMERIC)
    if made and made.returncode == 0:
        monkeypatch.setenv("LOCPATH", str(tmp_path))
    try:
        locale.setlocale(locale.LC_NUMERIC, "de_DE.UTF-8")
    except locale.Error:
        pytest.skip("there is no locale with a decimal comma (Debian: apt-get install locales)")
    assert locale.localeconv()["decimal_point"] == ","
    yield
    locale.setlocale(locale.LC_NUMERIC, before)


@pytest.mark.slow
def test_decimal_comma(boundary, decimal_comma):
    x = np.array([0.4, 0.5, 0.6], np.float32)
    np.testing.assert_array_equal(gradient_at("sign", [mx.nd.array(x)], 0, clip="0.5"), [1, 1, 0])
    assert boundary.parse("sign", clip="0,5") == 0
    data, ones = mx.nd.array(np.arange(6).reshape(2, 3)), mx.nd.ones(3)
    y = mx.nd.gluon_bnn_batch_norm(data, ones, 0 * ones, 0 * ones, ones, mx.nd.zeros(1), eps="0.44", momentum="0.9")[0]
    np.testing.assert_allclose(y.asnumpy(), data.asnumpy() / 1.2, rtol=1e-6)
    w = mx.nd.ones(3)
    mx.nd.gluon_bnn_adam(
        w,
        0 * ones,
        0 * ones,
        ones,
        lr="0.5",
        wd="0.0",
        beta1=0.9,
        beta2=0.99,
        epsilon=1e-8,
        rescale_grad=0.5,
        clip_weights="0.75",
        out=w,
    )
    np.testing.assert_array_equal(w.asnumpy(), [0.75] * 3)


# ---- Shapes and types ----

DATA, WEIGHT, BIAS = (mx.sym.var(name, shape=shape) for name, shape in (("x", None), ("w", (3, 0)), ("b", (3,))))


def symbol(op, *inputs, **attributes):
    return getattr(mx.sym, f"gluon_bnn_{op}")(*inputs, **attributes)


def dense():
    return symbol("binary_dense", DATA, WEIGHT, BIAS, units=3)


def sign_scale():
    return symbol("sign_scale", WEIGHT, mx.sym.slice_axis(DATA, axis=0, begin=0, end=1), hint="flatten")


def test_shapes_of_which_part_is_known():
    """What is not known stays so: MXNet shows it as -1."""

    def shapes(made, **known):
        return [list(part) for part in made.infer_shape_partial(**known)[:2]]

    assert shapes(dense(), x=(2, 4, 5)) == [[(2, 4, 5), (3, 20), (3,)], [(2, 3), (1, 1, 16), (3,)]]
    assert shapes(dense(), x=(0, 40)) == [[(-1, 40), (3, 40), (3,)], [(-1, 3), (1, 2, 16), (3,)]]
    assert shapes(dense(), x=(2, 0, 4)) == [[(2, -1, 4), (3, -1), (3,)], [(2, 3), (1, -1, 16), (3,)]]
    assert shapes(sign_scale(), x=(2, 4, 5)) == [[(3, 20), (2, 4, 5)], [(3, 20), (1,)]]
    scale_bias = symbol("scale_bias", DATA, mx.sym.var("alpha"), BIAS)
    assert shapes(scale_bias, x=(2, 0), alpha=(3,)) == [[(2, -1), (3,), (3,)], [(2, -1)]]


@pytest.mark.parametrize(
    "make, known, message",
    [
        (sign_scale, dict(x=(2, 0, 3)), r"cannot infer the shape of its weights, \(3, \?\)"),
        (
            sign_scale,
            dict(x=(2, 65536, 65536)),
            r"at most 2147483647 numbers, got an array of shape \(1, 65536, 65536\)",
        ),
        (sign_scale, dict(x=(2, 65536, 65537)), "at most 2147483647 numbers"),
        (dense, dict(x=(2, 65536, 65537)), "at most 2147483647 numbers"),
        (dense, dict(x=(2, 2**31 - 1, 2**31 - 1, 2**31 - 1)), "at most 2147483647 numbers"),
        (dense, dict(x=(5,)), r"a batch axis and at least one more, got an array of shape \(5,\)"),
        (dense, dict(x=(2, 5), w=(3, 4)), "of 4 inputs takes rows of as many numbers, got 5"),
        (dense, dict(x=(2, 5), w=(4, 5)), r"the weight must have the shape \(3, 5\), got \(4, 5\)"),
        (dense, dict(x=(2, 5), w=(3, 5, 1)), r"the weight must have the shape \(3, 5\), got \(3, 5, 1\)"),
        (
            lambda: symbol("binary_dense", DATA, mx.sym.var("w"), mx.sym.var("b"), units=3),
            dict(x=(2, 5), w=(3, 5), b=(4,)),
            r"the bias must have the shape \(3,\), got \(4,\)",
        ),
    ],
)
def test_wrong_shapes(make, known, message):
    with pytest.raises(mx.base.MXNetError, match=message):
        make().infer_shape_partial(**known)


def test_types_that_are_not_known_follow_the_others():
    def types(made, **known):
        found = made.infer_type_partial(**known)
        return [None if t is None else np.dtype(t).name for part in found[:2] for t in part]

    data, alpha, weight = mx.sym.var("x"), mx.sym.var("alpha"), mx.sym.var("w", shape=(3, 5))
    assert types(dense()) == ["float32"] * 4 + ["int32", "float32"]
    scale_bias = symbol("scale_bias", data, alpha, BIAS)
    for known in ("x", "alpha", "b"):
        assert types(scale_bias, **{known: "float64"}) == ["float64"] * 4
    assert types(symbol("sign", data)) == [None, None]
    scaled = symbol("sign_scale", weight, data, mx.sym.var("l"), scale="loss", gradient="ste", hint="last")
    for known in ("w", "l"):
        assert types(scaled, **{known: "float64"}) == ["float64"] * 5
    assert types(scaled, w="float64", x="float16") == ["float64", "float16"] + ["float64"] * 3
    norm = symbol("batch_norm", data, *map(mx.sym.var, "gbmv"), mx.sym.var("training"), eps=1, momentum=0)
    for known in ("x", "v"):
        assert types(norm, **{known: "float64"}) == ["float64"] * 3 + ["float32"] + ["float64"] * 3
    assert types(symbol("pack", data, in_units=3)) == ["float32", "int32"]


@pytest.mark.parametrize("dtype", ["float16", "float64", "uint8", "int8", "int32", "int64", "bool"])
def test_wrong_types_have_names(dtype):
    def message_of(op, *arrays, **attributes):
        with pytest.raises(mx.base.MXNetError) as error:
            getattr(mx.nd, f"gluon_bnn_{op}")(*arrays, **attributes)
        return str(error.value)

    of_dtype, ones = mx.nd.ones((4, 5)).astype(dtype), mx.nd.ones((3, 5))
    fixed = f'as its input 0, got {dtype}: use .astype("float32")'
    assert f"binary_dense takes float32 {fixed}" in message_of("binary_dense", of_dtype, ones, units=3, no_bias=True)
    assert f"pack takes float32 {fixed}" in message_of("pack", of_dtype, in_units=5)
    second = mx.nd.ones(5)
    mixed = (
        'must have one type, float32 or float64, got float64 and float32: use .astype("float32")'
        if dtype == "float64"
        else f'takes float32 or float64, got {dtype} as its input 0: use .astype("float32")'
    )
    assert mixed in message_of("scale_bias", of_dtype, second, no_bias=True)
    assert mixed in message_of(
        "adam", of_dtype, *[mx.nd.ones((4, 5))] * 3, lr=1, wd=0, beta1=0, beta2=0, epsilon=1, rescale_grad=1
    )
    assert mixed in message_of("batch_norm", of_dtype, *[second] * 4, mx.nd.ones(1), eps=1, momentum=0)
    if dtype != "float64":
        for op in ("sign", "sign_scale"):
            assert f"{op} takes float32 or float64, got {dtype} as its input 0" in message_of(op, of_dtype)
    if dtype != "int32":
        bits = mx.nd.ones((1, 1, 16)).astype(dtype)
        assert f"packed_dense takes int32 as its input 1, got {dtype}\n" in message_of(
            "packed_dense", mx.nd.ones((2, 5)), bits, mx.nd.ones(3), mx.nd.ones(3), units=3, in_units=5
        )


@pytest.mark.parametrize(
    "op, shape, attributes, message",
    [
        ("packed_conv", (2, 3, 5, 5), {}, "of 4 channels takes images of as many"),
        ("packed_conv", (2, 4, 5), {}, "a batch axis, channels and 2 axes of places"),
        ("packed_conv", (2, 4, 2, 5), {}, "covers 3 places does not fit into the 2"),
        ("packed_conv", (2, 5, 5, 2), {"source": "bits"}, "of 4 channels takes images of 1 words"),
        ("packed_conv", (2, 2, 5, 1), {"source": "bits"}, "covers 3 places does not fit into the 2"),
        ("packed_max_pool", (2, 5, 5, 2), {}, "takes 1 words of channels"),
        ("packed_max_pool", (2, 5, 1), {}, "a batch axis, channels and 2 axes of places"),
        ("packed_max_pool", (2, 1, 5, 1), {}, "covers 3 places does not fit into the 1"),
        (
            "packed_max_pool",
            (2, 6, 5, 1),
            {"rounding": "ceil", "strides": (9, 2)},
            "must have places inside of the image",
        ),
        ("packed_max_pool", (2, 6, 5, 1), {"padding": (0, 2)}, "must have places inside of the image"),
        (
            "packed_max_pool",
            (16, 2, 2, 1),  # so many places of the result that their number does not fit into 64 bits
            {"kernel": (2**30 - 1,) * 2, "strides": (1, 1), "padding": (2**30 - 2,) * 2},
            "a row must have at most",
        ),
        ("packed_flatten", (2, 5, 5, 1), {}, "takes images of 6 places with 1 word each"),
        ("packed_flatten", (2, 6, 2), {}, "takes images of 6 places with 1 word each"),
        ("pack_image", (2, 5, 5, 1), {}, "of 4 channels takes images of as many"),
    ],
)
def test_images_of_wrong_shapes(op, shape, attributes, message):
    given = {
        "packed_conv": PACKED_CONV,
        "packed_max_pool": {"channels": 4, "axes": 2, **WINDOW},
        "packed_flatten": {"channels": 4, "in_units": 24},
        "pack_image": {"channels": 4},
    }[op]
    inputs = [mx.sym.var("x")]
    if op == "packed_conv":  # MXNet takes no input whose number of axes is not known
        inputs += [mx.sym.var(name, shape=shape) for name, shape in (("w", (1, 0, 16)), ("a", (8,)), ("b", (8,)))]
    with pytest.raises(mx.base.MXNetError, match=message):
        symbol(op, *inputs, **{**given, **attributes}).infer_shape_partial(x=shape)


@pytest.mark.parametrize(
    "op, shapes, attributes",
    [
        ("scale_bias", [(2, 0), (1,)], {"no_bias": True}),
        ("scale_bias", [(0, 3), (3,), (3,)], {}),
        ("sign_scale", [(0, 3)], {"scale": "channel"}),
        ("sign_scale", [(3, 0)], {}),
        ("sign_scale", [(3, 0)], {"scale": "None", "gradient": "ste"}),
        ("binary_dense", [(2, 0), (3, 0)], {"units": 3, "no_bias": True}),
        ("batch_norm", [(2, 0), (0,), (0,), (0,), (0,), (1,)], {"eps": 1, "momentum": 0}),
    ],
)
def test_arrays_without_numbers(op, shapes, attributes):
    """NumPy's shapes allow them; they divided by zero."""
    with mx.util.np_shape(True):
        arrays = [mx.nd.ones(shape) for shape in shapes]
        with pytest.raises(mx.base.MXNetError, match="takes at least one"):
            getattr(mx.nd, f"gluon_bnn_{op}")(*arrays, **attributes)
            mx.nd.waitall()
