"""Estimate of the memory of a parsed protobuf message, from its bytes.

The parser makes an object of each string and message. An empty one has two bytes on the wire, so 30 MB may become 1 GB
before the server sees the request.
"""

import contextlib
import functools

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from serving.server.errors import invalid_argument
from serving.server.memory import Size

_MAX_FIELDS = 1_000_000  # walking over this number takes 1 s
_FIELDS_A_MESSAGE = 10  # weight of a message in the number of fields, besides its own fields
_COPIES = 5  # of all bytes: on the wire, in the message, in numpy and in TensorFlow
_FIELD = 64  # bytes; a C++ string with the overhead of malloc and a pointer
_MESSAGE = 400  # bytes; a TensorProto, the largest of the repeated messages
_PACKED = 24  # bytes; a number in a growing array, from as little as one byte on the wire
_VARINTS = frozenset(
    {
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
    }
)


def measure_message(data: bytes, descriptor: Descriptor) -> Size:
    """Returns an upper estimate of the memory in bytes of a parsed message and of the arrays of its tensors.

    Args:
        data: bytes of the message. A cut-off message is measured up to its end; the parser refuses it later.
        descriptor: type of the message.
    Raises:
        ServingError: if the message has more than 1,000,000 fields.
    """
    total, fields = _COPIES * len(data), 0
    parts = [(0, len(data), descriptor)]
    with contextlib.suppress(IndexError):
        while parts:
            more, count = _measure_fields(data, parts, *parts.pop())
            total, fields = total + more + count * _FIELD, fields + count
            if fields > _MAX_FIELDS:
                raise invalid_argument(
                    f"The request has more than {_MAX_FIELDS} strings, tensors and other fields, which is the "
                    "maximum: send fewer in a request"
                )
    return Size(total, f"{len(data)} bytes, {fields} strings, tensors and other fields. Send less in a request")


def _measure_fields(
    data: bytes, parts: list[tuple[int, int, Descriptor]], at: int, end: int, descriptor: Descriptor
) -> tuple[int, int]:
    """Measures the fields of one message and appends its submessages to `parts`.

    Returns:
        The memory of the fields in bytes, and their weighted number.
    """
    total = fields = 0
    types = _list_types(descriptor)
    while at < end and fields <= _MAX_FIELDS:
        tag, at = _read_varint(data, at)
        kind = tag & 7
        fields += 1
        if kind == 0:
            _, at = _read_varint(data, at)
        elif kind == 1:
            at += 8
        elif kind == 5:
            at += 4
        elif kind == 2:
            size, at = _read_varint(data, at)
            message, is_number = types.get(tag >> 3, (None, False))
            if message is not None:
                total += _MESSAGE
                fields += _FIELDS_A_MESSAGE
                parts.append((at, at + size, message))
            elif is_number:
                total += _PACKED * size
            at += size
    return total, fields


@functools.cache
def _list_types(descriptor: Descriptor) -> dict[int, tuple[Descriptor | None, bool]]:
    """Returns, by field number, the type of a message field and whether the field is a varint."""
    return {field.number: (field.message_type, field.type in _VARINTS) for field in descriptor.fields}


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Decodes the varint at an index; returns the number and the index behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
