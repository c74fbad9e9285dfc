"""MXNet: its own layers, and ours within it."""

import functools
import itertools
import json
import os
import sys
import tempfile

import numpy as np

from bench import inference, training
from bench.inference import Call, Conv, Layer, LeNet, check, check_agreement, check_floats, float_layers, net_inputs


def engine(function):
    """A call through MXNet's engine, until its result is there."""

    def call():
        y = function()
        y.wait_to_read()
        return y

    return Call(call, lambda y: y.asnumpy())


def binary_net(sizes):
    """An initialised net with binary weights and activations, batch norm over a batch of images."""
    from gluon_bnn import nn
    from gluon_bnn._compat import mx

    net = mx.gluon.nn.HybridSequential()
    for inputs, units in zip(sizes, sizes[1:]):
        net.add(
            nn.BinaryDense(units, in_units=inputs),
            mx.gluon.nn.BatchNorm(in_channels=units, momentum=0),
            nn.BinaryActivation(),
        )
    net._children.popitem()  # no activation after the last
    net.initialize(mx.init.Xavier())
    with mx.autograd.record():
        net(mx.nd.array(net_inputs(sizes[0])[1]))
    mx.nd.waitall()
    return net


class Inference(inference.Worker):
    """MXNet's own layers, and ours within MXNet."""

    def __init__(self, threads):
        super().__init__(threads)
        from gluon_bnn._compat import mx
        from gluon_bnn.native import library

        library.load_operators()
        self.mx = mx

    def conv(self, rows, size, channels):
        case = Conv(rows, size, channels)
        x, w = map(self.mx.nd.array, case.channels_first())
        sizes = dict(kernel=(3, 3), pad=(1, 1), num_filter=channels, no_bias=True)
        call = engine(lambda: self.mx.nd.Convolution(x, w, **sizes))
        check("MXNet float32", call, case.dot(), 1e-5)
        return {"MXNet float32": call}

    def layer(self, rows, units, inputs):
        from gluon_bnn.native import bindings

        nd, case = self.mx.nd, Layer(rows, units, inputs)
        x, bits, weight, *packed = (
            nd.array(a, dtype=a.dtype)
            for a in (
                case.x,
                bindings.pack_inputs(case.x),
                case.dense[0][0],
                bindings.pack_weights(case.signs),
                case.alpha,
                case.bias,
            )
        )
        packed_dense = functools.partial(nd.gluon_bnn_packed_dense, units=units, in_units=inputs)
        xnor = engine(lambda: packed_dense(bits, *packed, source="bits"))
        check("operator xnor", xnor, case.alpha * case.dot() + case.bias, 0)
        return {
            "operator xnor": xnor,
            **check_floats(
                {
                    "operator binary": engine(lambda: packed_dense(x, *packed, source="float")),
                    "MXNet float32": engine(lambda: nd.FullyConnected(x, weight, packed[-1], num_hidden=units)),
                },
                case.dense,
                case.x,
            ),
        }

    def freeze(self, sizes, model, outputs):
        """Make the 1-bit net of these sizes, with random weights; write it, and its outputs, to these files."""
        from gluon_bnn import deploy, runtime

        net, x = binary_net(sizes), self.mx.nd.array(net_inputs(sizes[0])[1])
        self.packed = deploy.freeze(net, input_scale=1 / 255, verbose=False)
        runtime.save(self.packed, model)
        expected = self.packed(x).asnumpy()
        np.save(outputs, expected)
        check_agreement("the net as trained", net(x).asnumpy(), expected)
        self.packed.hybridize(static_alloc=True, static_shape=True)

    def freeze_lenet(self, model, outputs):
        """Make the all-binary LeNet, with random weights, from pixels on; write it, and its output for the image of
        `LeNet`, as the NumPy engine computes it, to these files."""
        from gluon_bnn import deploy, runtime
        from gluon_bnn.graph import engine
        from gluon_bnn.nn import MaxPool2D

        from nets import Layers

        mx, layers, case = self.mx, Layers("binary", None, "ste", None, "binary"), LeNet()
        layers.max_pool = MaxPool2D
        net = lenet(mx.gluon.nn, layers)
        net.initialize(mx.init.Xavier())
        with mx.autograd.record():  # statistics of batch norm, or no threshold would be near its sums
            net(mx.nd.array(np.random.default_rng(5).random((100, 1, 28, 28), np.float32)))
        frozen = deploy.freeze(net, input_shape=(1, 28, 28), input_scale=1 / 255, verbose=False)
        runtime.save(frozen, model)
        np.save(outputs, engine.run(frozen.graph, case.pixels))

    def lenet(self, model, outputs):
        nn, nd, case = self.mx.gluon.nn, self.mx.nd, LeNet()
        net, x = nn.HybridSequential(), nd.array(case.x)
        for weight, _ in case.convs:
            net.add(nn.Conv2D(len(weight), 5, in_channels=weight.shape[1], activation="relu"), nn.MaxPool2D())
        for (weight, _), activation in zip(case.dense, ("relu", None)):
            net.add(nn.Dense(len(weight), in_units=weight.shape[1], activation=activation))
        net.initialize()
        arrays = itertools.chain.from_iterable(case.convs + case.dense)
        for parameter, array in zip(net.collect_params().values(), arrays):
            parameter.set_data(nd.array(array))
        net.hybridize(static_alloc=True, static_shape=True)
        return case.check({"MXNet float32": engine(lambda: net(x))})

    def net(self, sizes, model, outputs):
        nn, nd, layers = self.mx.gluon.nn, self.mx.nd, float_layers(sizes)
        one = net_inputs(sizes[0])[1][:1]
        plain, x = nn.HybridSequential(), nd.array(one)
        for weight, bias in layers:
            last = bias is layers[-1][1]
            block = nn.Dense(weight.shape[0], in_units=weight.shape[1], activation=None if last else "relu")
            block.initialize()
            block.weight.set_data(nd.array(weight))
            block.bias.set_data(nd.array(bias))
            plain.add(block)
        plain.hybridize(static_alloc=True, static_shape=True)
        return {
            "MXNet packed": engine(lambda: self.packed(x)),
            **check_floats({"MXNet float32": engine(lambda: plain(x))}, layers, one),
        }


def lenet(nn, layers):
    """conv 32 5x5 - pool - conv 64 5x5 - pool - 512 - 10, batch norm after every product."""
    net = nn.HybridSequential()
    for channels, inputs in ((32, 1), (64, 32)):
        net.add(
            layers.conv(channels, 5, in_channels=inputs),
            layers.max_pool(),
            layers.batch_norm(channels),
            layers.activation(),
        )
    net.add(nn.Flatten(), layers.dense(512, 1024), layers.batch_norm(512), layers.activation())
    net.add(layers.dense(training.CLASSES, 512), layers.batch_norm(training.CLASSES))
    return net


def block(nn, layers):
    """A block of a residual net, x + body(x), then the mean of each channel and a real dense layer."""

    class Block(nn.HybridSequential):
        def hybrid_forward(self, F, x):
            return x + super().hybrid_forward(F, x)

    body, net = Block(), nn.HybridSequential()
    for _ in range(2):
        body.add(layers.activation(), layers.conv(64, 3, in_channels=64, padding=1), layers.batch_norm(64))
    net.add(body, nn.GlobalAvgPool2D(), nn.Flatten(), nn.Dense(training.CLASSES, use_bias=False, in_units=64))
    return net


class Training(training.Worker):
    """Plain layers, and nets of binary ones."""

    def __init__(self, threads):
        super().__init__(threads)
        import gluon_bnn
        from gluon_bnn import loss, ops
        from gluon_bnn._compat import mx

        if not gluon_bnn.native.library.available():
            sys.exit(gluon_bnn.native.library.problem())
        self.mx, self.ops, self.check_net = mx, ops, gluon_bnn.check_net
        self.loss, self.with_loss = loss.SquaredHingeLoss(), loss.WithLoss

    def about(self):
        from gluon_bnn.native import library

        return {"instruction_set": library.instruction_set()}

    def on_device(self, array):
        return self.mx.nd.array(array, dtype=array.dtype)

    def net(self, name, layers):
        """The net of these layers, that of train_mnist.py or one of CONVOLUTIONS."""
        from nets import mlp

        if name in training.CONVOLUTIONS:
            net = {"lenet": lenet, "block": block}[name](self.mx.gluon.nn, layers)
        else:
            net = mlp.make(layers, [name] * training.HIDDEN_LAYERS, (0, 0))
        net.initialize(self.mx.init.Xavier())
        parameters = [each for key, each in net.collect_params().items() if key.endswith("weight")]
        for parameter, weight in zip(parameters, training.first_weights(name)):
            parameter.set_data(self.mx.nd.array(weight))
        net.hybridize(static_alloc=True, static_shape=True)
        return net

    def training_step(self, net, optimizer):
        mx = self.mx
        trainer = mx.gluon.Trainer(
            net.collect_params(), optimizer, {"learning_rate": training.LEARNING_RATE}, kvstore=None
        )
        forward = self.with_loss(net, self.loss)
        forward.hybridize(static_alloc=True, static_shape=True)

        def step(begin):
            with mx.autograd.record():
                _, value = forward(*self.batch(begin))
            value.backward()
            trainer.step(self.rows)

        return step

    def wait(self):
        self.mx.nd.waitall()

    def plain_net(self, name):
        """The net of MXNet's own layers, batch norm and pooling included."""
        from nets import Layers

        nn, layers = self.mx.gluon.nn, Layers("real", None, None, None, "relu")
        layers.batch_norm = lambda units: nn.BatchNorm(in_channels=units)
        layers.max_pool = nn.MaxPool2D
        return self.net(name, layers)

    def nets(self, net, more):
        kinds = {"BWN": self.layers(scale="layer", gradient="ste"), "BNN": self.layers(activation="binary")}
        if more:
            kinds["BWN, alpha a unit"] = self.layers(scale="channel", gradient="ste")
            kinds["BWN, exact gradient"] = self.layers(scale="layer", gradient="exact")
            kinds["LAB"] = self.layers(scale="loss")
        plain = "plain Conv2D" if net in training.CONVOLUTIONS else "plain Dense"
        steps = {plain: self.training_step(self.plain_net(net), "adam")}
        for name, layers in kinds.items():
            steps[name] = self.binary_step(name, net, layers)
        if more:
            with self.ops.use("composed"):
                name = "BWN, composed of MXNet's operators"
                steps[name] = self.binary_step(name, net, kinds["BWN"])
        return steps

    def layers(self, scale=None, gradient=None, activation="relu"):
        """Binary ones, with our own ReLU and max pooling."""
        from gluon_bnn.nn import Activation, MaxPool2D

        from nets import Layers

        layers = Layers("binary", scale, gradient, None, activation)
        layers.max_pool = MaxPool2D
        if activation == "relu":
            layers.activation = functools.partial(Activation, "relu")
        return layers

    def binary_step(self, name, net, layers):
        net = self.net(net, layers)
        x = self.batch(0)[0]
        table = self.check_net(net, x if x.ndim == 2 else x[:4])  # the reference's convolutions take their time
        if not table.ok:
            sys.exit(f"{name} differs from the reference:\n{table}")
        return self.training_step(net, "binaryadam")

    def first_loss(self, name):
        """The loss of the plain net before any step, on the first batch."""
        self.load(name)
        net = self.plain_net(name)
        x, labels = self.batch(0)
        with self.mx.autograd.record():  # batch norm with the batch's own statistics
            value = self.loss(net(x), labels)
        return float(value.mean().asscalar())

    def profile(self, names, steps):
        """{name: {operator: calls and milliseconds per step}}. Operators show up by themselves only in a process that
        has MXNET_EXEC_BULK_EXEC_TRAIN=0."""
        profiler = self.mx.profiler
        found = {}
        with tempfile.TemporaryDirectory() as directory:
            profiler.set_config(
                profile_imperative=True,
                profile_symbolic=True,
                aggregate_stats=True,
                filename=os.path.join(directory, "profile.json"),
            )
            for name in names:
                for _ in range(3):
                    self.step(name)
                self.wait()
                profiler.set_state("run")
                for _ in range(steps):
                    self.step(name)
                self.wait()
                profiler.set_state("stop")
                table = json.loads(profiler.dumps(reset=True, format="json"))["Time"]["operator"]
                rows = {
                    operator: {"calls": row["Count"] / steps, "ms": round(row["Total"] / steps, 4)}
                    for operator, row in table.items()
                }
                found[name] = dict(sorted(rows.items(), key=lambda item: -item[1]["ms"]))
        return found
