"""The addresses that a server listens on."""

import pytest

from serving.process.ports import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_this_machine_alone_reaches_a_loopback_address(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "graft.example"])
def test_others_may_reach_any_other_address(host):
    """A name counts as open: what it stands for may change."""
    assert not is_loopback(host)
