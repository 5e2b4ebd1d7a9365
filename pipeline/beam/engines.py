"""Turns the keys below `beam` into arguments of Apache Beam, and checks them.

Beam itself ignores options that do not belong to the runner, and waits for a missing job server. docs/beam.md tells how
each engine is set up.
"""

import json
import re
from collections.abc import Mapping

from pipeline.beam import watch
from pipeline.beam.beam_args import check_beam_args
from pipeline.beam.job_server import read_options
from pipeline.beam.wheel import SETUP_FILE, build_wheel, find_wheel
from pipeline.config.config import Beam, is_endpoint
from schema import errors
from schema.errors import GraftError, UsageError

WORKER_POOL = "localhost:50000"  # address of Beam's containers that are started with --worker_pool
_RUNNERS = {
    "portable": f"{watch.__name__}.{watch.PortableRunner.__name__}",
    "flink": f"{watch.__name__}.{watch.FlinkRunner.__name__}",
    "dataflow": "DataflowRunner",
}
_WORKER_START = "--beam_plugins=pipeline.beam.worker_start"
_ENVIRONMENTS = {"portable": "LOOPBACK", "flink": "EXTERNAL"}
_LOCAL = re.compile(r"(?:localhost|127\..*|\[::1\]):\d+")
_PORTABLE = {
    "job_endpoint",
    "environment",
    "environment_config",
    "parallelism",
    "sdk_container_image",
    "max_silent_minutes",
}
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
_RAISED = re.compile(rf"^{re.escape(errors.__name__)}\.(\w+): (.*?)(?: \[while running .*\])?$", re.MULTILINE)


def beam_pipeline_args(beam: Beam, workspace_root: str, image: str = "") -> list[str]:
    """Builds the arguments that TFX passes to Beam in each component.

    Args:
        beam: configuration that `check_engine` has checked.
        workspace_root: folder or URI of the workspace.
        image: container image of the tasks on Kubeflow; a worker pool is assumed to run the same image.
    Returns:
        Arguments, those of `beam.args` last; an empty list for the direct runner without `beam.args`.
    """
    args = _make_args(beam, workspace_root)
    if not args and not beam.args:
        return []  # with any argument, TFX prepares for workers elsewhere
    return [*args, *_ship_code(beam, workspace_root, image), *beam.args]


def prepare_code(beam: Beam, workspace_root: str) -> None:
    """Builds the wheel that `beam_pipeline_args` names, for workers on another engine that no image gives the code.

    Raises:
        GraftError: if the wheel cannot be built.
    """
    if beam.runner in _ENVIRONMENTS and not beam.sdk_container_image and (wheel := find_wheel(workspace_root)):
        build_wheel(wheel)


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
            _WORKER_START,
            "--experiments=no_use_multiple_sdk_containers",  # one process a machine, because TensorFlow uses all cores
            "--no_save_main_session",  # the steps are functions of modules
        ]
    parallelism = "sdk_worker_parallelism" if beam.runner == "portable" else "parallelism"
    return [
        *runner,
        f"--job_endpoint={beam.job_endpoint}",
        *_describe_environment(beam),
        _WORKER_START,
        *([f"--{parallelism}={beam.parallelism}"] if beam.parallelism else []),
        *([f"--graft_max_silent_minutes={beam.max_silent_minutes}"] if beam.max_silent_minutes else []),
        # Without this, Beam lists the installed packages for each pipeline, and stages the list for the workers.
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


def _ship_code(beam: Beam, root: str, image: str) -> list[str]:
    """Returns the argument that gives workers the project's code: an image, or a wheel.

    Either argument keeps TFX from packing its own sources, which takes 3 s a component; for the direct runner, which
    sends nothing, the setup.py does.
    """
    if image := beam.sdk_container_image or image:
        return [f"--sdk_container_image={image}"]
    if beam.runner == "direct":
        return [f"--setup_file={SETUP_FILE}"] if SETUP_FILE.is_file() else []
    wheel = find_wheel(root)
    return [f"--extra_package={wheel}"] if wheel else []


def check_engine(beam: Beam, paths: Mapping[str, str], image: str = "", reach: bool = True) -> list[str]:
    """Checks the keys below `beam` for errors that Beam reports late or not at all.

    Args:
        beam: the user's configuration.
        paths: folders that the workers read and write, by key: {"data": ..., "out": ...}.
        image: as for `beam_pipeline_args`; Dataflow and DOCKER need a worker image besides.
        reach: whether this machine can reach the job server, as opposed to a cluster's inside.
    Returns:
        Notes on arguments that cannot be checked here, and on a worker pool that several TaskManagers may share.
    Raises:
        UsageError: with the key, the expected and the given value, and what to do.
    """
    asks = beam.runner in _ENVIRONMENTS
    _check_keys(beam, image)
    if asks:
        _check_environment(beam)
    _check_paths(beam, paths)
    if not (asks and reach):
        unknown = check_beam_args(beam.args, beam.runner, None if asks else ())
    else:
        options = read_options(str(beam.job_endpoint), _NEEDED[beam.runner]["job_endpoint"])
        unknown = check_beam_args(beam.args, beam.runner, options)
    notes = [f"beam.args: {word}: unknown to Beam's Python; passed on to the job server." for word in unknown]
    return notes + _find_shared_pool(beam)


def _find_shared_pool(beam: Beam) -> list[str]:
    """Returns a note on a worker pool that is not beside its TaskManager, so that others may share it.

    Each TaskManager numbers its workers itself, and a pool knows them by that number: a shared pool stops the worker of
    the other TaskManager. No worker sees by which TaskManager it was started.
    """
    pool = beam.environment_config or ""
    if beam.runner != "flink" or _environment(beam) != "EXTERNAL" or beam.parallelism == 1 or not pool:
        return []
    if _LOCAL.fullmatch(pool):
        return []
    return [
        f"beam.environment_config: {pool} must be another worker pool for each TaskManager: in a shared pool, "
        f"TaskManagers stop each other's workers. Beside each TaskManager the pool is {WORKER_POOL}."
    ]


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


def _check_paths(beam: Beam, paths: Mapping[str, str]) -> None:
    for key, path in paths.items():
        if beam.runner == "dataflow" and not path.startswith("gs://"):
            raise UsageError(
                f'{key}: expected gs://bucket/folder, for beam.runner is "dataflow" and its machines see no other '
                f"folder; got {path}. Copy it to a bucket, and run there on Kubeflow: docs/beam.md."
            )
        if beam.runner in _ENVIRONMENTS and _environment(beam) == "DOCKER" and "://" not in path:
            raise UsageError(
                f"{key}: expected a URI such as gs://bucket/folder, for beam.environment is DOCKER and its containers "
                f"see no folder of the machine; got {path}. Name a bucket, or set beam.environment to EXTERNAL."
            )


def explain_worker_error(error: BaseException) -> GraftError | None:
    """Returns the GraftError of a worker, parsed from the traceback in Beam's error; None for other errors."""
    if not (isinstance(error, RuntimeError) or type(error).__module__.startswith("apache_beam.")):
        return None
    text = f"{getattr(error, 'told', '')}\n{error}"  # Flink's job server tells the traceback in a message of its own
    for name, message in reversed(_RAISED.findall(text)):
        kind = getattr(errors, name, None)
        if isinstance(kind, type) and issubclass(kind, GraftError):
            return kind(message)
    return None
