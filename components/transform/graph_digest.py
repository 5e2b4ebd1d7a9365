"""Digest of the computation of a graph, independent of the names of its nodes and functions.

TensorFlow numbers the names of traced functions, so the same code gives other bytes in another process. And the
transform graph holds the class list, on which no pixel depends.
"""

import hashlib
import os
from collections.abc import Sequence

import tensorflow as tf
from google.protobuf import message
from tensorflow.core.framework import attr_value_pb2, function_pb2, node_def_pb2
from tensorflow.core.protobuf import saved_model_pb2, saved_object_graph_pb2

from serving.storage.saved_model import SAVED_MODEL

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_SIGNATURE = "serving_default"
_VARIABLE = "VarHandleOp"


def digest_output(saved_model: str, output: str) -> str:
    """Digests the operations that compute one output of a SavedModel's default signature.

    Control dependencies, such as asserts, are left out. A lookup table has another digest in each export.

    Args:
        saved_model: folder of a SavedModel, such as that of a transform graph.
        output: name of the output in the signature.
    Returns:
        Hex sha256. A variable counts by its place among the objects of the SavedModel, and not by name or value.
    Raises:
        KeyError: if the signature has no such output.
        ValueError: if the file is no SavedModel.
    """
    content = saved_model_pb2.SavedModel()
    with tf.io.gfile.GFile(os.path.join(saved_model, SAVED_MODEL), "rb") as file:
        try:
            content.ParseFromString(file.read())
            [meta_graph] = content.meta_graphs
        except (message.DecodeError, ValueError):
            raise ValueError(f"{saved_model}: expected a SavedModel of one graph") from None
    graph = meta_graph.graph_def
    functions = {function.signature.name: function for function in graph.library.function}
    outputs = meta_graph.signature_def[_SIGNATURE].outputs
    if output not in outputs:
        raise KeyError(f"{saved_model}: expected an output {output!r}, found {', '.join(sorted(outputs))}")
    variables = _place_variables(meta_graph.object_graph_def)
    arguments = {n.name: _hash(_VARIABLE, variables[n.name]) for n in graph.node if n.name in variables}
    return _Digester(functions, {node.name: node for node in graph.node}, arguments).digest(outputs[output].name)


def _place_variables(objects: saved_object_graph_pb2.SavedObjectGraph) -> dict[str, str]:
    """Maps variable names to object paths such as "/weights/3", which do not change with the names of layers."""
    places: dict[str, str] = {}
    seen, reached = {0}, [(0, "")]
    for number, place in reached:
        node = objects.nodes[number] if objects.nodes else saved_object_graph_pb2.SavedObject()
        if node.HasField("variable"):
            places.setdefault(node.variable.name, place)
        for child in node.children:
            if child.node_id not in seen:
                seen.add(child.node_id)
                reached.append((child.node_id, f"{place}/{child.local_name}"))
    return places


class _Digester:
    """Digests of the tensors of one graph, each from its operation, its attributes and the digests of its inputs."""

    def __init__(
        self,
        functions: dict[str, function_pb2.FunctionDef],
        nodes: dict[str, node_def_pb2.NodeDef],
        arguments: dict[str, str],
    ):
        """Takes the library's functions and the graph's nodes by name, and the digests of the graph's arguments."""
        self._functions = functions
        self._nodes = nodes
        self._arguments = arguments
        self._digests: dict[str, str] = {}

    def digest(self, tensor: str) -> str:
        """Digests a tensor such as "add:0", its inputs first. A network is too deep for recursion."""
        waiting = [tensor]
        while waiting:
            missing = [i for i in self._list_inputs(waiting[-1]) if i not in self._digests]
            if missing:
                waiting += missing
            elif (last := waiting.pop()) not in self._digests:
                self._digests[last] = self._digest(last)
        return self._digests[tensor]

    def _list_inputs(self, tensor: str) -> list[str]:
        name = tensor.split(":")[0]
        return [] if name in self._arguments else [i for i in self._nodes[name].input if not i.startswith("^")]

    def _digest(self, tensor: str) -> str:
        name, *output = tensor.split(":")
        if name in self._arguments:
            return self._arguments[name]
        node = self._nodes[name]
        inputs = [self._digests[i] for i in self._list_inputs(tensor)]
        if node.op in _CALLS:  # other outputs of the function do not count
            return self._digest_function(node.attr["f"].func.name, inputs, [int(output[-1]) if output else 0])
        if node.op == "Placeholder":
            return _hash("Placeholder", name)
        # Attributes that begin with "_" are hints: shapes, devices, suggested names.
        attributes = [(key, self._describe(value)) for key, value in sorted(node.attr.items()) if key[0] != "_"]
        return _hash(node.op, attributes, inputs, output)

    def _digest_function(self, name: str, arguments: Sequence[str], outputs: Sequence[int] | None = None) -> str:
        function = self._functions[name]
        names = [argument.name for argument in function.signature.input_arg]
        inside = _Digester(
            self._functions, {node.name: node for node in function.node_def}, dict(zip(names, arguments, strict=True))
        )
        returned = [function.ret[argument.name] for argument in function.signature.output_arg]
        return _hash([inside.digest(returned[i]) for i in (outputs or range(len(returned)))])

    def _describe(self, value: attr_value_pb2.AttrValue) -> str:
        """Describes an attribute by its value; functions (branches, loop bodies) by the digests of their bodies."""
        functions = [value.func] if value.HasField("func") else value.list.func
        return repr([self._digest_body(f.name) for f in functions]) if functions else str(value)

    def _digest_body(self, name: str) -> str:
        count = len(self._functions[name].signature.input_arg)
        return self._digest_function(name, [f"argument {i}" for i in range(count)])


def _hash(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()
