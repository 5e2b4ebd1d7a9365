"""Order in which waiting requests are computed."""

import threading

import pytest
from waiting import wait_until

from serving.server import compute_slots
from serving.server.errors import ServingError


class Queue:
    """One slot, which the first request holds until `finish`."""

    def __init__(self):
        self.compute_slots = compute_slots.ComputeSlots(1)
        self.computed = []
        self._held, self._threads = threading.Event(), []
        self._start(lambda *_: self._held.wait(120))
        wait_until(lambda: not self.compute_slots._free)

    def come(self, name):
        """Adds a request behind the others."""
        waiting = len(self.compute_slots._waiting)
        self._start(lambda *_: self.computed.append(name))
        wait_until(lambda: len(self.compute_slots._waiting) > waiting)

    def finish(self):
        """Ends the first request; returns the others in the order of their computation."""
        self._held.set()
        for thread in self._threads:
            thread.join(120)
        return self.computed

    def _start(self, compute):
        self._threads.append(threading.Thread(target=self.compute_slots.run, args=(compute, {}, [])))
        self._threads[-1].start()


@pytest.fixture
def queue():
    made = Queue()
    yield made
    made.finish()


def test_requests_are_computed_in_the_order_of_their_coming(queue, monkeypatch):
    """As long as none of them waits long."""
    monkeypatch.setattr(compute_slots, "_LATE_SECONDS", 600.0)
    for name in "abc":
        queue.come(name)
    assert queue.finish() == ["a", "b", "c"]


def test_the_newest_is_next_once_requests_wait_long(queue, monkeypatch):
    """Behind costly ones, it would wait until its client has given up."""
    monkeypatch.setattr(compute_slots, "_LATE_SECONDS", 0.0)
    for name in "abc":
        queue.come(name)
    assert queue.finish() == ["c", "b", "a"]


def test_a_request_that_fails_gives_its_turn_back():
    """The next one is computed."""
    only = compute_slots.ComputeSlots(1)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            only.run(lambda *_: 1 / 0, {}, [])


def test_a_request_that_waits_too_long_is_refused_and_takes_no_turn(queue, monkeypatch):
    """Its client may send it again; the one behind it is computed."""
    monkeypatch.setattr(compute_slots, "_MAX_WAIT", 0.01)
    with pytest.raises(ServingError, match="busy"):
        queue.compute_slots.run(lambda *_: queue.computed.append("late"), {}, [])
    monkeypatch.undo()
    queue.come("a")
    assert queue.finish() == ["a"]
