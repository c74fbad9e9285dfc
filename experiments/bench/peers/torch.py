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


class Training(training.Worker):
    """The plain net in PyTorch, as it is and compiled, each with Adam as it comes and with the fused one."""

    def __init__(self, threads):
        super().__init__(threads)
        import torch

        torch.set_num_threads(threads)
        self.torch = torch
        self.data = [torch.from_numpy(a) for a in training.images()]

    def about(self):
        return {"torch": importlib.metadata.version("torch")}

    def net(self, width):
        nn = self.torch.nn
        layers = []
        for i, weight in enumerate(training.first_weights(width)):
            layers += [nn.Linear(*reversed(weight.shape), bias=False), nn.BatchNorm1d(len(weight))]
            layers += [nn.ReLU()] if i < training.HIDDEN_LAYERS else []
            layers[3 * i].weight.data = self.torch.from_numpy(weight)
        return nn.Sequential(*layers)

    def loss_of(self, net):
        def loss(x, labels):
            targets = 2 * self.torch.nn.functional.one_hot(labels, training.CLASSES) - 1
            return (1 - targets * net(x)).relu().square().mean()

        return loss

    def training_step(self, width, compiled, fused):
        net = self.net(width)
        optimizer = self.torch.optim.Adam(net.parameters(), training.LEARNING_RATE, fused=fused)
        loss = self.torch.compile(self.loss_of(net)) if compiled else self.loss_of(net)

        def step(begin):
            x, labels = self.batch(begin)
            optimizer.zero_grad()
            loss(x, labels).backward()
            optimizer.step()

        return step

    def nets(self, width, more):
        return {
            name + (", fused Adam" if fused else ""): self.training_step(width, compiled, fused)
            for name, compiled in (("PyTorch eager", False), ("torch.compile", True))
            for fused in (False, True)
        }

    def first_loss(self, width):
        return float(self.loss_of(self.net(width))(*self.batch(0)))
