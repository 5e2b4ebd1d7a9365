"""Arguments for Apache Beam are checked before a run: Beam itself drops or exits."""

import pytest

from pipeline.beam.beam_args import check_beam_args
from schema.errors import UsageError


def test_arguments_of_the_direct_runner_are_fine():
    """None, or those that Beam knows; one of its own variants among them."""
    check_beam_args([])
    check_beam_args(["--runner=BundleBasedDirectRunner"])
    check_beam_args(["--direct_num_workers=2", "--direct_running_mode=multi_threading"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["direct_num_workers"], "direct_num_workers is no argument of Beam"),
        (["--direct_num_worker=2"], "--direct_num_worker=2 is no argument of Beam"),
        (["--direct_num_workers=x"], "--direct_num_workers: invalid int value: 'x'"),
        (["--direct_running_mode=fast"], "invalid choice: 'fast'"),
        (["--runner=DataflowRunner"], "--runner=DataflowRunner: expected no runner here, .* beam.runner is"),
    ],
)
def test_what_beam_would_drop_or_exit_on_is_an_error(args, message):
    """Of the configuration, with the key."""
    with pytest.raises(UsageError, match=f"beam.args: .*{message}"):
        check_beam_args(args)
