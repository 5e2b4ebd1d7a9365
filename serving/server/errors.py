"""Error answers of the server, with one exception class for gRPC and REST."""

import grpc
import tensorflow as tf

# HTTP status by gRPC code, as ToHTTPStatusCode in TensorFlow Serving's http_server.cc.
_HTTP_STATUS = {
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.UNAUTHENTICATED: 401,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_MAX_CHARACTERS = 500  # of a message of TensorFlow; gRPC carries a message in 8 KB of headers


class ServingError(Exception):
    """Error answer to a request.

    Attributes:
        code: status code of gRPC.
        message: text for the client; the one of TensorFlow Serving where it is known.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        """Stores the status code and the message."""
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """HTTP status of the answer by REST; 500 for an error of the server itself."""
        return _HTTP_STATUS.get(self.code, 500)


def invalid_argument(message: str) -> ServingError:
    """Returns an INVALID_ARGUMENT error: the request itself is wrong, in any state of the server."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """Returns a NOT_FOUND error: the server has no such model or version."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """Returns a FAILED_PRECONDITION error: the model does not support the request, or not yet."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> ServingError:
    """Returns an UNIMPLEMENTED error: this server lacks the requested function."""
    return ServingError(grpc.StatusCode.UNIMPLEMENTED, message)


def to_serving_error(error: Exception) -> ServingError:
    """Converts an error of TensorFlow to an error answer, without the names of graph nodes.

    Args:
        error: error that a call of TensorFlow raised; INVALID_ARGUMENT if the error has no code.
    """
    code = grpc.StatusCode.INVALID_ARGUMENT
    if isinstance(error, tf.errors.OpError):
        code = _CODES.get(error.error_code, grpc.StatusCode.INTERNAL)
    return ServingError(code, read_message(error))


def read_message(error: Exception) -> str:
    r"""Returns the first line of an error's message, with raw bytes as \xff.

    TensorFlow repeats unreadable input in its messages, such as an image that was parsed as a tf.Example. Its Python
    binding decodes the message as UTF-8, and on invalid bytes raises UnicodeDecodeError in place of the original error.
    """
    if isinstance(error, UnicodeDecodeError):
        text = bytes(error.object).decode(errors="backslashreplace")
    else:
        text = str(error.message if isinstance(error, tf.errors.OpError) else error)
    # The lines below the reason name the graph node and the places where the called functions are defined.
    reason = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return reason if len(reason) <= _MAX_CHARACTERS else reason[:_MAX_CHARACTERS] + "..."
