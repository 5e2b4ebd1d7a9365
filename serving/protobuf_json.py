"""Conversion of protobuf messages to JSON objects, in the form of TensorFlow Serving's REST API."""

from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message


def to_dict(message: Message) -> dict[str, Any]:
    """Converts a message to a dict with every field, set or not, under the field names of its .proto.

    protobuf 5 renamed the argument that keeps unset fields.
    """
    names = {"preserving_proto_field_name": True}
    try:
        return dict(json_format.MessageToDict(message, always_print_fields_with_no_presence=True, **names))
    except TypeError:
        return dict(json_format.MessageToDict(message, including_default_value_fields=True, **names))
