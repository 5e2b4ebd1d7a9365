"""A job service of Beam's on this machine, with as many workers as a job asks for: a cluster to try things on.

Beam's own, `apache_beam.runners.portability.local_job_service_main`, gives every job one worker. Here a job has as
many as `--sdk_worker_parallelism` says, which is `beam.parallelism`; what starts them is `beam.environment`, see
docs/beam.md. It listens to this machine alone.

Run: .venv/bin/python -m pipeline.beam.job_service [--port 8099] [--port-file FILE]
"""

import argparse
import logging
import os
import pathlib
import threading

from apache_beam.options.pipeline_options import PortableOptions
from apache_beam.portability.api import beam_job_api_pb2
from apache_beam.runners.portability.fn_api_runner import fn_runner
from apache_beam.runners.portability.local_job_service import BeamJob, LocalJobServicer

from serving.process import stop_signals
from serving.storage.whole_files import name_temporary, write_whole

_GRACE = 2.0  # seconds that the service may take to stop


class ParallelJob(BeamJob):
    """A job on several workers."""

    def _invoke_runner(self) -> fn_runner.RunnerResult:
        """As Beam's, but for the number of workers: its runner heeds none for a pipeline that comes from elsewhere."""
        self.set_state(beam_job_api_pb2.JobState.RUNNING)
        options = self.pipeline_options()
        runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
        runner._num_workers = max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))
        return runner.run_via_runner_api(self._pipeline_proto, options)


def main() -> None:
    """Serves until it is told to stop."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8099, help="to listen on; 0 for any that is free (8099)")
    parser.add_argument("--port-file", help="where to write it once it serves")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    service, stopped = LocalJobServicer(beam_job_type=ParallelJob), threading.Event()
    with stop_signals.caught() as signals:
        port = service.start_grpc_server(arguments.port)
        if arguments.port_file:
            with write_whole(arguments.port_file, name_temporary(arguments.port_file)) as temporary:
                pathlib.Path(temporary).write_text(str(port))
        stop_signals.watch(signals, stopped.set, lambda: os._exit(0), _GRACE)
        stopped.wait()
        service.stop()
        os._exit(0)  # the end of the interpreter would wait for Beam's threads


if __name__ == "__main__":
    main()
