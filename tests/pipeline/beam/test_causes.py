"""The first cause of an error is found in a chain of Python's or Java's."""

import pytest

from pipeline.beam.causes import find_first_cause

PYTHON = """\
Traceback (most recent call last):
  File "sdk_worker.py", line 301, in _execute
    response = task()
  File "component.py", line 9, in process
    raise KeyError("label")
KeyError: 'label'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "common.py", line 7, in reraise
    raise new_exn
RuntimeError: KeyError: 'label' [while running 'Embed-ptransform-9']
"""
JAVA = """\
java.lang.RuntimeException: Pipeline execution failed
\tat org.apache.beam.runners.flink.FlinkPipelineRunner.run(FlinkPipelineRunner.java:111)
Caused by: org.apache.flink.runtime.JobException: Recovery is suppressed by NoRestartBackoffTimeStrategy
\tat org.apache.flink.runtime.executiongraph.failover.ExecutionFailureHandler.handleFailure(E.java:219)
\t... 4 more
Caused by: java.util.concurrent.TimeoutException: Heartbeat of TaskManager with id 10.0.0.3:39951-1 timed out.
\tat org.apache.flink.runtime.jobmaster.JobMaster.notifyHeartbeatTimeout(JobMaster.java:1487)
\t... 24 more
"""


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (PYTHON, "KeyError: 'label'"),
        (JAVA, "java.util.concurrent.TimeoutException: Heartbeat of TaskManager with id 10.0.0.3:39951-1 timed out."),
        (f"java.lang.RuntimeException: Error received from SDK harness for instruction 5: {PYTHON}\n\n{JAVA}",
         "KeyError: 'label'"),
        ("RuntimeError: Pipeline BeamApp-1 failed in state FAILED: java.lang.IllegalStateException: x\n\tat a.b.C\n",
         "RuntimeError: Pipeline BeamApp-1 failed in state FAILED: java.lang.IllegalStateException: x"),
        ("ValueError: two\n  lines", "ValueError: two lines"),
        (f"ValueError: {'x' * 1000}", f"ValueError: {'x' * 288}"),
        ("RuntimeError: Traceback (most recent call last):\nno line of an exception",
         "RuntimeError: Traceback (most recent call last): no line of an exception"),
        ("", ""),
    ],
)  # fmt: skip
def test_first_cause_is_shown_and_not_the_first_300_characters(text, cause):
    """The useful part of an engine's error stands at the end of a long chain."""
    assert find_first_cause(text) == cause
