"""fastml.Conv2d, which holds its weights, against PyTorch and ONNX Runtime, which holds them, too."""

from benches.harness import cells, run
from fastml.learn.peers.conv2d_layer import OWN, PEERS


@cells("Conv2d", *OWN, *PEERS)
def test_conv2d_layer(benchmark, case, dtype, contender):
    run(benchmark, case, dtype, contender)
