"""How fast 1-bit inference is: kernels, operators and a whole net, compared with float32 and int8 of other libraries.

    python experiments/bench_inference.py --lce-python ~/lce/bin/python

Every library is a file of bench/peers and runs in a process of its own; this one loads none and asks them in turn.
Every candidate's result is checked before it is timed: products of bits exactly, products of floats against float64.
Every round times a burst of calls of each candidate, so that drift of the machine meets all of them; a burst starts
when the threads of the one before sleep. Medians of the rounds are reported, and medians of the rounds' ratios. All run
on OMP_NUM_THREADS threads.

PyTorch and ONNX Runtime (`pip install torch onnx onnxruntime 'ml_dtypes<0.6'`) take part when they are installed,
and Larq Compute Engine (`pip install larq-compute-engine larq tensorflow-cpu==2.14.1 tf-keras==2.14.1`, in an
environment of its own), where a dense layer is a 1x1 convolution of signs.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import contextlib
import math
import os
import re
import statistics
import sys
import tempfile

from gluon_bnn._compat import threads_wanted

from bench import peers
from bench.workers import Worker
from common.arguments import HelpFormatter, positive
from common.record import writable, write_record

RECORD, CHART = "bench_inference.json", "bench_inference.png"
MOST = 2**20  # rows, units or inputs
SHAPES = ("1x1024x1024", "1x4096x4096", "64x1024x1024", "256x4096x4096", "1024x4096x4096", "60000x100x784")
CONVS = ("1x28x64", "1x56x64", "1x28x128", "1x14x256", "1x7x512", "64x28x64", "64x14x256")
OURS = ("xnor_dense", "pack + xnor_dense", "operator xnor", "binary_dense", "operator binary", "binary_dense_u8")
ROOFLINES = ("registers alone", "weights read")  # of products of bits
HIDDEN_LAYERS = 3
CLIFF = 2.6  # times as long for twice the size is more than the cost of a size explains


def fail(message):
    sys.exit(f"bench_inference.py: {message}")


def start_workers(stack, others, lce_python, threads, directory):
    """{name: Worker}, contexts on the stack: ours and MXNet's, then those of the libraries that are there."""
    pythons = {name: sys.executable for name in peers.present("inference") if others or not peers.needs(name)}
    if others and lce_python:
        pythons["lce"] = lce_python
    return {
        name: stack.enter_context(Worker("inference", name, threads, directory, python))
        for name, python in pythons.items()
    }


def measure(workers, rounds, case, *arguments):
    """{name: seconds per call, one for each round} of the workers' candidates for a case, which take turns."""
    owners = {name: worker for worker in workers for name in worker.ask("prepare", case, *arguments)}
    times = {name: [] for name in owners}
    for _ in range(rounds):
        for name, worker in owners.items():
            times[name].append(worker.ask("time", name))
    return times


def microseconds(times):
    return {name: digits(1e6 * statistics.median(seconds)) for name, seconds in times.items()}


def digits(value):
    """The value with four significant digits."""
    return float(f"{value:.4g}")


def ratio(times, slow, fast):
    """How many times `fast` is as fast as `slow`: the median of the rounds; None where one is missing."""
    if slow not in times or fast not in times:
        return None
    return digits(statistics.median(s / f for s, f in zip(times[slow], times[fast])))


def best(times, kind):
    """The fastest of the candidates whose names end in a kind of arithmetic, like "int8"; None where there is none."""
    names = (name for name in times if name.endswith(f" {kind}"))
    return min(names, key=lambda name: statistics.median(times[name]), default=None)


def of_roofline(times, name):
    """The speed of a candidate divided by the most that registers and reading the weights would allow."""
    least = map(max, *(times[name] for name in ROOFLINES))
    return digits(statistics.median(s / f for s, f in zip(least, times[name])))


def show(title, times, operations=None):
    print(f"\n{title}")
    for name, value in microseconds(times).items():
        speed = f"{operations / value / 1e3:9.1f} GOP/s" if operations and name != "weights read" else ""
        print(f"  {name:24s}{value:12.5g} us   {ratio(times, 'MXNet float32', name):8.2f} x MXNet{speed:>18s}")


def layer_record(times, operations):
    us = microseconds(times)
    return {
        "us": us,
        "gops": {name: digits(operations / t / 1e3) for name, t in us.items() if name != "weights read"},
        "times_mxnet_float32": {name: ratio(times, "MXNet float32", name) for name in times},
        "of_roofline": {name: of_roofline(times, name) for name in OURS if "xnor" in name},
        "of_bytes_alone": {name: ratio(times, "bytes alone", name) for name in times if "u8" in name or "int8" in name},
    }


def conv_record(times, operations):
    us = microseconds(times)
    return {
        "us": us,
        "gops": {name: digits(operations / t / 1e3) for name, t in us.items()},
        "of_registers": {name: ratio(times, "registers alone", name) for name in times if "conv2d" in name},
        "of_dense_product": ratio(times, "dense product", "binary_conv2d"),
        "cost_of_zeros_outside": ratio(times, "binary_conv2d", "binary_conv2d, +1 outside"),
        "times_best_int8": ratio(times, best(times, "int8"), "binary_conv2d"),
        "times_best_float32": ratio(times, best(times, "float32"), "binary_conv2d"),
        "times_lce": ratio(times, "Larq Compute Engine", "binary_conv2d"),
    }


def growth_record(times):
    """{kernel: {axis: sizes, microseconds, growth on doubling, sizes where that is above CLIFF, and the time per
    operation relative to that of the largest size}}."""
    record = {}
    for kernel, axis in dict.fromkeys(tuple(name.split()[:2]) for name in times):
        names = [name for name in times if name.startswith(f"{kernel} {axis} ")]
        sizes = [int(name.split()[2]) for name in names]
        us = list(microseconds({name: times[name] for name in names}).values())
        growth = [ratio(times, b, a) for a, b in zip(names, names[1:])]
        record.setdefault(kernel, {})[axis] = {
            "size": sizes,
            "us": us,
            "growth": growth,
            "cliffs": [size for size, factor in zip(sizes[1:], growth) if factor > CLIFF],
            "time_an_operation": [round(t / size * sizes[-1] / us[-1], 2) for t, size in zip(us, sizes)],
        }
    return record


def show_growth(record):
    print(
        f"\ntime as one of 64 rows x 1024 units x 1024 inputs changes; ! where doubling it takes {CLIFF} times as long"
    )
    for kernel, axes in record.items():
        for axis, found in axes.items():
            print(f"  {kernel} by {axis}")
            for size, us, growth in zip(found["size"], found["us"], [None] + found["growth"]):
                print(
                    f"    {size:6d} {us:12.2f} us"
                    + ("" if growth is None else f" {growth:7.2f} x")
                    + (" !" if size in found["cliffs"] else "")
                )


def targets(layers, convs, lenet, net, size, growth):
    """The performance targets and what was measured; "reached" is None where a peer is missing."""
    rows = []

    def add(name, found, least=None, most=None):
        reached = None if found is None else bool(found >= least if most is None else found <= most)
        rows.append(
            {
                "name": name,
                "wanted": f">= {least}" if most is None else f"<= {most}",
                "found": found,
                "reached": reached,
            }
        )

    for shape, times in layers.items():
        float32, int8 = best(times, "float32"), best(times, "int8")
        if shape in ("256x4096x4096", "1024x4096x4096"):
            least = 0.88 if shape == "256x4096x4096" else 0.85
            add(f"{shape} xnor_dense, of the roofline", of_roofline(times, "xnor_dense"), least)
            add(f"{shape} xnor_dense, times the best float32", ratio(times, float32, "xnor_dense"), 20)
            add(f"{shape} xnor_dense, times the best int8", ratio(times, int8, "xnor_dense"), 5)
        if shape == "64x1024x1024":
            add(f"{shape} pack + xnor_dense, of the roofline", of_roofline(times, "pack + xnor_dense"), 0.7)
        wanted = {
            "1x1024x1024": 4,
            "1x4096x4096": 12,
            "64x1024x1024": 1.8,
            "256x4096x4096": 1.8,
            "1024x4096x4096": 1.8,
        }.get(shape)
        if wanted:
            add(f"{shape} binary_dense, times the best float32", ratio(times, float32, "binary_dense"), wanted)
        if shape in SHAPES and sizes_of(shape)[0] >= 64:
            for slower, least in (("binary_dense", 1.4), ("ONNX Runtime int8", 1.1)):
                add(f"{shape} binary_dense_u8, times {slower}", ratio(times, slower, "binary_dense_u8"), least)
        slowest = min(ratio(times, "MXNet float32", name) for name in OURS)
        add(f"{shape} slowest of ours, times MXNet float32", slowest, 1)
    for shape, found in convs.items():
        images, side, channels = sizes_of(shape)
        if shape not in CONVS:
            continue
        if images > 1:
            add(f"{shape} binary_conv2d, of the dense product", found["of_dense_product"], 0.85)
            continue
        least = 0.7 if channels == 64 else 0.85
        add(f"{shape} binary_conv2d, of registers alone", found["of_registers"]["binary_conv2d"], least)
        add(f"{shape} binary_conv2d, times the best int8", found["times_best_int8"], 3 if side == 56 else 5)
        add(f"{shape} binary_conv2d, times the best float32", found["times_best_float32"], 10)
        if found["times_lce"] is not None:
            add(f"{shape} binary_conv2d, times Larq Compute Engine", found["times_lce"], 50)
    if lenet:
        add("LeNet, one image, runtime, us", microseconds(lenet)["runtime, uint8"], most=15)
        int8 = best(lenet, "int8")
        add("LeNet, one image, runtime, times the best int8", ratio(lenet, int8, "runtime, uint8"), 3)
    add("one image, runtime, us", microseconds(net)["runtime"], most=60)
    add("one image, runtime, times ONNX Runtime float32", ratio(net, "ONNX Runtime float32", "runtime"), 20)
    add("one image, runtime, times ONNX Runtime int8", ratio(net, "ONNX Runtime int8", "runtime"), 2)
    add("one image, MXNet packed, times MXNet float32", ratio(net, "MXNet float32", "MXNet packed"), 1)
    add("float32 file, times ours", round(size["float32"] / size["runtime"], 1), 25)
    add(
        "largest growth of time on doubling",
        max(max(found["growth"], default=0) for axes in growth.values() for found in axes.values()),
        most=CLIFF,
    )
    return rows


def shape(text, names="ROWSxUNITSxINPUTS", most=MOST):
    """An argparse type: three sizes."""
    if not re.fullmatch("[1-9][0-9]{0,6}x[1-9][0-9]{0,6}x[1-9][0-9]{0,6}", text) or max(sizes_of(text)) > most:
        raise argparse.ArgumentTypeError(f"must be {names}, each at most {most}, got {text}")
    return text


def conv(text):
    """An argparse type: a convolution."""
    return shape(text, "ROWSxSIZExCHANNELS", 2**12)


def sizes_of(shape):
    return tuple(map(int, shape.split("x")))


def sizes_of_model(path):
    """[inputs, units, ...] of the dense layers in a file of runtime.save."""
    from gluon_bnn import runtime

    try:
        graph = runtime.load(path).graph
    except (OSError, ValueError) as error:
        fail(f"--model must be a file of runtime.save: {error}")
    units = [node.attributes["units"] for node in graph.nodes if node.kind in ("binary_dense", "dense")]
    if not units:
        fail(f"--model must be a file of runtime.save: {path} has no dense layer")
    return [graph.inputs, *units]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument(
        "--shapes", type=shape, nargs="+", default=SHAPES, metavar="ROWSxUNITSxINPUTS", help="dense layers to time"
    )
    parser.add_argument(
        "--convs",
        type=conv,
        nargs="*",
        default=CONVS,
        metavar="ROWSxSIZExCHANNELS",
        help="3x3 convolutions of signs to time, of images SIZE x SIZE",
    )
    parser.add_argument(
        "--width", type=positive(int, MOST), default=2048, help="units of each hidden layer of the whole net"
    )
    parser.add_argument("--model", metavar="FILE", help="a file of runtime.save, in place of a net of random weights")
    parser.add_argument(
        "--largest",
        type=positive(int, MOST),
        default=4096,
        help="largest number of rows, units or inputs in the series in which one of them doubles",
    )
    parser.add_argument("--rounds", type=positive(int), default=15, help="timed rounds; medians are reported")
    parser.add_argument("--no-peers", action="store_true", help="time MXNet and gluon_bnn alone")
    parser.add_argument("--lce-python", metavar="PATH", help="the Python that has Larq Compute Engine")
    parser.add_argument(
        "--save-dir", default=os.path.join("runs", "bench_inference"), help="for the record and the chart"
    )
    args = parser.parse_args()
    threads = threads_wanted()
    writable(args.save_dir, RECORD, CHART)
    sizes = sizes_of_model(args.model) if args.model else [784] + [args.width] * HIDDEN_LAYERS + [10]

    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        workers = start_workers(stack, not args.no_peers, args.lce_python, threads, directory)
        about = {name: worker.ask("about") for name, worker in workers.items()}
        ours, mxnet = workers["ours"], workers["mxnet"]
        layers = {}
        for name in args.shapes:
            layers[name] = measure(workers.values(), args.rounds, "layer", *sizes_of(name))
            show(f"{name} (rows x units x inputs)", layers[name], 2 * math.prod(sizes_of(name)))
        convs = {}
        for name in args.convs:
            rows, size, channels = sizes_of(name)
            times = measure(workers.values(), args.rounds, "conv", rows, size, channels)
            operations = 2 * rows * size**2 * 9 * channels**2
            show(f"{name} (rows x size x channels), 3x3, zeros outside", times, operations)
            convs[name] = conv_record(times, operations)
        made, outputs = (os.path.join(directory, name) for name in ("net.safetensors", "outputs.npy"))
        lenet = None
        if args.convs:
            mxnet.ask("freeze_lenet", made, outputs)
            lenet = measure(workers.values(), args.rounds, "lenet", made, outputs)
            show("one image through LeNet, conv 32-64 of 5x5, dense 512-10", lenet)
        mxnet.ask("freeze", sizes, made, outputs)
        model = (args.model, None) if args.model else (made, outputs)
        net = measure(workers.values(), args.rounds, "net", sizes, *model)
        size = {
            "runtime": os.path.getsize(model[0]),
            "float32": sum(4 * (inputs + 1) * units for inputs, units in zip(sizes, sizes[1:])),
        }
        show(
            f"one image through {'-'.join(map(str, sizes))}; {size['runtime']:,} bytes, as float32 {size['float32']:,}",
            net,
        )
        growth = growth_record(measure([ours], args.rounds, "growth", args.largest))
        show_growth(growth)
    wanted = targets(layers, convs, lenet, net, size, growth)
    print("\nwanted and found")
    for row in wanted:
        mark = {True: "reached", False: "MISSED", None: "not measured"}[row["reached"]]
        print(f"  {row['name']:62s} {row['wanted']:>8s} {row['found'] or 0:9.2f}  {mark}")
    path = os.path.join(args.save_dir, RECORD)
    record = write_record(
        path,
        threads=threads,
        rounds=args.rounds,
        **about.pop("ours"),
        peers={package: version for found in about.values() for package, version in found.items()},
        layers={name: layer_record(times, 2 * math.prod(sizes_of(name))) for name, times in layers.items()},
        convs=convs,
        lenet=lenet and {"us": microseconds(lenet)},
        net={
            "sizes": sizes,
            "us": microseconds(net),
            "bytes": size,
            "times_mxnet_float32": {name: ratio(net, "MXNet float32", name) for name in net},
        },
        growth=growth,
        targets=wanted,
    )
    print(f"\nwritten to {path}")
    try:
        from common import pictures
    except ImportError:
        print("no chart: pip install 'gluon-bnn[experiments]' (or matplotlib) draws it")
    else:
        pictures.inference(record, os.path.join(args.save_dir, CHART))
        print(f"and as a chart to {os.path.join(args.save_dir, CHART)}")


if __name__ == "__main__":
    main()
