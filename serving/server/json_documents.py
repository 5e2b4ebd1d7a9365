"""Parser of JSON request bodies; each fault of a body is an INVALID_ARGUMENT error."""

import collections
import json
import re
from typing import Any

from serving.server.errors import ServingError, invalid_argument
from serving.server.memory import Size

NUMBER_TOO_BIG = "JSON Parse error: Number too big to be stored in double."

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_SPACE = re.compile(r"[ \t\n\r]*")
# Beginning of Python's message for a syntax error to the message of rapidjson's GetParseError_En.
_SYNTAX_ERRORS = {
    "Expecting value": "Invalid value.",
    "Expecting property name": "Missing a name for object member.",
    "Expecting ':'": "Missing a colon after a name of object member.",
    "Expecting ','": "Missing a comma or a closing bracket after an object member or an array element.",
    "Illegal trailing comma before end of object": "Missing a name for object member.",
    "Illegal trailing comma before end of array": "Invalid value.",
    "Invalid \\u": "Incorrect hex digit after \\u escape in string.",
    "Invalid \\esc": "Invalid escape character in string.",
    "Invalid control": "Invalid encoding in string.",
    "Unterminated string": "Missing a closing quotation mark in string.",
}
_SURROGATE = re.compile(r"\\u[dD]")
# Memory in bytes of a parsed value, as Python object and in numpy; measured on bodies of 30 MB (Python 3.10).
_LIST, _OBJECT, _MEMBER, _STRING, _ELEMENT, _LONG_NUMBER = 90, 120, 130, 115, 30, 30
_TEXT, _WIDE_TEXT = (
    2,
    9,
)  # bytes of memory by byte of the body; one character beyond U+FFFF makes all characters four bytes wide
# Python shares the objects of small integers; a number of three and more characters takes an object of its own.
_NUMBER_LETTERS = bytes(ord("1") if chr(byte) in "0123456789+-.eE" else ord(" ") for byte in range(256))
_ECHOED = 200  # characters of a request that an error repeats; a request may hold an image
_ECHO = json.JSONEncoder(ensure_ascii=False)


class Constant(float):
    """NaN, Infinity or -Infinity as written by the client.

    A plain infinite float, in contrast, is a number that was too large for a float.
    """


def load(body: bytes | bytearray) -> dict[str, Any]:
    """Parses the body of a request.

    Args:
        body: JSON in UTF-8; NaN, Infinity and -Infinity are numbers. Text after the document is ignored.
    Returns:
        The JSON object as a dict.
    Raises:
        ServingError: if the body is no JSON object, or an object in the body has two members of one name.
    """
    document = _parse(body)
    if type(document) is not dict:
        raise document_error(document, "Is not object")
    return document


def measure(body: bytes | bytearray) -> Size:
    """Returns an upper estimate of the memory in bytes of a body that is parsed and converted to arrays.

    Counts characters without parsing. Parsing 30 MB of empty lists takes gigabytes and half a minute; counting takes
    0.2 s.
    """
    lists, objects, members, elements = map(body.count, (b"[", b"{", b":", b","))
    strings = body.count(b'"') // 2 - body.count(b'""')
    numbers = body.translate(_NUMBER_LETTERS).count(b" 111")
    num_bytes = (
        (_TEXT if body.isascii() else _WIDE_TEXT) * len(body)
        + lists * _LIST
        + objects * _OBJECT
        + members * _MEMBER
        + max(strings, 0) * _STRING
        + elements * _ELEMENT
        + numbers * _LONG_NUMBER
    )
    return Size(
        num_bytes,
        f"{lists} lists, {objects} objects and {elements + 1} elements of JSON. Send fewer instances in a request, "
        "images as base64, or numbers by gRPC",
    )


def _parse(body: bytes | bytearray) -> Any:
    if body.startswith(_GZIP):
        raise invalid_argument(
            "JSON Parse error: Invalid value. at offset: 0. The body is compressed with gzip, which this server does "
            "not read: send it uncompressed"
        )
    try:
        text = body.removeprefix(_BYTE_ORDER_MARK).decode()
        document, _ = _DECODER.raw_decode(text, _skip_space(text))
        if _SURROGATE.search(text):
            # Python decodes half of a surrogate pair to a string that is no valid text.
            json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _syntax_error(error) from None
    except UnicodeDecodeError as error:
        raise invalid_argument(f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except UnicodeEncodeError:
        raise invalid_argument("JSON Parse error: The surrogate pair in string is invalid.") from None
    except RecursionError:
        raise invalid_argument("JSON Parse error: Lists and objects are nested too deeply.") from None
    except ValueError:  # Python reads no integer of more than 4300 digits
        raise invalid_argument(NUMBER_TOO_BIG) from None
    return document


def _skip_space(text: str) -> int:
    """Returns the index of the first character that is no whitespace."""
    space = _SPACE.match(text)
    return space.end() if space else 0


def _to_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise invalid_argument(f"JSON Parse error: Two members of an object have the name: {_find_duplicate(pairs)}")
    return result


def _find_duplicate(pairs: list[tuple[str, Any]]) -> str:
    names = collections.Counter(name for name, _ in pairs)
    return describe(names.most_common(1)[0][0])


_DECODER = json.JSONDecoder(parse_constant=Constant, object_pairs_hook=_to_object)


def _syntax_error(error: json.JSONDecodeError) -> ServingError:
    if not error.doc.strip():
        return invalid_argument("JSON Parse error: The document is empty")
    words = next((words for begin, words in _SYNTAX_ERRORS.items() if error.msg.startswith(begin)), f"{error.msg}.")
    offset = len(error.doc[: error.pos].encode())
    return invalid_argument(f"JSON Parse error: {words} at offset: {offset}")


def document_error(document: Any, problem: str) -> ServingError:
    """Returns the error for a fault of the whole document."""
    return invalid_argument(f"JSON Value: {describe(document)} {problem}")


def get_signature_name(document: dict[str, Any]) -> str:
    """Returns the signature name of a request; "" if the request names none."""
    name = document.get("signature_name", "")
    if type(name) is not str:
        raise document_error(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def truncate(text: str) -> str:
    """Cuts a text of a request to 200 characters, for an error message."""
    return text if len(text) <= _ECHOED else text[:_ECHOED] + "..."


def describe(value: Any) -> str:
    """Returns the first 200 characters of a JSON value for an error message; encodes no more than those."""
    text = ""
    for piece in _ECHO.iterencode(value):
        text += piece
        if len(text) > _ECHOED:
            break
    return truncate(text)


def name_type(value: Any) -> str:
    """Returns the name of a JSON value's type in rapidjson."""
    if value is None or isinstance(value, bool):
        return "Null" if value is None else str(value)
    names: dict[type, str] = {dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")
