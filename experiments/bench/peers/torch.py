"""PyTorch: float32, bfloat16 and int8; in training eager and compiled."""

import contextlib
import copy
import importlib.metadata
import warnings

from bench import inference, training
from bench.inference import Call, Conv, check, fastest

NEEDS = ("torch",)


class Inference(inference.FloatPeer):
    package = "torch"

    def dense(self, layers, x):
        import torch
        from torch.utils import mkldnn

        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)

        def build():
            blocks = []
            for weight, bias in layers:
                linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
                linear.weight.copy_(torch.from_numpy(weight))
                linear.bias.copy_(torch.from_numpy(bias))
                blocks += [linear, torch.nn.ReLU()]
            return torch.nn.Sequential(*blocks[:-1]).eval()

        def calls(net, x, dtype):
            found = [Call(lambda: net(x), lambda y: y.float().numpy())]
            with contextlib.suppress(RuntimeError):  # oneDNN has no bfloat16 for a processor without AVX-512
                onednn = mkldnn.to_mkldnn(copy.deepcopy(net), dtype)  # in place: weights in oneDNN's own layout
                onednn(x.to_mkldnn())
                found.append(Call(lambda: onednn(x.to_mkldnn()).to_dense(), found[0].convert))
            return fastest(found)

        x = torch.from_numpy(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            int8 = torch.ao.quantization.quantize_dynamic(build(), {torch.nn.Linear}, torch.qint8)
        return {
            "PyTorch float32": calls(build(), x, torch.float),
            "PyTorch bfloat16": calls(build().bfloat16(), x.bfloat16(), torch.bfloat16),
            "PyTorch int8": Call(lambda: int8(x), lambda y: y.numpy()),
        }

    def conv(self, rows, size, channels):
        import torch

        torch.set_num_threads(self.threads)
        torch.set_grad_enabled(False)
        case = Conv(rows, size, channels)
        x, w = map(torch.from_numpy, case.channels_first())
        calls = []
        for layout in (torch.contiguous_format, torch.channels_last):
            a, b = x.contiguous(memory_format=layout), w.contiguous(memory_format=layout)
            calls.append(Call(lambda a=a, b=b: torch.nn.functional.conv2d(a, b, padding=1), lambda y: y.numpy()))
        best = fastest(calls)
        check("PyTorch float32", best, case.dot(), 1e-5)
        return {"PyTorch float32": best}


def perceptron(nn, net):
    layers = []
    for i, (units, inputs) in enumerate(net.weights):
        layers += [nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units)]
        layers += [nn.ReLU()] if i < training.HIDDEN_LAYERS else []
    return nn.Sequential(*layers)


def lenet(nn, net):
    (first, second), dense = net.weights[:2], net.weights[2:]
    layers = []
    for channels, inputs, *kernel in (first, second):
        layers += [
            nn.Conv2d(inputs, channels, kernel, bias=False),
            nn.MaxPool2d(2),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        ]
    layers.append(nn.Flatten())
    for units, inputs in dense:
        layers += [nn.Linear(inputs, units, bias=False), nn.BatchNorm1d(units), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def block(nn, net):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            layers = []
            for channels, inputs, *kernel in net.weights[:2]:
                layers += [
                    nn.ReLU(),
                    nn.Conv2d(inputs, channels, kernel, padding=1, bias=False),
                    nn.BatchNorm2d(channels),
                ]
            self.body = nn.Sequential(*layers)

        def forward(self, x):
            return x + self.body(x)

    units, inputs = net.weights[2]
    return nn.Sequential(Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, units, bias=False))


class Training(training.Worker):
    """The plain net in PyTorch, as it is and compiled, each with Adam as it comes and with the fused one."""

    def __init__(self, threads):
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        self.torch = torch

    def about(self):
        return {"torch": importlib.metadata.version("torch")}

    def on_device(self, array):
        return self.torch.from_numpy(array)

    def net(self, name):
        nn = self.torch.nn
        make = {"lenet": lenet, "block": block}.get(name, perceptron)
        net, weights = make(nn, training.net_of(name)), training.first_weights(name)
        layers = [layer for layer in net.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))]
        for layer, weight in zip(layers, weights):
            layer.weight.data = self.torch.from_numpy(weight)
        return net

    def loss_of(self, net):
        def loss(x, labels):
            targets = 2 * self.torch.nn.functional.one_hot(labels, training.CLASSES) - 1
            return (1 - targets * net(x)).relu().square().mean()

        return loss

    def training_step(self, name, compiled, fused, last=False):
        net = self.net(name)
        layout = self.torch.channels_last if last else self.torch.contiguous_format
        net = net.to(memory_format=layout)
        optimizer = self.torch.optim.Adam(net.parameters(), training.LEARNING_RATE, fused=fused)
        loss = self.torch.compile(self.loss_of(net)) if compiled else self.loss_of(net)
        data = [self.data[0].contiguous(memory_format=layout), self.data[1]] if last else self.data

        def step(begin):
            x, labels = (part[begin : begin + self.rows] for part in data)
            optimizer.zero_grad()
            loss(x, labels).backward()
            optimizer.step()

        return step

    def nets(self, name, more):
        kinds = (("PyTorch eager", False), ("torch.compile", True))
        steps = {
            kind + (", fused Adam" if fused else ""): self.training_step(name, compiled, fused)
            for kind, compiled in kinds
            for fused in (False, True)
        }
        if name in training.CONVOLUTIONS:
            for kind, compiled in kinds:
                steps[f"{kind}, fused Adam, channels last"] = self.training_step(name, compiled, True, True)
        return steps

    def first_loss(self, name):
        self.load(name)
        return float(self.loss_of(self.net(name))(*self.batch(0)))
