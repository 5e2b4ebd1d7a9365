"""Beam's job service on this machine, with several workers: a cluster for experiments.

Beam's own `apache_beam.runners.portability.local_job_service_main` gives each job one worker. Here a job has
`--sdk_worker_parallelism` workers, which is `beam.parallelism`. `beam.environment` decides how they start, see
docs/beam.md. The service listens on this machine alone.

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

_GRACE = 2.0  # seconds for the service to stop


class ParallelJob(BeamJob):
    """Job on several workers."""

    def _invoke_runner(self) -> fn_runner.RunnerResult:
        """Runs the job as Beam does, with the number of workers that the job asks for.

        Beam's runner ignores that number for a pipeline from another process.
        """
        self.set_state(beam_job_api_pb2.JobState.RUNNING)
        options = self.pipeline_options()
        runner = fn_runner.FnApiRunner(provision_info=self._provision_info)
        runner._num_workers = max(1, int(options.view_as(PortableOptions).sdk_worker_parallelism))
        return runner.run_via_runner_api(self._pipeline_proto, options)


def main() -> None:
    """Serves until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8099, help="port to listen on; 0 for any free one (8099)")
    parser.add_argument("--port-file", help="file to write the port to, once the service is ready")
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
        os._exit(0)  # a normal exit would wait for Beam's threads


if __name__ == "__main__":
    main()
