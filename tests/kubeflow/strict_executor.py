"""Runs a compiled Kubeflow pipeline here, as strictly as the open-source backend would.

Each task of a spec (schema 2.1.0, one flat DAG of containers) runs in a subprocess, in an empty folder, with the
command, the ExecutorInput and the URIs that the backend would give it; what the backend refuses is refused.
Written after the Go source of github.com/kubeflow/pipelines, 2.14 with ML Metadata; every rule names its file.

WHAT OF THE BACKEND IS NOT MODELLED
- Kubernetes: pods, images (the command runs in this environment: image, entry point, user, working folder and the
  files of the image count for nothing), pull policy, resources and accelerators, node selectors, tolerations, secrets,
  config maps, volumes, workspaces, service accounts, security contexts, proxies, CA bundles; a second YAML document
  (the platform spec). Files outside the task's folder can be read and written; /tmp is shared, TMPDIR is not.
- Object stores: URIs are local folders unless `bucket` is set. There, a root that is not gs://, s3:// or minio://
  fails every task. With `bucket` it is minio://, and the launcher copies from and to a folder as it does from and to a
  store (strict_bucket.py); credentials, query strings of the root, oci:// (modelcars) are not modelled. An output
  without a local file is a warning there in 2.14, and fails the task in later versions (here too).
- Argo: parallel tasks (one after another here, by name), retries (but for one start anew of each task, `restart`),
  timeouts, `retryPolicy`, its templates ({{workflow...}} in a text), the size limits of a workflow, exit handlers,
  suspend, pod clean-up, node caches.
- Parts of the spec that are refused here and run there: importers, nested DAGs, loops, exit tasks (taskFinalStatus),
  parameterExpressionSelector, conditions in CEL beyond comparisons of parameters, literals of parameters.
- Placeholders: the order of replacement (random there; a value that holds a placeholder may be replaced again), the
  image as a parameter, {{$.pipeline_job_create_time_utc}} and its like of later versions.
- Metadata: contexts, events, execution states, the "artifact types" that are registered, session information (an
  empty object here), plugins (MLflow).
- The API: runs as objects, experiments, versions of a pipeline, schedules and their words ([[ScheduledTime]]),
  authentication, namespaces, archives, the user interface. `defaultPipelineRoot` is read by neither.
- Cache: the global switch, its expiry, environment variables and PVCs in the key (later versions).
- Later versions without ML Metadata: `keep_titles` is their one difference that we model.
"""

import contextlib
import dataclasses
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import strict_bucket
import strict_driver as driver
import strict_launcher as launcher
from kfp.pipeline_spec import pipeline_spec_pb2
from strict_spec_checks import CheckedSpec, RefusedError, check_parameters

__all__ = ["RefusedError", "RunResult", "StrictBackend", "TaskResult"]


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """Result of a task.

    Attributes:
        name: of the task.
        state: "SUCCEEDED", "FAILED", "SKIPPED" (by its condition, or behind a task that did not run) or "CACHED".
        exit_code: of the launcher, 1 whatever its command ended with; None if the launcher was not started.
        seconds: that it took.
        log: both streams of the command, and why the driver or the launcher failed.
        outputs: RuntimeArtifact as a JSON dict by key, as the next task gets it; `executor-logs` is one of them.
        parameters: output parameters by name; numbers are floats.
    """

    name: str
    state: str
    exit_code: int | None = None
    seconds: float = 0.0
    log: str = ""
    outputs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    parameters: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunResult:
    """Result of a run.

    Attributes:
        run_id: a UUID.
        state: "SUCCEEDED", or "FAILED" if a task failed.
        tasks: by name, in the order in which they ran.
    """

    run_id: str
    state: str
    tasks: dict[str, TaskResult]


class StrictBackend:
    """Cluster in a folder; pipeline root, cache and metadata outlive a run."""

    def __init__(
        self,
        root: pathlib.Path,
        environment: Mapping[str, str] | None = None,
        *,
        keep_titles: bool = False,
        bucket: bool = False,
        restart: bool = False,
    ):
        """Takes the folder of the backend's state.

        Args:
            root: the folder; a second backend with the same one goes on where the first was.
            environment: what the image would set, such as PYTHONPATH.
            keep_titles: an input artifact has the type that it had as an output, as in the newest versions; else its
                type is an empty instance schema, as with ML Metadata.
            bucket: artifacts lie in a bucket, and a command finds their copies below GRAFT_LAUNCHER_ROOT, as it does
                below / in a container.
            restart: the node of each task is lost between its command and the launcher's report, so that the command
                is started once more in an emptied folder: what Argo's `retryStrategy` with `OnError` does.
        """
        self.root = pathlib.Path(root).resolve()
        self.environment = dict(environment or {})
        self.in_bucket, self.restart = bucket, restart
        folder = self.root / "pipeline_root"
        folder.mkdir(parents=True, exist_ok=True)
        self.pipeline_root = f"{strict_bucket.SCHEME}mlpipeline/v2/artifacts" if bucket else str(folder)
        self.store = driver.MetadataStore(self.root / "metadata.json", keep_titles)

    def run(
        self, spec: Mapping[str, Any], parameters: Mapping[str, Any], log: Callable[[str], None] = print
    ) -> RunResult:
        """Runs a pipeline to its end.

        Args:
            spec: the pipeline spec, as read from its YAML.
            parameters: of the run; a root parameter that is not among them has its default.
            log: called with a line for each task, and the end of what a failed one said.
        Raises:
            RefusedError: the backend would not start this run, or we do not model it.
        """
        checked = CheckedSpec(spec)
        for task in checked.root.dag.tasks.values():
            if task.trigger_policy.condition:
                driver.split_condition(task.trigger_policy.condition)
        run = _Run(self, checked, check_parameters(checked.root, parameters))
        for name in checked.order():
            run.results[name] = result = run.run_task(name)
            log(f"{name}: {result.state} in {result.seconds:.1f} s")
            if result.state == "FAILED":
                log("\n".join(result.log.splitlines()[-40:]))
        failed = any(result.state == "FAILED" for result in run.results.values())
        return RunResult(run.run_id, "FAILED" if failed else "SUCCEEDED", run.results)


class _Run:
    """State of one run."""

    def __init__(self, backend: StrictBackend, spec: CheckedSpec, parameters: Mapping[str, Any]):
        self.backend = backend
        self.spec = spec
        self.parameters = parameters
        self.run_id = str(uuid.uuid4())
        self.run_root = f"{backend.pipeline_root}/{spec.name}/{self.run_id}"
        self.results: dict[str, TaskResult] = {}
        self.outputs: dict[str, driver.Outputs] = {}
        # v2/driver/resolve.go, resolveInputParameter: a constant that is one of these is replaced.
        self.constants = {
            "{{$.pipeline_job_name}}": f"{spec.name} {self.run_id}",
            "{{$.pipeline_job_resource_name}}": f"{spec.name}-{self.run_id[:5]}",
            "{{$.pipeline_job_uuid}}": self.run_id,
            "{{$.pipeline_task_uuid}}": "1",
        }

    def run_task(self, name: str) -> TaskResult:
        """Runs a task if the tasks before it have succeeded.

        Argo starts it on `a.Succeeded && b.Succeeded` (argocompiler/dag.go, depends): behind a task that was skipped
        it is omitted, and the run may still succeed; behind one that failed too. Tasks that do not wait for the failed
        one run on: Argo's failFast has no effect on them (argo-workflows, issue 10312).
        """
        states = {task: self.results[task].state for task in self.spec.dependencies[name]}
        missing = [task for task, state in states.items() if state not in ("SUCCEEDED", "CACHED")]
        if missing:
            return TaskResult(name, "SKIPPED", log=f"omitted: depends condition not met: {', '.join(missing)}")
        started = time.monotonic()
        try:
            executor_input = self.drive(name)
            if executor_input is None:
                return TaskResult(name, "SKIPPED", log="the condition is false")
            key = self.find_cache_key(name, executor_input)
            cached = self.backend.store.find(key) if key else None
            if cached:
                return self.finish(name, "CACHED", cached, None, time.monotonic() - started, "")
            outputs = self.launch(name, executor_input)
        except driver.DriverError as error:
            return TaskResult(name, "FAILED", log=f"driver.Container(task={name}) failed: {error}")
        except launcher.LauncherError as error:
            said = (
                f"{_read(launcher.log_file(executor_input, self.bucket(name)))}failed to execute component: {error}\n"
                "Error: exit status 1\n"  # Argo's, for each code of a command
            )
            return TaskResult(name, "FAILED", 1, time.monotonic() - started, said)
        if key:
            self.backend.store.remember(key, outputs)
        said = _read(launcher.log_file(executor_input, self.bucket(name)))
        return self.finish(name, "SUCCEEDED", outputs, 0, time.monotonic() - started, said)

    def drive(self, name: str) -> Any | None:
        """Returns the ExecutorInput of a task; None if its condition is false: v2/driver/container.go, Container."""
        task, component = self.spec.root.dag.tasks[name], self.spec.components[name]
        inputs = driver.resolve_inputs(task, component, self.parameters, self.outputs, self.constants)
        if not driver.will_trigger(task.trigger_policy.condition, inputs):
            return None
        outputs = driver.provision_outputs(self.run_root, name, component, self.folder(name) / "tmp")
        return pipeline_spec_pb2.ExecutorInput(inputs=inputs, outputs=outputs)

    def find_cache_key(self, name: str, executor_input: Any) -> str | None:
        """Returns the cache key of the task; None if its cache is disabled."""
        if not self.spec.root.dag.tasks[name].caching_options.enable_cache:
            return None
        return driver.fingerprint(
            self.spec.name, self.spec.components[name], self.spec.containers[name], executor_input
        )

    def launch(self, name: str, executor_input: Any) -> driver.Outputs:
        """Runs the command of a task and records its outputs: v2/component/launcher_v2.go, Execute."""
        component, bucket = self.spec.components[name], self.bucket(name)
        if self.backend.restart:
            self.start(name, executor_input)
            shutil.rmtree(self.folder(name))
        self.start(name, executor_input)
        output = launcher.read_output(executor_input)
        parameters = launcher.collect_parameters(executor_input, component, output)
        artifacts = launcher.collect_artifacts(executor_input, output, self.run_root, bucket)
        # The files of a container are gone with it; those of a failed one are kept to be looked at.
        shutil.rmtree(self.folder(name))
        try:
            recorded = {key: self.backend.store.record(key, artifact) for key, artifact in artifacts.items()}
        except driver.DriverError as error:
            raise launcher.LauncherError(f"unable to produce MLMD artifact: {error}") from error
        return driver.Outputs(recorded, parameters)

    def start(self, name: str, executor_input: Any) -> None:
        """Runs the command of a task in its folder, with copies of its inputs."""
        component, container, bucket = self.spec.components[name], self.spec.containers[name], self.bucket(name)
        launcher.prepare_folders(executor_input, bucket)
        bucket.download(executor_input)
        command = launcher.fill_command(container, component, executor_input, bucket)
        environment = self.backend.environment | {variable.name: variable.value for variable in container.env}
        if self.backend.in_bucket:
            environment["GRAFT_LAUNCHER_ROOT"] = str(self.folder(name) / "launcher")
        launcher.run_command(command, self.folder(name), environment, launcher.log_file(executor_input, bucket))

    def bucket(self, name: str) -> strict_bucket.Bucket:
        """Returns the store, and the folder of the launcher's copies."""
        return strict_bucket.Bucket(self.backend.root / "bucket", self.folder(name) / "launcher")

    def folder(self, name: str) -> pathlib.Path:
        """Returns the folder of a task, for working folder, home and temporary files."""
        return self.backend.root / "tasks" / self.run_id / name

    def finish(
        self, name: str, state: str, outputs: driver.Outputs, exit_code: int | None, seconds: float, said: str
    ) -> TaskResult:
        """Keeps the outputs for the tasks that follow."""
        self.outputs[name] = outputs
        return TaskResult(
            name,
            state,
            exit_code,
            seconds,
            said,
            {key: driver.to_json(artifact) for key, artifact in outputs.artifacts.items()},
            {key: driver.to_python(value) for key, value in outputs.parameters.items()},
        )


def _read(log: pathlib.Path) -> str:
    with contextlib.suppress(FileNotFoundError):
        return log.read_text(errors="replace")
    return ""
