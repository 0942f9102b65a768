"""A whole network, ResNet-18, forwards: fastml's layers against PyTorch's modules and ONNX Runtime, on equal weights.

PyTorch runs it as written, module by module (eager, NCHW). ONNX Runtime is given convolutions and batch norms, which it
folds itself. `fastml.learn.resnet18` is fastml's.
"""

from itertools import islice

from fastml.learn import onnx_session, resnet18
from fastml.learn.harness import OWN, Contender


def torch_network(parameters):
    import torch
    from torch import nn

    rest = map(torch.from_numpy, parameters)

    def normalized(convolution, *others):
        """A convolution, its batch norm, and what comes behind them."""
        outputs, channels, kernel, stride = convolution
        first = nn.Conv2d(channels, outputs, kernel, stride, convolution.padding, bias=False)
        second = nn.BatchNorm2d(outputs)
        first.weight.data, *vectors = islice(rest, 5)
        second.running_mean, second.running_var, second.weight.data, second.bias.data = vectors
        return nn.Sequential(first, second, *others)

    class Block(nn.Module):
        def __init__(self, first, second, shortcut):
            super().__init__()
            self.residual = nn.Sequential(normalized(first, nn.ReLU(inplace=True)), normalized(second))
            self.shortcut = normalized(shortcut) if shortcut else nn.Identity()
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            return self.relu(self.residual(x) + self.shortcut(x))

    last = nn.Linear(resnet18.STAGES[-1][0], resnet18.CLASSES)
    network = nn.Sequential(
        normalized(resnet18.FIRST, nn.ReLU(inplace=True)), nn.MaxPool2d(3, 2, 1),
        *(Block(*block) for block in resnet18.blocks()), nn.AdaptiveAvgPool2d(1), nn.Flatten(), last,
    )  # fmt: skip
    last.weight.data, last.bias.data = rest
    return network.eval()


def _torch(case, args, options):
    import torch

    x, *parameters = args
    network, x = torch_network(parameters), torch.from_numpy(x)

    def call():
        with torch.inference_mode():
            return network(x)

    return call


def _onnx(case, args, options):
    from onnx import helper

    x, *parameters = args
    rest, nodes, initializers = iter(parameters), [], {}

    def add(kind, inputs, name, **attributes):
        nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def hold(name, array):
        initializers[name] = array
        return name

    def normalized(source, convolution, name, *, relu=True):
        weight, mean, variance, scale, shift = (hold(f"{name}.{i}", array) for i, array in enumerate(islice(rest, 5)))
        strides, pads = [convolution.stride] * 2, [convolution.padding] * 4
        result = add("Conv", [source, weight], f"{name}.convolved", strides=strides, pads=pads)
        result = add("BatchNormalization", [result, scale, shift, mean, variance], f"{name}.normalized")
        return add("Relu", [result], f"{name}.relu") if relu else result

    result = normalized("x", resnet18.FIRST, "first")
    result = add("MaxPool", [result], "pooled", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for i, (first, second, shortcut) in enumerate(resnet18.blocks()):
        inner = normalized(normalized(result, first, f"{i}.first"), second, f"{i}.second", relu=False)
        outer = normalized(result, shortcut, f"{i}.shortcut", relu=False) if shortcut else result
        result = add("Relu", [add("Add", [inner, outer], f"{i}.sum")], f"{i}.relu")
    features = add("Flatten", [add("GlobalAveragePool", [result], "means")], "features")
    add("Gemm", [features, hold("weight", next(rest)), hold("bias", next(rest))], "y", transB=1)
    return onnx_session.call(nodes, initializers, x)


OWN = OWN[:1]
PEERS = (
    Contender("PyTorch", _torch, "torch"),
    Contender("ONNX Runtime", _onnx, "onnx onnxruntime", dtypes=("float32",)),
)
