"""Protobuf messages as JSON has them, in the form of TensorFlow Serving's REST API."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message


def to_dict(message: Message) -> dict[str, Any]:
    """A message with every field, set or not, under the names of its .proto; protobuf 5 has another word for that."""
    names = {"preserving_proto_field_name": True}
    try:
        return dict(json_format.MessageToDict(message, always_print_fields_with_no_presence=True, **names))
    except TypeError:
        return dict(json_format.MessageToDict(message, including_default_value_fields=True, **names))
