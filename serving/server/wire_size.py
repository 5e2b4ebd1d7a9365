"""Estimates the memory that a protobuf message takes once it is parsed, from its bytes.

The parser makes an object of each string and message, also of an empty one, which is two bytes on the wire: 30 MB
become 1 GB before a server sees the request.
"""

import contextlib
import functools

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from serving.server.errors import invalid_argument
from serving.server.memory import Size

_MOST_FIELDS = 1_000_000  # a walk over as many takes 1 s
_FIELDS_A_MESSAGE = 10  # that a message counts for, besides those in it
_COPIES = 5  # of all bytes: as they came, in the message, in numpy, and in TensorFlow
_FIELD = 64  # bytes; a string in C++, with what malloc adds and the pointer to it
_MESSAGE = 400  # bytes; a TensorProto is the largest of those that repeat
_PACKED = 24  # bytes; a number, which may be one byte on the wire, in an array that is enlarged while it is read
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
    """Returns an upper estimate of the memory that a message takes once it is parsed, and its tensors are arrays.

    Args:
        data: as it is on the wire; if it is cut off, what there is counts, for the parser says so.
        descriptor: the type of the message.
    Raises:
        ServingError: if there are more than 1,000,000 fields.
    """
    total, fields = _COPIES * len(data), 0
    parts = [(0, len(data), descriptor)]
    with contextlib.suppress(IndexError):
        while parts:
            more, count = _measure_fields(data, parts, *parts.pop())
            total, fields = total + more + count * _FIELD, fields + count
            if fields > _MOST_FIELDS:
                raise invalid_argument(
                    f"The request has more than {_MOST_FIELDS} strings, tensors and other fields, which is the "
                    "maximum: send fewer in a request"
                )
    return Size(total, f"{len(data)} bytes, {fields} strings, tensors and other fields. Send less in a request")


def _measure_fields(
    data: bytes, parts: list[tuple[int, int, Descriptor]], at: int, end: int, descriptor: Descriptor
) -> tuple[int, int]:
    """Walks over the fields of one message, and adds the messages in it to the parts that are left.

    Returns:
        The memory of what is in the fields, and their number.
    """
    total = fields = 0
    types = _list_types(descriptor)
    while at < end and fields <= _MOST_FIELDS:
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
    """Returns the type of each field by its number: of a message, or whether it is a number of any length."""
    return {field.number: (field.message_type, field.type in _VARINTS) for field in descriptor.fields}


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the number at a place, and the place behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
