"""Kubeflow Pipelines' API, v2beta1, in memory: an HTTP server on 127.0.0.1 for tests.

It is made of kfp-server-api: a request has to be one of its models, key by key, and an answer is made as one. What it
refuses, and in which words, is from kubeflow/pipelines: backend/src/apiserver/server/{api_converter,job_server,
run_server,run_log_server,pipeline_upload_server}.go and backend/src/apiserver/template/v2_template.go, 2.0 to 2.17. It
runs nothing: a run goes through the states that it is given, and no schedule fires.

A run that has failed is as 2.17.0 describes it: no error, no pod's name, no exit code (issue 14007), but the states of
Argo's nodes, each with the ids of the nodes below it. Logs are handed out by v1alpha1 alone, by the pod's name.

    with KfpApiStub() as stub:
        kfp.Client(host=stub.host)
        stub.fail("POST /apis/v2beta1/runs", 500, "the database is gone")
"""

import dataclasses
import datetime
import email
import email.policy
import http
import http.server
import json
import re
import threading
import urllib.parse
import uuid
import zlib
from collections.abc import Iterable
from typing import Any

import kfp_server_api
import yaml
from croniter import croniter
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from kfp_server_api import models

_PREFIX = "/apis/v2beta1"
_MOST_BYTES = 32 << 20  # MaxFileLength of the backend
_TIMEOUT = 30  # seconds; no request holds a test for longer
_PAGE, _LARGEST_PAGE = 20, 200
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}  # of gRPC
_WORKFLOW = "graft-x7k2p"
_KINDS = {
    "NUMBER_DOUBLE": ((int, float), "double or integer"),
    "NUMBER_INTEGER": ((int, float), "double or integer"),
    "STRING": (str, "string"),
    "BOOLEAN": (bool, "bool"),
    "LIST": (list, "list"),
    "STRUCT": (dict, "struct"),
}


@dataclasses.dataclass(frozen=True)
class Request:
    """A received request.

    Attributes:
        line: method and path.
        query: parameters of the URL.
        body: the JSON, as it came; None if there was none.
        file: name and content of what was uploaded, or None.
        headers: by name in lower case.
    """

    line: str
    query: dict[str, str]
    body: Any
    file: tuple[str, bytes] | None
    headers: dict[str, str]

    @property
    def changes(self) -> bool:
        """Tells whether the request would change the server."""
        return not self.line.startswith("GET")


@dataclasses.dataclass
class _Failure:
    line: str
    status: int
    message: str
    times: int
    after: bool
    seconds: float


class RefusedError(Exception):
    """Error answer of the server."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


class KfpApiStub:
    """The server, as a context manager; its threads end with the process.

    Attributes:
        requests: all that came in.
        pipelines, versions, experiments, runs, recurring_runs: by id, as models of kfp-server-api.
        states: what a run goes through: each look at it takes it one further.
        failed: logs of the tasks that have failed when a run has, by name; None where the server has no log.
        attempts: whether nodes are those of 2.17's `templateDefaults`, which repeat what is an error of Argo's.
        pod_names: whether a node has the name of its pod, as the API defines it.
    """

    def __init__(self, multi_user: bool = False, token: str = ""):
        """Sets up the state; starts no server.

        Args:
            multi_user: whether lists and experiments need a namespace.
            token: what each request has to bring; "" for none.
        """
        self.multi_user, self.token = multi_user, token
        self.requests: list[Request] = []
        self.pipelines: dict[str, Any] = {}
        self.versions: dict[str, Any] = {}
        self.experiments: dict[str, Any] = {}
        self.runs: dict[str, Any] = {}
        self.recurring_runs: dict[str, Any] = {}
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.failed: dict[str, str | None] = {}
        self.attempts, self.pod_names = True, False
        self._specs: dict[str, dict[str, Any]] = {}
        self._failures: list[_Failure] = []
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._clock = datetime.datetime(2026, 11, 25, tzinfo=datetime.timezone.utc)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _make_handler(self))
        self._server.daemon_threads = True
        self.host = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "KfpApiStub":
        """Starts the server in a thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        """Stops the server, and ends slow answers."""
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def changes(self) -> list[Request]:
        """Returns the requests that would change the server."""
        return [request for request in self.requests if request.changes]

    def fail(self, line: str, status: int, message: str = "on demand", times: int = 1, after: bool = False) -> None:
        """Refuses the following requests of a kind.

        Args:
            line: a pattern of method and path, such as "DELETE .*/recurringruns/.*".
            status: of HTTP.
            message: what is said.
            times: how often.
            after: whether it is done nevertheless, and only the answer is lost.
        """
        self._failures.append(_Failure(line, status, message, times, after, 0))

    def delay(self, line: str, seconds: float, times: int = 1) -> None:
        """Delays the following answers of a kind."""
        self._failures.append(_Failure(line, 200, "", times, True, seconds))

    def answer(self, request: Request) -> tuple[int, Any]:
        """Returns the status and the JSON of an answer."""
        self.requests.append(request)
        failure = next((f for f in self._failures if f.times and re.fullmatch(f.line, request.line)), None)
        if failure:
            failure.times -= 1
            self._stopped.wait(min(failure.seconds, _TIMEOUT))
        try:
            if failure and not failure.after:
                raise RefusedError(failure.status, failure.message)
            if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
                raise RefusedError(401, "Request header error: there is no user identity header.")
            with self._lock:
                answer = self._dispatch(request)
            if failure and failure.status != 200:
                raise RefusedError(failure.status, failure.message)
        except RefusedError as error:
            return error.status, _to_error(request, error)
        return 200, answer if isinstance(answer, str) else kfp_server_api.ApiClient().sanitize_for_serialization(answer)

    def _dispatch(self, request: Request) -> Any:
        method, _, path = request.line.partition(" ")
        if match := re.fullmatch("/apis/v1alpha1/runs/([^/]+)/nodes/([^/]+)/log", path):
            return self._read_log(*match.groups())
        for wanted, pattern, handle in _ROUTES:
            match = re.fullmatch(_PREFIX + pattern, path)
            if match and method == wanted:
                return handle(self, request, *(urllib.parse.unquote(part) for part in match.groups()))
        raise RefusedError(404, "Not Found")

    # Pipelines.

    def _create_pipeline(self, request: Request) -> Any:
        pipeline = read_model(request.body, "V2beta1Pipeline")
        return self._add_pipeline(pipeline.display_name, pipeline.description, pipeline.namespace)

    def _add_pipeline(self, name: str | None, description: str | None, namespace: str | None) -> Any:
        if not name:
            raise RefusedError(400, "pipeline's name cannot be empty")
        if len(name) > 128:
            raise RefusedError(400, "Pipeline.Name length cannot exceed 128")
        if any(p.display_name == name and p.namespace == (namespace or "") for p in self.pipelines.values()):
            raise RefusedError(409, f"Failed to create a new pipeline. The name {name} already exist")
        pipeline = models.V2beta1Pipeline(
            pipeline_id=_new_id(),
            display_name=name,
            description=description,
            namespace=namespace or "",
            created_at=self._now(),
        )
        self.pipelines[pipeline.pipeline_id] = pipeline
        return pipeline

    def _upload_pipeline(self, request: Request) -> Any:
        spec, name = _read_upload(request), request.query.get("name") or request.file[0]
        pipeline = self._add_pipeline(name, request.query.get("description"), request.query.get("namespace"))
        self._add_version(pipeline.pipeline_id, name, pipeline.description, spec)
        return pipeline

    def _upload_version(self, request: Request) -> Any:
        spec, pipeline_id = _read_upload(request), request.query.get("pipelineid")
        if pipeline_id not in self.pipelines:
            raise RefusedError(400, "Failed to create a pipeline version")
        name = request.query.get("name") or request.file[0]
        return self._add_version(pipeline_id, name, request.query.get("description"), spec)

    def _add_version(self, pipeline_id: str, name: str, description: str | None, spec: dict[str, Any]) -> Any:
        if len(name) > 127:
            raise RefusedError(400, "PipelineVersion.Name length cannot exceed 127")
        if any(v.pipeline_id == pipeline_id and v.display_name == name for v in self.versions.values()):
            raise RefusedError(409, "Failed to create a pipeline version")
        version = models.V2beta1PipelineVersion(
            pipeline_id=pipeline_id,
            pipeline_version_id=_new_id(),
            display_name=name,
            description=description,
            created_at=self._now(),
            pipeline_spec=spec,
        )
        self.versions[version.pipeline_version_id], self._specs[version.pipeline_version_id] = version, spec
        return version

    def _list_pipelines(self, request: Request) -> Any:
        namespace = self._namespace_of(request)
        return _page(request, [p for p in self.pipelines.values() if p.namespace == namespace], "Pipelines")

    def _get_pipeline(self, _: Request, pipeline_id: str) -> Any:
        return _get(self.pipelines, pipeline_id, "Pipeline")

    def _get_pipeline_by_name(self, request: Request, name: str) -> Any:
        found = [p for p in self.pipelines.values() if p.display_name == name]
        found = [p for p in found if p.namespace == request.query.get("namespace", "")]
        if not found:
            raise RefusedError(404, f"Pipeline {name} not found.")
        return found[0]

    def _list_versions(self, request: Request, pipeline_id: str) -> Any:
        _get(self.pipelines, pipeline_id, "Pipeline")
        versions = [v for v in self.versions.values() if v.pipeline_id == pipeline_id]
        return _page(request, versions, "PipelineVersions")

    def _get_version(self, _: Request, pipeline_id: str, version_id: str) -> Any:
        version = _get(self.versions, version_id, "PipelineVersion")
        if version.pipeline_id != pipeline_id:
            raise RefusedError(404, f"PipelineVersion {version_id} not found.")
        return version

    # Experiments.

    def _create_experiment(self, request: Request) -> Any:
        experiment = read_model(request.body, "V2beta1Experiment")
        namespace = experiment.namespace or ""
        if not experiment.display_name:
            raise RefusedError(400, "Experiment must have a non-empty name")
        if self.multi_user and not namespace:
            raise RefusedError(400, "Namespace cannot be empty in multi-user mode")
        if any(
            e.display_name == experiment.display_name and e.namespace == namespace for e in self.experiments.values()
        ):
            raise RefusedError(
                409, f"Failed to create a new experiment. The name {experiment.display_name} already exists"
            )
        experiment.experiment_id, experiment.created_at = _new_id(), self._now()
        experiment.namespace, experiment.storage_state = namespace, "AVAILABLE"
        self.experiments[experiment.experiment_id] = experiment
        return experiment

    def _list_experiments(self, request: Request) -> Any:
        namespace = self._namespace_of(request)
        return _page(request, [e for e in self.experiments.values() if e.namespace == namespace], "Experiments")

    def _get_experiment(self, _: Request, experiment_id: str) -> Any:
        return _get(self.experiments, experiment_id, "Experiment")

    # Runs.

    def _create_run(self, request: Request) -> Any:
        run = read_model(request.body, "V2beta1Run")
        if not run.display_name:
            raise RefusedError(400, "The run name is empty. Please specify a valid name")
        self._check_source(run, "run")
        run.run_id, run.created_at, run.storage_state = _new_id(), self._now(), "AVAILABLE"
        self.runs[run.run_id] = run
        return self._set_state(run, self.states[0])

    def _get_run(self, _: Request, run_id: str) -> Any:
        run = _get(self.runs, run_id, "Run")
        following = self.states[self.states.index(run.state) :][1:] if run.state in self.states else []
        return self._set_state(run, following[0]) if following else run

    def _set_state(self, run: Any, state: str) -> Any:
        run.state = state
        run.state_history = [
            *(run.state_history or []),
            models.V2beta1RuntimeStatus(update_time=self._now(), state=state),
        ]
        if state == "FAILED":
            run.run_details = models.V2beta1RunDetails(
                task_details=list_nodes(self.failed, self.attempts, self.pod_names)
            )
        return run

    def _read_log(self, run_id: str, pod: str) -> str:
        """Returns the log of a pod: `ReadRunLogV1` of run_log_server.go."""
        _get(self.runs, run_id, "Run")
        logs = {_name_pod(task, self.attempts): log for task, log in self.failed.items()}
        if (log := logs.get(pod)) is not None:
            return log
        raise RefusedError(
            400,
            f"Failed to read logs for run {run_id}: BadRequestError: InternalServerError: Failed to read logs from "
            f"archive {pod} due to error fetching the log file: The specified key does not exist.",
        )

    def _list_runs(self, request: Request) -> Any:
        return _page(request, self._of_scope(request, self.runs), "Runs")

    # Recurring runs.

    def _create_recurring_run(self, request: Request) -> Any:
        recurring_run = read_model(request.body, "V2beta1RecurringRun")
        if not recurring_run.display_name:
            raise RefusedError(500, "Recurring run's name cannot be empty")
        most = int(recurring_run.max_concurrency or 0)
        if not 1 <= most <= 10:
            raise RefusedError(
                400, f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}"
            )
        trigger = recurring_run.trigger
        if trigger and trigger.cron_schedule:
            _check_cron(trigger.cron_schedule.cron or "")
        self._check_source(recurring_run, "recurring run")
        recurring_run.recurring_run_id = _new_id()
        recurring_run.created_at = recurring_run.updated_at = self._now()
        recurring_run.max_concurrency = str(most)  # an int64, which is text in JSON
        recurring_run.namespace = self.experiments[recurring_run.experiment_id].namespace
        self.recurring_runs[recurring_run.recurring_run_id] = recurring_run
        return _enable(recurring_run, recurring_run.mode == "ENABLE")

    def _list_recurring_runs(self, request: Request) -> Any:
        return _page(request, self._of_scope(request, self.recurring_runs), "RecurringRuns")

    def _get_recurring_run(self, _: Request, recurring_run_id: str) -> Any:
        return _get(self.recurring_runs, recurring_run_id, "Job")

    def _enable(self, _: Request, recurring_run_id: str) -> Any:
        _enable(_get(self.recurring_runs, recurring_run_id, "Job"), True)
        return {}

    def _disable(self, _: Request, recurring_run_id: str) -> Any:
        _enable(_get(self.recurring_runs, recurring_run_id, "Job"), False)
        return {}

    def _delete_recurring_run(self, _: Request, recurring_run_id: str) -> Any:
        del self.recurring_runs[_get(self.recurring_runs, recurring_run_id, "Job").recurring_run_id]
        return {}

    def _get_healthz(self, _: Request) -> Any:
        return models.V2beta1GetHealthzResponse(multi_user=self.multi_user)

    # What they have in common.

    def _check_source(self, item: Any, kind: str) -> None:
        """Checks experiment, pipeline and parameters of a run or a recurring run."""
        _get(self.experiments, item.experiment_id or "", "Experiment")
        reference = item.pipeline_version_reference
        if item.pipeline_spec:
            spec = item.pipeline_spec
        elif reference and reference.pipeline_version_id:
            version = _get(self.versions, reference.pipeline_version_id, "PipelineVersion")
            if reference.pipeline_id != version.pipeline_id:
                raise RefusedError(400, f"Pipeline version {version.pipeline_version_id} is of another pipeline")
            spec = self._specs[version.pipeline_version_id]
        elif reference and reference.pipeline_id:
            _get(self.pipelines, reference.pipeline_id, "Pipeline")
            spec = [self._specs[i] for i, v in self.versions.items() if v.pipeline_id == reference.pipeline_id][-1]
        else:
            raise RefusedError(
                500, f"Failed to create a {kind} with an invalid pipeline spec manifest: source is missing"
            )
        config = item.runtime_config
        check_parameters(spec, (config and config.parameters) or {})

    def _of_scope(self, request: Request, items: dict[str, Any]) -> list[Any]:
        experiment_id = request.query.get("experiment_id")
        if experiment_id:
            _get(self.experiments, experiment_id, "Experiment")
            return [item for item in items.values() if item.experiment_id == experiment_id]
        namespace = self._namespace_of(request)
        return [i for i in items.values() if self.experiments[i.experiment_id].namespace == namespace]

    def _namespace_of(self, request: Request) -> str:
        namespace = request.query.get("namespace", "")
        if self.multi_user and not namespace:
            raise RefusedError(400, "Namespace cannot be empty in multi-user mode")
        return namespace

    def _now(self) -> datetime.datetime:
        """Returns a time, one second after the time before, so that the order of objects is known."""
        self._clock += datetime.timedelta(seconds=1)
        return self._clock


_ROUTES = (
    ("GET", "/healthz", KfpApiStub._get_healthz),
    ("POST", "/pipelines", KfpApiStub._create_pipeline),
    ("POST", "/pipelines/upload", KfpApiStub._upload_pipeline),
    ("POST", "/pipelines/upload_version", KfpApiStub._upload_version),
    ("GET", "/pipelines", KfpApiStub._list_pipelines),
    ("GET", "/pipelines/names/([^/]+)", KfpApiStub._get_pipeline_by_name),
    ("GET", "/pipelines/([^/]+)", KfpApiStub._get_pipeline),
    ("GET", "/pipelines/([^/]+)/versions", KfpApiStub._list_versions),
    ("GET", "/pipelines/([^/]+)/versions/([^/]+)", KfpApiStub._get_version),
    ("POST", "/experiments", KfpApiStub._create_experiment),
    ("GET", "/experiments", KfpApiStub._list_experiments),
    ("GET", "/experiments/([^/]+)", KfpApiStub._get_experiment),
    ("POST", "/runs", KfpApiStub._create_run),
    ("GET", "/runs", KfpApiStub._list_runs),
    ("GET", "/runs/([^/]+)", KfpApiStub._get_run),
    ("POST", "/recurringruns", KfpApiStub._create_recurring_run),
    ("GET", "/recurringruns", KfpApiStub._list_recurring_runs),
    ("GET", "/recurringruns/([^/:]+)", KfpApiStub._get_recurring_run),
    ("POST", "/recurringruns/([^/:]+):enable", KfpApiStub._enable),
    ("POST", "/recurringruns/([^/:]+):disable", KfpApiStub._disable),
    ("DELETE", "/recurringruns/([^/:]+)", KfpApiStub._delete_recurring_run),
)


def read_model(body: Any, name: str) -> Any:
    """Parses JSON into a model of kfp-server-api.

    Raises:
        RefusedError: if a key is none of the model, or a value is of another type; so does the backend's protojson.
    """
    _check_value(body, name, name)
    return kfp_server_api.ApiClient().deserialize(_Data(json.dumps(body)), name)


@dataclasses.dataclass
class _Data:
    data: str


def _check_value(value: Any, kind: str, where: str) -> None:
    listed, mapped = re.fullmatch(r"list\[(.*)\]", kind), re.fullmatch(r"dict\(str, (.*)\)", kind)
    model = getattr(models, kind, None)
    if kind == "object" or (kind == "str" and isinstance(value, int) and not isinstance(value, bool)):  # an int64
        return
    if listed and isinstance(value, list):
        for item in value:
            _check_value(item, listed[1], where)
    elif mapped and isinstance(value, dict):
        for key, item in value.items():
            _check_value(item, mapped[1], f"{where}.{key}")
    elif model and getattr(model, "allowable_values", None):
        if value not in model.allowable_values:
            raise RefusedError(400, f"invalid value for {where}: {value!r}")
    elif model and isinstance(value, dict):
        attributes = {key: attribute for attribute, key in model.attribute_map.items()}
        for key, item in value.items():
            if key not in attributes:
                raise RefusedError(400, f'unknown field "{key}" in {where}')
            _check_value(item, model.openapi_types[attributes[key]], f"{where}.{key}")
    elif not isinstance(value, {"str": str, "bool": bool, "int": int, "datetime": str}.get(kind, ())):
        raise RefusedError(400, f"invalid value for {where}: expected {kind}, got {value!r}")


def check_parameters(spec: dict[str, Any], values: dict[str, Any]) -> None:
    """Checks parameters as `validatePipelineJobInputs` of v2_template.go."""
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, parameter in parameters.items():
        if name not in values:
            if not parameter.get("isOptional") and "defaultValue" not in parameter:
                raise RefusedError(
                    400, f"parameter {name} is not optional, yet has neither default value nor user provided value"
                )
            continue
        kind = parameter.get("parameterType")
        if kind not in _KINDS:
            raise RefusedError(400, f"input parameter {name} has unspecified type")
        types, said = _KINDS[kind]
        if not isinstance(values[name], types) or (isinstance(values[name], bool) and kind != "BOOLEAN"):
            raise RefusedError(400, f"input parameter {name} requires type {said}")
    unknown = sorted(set(values) - set(parameters))
    if unknown:
        raise RefusedError(400, f"parameter(s) provided are not required by pipeline: {', '.join(unknown)}")


def _check_cron(text: str) -> None:
    """Checks a cron expression as robfig/cron 1.2: five fields are accepted, and the weekday may be missing."""
    fields = text.split()
    if text.startswith("@"):
        return
    if not 5 <= len(fields) <= 6:
        raise _refuse_cron(f"Expected 5 to 6 fields, found {len(fields)}: {text}")
    if not croniter.is_valid(" ".join([*fields, "*"][:6]), second_at_beginning=True):
        raise _refuse_cron(f"Failed to parse: {text}")


def _refuse_cron(reason: str) -> RefusedError:
    return RefusedError(
        400, f"Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron). Error: {reason}"
    )


def _read_upload(request: Request) -> dict[str, Any]:
    """Reads the spec of a multipart upload, checked as by `NewV2SpecTemplate` of v2_template.go."""
    if not request.file:
        raise RefusedError(400, "Failed to read pipeline from file")
    name, content = request.file
    if not name.endswith((".yaml", ".yml")):
        raise RefusedError(400, "Unexpected pipeline file format. Support .zip, .tar.gz, .json or YAML")
    try:
        spec = yaml.safe_load(content)
        json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    except (yaml.YAMLError, json_format.ParseError, AttributeError) as error:
        raise RefusedError(400, f"invalid v2 pipeline spec: {error}") from None
    if spec.get("schemaVersion") != "2.1.0":
        version = spec.get("schemaVersion")
        raise RefusedError(400, f"KFP only supports schema version 2.1.0, but the pipeline spec has version {version}")
    if not spec.get("pipelineInfo", {}).get("name"):
        raise RefusedError(400, "invalid v2 pipeline spec: name is empty")
    if not spec.get("root"):
        raise RefusedError(400, "invalid v2 pipeline spec: root component is empty")
    return dict(spec)


def _page(request: Request, items: list[Any], resource: str) -> Any:
    """Returns a page of a list, filtered and sorted; the token is the beginning of the next page."""
    for predicate in json.loads(request.query.get("filter") or "{}").get("predicates", []):
        if predicate["operation"] not in (1, "EQUALS") or predicate["key"] not in ("display_name", "name"):
            raise RefusedError(400, f"Invalid filter: {predicate}")
        items = [item for item in items if item.display_name == predicate["stringValue"]]
    order = (request.query.get("sort_by") or "created_at").split()
    if order[0] not in ("created_at", "display_name") or order[1:] not in ([], ["asc"], ["desc"]):
        raise RefusedError(400, f"Invalid sorting: {' '.join(order)}")
    items = sorted(items, key=lambda item: getattr(item, order[0]), reverse=order[1:] == ["desc"])
    size = min(int(request.query.get("page_size") or 0) or _PAGE, _LARGEST_PAGE)
    start = int(request.query.get("page_token") or 0)
    following = str(start + size) if start + size < len(items) else ""
    field = re.sub(r"(?<!^)([A-Z])", r"_\1", resource).lower()
    page = {field: items[start : start + size], "total_size": len(items), "next_page_token": following}
    return getattr(models, f"V2beta1List{resource}Response")(**page)


def _get(items: dict[str, Any], item_id: str, kind: str) -> Any:
    if item_id not in items:
        raise RefusedError(404, f"{kind} {item_id} not found.")
    return items[item_id]


def _enable(recurring_run: Any, enabled: bool) -> Any:
    recurring_run.mode, recurring_run.status = ("ENABLE", "ENABLED") if enabled else ("DISABLE", "DISABLED")
    return recurring_run


def list_nodes(failed: Iterable[str], attempts: bool, pod_names: bool = False) -> list[Any]:
    """Returns the nodes of Argo for a run whose tasks have failed: `toApiPipelineTaskDetail` of api_converter.go.

    SchemaGen has succeeded. With `attempts` each node has a node for its first attempt between it and those below.
    """
    nodes = [_node(_WORKFLOW, "FAILED", _hash("root-driver")), _node("root-driver", "SUCCEEDED", _hash("root"))]
    drivers = [_hash(f"{task}-driver") for task in ("SchemaGen", *failed)]
    nodes += _attempt("root", "FAILED", attempts, drivers)
    for task in ("SchemaGen", *failed):
        state = "FAILED" if task in failed else "SUCCEEDED"
        nodes.append(_node(f"{task}-driver", "SUCCEEDED", _hash(task)))
        nodes += _attempt(task, state, attempts, [_hash(task, "executor")])
        nodes += _attempt("executor", state, attempts, [], task)
        nodes[-1].pod_name = _name_pod(task, attempts) if pod_names else None
    return nodes


def _name_pod(task: str, attempts: bool) -> str:
    return f"{_WORKFLOW}-system-container-impl-{_hash(task, 'executor(0)' if attempts else 'executor')}"


def _attempt(name: str, state: str, attempts: bool, below: list[str], task: str = "") -> list[Any]:
    if not attempts:
        return [_node(name, state, *below)]
    path = (task, f"{name}(0)") if task else (f"{name}(0)",)
    return [_node(name, state, _hash(*path)), _node(f"{name}(0)", state, *below)]


def _node(name: str, state: str, *below: str) -> Any:
    children = [models.PipelineTaskDetailChildTask(pod_name=f"{_WORKFLOW}-{digest}") for digest in below]
    return models.V2beta1PipelineTaskDetail(
        task_id=_new_id(), display_name=name, state=state, child_tasks=children or None
    )


def _hash(*path: str) -> str:
    """Returns the number of a node that Argo makes of its name."""
    return str(zlib.crc32(".".join(path).encode()))


def _new_id() -> str:
    return str(uuid.uuid4())


def _to_error(request: Request, error: RefusedError) -> dict[str, Any]:
    """Returns the error in JSON; uploads and logs do not use gRPC, and have another form."""
    if "/upload" in request.line or request.line.endswith("/log"):
        return {"error_message": str(error), "error_details": str(error)}
    code, message = _CODES.get(error.status, 2), f"Failed to do it: {error}"
    detail = {"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": str(error)}
    return {"error": message, "code": code, "message": message, "details": [detail]}


def _make_handler(stub: KfpApiStub) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = _TIMEOUT
        disable_nagle_algorithm = True  # else each answer takes 40 ms

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            if length > _MOST_BYTES:
                self.close_connection = True
                self._write(400, {"error_message": f"File size too large. Maximum supported size: {_MOST_BYTES}"})
                return
            self._write(*stub.answer(_read_request(self.command, self.path, self.headers, self.rfile.read(length))))

        do_POST = do_DELETE = do_GET  # noqa: N815

        def _write(self, status: int, answer: Any) -> None:
            text = isinstance(answer, str)
            body = answer.encode() if text else json.dumps(answer).encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if text else "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # it did not wait
                self.close_connection = True

        def log_message(self, *arguments: Any) -> None:
            """Drops the server's log."""

    return Handler


def _read_request(method: str, target: str, headers: Any, content: bytes) -> Request:
    url = urllib.parse.urlsplit(target)
    kind = headers.get("Content-Type", "")
    file, body = None, None
    if kind.startswith("multipart/form-data"):
        message = email.message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + content, policy=email.policy.HTTP)
        parts = {part.get_param("name", header="content-disposition"): part for part in message.iter_parts()}
        if "uploadfile" in parts:
            part = parts["uploadfile"]
            file = (str(part.get_filename()), part.get_payload(decode=True))
    elif content:
        body = json.loads(content)
    query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
    return Request(f"{method} {url.path}", query, body, file, {k.lower(): v for k, v in headers.items()})
