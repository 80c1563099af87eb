"""FP32 ONNX models of ours → FP16."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with FP16 weights and arithmetic.

    Inputs and outputs stay FP32, and so does what needs it:

    - the front end up to its logarithms, since powers span many decades;
    - what follows the last convolution, where exponentials make px and m of the head's numbers, and where logarithms of
      power are taken once more;
    - a matrix factorisation (SegNeXt's), whose sums run over all cells.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.shape_inference.infer_shapes(model)
    graph = model.graph
    weights = {weight.name: weight for weight in graph.initializer if weight.data_type == TensorProto.FLOAT}
    tensors = [*graph.input, *graph.value_info, *graph.output]
    floats = {tensor.name for tensor in tensors if tensor.type.tensor_type.elem_type == TensorProto.FLOAT}
    half = _half_tensors(graph) & floats
    nodes, converted = [], set()
    for node in graph.node:
        if half.isdisjoint(node.output):
            others, suffix, wanted = half, "_fp32", TensorProto.FLOAT
        else:
            others, suffix, wanted = (floats - half) | weights.keys(), "_fp16", TensorProto.FLOAT16
        for index, name in enumerate(node.input):
            if name not in others or (node.op_type == "Resize" and index > 0):  # scales are FP32 by definition
                continue
            node.input[index] = name + suffix
            if name + suffix in converted:
                continue
            converted.add(name + suffix)
            if name in weights:
                array = numpy_helper.to_array(weights[name]).astype(np.float16)
                graph.initializer.append(numpy_helper.from_array(array, name + suffix))
            else:
                nodes.append(helper.make_node("Cast", [name], [name + suffix], name + suffix, to=wanted))
        nodes.append(node)
    read = {name for node in nodes for name in node.input}
    used_weights = [weight for weight in graph.initializer if weight.name in read]
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(used_weights)
    onnx.checker.check_model(model, full_check=True)
    return model


def _half_tensors(graph: onnx.GraphProto) -> set[str]:
    """Name all tensors to compute in FP16, floats or not."""
    before_convolutions = _upstream(graph, "Conv")
    energies = _upstream(graph, "Log", among=before_convolutions)
    factorisation = _upstream(graph, "MatMul") & _downstream(graph, "MatMul")
    constants = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    outputs = {output.name for output in graph.output}
    return before_convolutions - energies - factorisation - constants - outputs


def _upstream(graph: onnx.GraphProto, op_type: str, among: set[str] | None = None) -> set[str]:
    """Name the tensors that nodes of a type make, `among` some if given, and all that they are made from."""
    written, read = set(), set()
    for node in reversed(graph.node):
        wanted = node.op_type == op_type and (among is None or not among.isdisjoint(node.output))
        if wanted or not read.isdisjoint(node.output):
            written.update(node.output)
            read.update(node.input)
    return written


def _downstream(graph: onnx.GraphProto, op_type: str) -> set[str]:
    """Name the tensors that nodes of a type make, and all that are made from them."""
    written = set()
    for node in graph.node:
        if node.op_type == op_type or not written.isdisjoint(node.input):
            written.update(node.output)
    return written
