"""What runs the pipelines of Apache Beam: the keys below `beam` as arguments of Beam, and what is wrong with them.

Beam has an option for everything and a check for little: a key that does not belong to the runner would be passed over
in silence, and a job server that is not there is waited for. docs/beam.md says how each engine is set up.
"""

import json
import pathlib
import re
from collections.abc import Mapping

import grpc
from apache_beam.portability.api import beam_job_api_pb2, beam_job_api_pb2_grpc

from pipeline.beam.beam_args import check_beam_args
from pipeline.config.config import Beam, is_endpoint
from schema import errors
from schema.errors import GraftError, UsageError

SETUP_FILE = pathlib.Path(__file__).parents[2] / "setup.py"
WORKER_POOL = "localhost:50000"  # where the containers of Beam listen that are started with --worker_pool
_RUNNERS = {"portable": "PortableRunner", "flink": "FlinkRunner", "dataflow": "DataflowRunner"}
_ENVIRONMENTS = {"portable": "LOOPBACK", "flink": "EXTERNAL"}
_PORTABLE = {"job_endpoint", "environment", "environment_config", "parallelism", "sdk_container_image"}
_BELONG = {
    "direct": set[str](),
    "portable": _PORTABLE,
    "flink": _PORTABLE,
    "dataflow": {"parallelism", "sdk_container_image", "project", "region", "temp_location"},
}
_NEEDED = {
    "direct": {},
    "portable": {
        "job_endpoint": "host:port of a job server of Beam's. On this machine, "
        "`.venv/bin/python -m pipeline.beam.job_service --port 8099` starts one: localhost:8099",
    },
    "flink": {
        "job_endpoint": "host:port of Flink's job server, such as flink-job-server:8099. docs/beam.md says how one is "
        "started"
    },
    "dataflow": {
        "project": "the id of a Google Cloud project. Name one",
        "region": "a region such as europe-west4. Name the one of the bucket",
        "sdk_container_image": "an image with Graft inside that starts Beam's boot program: kubeflow/Dockerfile, "
        "--target worker",
    },
}
_SECONDS = 5.0  # for a job server to answer; one that is there takes milliseconds
_RAISED = re.compile(rf"^{re.escape(errors.__name__)}\.(\w+): (.*?)(?: \[while running .*\])?$", re.MULTILINE)


def beam_pipeline_args(beam: Beam, workspace_root: str, image: str = "") -> list[str]:
    """What TFX hands to Beam, in each component.

    Args:
        beam: what the user asked for, checked by `check_engine`.
        workspace_root: the folder or URI that everything is kept below.
        image: the container image of the components themselves, on Kubeflow; a worker pool is taken to have it, too.
    Returns:
        Arguments, those of `beam.args` last. None for the direct runner by itself.
    """
    args = _make_args(beam, workspace_root)
    if not args and not beam.args:
        return []  # with any argument, TFX looks for what else workers may need
    return [*args, *_ship_code(beam.sdk_container_image or image), *beam.args]


def _make_args(beam: Beam, workspace_root: str) -> list[str]:
    if beam.runner == "direct":
        return []
    runner = [f"--runner={_RUNNERS[beam.runner]}"]
    if beam.runner == "dataflow":
        return [
            *runner,
            f"--project={beam.project}",
            f"--region={beam.region}",
            f"--temp_location={beam.temp_location or workspace_root.rstrip('/') + '/beam'}",
            *([f"--max_num_workers={beam.parallelism}"] if beam.parallelism else []),
            "--experiments=no_use_multiple_sdk_containers",  # one process a machine: TensorFlow takes all cores itself
            "--no_save_main_session",  # our steps are in modules
        ]
    parallelism = "sdk_worker_parallelism" if beam.runner == "portable" else "parallelism"
    return [
        *runner,
        f"--job_endpoint={beam.job_endpoint}",
        *_describe_environment(beam),
        *([f"--{parallelism}={beam.parallelism}"] if beam.parallelism else []),
        # Else a list of our packages is made for each pipeline, and staged where workers would have to find it.
        "--experiments=disable_logging_submission_environment",
    ]


def _environment(beam: Beam) -> str:
    return beam.environment or _ENVIRONMENTS[beam.runner]


def _describe_environment(beam: Beam) -> list[str]:
    kind, given = _environment(beam), beam.environment_config or ""
    configs = {
        "LOOPBACK": "",
        "EXTERNAL": given or WORKER_POOL,
        "DOCKER": beam.sdk_container_image,
        "PROCESS": given if given.startswith("{") else json.dumps({"command": given}),
    }
    config = configs[kind]
    return [f"--environment_type={kind}", *([f"--environment_config={config}"] if config else [])]


def _ship_code(image: str) -> list[str]:
    """How workers come by our code. Either one keeps TFX from packing its own sources, 3 s a component."""
    if image:
        return [f"--sdk_container_image={image}"]
    return [f"--setup_file={SETUP_FILE}"] if SETUP_FILE.is_file() else []


def check_engine(beam: Beam, places: Mapping[str, str], image: str = "", reach: bool = True) -> None:
    """Looks for what would fail an hour later, or in silence.

    Args:
        beam: what the user asked for.
        places: what the workers read and write, by what the user calls it: {"data": ..., "out": ...}.
        image: as for `beam_pipeline_args`; what starts workers by itself needs another one.
        reach: whether the job server is reached from here, and not only from within a cluster.
    Raises:
        UsageError: naming the key, what was expected, what came and what to do.
    """
    check_beam_args(beam.args, beam.runner)
    _check_keys(beam, image)
    if beam.runner in _ENVIRONMENTS:
        _check_environment(beam)
    _check_places(beam, places)
    if beam.job_endpoint and reach:
        _reach_job_server(beam)


def _check_keys(beam: Beam, image: str) -> None:
    given = {key for key, value in beam if value is not None} - {"runner", "args"}
    if foreign := sorted(given - _BELONG[beam.runner]):
        others = [f'"{runner}"' for runner, keys in _BELONG.items() if foreign[0] in keys]
        raise UsageError(
            f'beam.{foreign[0]}: expected none, for beam.runner is "{beam.runner}"; got {getattr(beam, foreign[0])}. '
            f"Leave it out, or set beam.runner to {' or '.join(others)}."
        )
    for key, expected in _NEEDED[beam.runner].items():
        if key not in given:
            other = f" That of the tasks, {image}, starts tasks." if image and key == "sdk_container_image" else ""
            raise UsageError(f'beam.{key}: missing, and beam.runner is "{beam.runner}"; expected {expected}.{other}')


def _check_environment(beam: Beam) -> None:
    kind, config = _environment(beam), beam.environment_config
    if kind == "EXTERNAL" and config and not is_endpoint(config):
        raise UsageError(
            f"beam.environment_config: expected host:port of the worker pool, as the engine sees it; got {config}. "
            f"Beside each Flink TaskManager that is {WORKER_POOL}."
        )
    if kind == "PROCESS" and not _names_command(config or ""):
        raise UsageError(
            'beam.environment_config: expected the command of a worker, or JSON such as {"command": "...", "env": {}}; '
            f"got {config or 'none'}. In Beam's images the command is /opt/apache/beam/boot."
        )
    if kind in ("LOOPBACK", "DOCKER") and config:
        raise UsageError(
            f"beam.environment_config: expected none, for beam.environment is {kind}; got {config}. Leave it out"
            + ("; the image of the containers is beam.sdk_container_image." if kind == "DOCKER" else ".")
        )
    if kind == "DOCKER" and not beam.sdk_container_image:
        expected = _NEEDED["dataflow"]["sdk_container_image"]
        raise UsageError(f"beam.sdk_container_image: missing, and beam.environment is DOCKER; expected {expected}.")


def _names_command(config: str) -> bool:
    if not config.startswith("{"):
        return bool(config)
    try:
        return bool(json.loads(config).get("command"))
    except ValueError:
        return False


def _check_places(beam: Beam, places: Mapping[str, str]) -> None:
    for key, place in places.items():
        if beam.runner == "dataflow" and not place.startswith("gs://"):
            raise UsageError(
                f'{key}: expected gs://bucket/folder, for beam.runner is "dataflow" and its machines see no other '
                f"folder; got {place}. Copy it to a bucket, and run there on Kubeflow: docs/beam.md."
            )
        if beam.runner in _ENVIRONMENTS and _environment(beam) == "DOCKER" and "://" not in place:
            raise UsageError(
                f"{key}: expected a URI such as gs://bucket/folder, for beam.environment is DOCKER and its containers "
                f"see no folder of the machine; got {place}. Name a bucket, or set beam.environment to EXTERNAL."
            )


def _reach_job_server(beam: Beam) -> None:
    """Asks the job server for its options; Beam would wait for it for 5 minutes."""
    endpoint, expected = str(beam.job_endpoint), _NEEDED[beam.runner]["job_endpoint"]
    with grpc.insecure_channel(endpoint) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_SECONDS)
            server = beam_job_api_pb2_grpc.JobServiceStub(channel)
            server.DescribePipelineOptions(beam_job_api_pb2.DescribePipelineOptionsRequest(), timeout=_SECONDS)
        except grpc.FutureTimeoutError:
            problem = f"nothing answers within {_SECONDS:g} s at"
        except grpc.RpcError as error:
            problem = f"what answers is no job server ({error.code().name}) at"
        else:
            return
    raise UsageError(f"beam.job_endpoint: {problem} {endpoint}; expected {expected}.")


def explain_worker_error(error: BaseException) -> GraftError | None:
    """An error of ours that was raised in a worker elsewhere, of which Beam brings the traceback as text; else None."""
    if not (isinstance(error, RuntimeError) or type(error).__module__.startswith("apache_beam.")):
        return None
    for name, message in reversed(_RAISED.findall(str(error))):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, GraftError):
            return kind(message)
    return None
