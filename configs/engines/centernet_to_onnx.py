#!/usr/bin/env python3
"""Turns CenterNet-MobileNetV3, as the npm package @vladmandic/human carries it for TensorFlow.js, into ONNX.

usage: centernet_to_onnx.py INSTALLATION

Writes centernet.onnx into the folder. Only the two heads are kept: keypoints (1, 128, 128, 80), how sure it is of each
class at each place, and wh (1, 128, 128, 4), the box around the place. The same weights give the same bytes.
"""
import base64
import json
import pathlib
import sys

import numpy
import onnx
from onnx import TensorProto, helper, numpy_helper

HEADS = ("keypoints", "wh")


class Source:
    """The graph and the weights of TensorFlow.js."""

    def __init__(self, folder):
        model = json.loads((folder / "centernet.json").read_text())
        self.nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        self.weights = {}
        raw, at = (folder / "centernet.bin").read_bytes(), 0
        for weight in model["weightsManifest"][0]["weights"]:
            stored = weight.get("quantization", weight)["dtype"]
            kind = numpy.dtype({"float16": "<f2", "float32": "<f4", "int32": "<i4"}[stored])
            count = int(numpy.prod(weight["shape"], dtype=numpy.int64))
            values = numpy.frombuffer(raw, kind, count, at).reshape(weight["shape"])
            self.weights[weight["name"]] = values.astype(numpy.float32 if kind.kind == "f" else numpy.int64)
            at += count * kind.itemsize
        if at != len(raw):
            sys.exit("centernet.bin has more bytes than its manifest tells of")

    def weight(self, name):
        """A constant, looked at through Identity."""
        node = self.nodes[name.split(":")[0]]
        return self.weights[node["name"]] if node["op"] == "Const" else self.weight(node["input"][0])


class Converter:
    """Follows the graph from its heads to its input. TensorFlow's pictures are NHWC, ONNX's NCHW: around each operation
    that minds there are transpositions, which the runtime removes where they meet."""

    ELEMENTWISE = {"Mul": "Mul", "Add": "Add", "AddV2": "Add", "Sub": "Sub", "Relu": "Relu", "Sigmoid": "Sigmoid"}

    def __init__(self, source):
        self.source, self.nodes, self.constants, self._done = source, [], [], {}

    def add(self, operation, inputs, output, **attributes):
        self.nodes.append(helper.make_node(operation, inputs, [output], name=f"{output}/{operation}", **attributes))
        return output

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(numpy.ascontiguousarray(values), name))
        return name

    def output_of(self, name):
        name = name.lstrip("^").split(":")[0]
        if name not in self._done:
            self._done[name] = self._convert(self.source.nodes[name])
        return self._done[name]

    def _convert(self, node):
        operation, name, inputs, attributes = node["op"], node["name"], node.get("input", []), node.get("attr", {})
        if operation == "Placeholder":
            return name
        if operation == "Const":
            return self.constant(name, self.source.weights[name])
        if operation == "Identity":
            return self.output_of(inputs[0])
        if operation in self.ELEMENTWISE:
            return self.add(self.ELEMENTWISE[operation], [self.output_of(one) for one in inputs], name)
        if operation == "Relu6":
            bounds = [self.constant(f"{name}/{end}", numpy.float32(value)) for end, value in (("low", 0), ("high", 6))]
            return self.add("Clip", [self.output_of(inputs[0]), *bounds], name)
        if operation == "Mean":
            axes = self.constant(name + "/axes", self.source.weight(inputs[1]).reshape(-1))
            keep = int(attributes.get("keep_dims", {}).get("b", False))
            return self.add("ReduceMean", [self.output_of(inputs[0]), axes], name, keepdims=keep)
        if operation == "ConcatV2":
            parts = [self.output_of(one) for one in inputs[:-1]]
            return self.add("Concat", parts, name, axis=int(self.source.weight(inputs[-1])))
        if operation == "Reshape":
            return self.add("Reshape", [self.output_of(one) for one in inputs], name)
        if operation == "ResizeBilinear":
            return self._resize(name, inputs, attributes)
        if operation in ("_FusedConv2D", "Conv2D", "FusedDepthwiseConv2dNative", "DepthwiseConv2dNative", "MaxPool"):
            return self._window(operation, name, inputs, attributes)
        sys.exit(f"the graph has an operation that is not known here: {operation} ({name})")

    def _to_nchw(self, value, name):
        return self.add("Transpose", [value], name + "/nchw", perm=[0, 3, 1, 2])

    def _resize(self, name, inputs, attributes):
        picture = self._to_nchw(self.output_of(inputs[0]), name)
        ends = [self.constant(f"{name}/{end}", numpy.array([value], numpy.int64)) for end, value in (("from", 0), ("to", 2))]
        shape = self.add("Shape", [picture], name + "/shape")
        outer = self.add("Slice", [shape, *ends], name + "/outer")
        inner = self.constant(name + "/inner", self.source.weight(inputs[1]))
        sizes = self.add("Concat", [outer, inner], name + "/sizes", axis=0)
        flags = {flag for flag in ("align_corners", "half_pixel_centers") if attributes.get(flag, {}).get("b", False)}
        mode = "align_corners" if "align_corners" in flags else "half_pixel" if flags else "asymmetric"
        resized = self.add("Resize", [picture, "", "", sizes], name + "/resized", mode="linear",
                           coordinate_transformation_mode=mode)
        return self.add("Transpose", [resized], name, perm=[0, 2, 3, 1])

    def _window(self, operation, name, inputs, attributes):
        def numbers(key, default):
            return [int(value) for value in attributes.get(key, {}).get("list", {}).get("i", default)][1:3]

        def text(encoded):
            return base64.b64decode(encoded).decode()

        picture = self._to_nchw(self.output_of(inputs[0]), name)
        common = {"strides": numbers("strides", [1] * 4),
                  "auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[text(attributes["padding"]["s"])]}
        if operation == "MaxPool":
            pooled = self.add("MaxPool", [picture], name + "/y", kernel_shape=numbers("ksize", [1] * 4), **common)
            return self.add("Transpose", [pooled], name, perm=[0, 2, 3, 1])
        weights, depthwise = self.source.weight(inputs[1]), "epthwise" in operation
        if depthwise and weights.shape[3] != 1:
            sys.exit(f"{name}: more than one filter for a channel")
        kernel = weights.transpose(2, 3, 0, 1) if depthwise else weights.transpose(3, 2, 0, 1)
        after = [text(one) for one in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
        arguments = [picture, self.constant(name + "/kernel", kernel)]
        if "BiasAdd" in after:
            arguments.append(self.constant(name + "/bias", self.source.weight(inputs[2])))
        value = self.add("Conv", arguments, name + "/y", group=weights.shape[2] if depthwise else 1,
                         dilations=numbers("dilations", [1] * 4), **common)
        for step in after:
            if step == "Relu6":
                bounds = [self.constant(f"{name}/{end}", numpy.float32(bound)) for end, bound in (("low", 0), ("high", 6))]
                value = self.add("Clip", [value, *bounds], name + "/active")
            elif step == "Relu":
                value = self.add("Relu", [value], name + "/active")
        return self.add("Transpose", [value], name, perm=[0, 2, 3, 1])


def main():
    folder = pathlib.Path(sys.argv[1])
    converter = Converter(Source(folder / "npm" / "@vladmandic" / "human" / "models"))
    for head in HEADS:
        converter.add("Identity", [converter.output_of("tower_0/" + head)], head)
    shapes = {"keypoints": [1, 128, 128, 80], "wh": [1, 128, 128, 4]}
    graph = helper.make_graph(
        converter.nodes, "centernet",
        [helper.make_tensor_value_info("tower_0/images", TensorProto.FLOAT, [1, 512, 512, 3])],
        [helper.make_tensor_value_info(head, TensorProto.FLOAT, shapes[head]) for head in HEADS], converter.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(folder / "centernet.onnx"))


if __name__ == "__main__":
    main()
