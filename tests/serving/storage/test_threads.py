"""Calls of a function in threads that fetch the items themselves."""

import threading

import pytest

from serving.storage.threads import map_in_threads


def test_results_are_in_the_order_of_the_items():
    """Whichever thread has made them; two threads work at once."""
    both = threading.Barrier(2)

    def double(item):
        if item in (3, 4):
            both.wait(120)
        return 2 * item, threading.get_ident()

    found = map_in_threads(double, iter(range(100)), 2)
    assert [result for result, _ in found] == list(range(0, 200, 2))
    assert len({thread for _, thread in found}) == 2
    assert map_in_threads(double, [], 2) == []
    assert [result for result, _ in map_in_threads(double, [1], 8)] == [2]


@pytest.mark.parametrize("error", [IndexError("of the function"), KeyboardInterrupt()])
def test_an_error_is_raised_as_it_is_and_ends_the_other_threads(error):
    """No thread fetches a further item; the item in work is not waited for, as it may hang in a network folder."""
    hanging, fetched = threading.Event(), []

    def fail(item):
        fetched.append(item)
        if item == 5:
            raise error
        if len(fetched) > 5:
            hanging.wait(120)

    with pytest.raises(type(error)) as raised:
        map_in_threads(fail, range(1000), 2)
    assert raised.value is error
    hanging.set()
    assert len(fetched) <= 7
