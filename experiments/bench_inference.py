"""How fast 1-bit inference is: kernels, operators and a whole net, beside float32 and int8 of other libraries.

    python experiments/bench_inference.py --lce-python ~/lce/bin/python

Every candidate's result is checked before it is timed: products of bits exactly, products of floats against
float64. Every round times a burst of calls of each candidate, in turn, so that drift of the machine meets
all alike; a burst starts when the threads of the one before sleep. Medians of the rounds are reported, and
medians of the rounds' ratios. All run on OMP_NUM_THREADS threads.

PyTorch and ONNX Runtime (`pip install torch onnx onnxruntime 'ml_dtypes<0.6'`) take part when they are installed,
and Larq Compute Engine (`pip install larq-compute-engine larq tensorflow-cpu==2.14.1 tf-keras==2.14.1`, in an
environment of its own), as a 1x1 convolution of signs.
"""
import argparse
import ctypes
import functools
import importlib.util
import math
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from gluon_bnn import deploy, nn, runtime
from gluon_bnn._compat import mx
from gluon_bnn.native import fallback, kernels, library

from arguments import HelpFormatter, positive
from inference_peers import Call, Larq, fastest, onnx_peers, rest, torch_peers
from record import write_record

HERE = os.path.dirname(os.path.abspath(__file__))
SHAPES = ("1x1024x1024", "1x4096x4096", "64x1024x1024", "256x4096x4096", "1024x4096x4096", "60000x100x784")
FLOAT32 = ("MXNet float32", "PyTorch float32", "ONNX Runtime float32")
INT8 = ("PyTorch int8", "ONNX Runtime int8")
OURS = ("xnor_dense", "pack + xnor_dense", "operator xnor", "binary_dense", "operator binary", "binary_dense_u8")
ROOFLINES = ("registers alone", "weights read")
HIDDEN_LAYERS, IMAGES = 3, 100
CLIFF = 2.6  # on doubling


def fail(message):
    sys.exit(f"bench_inference.py: {message}")


def compile_rooflines(directory):
    """roofline.cc for this machine, as a ctypes library."""
    path = os.path.join(directory, "roofline.so")
    command = [os.environ.get("CXX", "g++"), "-O3", "-march=native", "-fopenmp", "-shared", "-fPIC", "-o", path,
               os.path.join(HERE, "roofline.cc")]
    try:
        subprocess.run(command, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        fail(f"roofline.cc needs a C++ compiler, g++ or the one named in CXX: {error}")
    loops = ctypes.CDLL(path)
    loops.roofline_name.restype = ctypes.c_char_p
    loops.roofline_xnor.argtypes = ctypes.c_int, ctypes.c_int64, ctypes.c_int
    loops.roofline_xnor.restype = ctypes.c_int64
    loops.roofline_read.argtypes = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    loops.roofline_read.restype = ctypes.c_uint64
    return loops


class Registers:
    """A candidate: the seconds that so many bits take by the best of the loops on registers."""

    def __init__(self, loops, bits, threads):
        self.loops, self.bits, self.threads = loops, bits, threads

    def times(self):
        rest()
        return min(statistics.median(self.seconds(variant) for _ in range(5))
                   for variant in range(self.loops.roofline_variants()))

    def seconds(self, variant, steps=1000):
        """Seconds for `bits`, from a run of at least a millisecond."""
        while True:
            began = time.perf_counter()
            counted = self.loops.roofline_xnor(variant, steps, self.threads)
            taken = time.perf_counter() - began
            if taken > 0.001:
                return taken * self.bits / counted
            steps *= 4


def check(name, call, expected, allowed):
    """Leave unless a candidate computes what it should, within `allowed` of the largest number."""
    found = call.result()
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    if found.shape != expected.shape or not difference <= allowed:
        fail(f"{name} differs from what it should compute by {difference:.2g}, allowed is {allowed}")


def allowed(name):
    """How far from float64 a candidate on floats may be."""
    return {"bfloat16": 0.02, "int8": 0.1}.get(name.split()[-1], 1e-5)


def kernel(name, *arguments, like):
    """A function that calls a kernel through ctypes, its result in an array of its own: addresses at hand, as
    a C program has them, and as ONNX Runtime has with its inputs and outputs bound."""
    function, y = getattr(library.handle(), f"gluon_bnn_{name}"), np.full_like(like, -1)
    kept = *arguments, y
    addresses = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in kept]

    def call(kept=kept):
        if function(*addresses):
            fail(library.handle().gluon_bnn_error().decode())
        return y
    return call


def engine(function):
    """A call through MXNet's engine, until its result is there."""
    def call():
        y = function()
        y.wait_to_read()
        return y
    return Call(call, lambda y: y.asnumpy())


def layer_calls(rows, units, inputs, loops, threads, peers, larq):
    """{name: candidate} for one dense layer, each checked."""
    generator = np.random.default_rng(rows + units + inputs)
    signs = generator.choice(np.array([-1, 1], np.float32), (units, inputs))
    alpha = generator.uniform(0.01, 0.1, units).astype(np.float32)
    bias, x = (generator.standard_normal(shape).astype(np.float32) for shape in (units, (rows, inputs)))
    pixels = generator.integers(0, 256, (rows, inputs), np.uint8)
    weight, weight_bits, bits = alpha[:, None] * signs, kernels.pack_weights(signs), kernels.pack_inputs(x)
    mx_x, mx_bits, mx_weight, *mx_packed = (mx.nd.array(a, dtype=a.dtype)
                                            for a in (x, bits, weight, weight_bits, alpha, bias))
    packed_dense = functools.partial(mx.nd.gluon_bnn_packed_dense, units=units, in_units=inputs)

    y, to = np.empty((rows, units), np.float32), (weight_bits, alpha, bias, rows, units, inputs)
    pack = kernel("pack_inputs", x, rows, inputs, like=bits)
    xnor, xnor_packed = (kernel("xnor_dense", b, *to, like=y) for b in (bits, pack()))

    on_bits = {
        "xnor_dense": Call(xnor),
        "pack + xnor_dense": Call(lambda: (pack(), xnor_packed())[1]),
        "operator xnor": engine(lambda: packed_dense(mx_bits, *mx_packed, source="bits"))}
    on_pixels = {"binary_dense_u8": Call(kernel("binary_dense_u8", pixels, *to, like=y))}
    on_floats = {
        "binary_dense": Call(kernel("binary_dense", x, *to, like=y)),
        "operator binary": engine(lambda: packed_dense(mx_x, *mx_packed, source="float")),
        "MXNet float32": engine(lambda: mx.nd.FullyConnected(mx_x, mx_weight, mx_packed[-1], num_hidden=units)),
        **peers([(weight, bias)], x)}
    on_signs = larq(signs, x)

    dot = np.where(x < 0, np.float32(-1), np.float32(1)) @ signs.T  # exact in float32
    for name, call in on_bits.items():
        check(name, call, alpha * dot + bias, 0)
    for name, call in on_signs.items():
        check(name, call, dot, 0)
    for name, call in on_pixels.items():
        check(name, call, alpha * (pixels @ signs.T.astype(np.float64)).astype(np.float32) + bias, 0)
    expected = x @ weight.T.astype(np.float64) + bias
    for name, call in on_floats.items():
        check(name, call, expected, allowed(name))
    address, words = weight_bits.ctypes.data, weight_bits.nbytes // 8
    read = [Call(lambda n=n: loops.roofline_read(address, words, n)) for n in {1, threads}]
    return {"registers alone": Registers(loops, rows * units * inputs, threads), **on_bits,
            **on_signs, "weights read": fastest(read), **on_pixels, **on_floats}


def binary_net(sizes):
    """An initialised net with binary weights and activations, batch norm over a batch of images; the images."""
    net = mx.gluon.nn.HybridSequential()
    for inputs, units in zip(sizes, sizes[1:]):
        net.add(nn.BinaryDense(units, in_units=inputs), mx.gluon.nn.BatchNorm(in_channels=units, momentum=0),
                nn.BinaryActivation())
    net._children.popitem()  # no activation after the last
    net.initialize(mx.init.Xavier())
    images = np.random.default_rng(2).integers(0, 256, (IMAGES, sizes[0]), np.uint8)
    with mx.autograd.record():
        net(mx.nd.array(images / 255))
    mx.nd.waitall()
    return net, images


def net_calls(width, path, peers, directory):
    """({name: candidate} for one image through a whole net, {file: bytes}, sizes), checked.

    The net has random weights, or is the one in the file `path`; the float nets have the same sizes, relu,
    and batch norm folded into their weights.
    """
    model, sizes = None, [784] + [width] * HIDDEN_LAYERS + [10]
    if path:
        model = runtime.load(path)
        dense = [layer for layer in model.layers if layer.kind in ("binary_dense", "dense")]
        sizes = [dense[0].inputs] + [layer.units for layer in dense]
    net, images = binary_net(sizes)
    packed = deploy.freeze(net, input_scale=1 / 255, verbose=False)
    x = images.astype(np.float32) * np.float32(1 / 255)
    if model is None:
        path = os.path.join(directory, "net.safetensors")
        runtime.save(packed, path)
        model = runtime.load(path)
        expected = packed(mx.nd.array(x)).asnumpy()
        check("runtime", Call(lambda: model(x)), expected, 0)
        # Sums of floats differ in their last bits, and signs of those near 0: see "equal" in the documentation.
        for name, other in (("the net as trained", net(mx.nd.array(x)).asnumpy()), ("uint8", model(images))):
            same = (other.argmax(1) == expected.argmax(1)).mean()
            if same < 0.9:
                fail(f"{name} and the frozen net agree on {same:.0%} of the images")
    else:
        check("runtime", Call(lambda: model(x)), fallback.run(model.layers, x), 0)
    packed.hybridize(static_alloc=True, static_shape=True)

    generator = np.random.default_rng(3)
    layers = [((generator.standard_normal((units, inputs)) * (2 / inputs) ** 0.5).astype(np.float32),
               generator.standard_normal(units).astype(np.float32)) for inputs, units in zip(sizes, sizes[1:])]
    one, pixels, mx_one = x[:1], images[:1], mx.nd.array(x[:1])
    plain = mx.gluon.nn.HybridSequential()
    expected = one.astype(np.float64)
    for i, (weight, bias) in enumerate(layers):
        last = i == len(layers) - 1
        block = mx.gluon.nn.Dense(weight.shape[0], in_units=weight.shape[1], activation=None if last else "relu")
        block.initialize()
        block.weight.set_data(mx.nd.array(weight))
        block.bias.set_data(mx.nd.array(bias))
        plain.add(block)
        expected = expected @ weight.T + bias
        expected = expected if last else np.maximum(expected, 0)
    plain.hybridize(static_alloc=True, static_shape=True)
    floats = {"MXNet float32": engine(lambda: plain(mx_one)), **peers(layers, one)}
    for name, call in floats.items():
        check(name, call, expected, allowed(name))
    calls = {"runtime": Call(lambda: model(one))}
    if model.input_scale is not None:
        calls["runtime, uint8"] = Call(lambda: model(pixels))
    calls.update({"MXNet packed": engine(lambda: packed(mx_one)), **floats})
    size = {"runtime": os.path.getsize(path), "float32": sum(4 * (w.size + b.size) for w, b in layers)}
    return calls, size, sizes


def growth_calls(largest):
    """{(kernel, axis, size): candidate}: each axis doubles from 1 on, the others stay."""
    calls = {}
    for axis in ("rows", "units", "inputs"):
        for size in (2 ** i for i in range(largest.bit_length())):
            rows, units, inputs = ({"rows": 64, "units": 1024, "inputs": 1024} | {axis: size}).values()
            x = np.random.default_rng(size).standard_normal((rows, inputs)).astype(np.float32)
            bits = kernels.pack_inputs(x)
            weight_bits = kernels.pack_weights(np.resize(x, (units, inputs)))
            one, zero = np.ones(units, np.float32), np.zeros(units, np.float32)
            to = weight_bits, one, zero, rows, units, inputs
            for name, given in (("xnor_dense", bits), ("binary_dense", x)):
                calls[name, axis, size] = Call(kernel(name, given, *to, like=np.empty((rows, units), np.float32)))
    return calls


def measure(calls, rounds):
    """{name: seconds of a call, one a round}, the candidates in turn."""
    times = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(call.times())
    return times


def microseconds(times):
    return {name: digits(1e6 * statistics.median(seconds)) for name, seconds in times.items()}


def digits(value):
    """Four of them."""
    return float(f"{value:.4g}")


def ratio(times, slow, fast):
    """How many times `fast` is as fast as `slow`: the median of the rounds; None where one is missing."""
    if slow not in times or fast not in times:
        return None
    return digits(statistics.median(s / f for s, f in zip(times[slow], times[fast])))


def best(times, names):
    """The fastest of these candidates, those that are there; None where none is."""
    return min((name for name in names if name in times), key=lambda name: statistics.median(times[name]),
               default=None)


def of_roofline(times, name):
    """Which part of the speed that registers, or reading the weights, would allow."""
    least = map(max, *(times[name] for name in ROOFLINES))
    return digits(statistics.median(s / f for s, f in zip(least, times[name])))


def show(title, times, operations=None):
    print(f"\n{title}")
    for name, value in microseconds(times).items():
        speed = f"{operations / value / 1e3:9.1f} GOP/s" if operations and name != "weights read" else ""
        print(f"  {name:24s}{value:12.5g} us   {ratio(times, 'MXNet float32', name):8.2f} x MXNet{speed:>18s}")


def layer_record(times, operations):
    us = microseconds(times)
    return {"us": us, "gops": {name: digits(operations / t / 1e3) for name, t in us.items()
                               if name != "weights read"},
            "times_mxnet_float32": {name: ratio(times, "MXNet float32", name) for name in times},
            "of_roofline": {name: of_roofline(times, name) for name in OURS if "xnor" in name}}


def growth_record(times):
    """{kernel: {axis: sizes, microseconds, growth on doubling, sizes where that is too much, and time an
    operation relative to the largest size's}}."""
    record = {}
    for kernel, axis in dict.fromkeys(key[:2] for key in times):
        sizes = [size for k, a, size in times if (k, a) == (kernel, axis)]
        names = [(kernel, axis, size) for size in sizes]
        us = list(microseconds({name: times[name] for name in names}).values())
        growth = [ratio(times, b, a) for a, b in zip(names, names[1:])]
        record.setdefault(kernel, {})[axis] = {
            "size": sizes, "us": us, "growth": growth,
            "cliffs": [size for size, factor in zip(sizes[1:], growth) if factor > CLIFF],
            "time_an_operation": [round(t / size * sizes[-1] / us[-1], 2) for t, size in zip(us, sizes)]}
    return record


def show_growth(record):
    print("\ntime as one of 64 rows x 1024 units x 1024 inputs changes; "
          f"! where doubling it takes {CLIFF} times as long")
    for kernel, axes in record.items():
        for axis, found in axes.items():
            print(f"  {kernel} by {axis}")
            for size, us, growth in zip(found["size"], found["us"], [None] + found["growth"]):
                print(f"    {size:6d} {us:12.2f} us" + ("" if growth is None else f" {growth:7.2f} x")
                            + (" !" if size in found["cliffs"] else ""))


def targets(layers, net, size, growth):
    """What issue 3 wants and what was found; reached is None where a peer is missing."""
    rows = []

    def add(name, found, least=None, most=None):
        reached = None if found is None else bool(found >= least if most is None else found <= most)
        rows.append({"name": name, "wanted": f">= {least}" if most is None else f"<= {most}", "found": found,
                     "reached": reached})
    for shape, times in layers.items():
        float32, int8 = best(times, FLOAT32), best(times, INT8)
        if shape in ("256x4096x4096", "1024x4096x4096"):
            add(f"{shape} xnor_dense, of the roofline", of_roofline(times, "xnor_dense"), 0.85)
            add(f"{shape} xnor_dense, times the best float32", ratio(times, float32, "xnor_dense"), 20)
            add(f"{shape} xnor_dense, times the best int8", ratio(times, int8, "xnor_dense"), 5)
        if shape == "64x1024x1024":
            add(f"{shape} pack + xnor_dense, of the roofline", of_roofline(times, "pack + xnor_dense"), 0.7)
        wanted = {"1x1024x1024": 4, "1x4096x4096": 12, "64x1024x1024": 1.8, "256x4096x4096": 1.8,
                  "1024x4096x4096": 1.8}.get(shape)
        if wanted:
            add(f"{shape} binary_dense, times the best float32", ratio(times, float32, "binary_dense"), wanted)
        if shape in SHAPES:
            add(f"{shape} binary_dense_u8, times binary_dense",
                ratio(times, "binary_dense", "binary_dense_u8"), 1.5)
        slowest = min(ratio(times, "MXNet float32", name) for name in OURS)
        add(f"{shape} slowest of ours, times MXNet float32", slowest, 1)
    add("one image, runtime, us", microseconds(net)["runtime"], most=60)
    add("one image, runtime, times ONNX Runtime float32", ratio(net, "ONNX Runtime float32", "runtime"), 20)
    add("one image, runtime, times ONNX Runtime int8", ratio(net, "ONNX Runtime int8", "runtime"), 2)
    add("one image, MXNet packed, times MXNet float32", ratio(net, "MXNet float32", "MXNet packed"), 1)
    add("float32 file, times ours", round(size["float32"] / size["runtime"], 1), 25)
    add("largest growth of time on doubling", max(max(found["growth"], default=0) for axes in growth.values()
                                                  for found in axes.values()), most=CLIFF)
    return rows


def shape(text):
    """An argparse type: ROWSxUNITSxINPUTS."""
    if not re.fullmatch("[1-9][0-9]*x[1-9][0-9]*x[1-9][0-9]*", text):
        raise argparse.ArgumentTypeError(f"must be ROWSxUNITSxINPUTS, got {text}")
    return text


def sizes_of(shape):
    return tuple(map(int, shape.split("x")))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument("--shapes", type=shape, nargs="+", default=SHAPES, metavar="ROWSxUNITSxINPUTS")
    parser.add_argument("--width", type=positive(int), default=2048, help="hidden units of the whole net")
    parser.add_argument("--model", metavar="FILE",
                        help="a file of runtime.save, in place of a net of random weights")
    parser.add_argument("--largest", type=positive(int), default=4096, help="size up to which each axis doubles")
    parser.add_argument("--rounds", type=positive(int), default=15, help="timed rounds; medians are reported")
    parser.add_argument("--no-peers", action="store_true", help="MXNet and gluon_bnn alone")
    parser.add_argument("--lce-python", metavar="PATH", help="the Python that has Larq Compute Engine")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_inference"))
    args = parser.parse_args()
    if not library.available():
        fail(library.problem())
    library.load_operators()
    threads = int(os.environ["OMP_NUM_THREADS"])
    lce = args.lce_python or (sys.executable if importlib.util.find_spec("larq_compute_engine") else None)

    def peers(layers, x):
        return {} if args.no_peers else {**torch_peers(layers, x, threads), **onnx_peers(layers, x, threads)}

    def larq(signs, x):
        if args.no_peers or not lce:
            return {}
        try:
            return {"Larq Compute Engine": Larq(lce, signs, x, threads)}
        except OSError as error:
            fail(error)

    with tempfile.TemporaryDirectory() as directory:
        loops = compile_rooflines(directory)
        layers = {}
        for name in args.shapes:
            calls = layer_calls(*sizes_of(name), loops, threads, peers, larq)
            layers[name] = measure(calls, args.rounds)
            show(f"{name} (rows x units x inputs)", layers[name], 2 * math.prod(sizes_of(name)))
            if "Larq Compute Engine" in calls:
                calls["Larq Compute Engine"].close()
            del calls
        calls, size, sizes = net_calls(args.width, args.model, peers, directory)
        net = measure(calls, args.rounds)
        show(f"one image through {'-'.join(map(str, sizes))}; {size['runtime']:,} bytes, as float32 "
             f"{size['float32']:,}", net)
        growth = growth_record(measure(growth_calls(args.largest), args.rounds))
        show_growth(growth)
        wanted = targets(layers, net, size, growth)
    print("\nwanted and found")
    for row in wanted:
        mark = {True: "reached", False: "MISSED", None: "not measured"}[row["reached"]]
        print(f"  {row['name']:62s} {row['wanted']:>8s} {row['found'] or 0:9.2f}  {mark}")
    path = os.path.join(args.save_dir, "bench_inference.json")
    record = write_record(
        path, threads=threads, rounds=args.rounds, instruction_set=library.instruction_set(),
        roofline=loops.roofline_name().decode(),
        layers={name: layer_record(times, 2 * math.prod(sizes_of(name))) for name, times in layers.items()},
        net={"sizes": sizes, "us": microseconds(net), "bytes": size,
             "times_mxnet_float32": {name: ratio(net, "MXNet float32", name) for name in net}},
        growth=growth, targets=wanted)
    from pictures import inference
    inference(record, path.replace(".json", ".png"))
    print(f"\nwritten to {path}, and as a chart beside it")


if __name__ == "__main__":
    main()
