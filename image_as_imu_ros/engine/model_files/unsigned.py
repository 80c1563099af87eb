"""INT8 ONNX models of ours → what ONNX Runtime computes faster on a CPU."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

_log = logging.getLogger(__name__)


def load_unsigned(model: Path) -> str | bytes:
    """Read a model file and rewrite it, see `unsigned`.

    Returns:
        The rewritten file's content, or the file's path where nothing can be gained, or nothing rewritten for lack of
        the package onnx: slower, and as right.
    """
    try:
        import onnx
    except ImportError:
        _log.info("precision int8: %s runs as it is; with the Python package onnx it would run faster", model.name)
        return str(model)
    original = onnx.load_from_string(model.read_bytes())
    rewritten = unsigned(original)
    return str(model) if rewritten == original else rewritten.SerializeToString()


def unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy a model with uint8 activations, in which quantisation does the work of the ReLUs.

    TensorRT wants symmetric int8, so a layer of our files is Conv → Q → DQ → Relu → Q → DQ, and a CPU converts to
    floats and back for the ReLU alone. Quantisation to uint8 with zero point 0 clips at zero by itself:

    - the first Q becomes unsigned, with the positive half of its range in 255 steps in place of 127;
    - the ReLU goes, and with it the second Q where that has the same range;
    - all other activations are moved by 128 and keep their values: ONNX Runtime computes a layer in INT8 only if
      what it reads and what it writes are of one type.

    A model without such layers is left alone. So is one with nested graphs, for these may read any tensor, and one
    with weights in other files, for these are not opened.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph = copy.graph
    nested = any(attribute.HasField("g") or attribute.graphs for node in graph.node for attribute in node.attribute)
    if nested or any(weight.data_location == weight.EXTERNAL for weight in graph.initializer):
        return copy
    readers = _readers(graph)
    activations = _symmetric_activations(graph, readers)
    dequantisers = {node.output[0]: node for activation in activations.values() for node in activation.dequantisers}
    clips = False
    for relu in [node for node in graph.node if node.op_type == "Relu"]:
        dequantise = dequantisers.get(relu.input[0])
        if dequantise is None or dequantise.input[0] not in activations:
            continue
        if len(readers[dequantise.input[0]]) > 1 or len(readers[relu.input[0]]) > 1:
            continue
        clips = True
        _clip_by_quantisation(graph, relu, dequantise, activations, readers[relu.output[0]])
    if clips:
        for activation in activations.values():
            activation.requantise(graph, activation.scale, zero_point=128)
        del graph.value_info[:]  # holds types
    return copy


def _readers(graph: onnx.GraphProto) -> Mapping[str, list[onnx.NodeProto]]:
    """List the nodes that read each tensor; the graph's outputs are read by one more, the caller."""
    import onnx

    readers = defaultdict(list)
    caller = onnx.NodeProto(input=[output.name for output in graph.output])
    for node in (*graph.node, caller):
        for name in node.input:
            readers[name].append(node)
    return readers


def _clip_by_quantisation(
    graph: onnx.GraphProto,
    relu: onnx.NodeProto,
    dequantise: onnx.NodeProto,
    activations: dict[str, _Activation],
    behind: list[onnx.NodeProto],
) -> None:
    """Remove a ReLU behind Q → DQ, and the Q behind it where that has the same range.

    Args:
        graph: is changed.
        relu: what to remove.
        dequantise: the DQ before it, which nothing else reads.
        activations: by quantised tensor; what is requantised here leaves.
        behind: nodes that read the ReLU's output.
    """
    name = dequantise.input[0]
    clipped = activations.pop(name)
    graph.node.remove(relu)
    dequantise.output[0] = relu.output[0]
    for again in [activations[output] for node in behind for output in node.output if output in activations]:
        if again.scale != clipped.scale:
            continue
        del activations[again.quantiser.output[0]]
        graph.node.remove(again.quantiser)
        behind.remove(again.quantiser)
        for node in again.dequantisers:
            node.input[0] = name
        clipped.dequantisers += again.dequantisers
    if not behind:
        graph.node.remove(dequantise)
        clipped.dequantisers.remove(dequantise)
    clipped.requantise(graph, clipped.scale * 127 / 255, zero_point=0)


@dataclass
class _Activation:
    """A tensor that is quantised with one scale: the node that does it, and all nodes that read the result."""

    quantiser: onnx.NodeProto
    dequantisers: list[onnx.NodeProto]
    scale: np.ndarray

    def requantise(self, graph: onnx.GraphProto, scale: np.ndarray, zero_point: int) -> None:
        """Quantise to uint8 instead."""
        from onnx import numpy_helper

        values = {"scale": np.array(scale, self.scale.dtype), "zero_point": np.array(zero_point, np.uint8)}
        names = [f"{self.quantiser.output[0]}_unsigned_{name}" for name in values]
        graph.initializer.extend(map(numpy_helper.from_array, values.values(), names))
        for node in (self.quantiser, *self.dequantisers):
            node.input[1:] = names


def _symmetric_activations(
    graph: onnx.GraphProto, readers: Mapping[str, list[onnx.NodeProto]]
) -> dict[str, _Activation]:
    """Find, by the quantised tensor, all that are symmetric int8 and that only DequantizeLinear nodes read."""
    from onnx import numpy_helper

    constants = {weight.name: weight for weight in graph.initializer}

    def scale(node: onnx.NodeProto, op_type: str) -> np.ndarray | None:
        if node.op_type != op_type or len(node.input) != 3 or node.attribute:
            return None
        if any(name not in constants or constants[name].dims for name in node.input[1:]):
            return None
        value, zero_point = (numpy_helper.to_array(constants[name]) for name in node.input[1:])
        return value if zero_point.dtype == np.int8 and zero_point == 0 else None

    found = {}
    for node in graph.node:
        of_node = scale(node, "QuantizeLinear")
        if of_node is None or node.input[0] in constants:
            continue
        dequantisers = list(readers[node.output[0]])
        if all(scale(reader, "DequantizeLinear") == of_node for reader in dequantisers):
            found[node.output[0]] = _Activation(node, dequantisers, of_node)
    return found
