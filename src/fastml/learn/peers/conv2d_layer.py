"""fastml.Conv2d, which holds its weights, against PyTorch and ONNX Runtime, which holds them, too.

PyTorch's modules keep weights as they are, so that each of their calls prepares them: its times are those of
`fastml.learn.peers.conv2d`. "PyTorch channels_last" has its input and weights in that layout beforehand.
"""

from fastml.learn import onnx_session
from fastml.learn.harness import OWN, Contender
from fastml.learn.peers import conv2d


def _onnx(case, args, options):
    from onnx import helper

    x, weight, bias = args
    node = helper.make_node(
        "Conv", ["x", "weight", "bias"], ["y"], strides=[options["stride"]] * 2, pads=[options["padding"]] * 4,
        group=options["groups"], kernel_shape=weight.shape[2:],
    )  # fmt: skip
    return onnx_session.call([node], {"weight": weight, "bias": bias}, x)


OWN = OWN[:1]  # the backends are compared by the function
FORCED = conv2d.FORCED
PEERS = (*conv2d.PEERS, Contender("ONNX Runtime", _onnx, "onnx onnxruntime", dtypes=("float32",)))
