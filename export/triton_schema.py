"""The part of Triton's model_config.proto that an export fills in, and its text form by protobuf.

Triton's own compiled schema comes with tritonclient, whose package wants gRPC. These few messages are declared
here instead, with their published names, numbers and types. A test holds them against tritonclient's.
"""

from __future__ import annotations

import functools
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]
    descriptor_pb2,
    descriptor_pool,
    json_format,
    message_factory,
    text_format,
)

_PACKAGE = "fdan_edge.triton"
#: Message -> field -> its number and type; a type in brackets is repeated.
MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ModelConfig": {
        "name": (1, "string"),
        "platform": (2, "string"),
        "version_policy": (3, "ModelVersionPolicy"),
        "max_batch_size": (4, "int32"),
        "input": (5, "[ModelInput]"),
        "output": (6, "[ModelOutput]"),
        "instance_group": (7, "[ModelInstanceGroup]"),
        "dynamic_batching": (11, "ModelDynamicBatching"),
        "optimization": (12, "ModelOptimizationPolicy"),
        "parameters": (14, "[ModelConfig.ParametersEntry]"),
        "model_warmup": (16, "[ModelWarmup]"),
        "backend": (17, "string"),
    },
    "ModelVersionPolicy": {"latest": (1, "ModelVersionPolicy.Latest")},
    "ModelVersionPolicy.Latest": {"num_versions": (1, "uint32")},
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "[int64]")},
    "ModelOutput": {
        "name": (1, "string"),
        "data_type": (2, "DataType"),
        "dims": (3, "[int64]"),
        "label_filename": (4, "string"),
    },
    "ModelInstanceGroup": {
        "count": (2, "int32"),
        "kind": (4, "ModelInstanceGroup.Kind"),
        "profile": (5, "[string]"),
    },
    "ModelDynamicBatching": {
        "preferred_batch_size": (1, "[int32]"),
        "max_queue_delay_microseconds": (2, "uint64"),
    },
    "ModelOptimizationPolicy": {"execution_accelerators": (4, "ModelOptimizationPolicy.ExecutionAccelerators")},
    "ModelOptimizationPolicy.ExecutionAccelerators": {
        "gpu_execution_accelerator": (1, "[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator]")
    },
    "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator": {
        "name": (1, "string"),
        "parameters": (2, "[ModelOptimizationPolicy.ExecutionAccelerators.Accelerator.ParametersEntry]"),
    },
    "ModelOptimizationPolicy.ExecutionAccelerators.Accelerator.ParametersEntry": {
        "key": (1, "string"),
        "value": (2, "string"),
    },
    "ModelConfig.ParametersEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelParameter": {"string_value": (1, "string")},
    "ModelWarmup": {
        "name": (1, "string"),
        "batch_size": (2, "uint32"),
        "inputs": (3, "[ModelWarmup.InputsEntry]"),
    },
    "ModelWarmup.InputsEntry": {"key": (1, "string"), "value": (2, "ModelWarmup.Input")},
    "ModelWarmup.Input": {"data_type": (1, "DataType"), "dims": (2, "[int64]"), "random_data": (4, "bool")},
}
#: Enumeration -> value -> its number.
ENUMS = {
    "DataType": {"TYPE_INVALID": 0, "TYPE_FP16": 10, "TYPE_FP32": 11},
    "ModelInstanceGroup.Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2},
}


def config_text(config: dict[str, Any]) -> str:
    """Write a model's configuration as protobuf's text format.

    Args:
        config: fields of ModelConfig; messages and maps' entries as dictionaries, enumerations by name.

    Raises:
        json_format.ParseError: a field or a value that the schema does not have.
    """
    message = json_format.ParseDict(config, _model_config()())
    text: str = text_format.MessageToString(message, use_short_repeated_primitives=True)
    return text


@functools.cache
def _model_config() -> Any:
    """Compile the schema; give the class of ModelConfig."""
    # Of syntax proto2, in which a field that was set is written even where it has its default: KIND_AUTO.
    file = descriptor_pb2.FileDescriptorProto(name="fdan_edge_triton.proto", package=_PACKAGE)
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=_flat(name))
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=_flat(name))
        for field, (number, kind) in fields.items():
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.ModelConfig"))


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    types = descriptor_pb2.FieldDescriptorProto
    label = types.LABEL_REPEATED if kind.startswith("[") else types.LABEL_OPTIONAL
    kind = kind.strip("[]")
    field = message.field.add(name=name, number=number, label=label)
    if kind in MESSAGES or kind in ENUMS:
        field.type = types.TYPE_MESSAGE if kind in MESSAGES else types.TYPE_ENUM
        field.type_name = f".{_PACKAGE}.{_flat(kind)}"
    else:
        field.type = types.Type.Value(f"TYPE_{kind.upper()}")


def _flat(name: str) -> str:
    """Name a nested type; where it is nested makes no difference to the text."""
    return name.replace(".", "_")
