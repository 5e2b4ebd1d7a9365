"""What a request is answered when it cannot be served; one kind of error for gRPC and REST."""

import grpc

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
