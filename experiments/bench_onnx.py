"""Our ONNX files in ONNX Runtime, compared with its float32 and its int8 net of the same weights: bytes and time.

    python experiments/bench_onnx.py                          # eight nets, 2 minutes
    python experiments/bench_onnx.py --models runs/x/model.safetensors --dataset digits

The float32 net has sign times scale as weights, with batch norm folded into them. Its int8 nets are those of
onnxruntime.quantization.quantize_static, calibrated on training images, in both of its formats, with a scale for the
weights of each channel. Where activations are signs, computed in float32, there are also int8 nets with ReLU in their
place: other nets of the same size, as fast as such nets are, whose answers mean nothing.

Before anything is timed, our answers to all images must be the runtime's, or explained by the order of a sum of real
numbers; accuracies of all are those on the same images. Candidates take turns: every round times a burst of calls of
each. Medians of the rounds are reported, and medians of the rounds' ratios.
"""

from common import interrupt

if __name__ == "__main__":
    interrupt.says("no record is written")

import argparse
import importlib.util
import logging
import math
import os
import statistics
import sys
import tempfile
import time

import numpy as np

import gluon_bnn
from gluon_bnn import runtime
from gluon_bnn.graph import bounds
from gluon_bnn.graph.kinds import KINDS
from gluon_bnn.graph.kinds.batch_norm import NORM

from common.arguments import HelpFormatter, add_dataset, load_dataset, positive
from common.record import writable, write_record

RECORD = "bench_onnx.json"
PAPERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "results", "papers")
NETS = "bnn-0", "bwn-0", "larq-0", "lenet_bmxnet-0", "lenet_bwn-0", "lenet_xnor-0", "sfc-0", "tfc-0"
OURS, FLOAT32 = "ours", "float32"
FORMATS = {"int8 QDQ": "QDQ", "int8 QOperator": "QOperator"}
RELU = " with ReLU"
BURST = 0.01  # seconds


def fail(message):
    sys.exit(f"bench_onnx.py: {message}")


def bound(graph):
    """Bytes that no file of this net can go below: a bit for each weight of one, a byte for each threshold of bits, and
    4 for each real number that answers need, if not all units have the same."""
    total = 0
    for index, node in enumerate(graph.nodes[1:], 1):
        arrays, weights = dict(node.arrays), 0
        if "weight_bits" in arrays:
            weights = KINDS[node.kind].weights(node, graph.taken(index))[0]
            arrays = {name: arrays[name] for name in ("alpha", "bias", *NORM) if name in arrays}
        total += -(-weights // 8)
        if node.attributes.get("to", "float") != "float":
            total += weights and math.prod(graph.values[index].shape[-1:])
        else:
            total += sum(4 * array.size for array in arrays.values() if (array != array.flat[0]).any())
    return total


def write(directory, graph, calibration, trial):
    """{name: path} of our file, which is tried on images first, and of the others."""
    import onnx
    from onnxruntime import quantization
    from onnxruntime.quantization import QuantFormat, QuantType

    from bench import float_onnx
    from bench.peers.onnx import has_vnni

    class Images(quantization.CalibrationDataReader):
        def __init__(self):
            self.left = list(calibration)

        def get_next(self):
            return {"x": self.left.pop()[None]} if self.left else None

    paths = {name: os.path.join(directory, f"{name}.onnx") for name in (OURS, FLOAT32)}
    gluon_bnn.save(graph, paths[OURS], inputs=trial)
    onnx.save(float_onnx.model(graph), paths[FLOAT32])
    sources = {"": paths[FLOAT32]}
    if any(node.attributes.get("to", "float") != "float" for node in graph.nodes):
        sources[RELU] = os.path.join(directory, "relu.onnx")
        onnx.save(float_onnx.model(graph, sign="Relu"), sources[RELU])
    logging.disable(logging.WARNING)  # advice about preprocessing
    for end, source in sources.items():
        for name, quant_format in FORMATS.items():
            paths[name + end] = os.path.join(directory, f"{name}{end}.onnx")
            quantization.quantize_static(
                source,
                paths[name + end],
                Images(),
                quant_format=QuantFormat[quant_format],
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                # Without VNNI it adds products of uint8 and int8 in 16 bits, which 8-bit weights overflow.
                reduce_range=not has_vnni(),
            )
    logging.disable(logging.NOTSET)
    return paths


class Candidate:
    """A model in a session with so many threads, which sleep between calls: others run in this process, too."""

    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, x):
        return self.session.run(None, {"x": x})[0]

    def seconds(self, x):
        """Of a call: the fastest of a burst, at least two after a first one that wakes its threads."""
        self(x)
        fastest, end, calls = math.inf, time.perf_counter() + BURST, 0
        while calls < 2 or time.perf_counter() < end:
            begin = time.perf_counter()
            self(x)
            fastest, calls = min(fastest, time.perf_counter() - begin), calls + 1
        return fastest


def answers(paths, inputs):
    """{name: what it answers to its inputs}, a few at a time."""
    found = {}
    for name, path in paths.items():
        run, x = Candidate(path, 1), inputs[name]
        found[name] = np.concatenate([run(x[i : i + 100]) for i in range(0, len(x), 100)])
    return found


def different(graph, pixels, found):
    """How many answers of ours are not the runtime's to the bit; ends the script where one is not explained."""
    expected = runtime.Model(graph)(pixels).reshape(len(pixels), -1)
    rows = np.flatnonzero(~bounds.same(found, expected).all(axis=1))
    for i in range(0, len(rows), 8):
        some = rows[i : i + 8]
        if not bounds.within(found[some], *bounds.run(graph, pixels[some].reshape(len(some), -1))).all():
            fail("ONNX Runtime's answers to our file are not the runtime's; please report this")
    return len(rows)


def measure(graph, images, calibration, args):
    """What the record has of one net."""
    if graph.input_scale is None:
        fail("--models must be nets that take pixels, frozen with an input scale")
    scale, shift = graph.input_scale, graph.input_shift.reshape(graph.input_shape)
    if isinstance(scale, np.ndarray):
        scale = scale.reshape(graph.input_shape)

    def floats(pixels):
        return (pixels * np.float32(scale) + shift).astype(np.float32)

    pixels, labels = images
    with tempfile.TemporaryDirectory() as directory:
        paths = write(directory, graph, floats(calibration), pixels[:8])
        inputs = {name: pixels if name == OURS else floats(pixels) for name in paths}
        same_net = {name: path for name, path in paths.items() if not name.endswith(RELU)}
        found = answers(same_net, inputs)
        record = {
            "bits": gluon_bnn.summary(graph).weights_1bit,
            "different_answers": different(graph, pixels, found[OURS]),
            "bytes": {name: os.path.getsize(path) for name, path in same_net.items()} | {"bound": bound(graph)},
            "accuracy": {name: float((y.argmax(axis=1) == labels).mean()) for name, y in found.items()},
            "us": {},
            "times_int8": {},
        }
        for threads in args.threads:
            candidates = {name: Candidate(path, threads) for name, path in paths.items()}
            for batch in args.batches:
                times = {name: [] for name in paths}
                for _ in range(args.rounds):
                    for name, run in candidates.items():
                        times[name].append(run.seconds(inputs[name][:batch]) / batch)
                key = f"batch {batch}, {threads} thread{'s' * (threads > 1)}"
                record["us"][key] = {name: round(1e6 * statistics.median(s), 2) for name, s in times.items()}
                record["times_int8"][key] = {
                    end.strip() or "same answers": ratio(times, end) for end in ("", RELU) if f"int8 QDQ{end}" in times
                }
    return record


def ratio(times, end):
    """How many times as fast as the faster int8 net ours is: the median of the rounds."""
    names = [name + end for name in FORMATS]
    best = min(names, key=lambda name: statistics.median(times[name]))
    return round(statistics.median(theirs / own for theirs, own in zip(times[best], times[OURS])), 3)


def show(name, record):
    size, floats = record["bytes"], record["bytes"][FLOAT32]
    print(f"\n{name}: {size[OURS]:,} bytes, {floats / size[OURS]:.1f} times fewer than float32; "
          f"no file can have less than {size['bound']:,}")  # fmt: skip
    print(f"  right answers: {', '.join(f'{who} {share:.2%}' for who, share in record['accuracy'].items())}")
    for key, us in record["us"].items():
        times = ", ".join(f"{who} {value:.1f}" for who, value in us.items())
        print(f"  {key}, us per image: {times}; int8 / ours {record['times_int8'][key]}", flush=True)


def load(path, shape):
    try:
        model = runtime.load(path)
    except (OSError, ValueError) as error:
        fail(f"--models must be files of runtime.save: {error}")
    if model.graph.inputs != math.prod(shape):
        fail(f"{path} takes {model.graph.inputs} inputs, and an image of --dataset has {math.prod(shape)} pixels")
    return model.graph


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], formatter_class=HelpFormatter)
    parser.add_argument(
        "--models", nargs="+", metavar="FILE", help="files of runtime.save; default: nets of the papers"
    )
    add_dataset(parser, default="mnist")
    parser.add_argument("--images", type=positive(int), default=1000, help="test images that all answer")
    parser.add_argument("--calibration", type=positive(int), default=100, help="training images for the int8 nets")
    parser.add_argument("--batches", type=positive(int, 1024), nargs="+", default=[1, 64], help="images at a time")
    parser.add_argument("--threads", type=positive(int, 64), nargs="+", default=[1, 2], help="threads of a session")
    parser.add_argument("--rounds", type=positive(int), default=15, help="timed rounds; medians are reported")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_onnx"), help="for the record")
    args = parser.parse_args(argv)
    writable(args.save_dir, RECORD)
    missing = [name for name in ("onnx", "onnxruntime") if not importlib.util.find_spec(name)]
    if missing:
        fail(f"needs {' and '.join(missing)}: pip install 'gluon_bnn[onnx]'")
    import onnxruntime

    try:
        data = load_dataset(args.dataset, args.data_dir)
    except (OSError, ValueError, ImportError) as error:
        fail(str(error))

    def pixels(part, count):
        return np.rint(255 * data[f"{part}_data"][:count]).astype(np.uint8)

    count = max(args.images, *args.batches)
    test = pixels("test", count)
    if len(test) < max(args.batches):
        fail(f"--batches must be at most {len(test)}, as many as there are test images")
    calibration = pixels("train", args.calibration)
    found = {}
    for path in args.models or [os.path.join(PAPERS, f"{name}.safetensors") for name in NETS]:
        graph = load(path, test.shape[1:])
        shape = graph.input_shape
        images = test.reshape(-1, *shape), data["test_label"][:count]
        name = os.path.splitext(os.path.basename(path))[0]
        try:
            found[name] = measure(graph, images, calibration.reshape(-1, *shape), args)
        except ValueError as error:
            fail(f"{path}: {error}")
        show(name, found[name])
    path = os.path.join(args.save_dir, RECORD)
    write_record(
        path, argv, onnxruntime=onnxruntime.__version__, rounds=args.rounds, images=len(test),
        calibration=len(calibration), nets=found,
    )  # fmt: skip
    print(f"written to {path}")


if __name__ == "__main__":
    main()
