"""From a policy to the bytes of an ONNX file, by torch's exporter."""

import json
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from distpg.errors import InputError, format_error
from distpg.onnx.interface import Interface, Port, example_inputs, unique
from distpg.policy.custom import CustomEncoder
from distpg.policy.greedy import GreedyPolicy

LARGEST = 2**31 - 2**20
"""Bytes of weights that fit into a file, which is a protobuf message of at most 2 GB."""


def onnx_bytes(greedy: GreedyPolicy, interface: Interface, facts: Mapping[str, str]) -> bytes:
    """Return a policy as an ONNX file.

    Args:
        greedy: The policy.
        interface: The names of its inputs and outputs.
        facts: Texts that the file holds beside the graph, by their names.

    Raises:
        InputError: it is too large, or a user-defined encoder cannot be traced or has an operation
            that ONNX lacks.
    """
    size = sum(tensor.nbytes for tensor in greedy.state_dict().values())
    if size > LARGEST:
        raise InputError(f"the policy has {size:,} bytes, and an ONNX file holds 2 GB")
    encoder = greedy.policy.encoder
    try:
        model = traced(greedy)
    except Exception as error:
        if not isinstance(encoder, CustomEncoder):
            raise
        raise InputError(
            f"--encoder {encoder.name} cannot be exported: {format_error(root_of(error))}"
        ) from error
    rename(model.graph, interface)
    tidy(model.graph)
    texts = {**facts, "inputs": as_json(interface.inputs), "outputs": as_json(interface.outputs)}
    for name, text in texts.items():
        model.metadata_props.add(key=name, value=text)
    return model.SerializeToString(deterministic=True)


def traced(greedy: GreedyPolicy) -> Any:
    """Return a policy for any batch size as an `onnx.ModelProto`."""
    batch = torch.export.Dim("batch")
    inputs = example_inputs(greedy)
    shapes = (tuple({0: batch} for _ in inputs),)
    with quiet():
        program = torch.export.export(greedy, inputs, dynamic_shapes=shapes)
        program = program.run_decompositions({torch.ops.aten.softplus.default: softplus})
        exported = torch.onnx.export(program, verbose=False)
    assert exported is not None, "only the older exporter returns nothing"
    return exported.model_proto


def softplus(x: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """Return log(1 + exp(x)) for float64, by operations that onnxruntime has for float64."""
    if x.dtype != torch.float64:
        return NotImplemented
    small = (-(beta * x).abs()).exp()
    above = 1 + small
    # log(1 + small) without rounding `small` to nothing
    tail = torch.where(above == 1, small, above.log() * small / (above - 1))
    return x.clamp(min=0) + tail / beta


@contextmanager
def quiet() -> Generator[None]:
    """Context manager: the exporter logs and warns of nothing that a user could act on."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def root_of(error: BaseException) -> BaseException:
    """Return the error that was raised first, of which others tell more generally."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def rename(graph: Any, interface: Interface) -> None:
    """Give inputs and outputs their names, and no other value one of these."""
    ports = (*interface.inputs, *interface.outputs)
    ends = [value.name for value in (*graph.input, *graph.output)]
    names = dict(zip(ends, (port.name for port in ports), strict=True))
    inner = [tensor.name for tensor in graph.initializer]
    # an output that is left out has an empty name
    inner += [name for node in graph.node for name in node.output if name and name not in names]
    names |= dict(zip(inner, unique(inner, names.values()), strict=True))
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name = names[value.name]
    for node in nodes_of(graph):
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, also those within others."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes_of(attribute.g)


def tidy(graph: Any) -> None:
    """Name the batch axis, and remove what the exporter notes of the code, with paths of files."""
    # the sizes of what is between inputs and outputs, in which the axis has another name
    del graph.value_info[:]
    for port in (*graph.input, *graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "batch"
    for part in (graph, *nodes_of(graph), *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""


def as_json(ports: Sequence[Port]) -> str:
    """Return ports as JSON; -1 stands for the batch."""
    return json.dumps([{**asdict(port), "shape": [-1, *port.shape]} for port in ports])
