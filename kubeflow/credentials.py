"""Credentials for Kubeflow Pipelines: read, checked, and hidden in every text that is printed.

kfp passes a token, cookie or header on as it comes. An odd one makes `http.client` raise an error that holds its
beginning, and a proxy may repeat one in its answer. So this module reads the files itself and refuses what no request
can carry, without a word of the content; and `hide` masks the credentials of a request in a message about it.
"""

import json
import os
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from kfp.client.token_credentials_base import TokenCredentialsBase

from schema.errors import GraftError, UsageError
from serving.storage.regular import read_regular

TOKEN_FILE = "KF_PIPELINES_SA_TOKEN_PATH"
CONTEXT = "~/.config/kfp/context.json"
_MOST_BYTES = 1 << 16  # far more than a token or a cookie; no server takes longer headers
_TOKEN = re.compile(rb"[A-Za-z0-9._~+/-]+=*")  # RFC 6750, section 2.1
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}")  # RFC 9110, section 5.1
_PLAIN = {"accept", "content-type", "content-length", "user-agent"}  # headers without credentials
_WINDOW = 6  # characters in a row that a message may not share with a credential
_SHORTEST = 3  # characters of a credential that is worth hiding


class FileToken(TokenCredentialsBase):
    """Token in a file, read anew for each request, because Kubernetes replaces the file."""

    def __init__(self, path: str):
        """Takes the path of the file, and reads it for a first time.

        Raises:
            UsageError: if the file cannot be read, or holds no token.
        """
        self._path = path
        read_token(path)

    def refresh_api_key_hook(self, config: Any) -> None:
        """Sets the token for the next request."""
        config.api_key["authorization"] = read_token(self._path)


def find_token() -> FileToken | None:
    """Returns the token of the file that the environment names; None if it names none."""
    path = os.environ.get(TOKEN_FILE)
    return FileToken(path) if path else None


def read_token(path: str) -> str:
    """Reads a token.

    Raises:
        UsageError: if the file cannot be read, or holds anything but one line with a token; the content is not shown.
    """
    # The token itself in place of the file's path is a likely mistake.
    shown = path if os.path.isabs(path) or os.path.exists(path) else "the file"
    try:
        content = read_regular(path, _MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{TOKEN_FILE}: {shown} cannot be read: {error.strerror}.") from None
    token = content.strip()
    if len(content) > _MOST_BYTES or not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{TOKEN_FILE}: {shown}: expected one line with a token (letters, digits and -._~+/=), "
            f"got {_describe(content)}. Name the file that holds the token and nothing else."
        )
    return token.decode()


def _describe(content: bytes) -> str:
    if not content.strip():
        return "an empty file"
    if len(content) > _MOST_BYTES:
        return f"more than {_MOST_BYTES:,} bytes"
    return "more than one line" if len(content.strip().splitlines()) > 1 else "other characters"


def read_context(path: str) -> dict[str, Any]:
    """Reads kfp's `context.json`: namespace, cookie and header.

    Args:
        path: path of the file, which may be missing.
    Raises:
        GraftError: if the file cannot be read, or a value is none that a request can carry; the content is not shown.
    """
    try:
        content = read_regular(path, 1 << 20)
    except FileNotFoundError:
        return {"namespace": ""}
    except OSError as error:
        raise _refuse_context(f"it cannot be read: {error.strerror}") from None
    try:
        settings = json.loads(content)
    except ValueError:  # also of bytes that are no UTF-8
        raise _refuse_context("expected JSON, got another text") from None
    if not isinstance(settings, dict):
        raise _refuse_context("expected a JSON object, got another value")
    settings["namespace"] = settings.get("namespace") or ""
    for key in ("namespace", "client_authentication_cookie", "client_authentication_header_value"):
        _check_value(key, settings.get(key))
    name = settings.get("client_authentication_header_name")
    if name is not None and not (isinstance(name, str) and _NAME.fullmatch(name)):
        raise _refuse_context("client_authentication_header_name: expected the name of a header, got another value")
    return settings


def _check_value(key: str, value: Any) -> None:
    if value is None:
        return
    if not (isinstance(value, str) and value.isprintable() and len(value) <= _MOST_BYTES and _fits_header(value)):
        raise _refuse_context(f"{key}: expected one line of at most {_MOST_BYTES:,} letters, got another value")


def _fits_header(value: str) -> bool:
    try:
        value.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def _refuse_context(reason: str) -> GraftError:
    return GraftError(f"kfp's configuration cannot be used: {CONTEXT}: {reason}. Correct or remove that file.")


def find_secrets(url: str, headers: Mapping[str, Any]) -> set[str]:
    """Returns the credentials that a request carries.

    Args:
        url: address of the request, which may hold a password.
        headers: headers of the request.
    """
    texts = [str(value) for name, value in headers.items() if name.lower() not in _PLAIN]
    user = url.partition("://")[2].rpartition("@")[0]
    texts += [user, urllib.parse.unquote(user)]
    parts = {part for text in texts for part in re.split(r"[\s;,:=]+", text)} - {"Bearer", "Basic"}
    return {part for part in parts if len(part) >= _SHORTEST}


def hide(text: str, secrets: Iterable[str]) -> str:
    """Masks every part of a text that is part of a credential.

    Args:
        text: message to print.
        secrets: credentials, as from `find_secrets`.
    Returns:
        The text, with *** for six or more characters in a row of a credential, or for a shorter one as a whole.
    """
    hidden = [False] * len(text)
    for secret in secrets:
        width = min(_WINDOW, len(secret))
        windows = {secret[i : i + width] for i in range(len(secret) - width + 1)}
        for start in range(len(text) - width + 1):
            if text[start : start + width] in windows:
                hidden[start : start + width] = [True] * width
    masked = "".join("\0" if covered else character for character, covered in zip(text, hidden, strict=True))
    return re.sub("\0+", "***", masked)
