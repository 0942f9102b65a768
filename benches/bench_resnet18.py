"""A whole network, ResNet-18, forwards: fastml's layers against PyTorch's modules and ONNX Runtime."""

from benches.harness import cells, run
from fastml.learn.peers.resnet18 import OWN, PEERS


@cells("ResNet18", *OWN, *PEERS)
def test_resnet18(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
