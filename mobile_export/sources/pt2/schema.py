"""The JSON of a ``.pt2`` archive as typed records: what a static program of plain tensors needs.

The fields are those of ``torch/_export/serde/schema.py`` (schema 8, PyTorch 2.13 and 2.14). A field
that is not listed here is an error. What no static program holds (symbolic sizes, graphs inside
graphs, custom objects) is kept as the bytes that stand in the file, so that an error can name it;
these bytes are never parsed. Names of values become names in generated source text, so they are
identifiers; other texts are compared with what is expected, or dropped.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

__all__ = [
    "Argument",
    "Constant",
    "Graph",
    "GraphModule",
    "InputSpec",
    "ModelProgram",
    "NamedArgument",
    "Node",
    "OutputSpec",
    "PayloadConfig",
    "Signature",
    "SymInt",
    "TensorArgument",
    "TensorMeta",
    "TensorPayload",
    "Tree",
    "decode",
    "only",
]

T = TypeVar("T")

Extent = Annotated[int, Meta(ge=0, le=2**40)]
Integer = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z_][A-Za-z0-9_]*\Z", max_length=1000)]
Path = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*\Z", max_length=2000)]
"""Of a parameter or buffer, such as blocks.0.weight."""
ModuleName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.@]*\Z", max_length=2000)]
"""Of a module; blocks.0@1 is the second call of blocks.0."""
Payload = Annotated[str, Meta(pattern=r"\A(weight|tensor)_[0-9]+\Z", max_length=40)]
Number = float | Literal["Infinity", "-Infinity", "NaN"]


class Strict(Struct, forbid_unknown_fields=True):
    """A record in which unknown fields are errors."""


class SymInt(Strict):
    """An integer, or an expression of symbols."""

    as_int: Annotated[int, Meta(ge=0, le=2**40)] | UnsetType = UNSET
    as_expr: Raw | UnsetType = UNSET


class Device(Strict):
    type: Annotated[str, Meta(max_length=40)]
    index: int | None = None


class TensorMeta(Strict):
    """Shape and layout in memory of a tensor; ``dtype`` and ``layout`` are PyTorch's numbers."""

    dtype: int
    sizes: Annotated[list[SymInt], Meta(max_length=64)]
    requires_grad: bool
    device: Device
    strides: Annotated[list[SymInt], Meta(max_length=64)]
    storage_offset: SymInt
    layout: int


class TensorArgument(Strict):
    name: Name


class OptionalTensor(Strict):
    as_tensor: TensorArgument | UnsetType = UNSET
    as_none: bool | UnsetType = UNSET


class Complex(Strict):
    real: Number
    imag: Number


class Argument(Strict):
    """One value of one kind: exactly one field is set. Fields of type Raw are refused."""

    as_none: bool | UnsetType = UNSET
    as_tensor: TensorArgument | UnsetType = UNSET
    as_tensors: list[TensorArgument] | UnsetType = UNSET
    as_optional_tensors: list[OptionalTensor] | UnsetType = UNSET
    as_int: Integer | UnsetType = UNSET
    as_ints: list[Integer] | UnsetType = UNSET
    as_float: Number | UnsetType = UNSET
    as_floats: list[Number] | UnsetType = UNSET
    as_string: str | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET
    as_bools: list[bool] | UnsetType = UNSET
    as_scalar_type: int | UnsetType = UNSET
    as_memory_format: int | UnsetType = UNSET
    as_layout: int | UnsetType = UNSET
    as_device: Device | UnsetType = UNSET
    as_complex: Complex | UnsetType = UNSET
    as_sym_int: Raw | UnsetType = UNSET
    as_sym_ints: Raw | UnsetType = UNSET
    as_sym_bool: Raw | UnsetType = UNSET
    as_sym_bools: Raw | UnsetType = UNSET
    as_sym_float: Raw | UnsetType = UNSET
    as_sym_floats: Raw | UnsetType = UNSET
    as_strings: Raw | UnsetType = UNSET
    as_graph: Raw | UnsetType = UNSET
    as_custom_obj: Raw | UnsetType = UNSET
    as_opaque_obj: Raw | UnsetType = UNSET
    as_operator: Raw | UnsetType = UNSET
    as_optional_tensor: Raw | UnsetType = UNSET
    as_nested_tensors: Raw | UnsetType = UNSET
    as_int_lists: Raw | UnsetType = UNSET
    as_float_lists: Raw | UnsetType = UNSET
    as_string_to_argument: Raw | UnsetType = UNSET


class NamedArgument(Strict):
    """``name`` is the operator's own; ``kind``: 1 positional, 2 keyword."""

    name: Annotated[str, Meta(max_length=200)]
    arg: Argument
    kind: int | None = None


class Node(Strict):
    """One call. ``metadata`` is text for people; only the names of modules in it are kept."""

    target: str
    inputs: Annotated[list[NamedArgument], Meta(max_length=256)]
    outputs: list[Argument]
    metadata: dict[str, str]
    is_hop_single_tensor_return: bool | None = None
    name: Name | None = None


class Graph(Strict):
    """``inputs`` are placeholders; ``nodes`` are in the order in which they are computed."""

    inputs: list[Argument]
    outputs: list[Argument]
    nodes: Annotated[list[Node], Meta(max_length=200_000)]
    tensor_values: dict[Name, TensorMeta]
    sym_int_values: dict[str, Raw]
    sym_bool_values: dict[str, Raw]
    is_single_tensor_return: bool = False
    custom_obj_values: dict[str, Raw] = {}
    sym_float_values: dict[str, Raw] = {}


class UserInput(Strict):
    arg: Argument


class ParameterInput(Strict):
    arg: TensorArgument
    parameter_name: Path


class BufferInput(Strict):
    arg: TensorArgument
    buffer_name: Path
    persistent: bool


class TensorConstantInput(Strict):
    arg: TensorArgument
    tensor_constant_name: Path


class Constant(Strict):
    """A number, a text or nothing in the place of an input."""

    as_none: bool | UnsetType = UNSET
    as_int: Integer | UnsetType = UNSET
    as_float: Number | UnsetType = UNSET
    as_string: Annotated[str, Meta(max_length=1000)] | UnsetType = UNSET
    as_bool: bool | UnsetType = UNSET


class ConstantInput(Strict):
    name: Name
    value: Constant


class InputSpec(Strict):
    """What a placeholder stands for: exactly one field is set."""

    user_input: UserInput | UnsetType = UNSET
    parameter: ParameterInput | UnsetType = UNSET
    buffer: BufferInput | UnsetType = UNSET
    tensor_constant: TensorConstantInput | UnsetType = UNSET
    constant_input: ConstantInput | UnsetType = UNSET
    custom_obj: Raw | UnsetType = UNSET
    token: Raw | UnsetType = UNSET


class UserOutput(Strict):
    arg: Argument


class BufferMutation(Strict):
    arg: TensorArgument
    buffer_name: Path


class InputMutation(Strict):
    arg: TensorArgument
    user_input_name: Name


class OutputSpec(Strict):
    """What an output stands for: exactly one field is set."""

    user_output: UserOutput | UnsetType = UNSET
    buffer_mutation: BufferMutation | UnsetType = UNSET
    user_input_mutation: InputMutation | UnsetType = UNSET
    loss_output: Raw | UnsetType = UNSET
    parameter_mutation: Raw | UnsetType = UNSET
    gradient_to_parameter: Raw | UnsetType = UNSET
    gradient_to_user_input: Raw | UnsetType = UNSET
    token: Raw | UnsetType = UNSET


class Signature(Strict):
    input_specs: list[InputSpec]
    output_specs: list[OutputSpec]


class ModuleCallSignature(Strict):
    """``in_spec`` and ``out_spec`` are JSON again: see `Tree`."""

    inputs: list[Argument]
    outputs: list[Argument]
    in_spec: str
    out_spec: str
    forward_arg_names: list[Name] | None = None


class ModuleCallEntry(Strict):
    fqn: ModuleName
    signature: ModuleCallSignature | None = None


class GraphModule(Strict):
    graph: Graph
    signature: Signature
    module_call_graph: list[ModuleCallEntry]
    metadata: dict[str, str] = {}
    treespec_namedtuple_fields: dict[str, Raw] = {}


class SchemaVersion(Strict):
    major: int
    minor: int


class ModelProgram(Strict):
    """``models/model.json``."""

    graph_module: GraphModule
    opset_version: dict[str, int]
    range_constraints: dict[str, Raw]
    schema_version: SchemaVersion
    verifiers: list[str] = []
    torch_version: str = ""
    guards_code: list[str] = []


class TensorPayload(Strict):
    """Where the bytes of a tensor stand; several tensors may share them."""

    path_name: Annotated[str, Meta(max_length=200)]
    is_param: bool
    use_pickle: bool
    tensor_meta: TensorMeta | None


class PayloadConfig(Strict):
    """``model_weights_config.json`` and ``model_constants_config.json``."""

    config: dict[Path, TensorPayload]


class Tree(Strict):
    """How inputs or outputs are nested: a leaf has type None."""

    type: str | None
    context: str | None
    children_spec: list[Tree]


def decode(content: bytes | str, kind: type[T]) -> T:
    """``content`` as a record of this kind.

    Raises:
        ValueError: it is not JSON, or not of this kind; the message says where.
        RecursionError: it is nested too deeply.
    """
    return msgspec.json.decode(content, type=kind)


def only(record: Struct) -> tuple[str, Any]:
    """Name and value of the one field of a union that is set.

    Raises:
        ValueError: none is set, or several are.
    """
    found = [
        (name, value)
        for name in record.__struct_fields__
        if (value := getattr(record, name)) is not UNSET
    ]
    if len(found) != 1:
        raise ValueError(
            f"a {type(record).__name__} has {len(found)} values ({', '.join(n for n, _ in found)})"
        )
    return found[0]
