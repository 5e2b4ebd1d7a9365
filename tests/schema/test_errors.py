"""Errors of a user, their exit codes and their messages."""

import pickle

import pytest

from schema.errors import DataError, GraftError, UsageError, describe_error


@pytest.mark.parametrize(("error", "code"), [(GraftError, 1), (UsageError, 2), (DataError, 3)])
def test_each_kind_of_error_has_its_exit_code(error, code):
    """2 is bad usage, 3 is bad data, 1 is any other error."""
    assert error("why").exit_code == code
    assert str(error("why")) == "why"


@pytest.mark.parametrize("error", [UsageError, DataError])
def test_one_handler_catches_what_a_user_can_cause(error):
    """Every such class is a GraftError; exceptions of Python are not."""
    with pytest.raises(GraftError):
        raise error("why")
    assert not issubclass(OSError, GraftError)


def test_each_line_says_who_speaks_but_for_lists():
    """Several problems are several messages; the files of one are indented."""
    message = describe_error(UsageError("one", "  a.jpg: empty", "two"))
    assert message == "graft: one\n  a.jpg: empty\ngraft: two"


def test_a_name_makes_no_line_of_a_message():
    """Line breaks in a file name are escaped, also when a worker process pickles the error."""
    error = DataError("a\nb\x1b[2J\r\u2028.jpg: empty", "two")
    for same in (error, pickle.loads(pickle.dumps(error))):
        assert describe_error(same) == "graft: a\\nb\\x1b[2J\\r\\u2028.jpg: empty\ngraft: two"
