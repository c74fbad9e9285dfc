"""What binary weights cost in training: sign_scale alone, and a whole step against plain Dense.

    python experiments/bench_training.py

Checks against the NumPy reference before it times. Every round times each candidate once, in turn, so
that drift of the machine meets all alike; medians and ratios are printed and written as JSON. PyTorch
(eager and torch.compile) takes part when it is installed.
"""
import argparse
import os
import statistics
import sys
import time

import numpy as np

import gluon_bnn
from gluon_bnn import ops, optimizer, reference  # optimizer: by name, in Trainer
from gluon_bnn._compat import mx

from arguments import HelpFormatter, positive
from record import write_record

BATCH, INPUTS, CLASSES, HIDDEN_LAYERS = 100, 784, 10, 3


def sign_scale_calls(shape, gradient):
    """{name: function} of sign_scale forward + backward, imperative; each checked first."""
    generator = np.random.default_rng(0)
    w = generator.standard_normal(shape).astype(np.float32)
    g = generator.standard_normal(shape).astype(np.float32)
    signs, alpha = reference.binary.sign_scale(w.astype(np.float64))
    expected = reference.binary.sign_scale_backward(g / alpha, w.astype(np.float64), gradient=gradient)
    calls = {}
    for name in ("native", "composed"):
        with ops.use(name):
            implementation = ops.implementation()
        weight, upstream = mx.nd.array(w), mx.nd.array(g)
        weight.attach_grad()

        def call(weight=weight, upstream=upstream, implementation=implementation):
            with mx.autograd.record():
                signs, _ = ops.sign_scale(mx.nd, weight, "layer", gradient, 1.0,
                                          implementation=implementation)
            signs.backward(upstream)
            mx.nd.waitall()
            return signs
        found = call().asnumpy()
        if not (found == signs).all():
            sys.exit(f"bench_training.py: {name} signs differ from the reference")
        error = np.abs(weight.grad.asnumpy() - expected).max() / np.abs(expected).max()
        if error > 1e-5:
            sys.exit(f"bench_training.py: {name} gradient is {error:.1e} from the reference")
        calls[name] = call
    return calls


def gluon_step(layer, width, update="adam", activation=None, **options):
    """A training step of the net with this dense layer, hybridized, with cross-entropy; relu by default."""
    net = mx.gluon.nn.HybridSequential()
    sizes = [INPUTS] + [width] * HIDDEN_LAYERS + [CLASSES]
    for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
        net.add(layer(units, in_units=inputs, **options), mx.gluon.nn.BatchNorm(in_channels=units))
        if i < HIDDEN_LAYERS:
            net.add(activation() if activation else mx.gluon.nn.Activation("relu"))
    net.initialize(mx.init.Xavier())
    net.hybridize(static_alloc=True, static_shape=True)
    loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    loss.hybridize(static_alloc=True, static_shape=True)
    trainer = mx.gluon.Trainer(net.collect_params(), update, {"learning_rate": 1e-3}, kvstore=None)
    x, labels = (mx.nd.array(a) for a in one_batch())

    def step():
        with mx.autograd.record():
            value = loss(net(x), labels)
        value.backward()
        trainer.step(BATCH)
        mx.nd.waitall()
    if layer is gluon_bnn.nn.BinaryDense:
        table = gluon_bnn.check_net(net, x)
        if not table.ok:
            sys.exit(f"bench_training.py: the net differs from the reference:\n{table}")
    return step


def one_batch():
    generator = np.random.default_rng(1)
    return (generator.random((BATCH, INPUTS), np.float32),
            generator.integers(0, CLASSES, BATCH).astype(np.float32))


def torch_steps(width, threads):
    """{name: step} for the same net with plain layers in PyTorch; empty where it is not installed."""
    try:
        import torch
    except ImportError:
        return {}
    torch.set_num_threads(threads)

    def build(compiled):
        sizes = [INPUTS] + [width] * HIDDEN_LAYERS + [CLASSES]
        layers = []
        for i, (inputs, units) in enumerate(zip(sizes, sizes[1:])):
            layers += [torch.nn.Linear(inputs, units), torch.nn.BatchNorm1d(units)]
            layers += [torch.nn.ReLU()] if i < HIDDEN_LAYERS else []
        net = torch.nn.Sequential(*layers)
        optimizer = torch.optim.Adam(net.parameters(), 1e-3)
        run = torch.compile(net) if compiled else net
        x, labels = (torch.from_numpy(a) for a in one_batch())
        labels = labels.long()

        def step():
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(run(x), labels).backward()
            optimizer.step()
        return step
    return {"PyTorch eager": build(False), "torch.compile": build(True)}


def medians(calls, rounds, warm_up=5):
    """{name: median milliseconds}, the calls interleaved."""
    times = {name: [] for name in calls}
    for turn in range(warm_up + rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= warm_up:
                times[name].append(1e3 * (time.perf_counter() - began))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def show(title, table, base):
    print(f"\n{title}")
    for name, value in table.items():
        print(f"  {name:44s} {value:9.3f} ms   {value / table[base]:6.2f} x {base}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0],
                                     formatter_class=HelpFormatter)
    parser.add_argument("--width", type=positive(int), default=1024, help="units of each hidden layer")
    parser.add_argument("--rounds", type=positive(int), default=60, help="timed rounds; medians are reported")
    parser.add_argument("--no-torch", action="store_true", help="leave PyTorch out")
    parser.add_argument("--save-dir", default=os.path.join("runs", "bench_training"))
    args = parser.parse_args()
    if not gluon_bnn.native.library.available():
        sys.exit(f"bench_training.py: {gluon_bnn.native.library.problem()}")

    operator = medians(sign_scale_calls((args.width, args.width), "xnor"), args.rounds)
    show(f"sign_scale forward + backward, {args.width} x {args.width}", operator, "native")

    nn = gluon_bnn.nn
    with ops.use("composed"):
        composed = gluon_step(nn.BinaryDense, args.width)
    steps = {"plain Dense": gluon_step(mx.gluon.nn.Dense, args.width),
             "BinaryDense": gluon_step(nn.BinaryDense, args.width),
             "BinaryDense, BinaryAdam": gluon_step(nn.BinaryDense, args.width, "binaryadam"),
             "BinaryDense, BinaryAdam, binary activations": gluon_step(
                 nn.BinaryDense, args.width, "binaryadam", nn.BinaryActivation),
             "BinaryDense, no bias": gluon_step(nn.BinaryDense, args.width, use_bias=False),
             "BinaryDense, exact": gluon_step(nn.BinaryDense, args.width, gradient="exact"),
             "BinaryDense, composed": composed,
             **({} if args.no_torch else
                torch_steps(args.width, int(os.environ["OMP_NUM_THREADS"])))}
    step = medians(steps, args.rounds)
    net = "-".join(map(str, [INPUTS] + [args.width] * HIDDEN_LAYERS + [CLASSES]))
    show(f"one training step, {net}, batch {BATCH}, Adam", step, "plain Dense")
    path = os.path.join(args.save_dir, "bench_training.json")
    write_record(path, net=net, batch=BATCH, rounds=args.rounds, unit="ms, median",
                 threads=int(os.environ["OMP_NUM_THREADS"]), sign_scale=operator, step=step,
                 step_ratio={k: round(v / step["plain Dense"], 3) for k, v in step.items()})
    print(f"\nwritten to {path}")


if __name__ == "__main__":
    main()
