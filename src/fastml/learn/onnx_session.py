"""ONNX Runtime: a model made of nodes and weights, prepared once, and the call that runs it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import fastml


def call(nodes: Sequence[Any], initializers: dict[str, np.ndarray], x: np.ndarray) -> Callable[[], np.ndarray]:
    """Run the nodes, which take "x" and give "y", on x; with all of the runtime's optimisations, on as many threads."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        list(nodes),
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    # versions that every runtime of the last years reads
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = fastml.get_num_threads()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]
