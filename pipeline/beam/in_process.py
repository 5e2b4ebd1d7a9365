"""Keeps the pipelines of Beam's direct runner in this process."""

from apache_beam.runners.direct.direct_runner import SwitchingDirectRunner


def stay_in_process() -> None:
    """Keeps Beam's direct runner from trying the runner Prism before its own.

    Beam would fetch a program from GitHub into `~/.apache_beam`, without a digest, and run the pipeline on it. Where
    GitHub does not answer, each pipeline would wait for it. The attribute is Beam's own way to pass Prism over: its
    interactive runner sets it, and nothing else reads it (apache_beam/runners/direct/direct_runner.py, Beam 2.74 and
    2.77).
    """
    SwitchingDirectRunner._is_interactive = True
