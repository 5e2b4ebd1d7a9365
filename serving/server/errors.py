"""What a request is answered when it cannot be served; one kind of error for gRPC and REST."""

import grpc
import tensorflow as tf

# As TensorFlow Serving's http_server.cc, ToHTTPStatusCode.
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
_LONGEST = 500  # characters of TensorFlow's that are repeated; gRPC carries a message in 8 KB of headers


class ServingError(Exception):
    """An answer that is an error.

    Attributes:
        code: gRPC's.
        message: what TensorFlow Serving says in that case, where it is known.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        """Takes what the client is to see."""
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def http_status(self) -> int:
        """What REST answers; 500 for whatever is the server's fault."""
        return _HTTP_STATUS.get(self.code, 500)


def invalid_argument(message: str) -> ServingError:
    """The request itself is wrong, whatever state the server is in."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


def not_found(message: str) -> ServingError:
    """No such model or version."""
    return ServingError(grpc.StatusCode.NOT_FOUND, message)


def failed_precondition(message: str) -> ServingError:
    """Not with this model, or not yet."""
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)


def unimplemented(message: str) -> ServingError:
    """This server does not have it."""
    return ServingError(grpc.StatusCode.UNIMPLEMENTED, message)


def explain(error: Exception) -> ServingError:
    """Turns an error of TensorFlow's into an answer, without the place in the graph.

    Args:
        error: what a call of TensorFlow raised; one that carries no code is taken for the client's fault.
    """
    code = grpc.StatusCode.INVALID_ARGUMENT
    if isinstance(error, tf.errors.OpError):
        code = _CODES.get(error.error_code, grpc.StatusCode.INTERNAL)
    return ServingError(code, read_message(error))


def read_message(error: Exception) -> str:
    r"""Returns the first line of an error's message, with raw bytes as \xff.

    TensorFlow repeats what it could not read, such as an image taken for a tf.Example. Its Python binding makes a str
    of that message, and where it is no UTF-8, raises UnicodeDecodeError instead of TensorFlow's own error.
    """
    if isinstance(error, UnicodeDecodeError):
        text = bytes(error.object).decode(errors="backslashreplace")
    else:
        text = str(error.message if isinstance(error, tf.errors.OpError) else error)
    # Below the reason stand the node, and for each function that was called, where it was defined.
    reason = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    return reason if len(reason) <= _LONGEST else reason[:_LONGEST] + "..."
