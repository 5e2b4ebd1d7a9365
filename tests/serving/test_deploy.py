"""What serving/deploy hands to the real server, to Docker and to Kubernetes means what it is meant to.

None of the three is at hand here: the files are read with the schemas and the flags that theirs have.
"""

import copy
import http.server
import json
import pathlib
import re
import shutil
import subprocess
import threading
import types

import pytest
import yaml
from google.protobuf import text_format
from kubernetes import client
from tensorflow_serving.config import model_server_config_pb2

from serving.image import IMAGE
from serving.releases import models_config
from serving.server import configs

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY, DOCS = ROOT / "serving/deploy", ROOT / "docs/serving.md"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serving"]
MANIFESTS = {document["kind"]: document for document in yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())}
KSERVE = yaml.safe_load((DEPLOY / "kserve.yaml").read_text())
PREDICTOR = KSERVE["spec"]["predictor"]
KSERVE_SCHEMA = yaml.safe_load(
    (pathlib.Path(__file__).parents[1] / "fixtures/inference_service_schema.yaml").read_text()
)
POD = MANIFESTS["Deployment"]["spec"]["template"]
CONTAINER = POD["spec"]["containers"][0]

# `flag_list` in tensorflow_serving/model_servers/main.cc of github.com/tensorflow/serving. The copy that was read is of
# 2022; the flags since then are from a fork of 2025.
FLAGS = set(
    re.findall(
        r"\w+",
        """
    port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms rest_api_enable_cors_support
    enable_batching allow_version_labels_for_unavailable_models batching_parameters_file
    enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds model_name
    model_base_path num_load_threads num_unload_threads max_num_load_retries load_retry_interval_micros
    file_system_poll_wait_seconds flush_filesystem_caches tensorflow_session_parallelism
    tensorflow_session_config_file tensorflow_intra_op_parallelism tensorflow_inter_op_parallelism
    use_alts_credentials ssl_config_file platform_config_file per_process_gpu_memory_fraction saved_model_tags
    grpc_channel_arguments grpc_max_threads enable_model_warmup num_request_iterations_for_warmup version
    monitoring_config_file remove_unused_fields_from_bundle_metagraph prefer_tflite_model num_tflite_pools
    num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
    xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision skip_initialize_tpu
    enable_grpc_healthcheck_service enable_serialization_as_tensor_content
    """,
    )
)
READERS = {
    "models.config": configs.read_model_config,
    "batching.config": configs.read_batching_parameters,
    "monitoring.config": configs.read_monitoring_config,
}


def parse_flags(arguments):
    """Flags of the real server by name; one given twice, or not as --name=value, has no place in these files."""
    pairs = [re.fullmatch(r"--(\w+)=(.+)", argument).groups() for argument in arguments]
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


def interpolate(value, variables):
    """Fills in ${NAME}, ${NAME:-default} and ${NAME:?message} as docker compose does."""
    if isinstance(value, dict):
        return {key: interpolate(item, variables) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, variables) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub(
        r"\$\{(\w+)(?::-(.*?)|:\?(.*?))?\}", lambda m: variables.get(m[1]) or m[2] or f"<{m[1]} is missing>", value
    )


@pytest.fixture
def workspace(tmp_path):
    """Returns the folder `serving` of a workspace, with a models.config of Graft."""
    serving = tmp_path / "graft-out/serving"
    (serving / "graft/1795612102").mkdir(parents=True)
    content = (DEPLOY / "models.config").read_text()
    (serving / "models.config").write_text(content.replace("/srv/graft/serving", str(serving)))
    return serving


@pytest.fixture
def service(workspace):
    """Returns the service of compose.yaml for that workspace."""
    return interpolate(COMPOSE, {"GRAFT_SERVING": str(workspace)})


def find_outside(service, path):
    """Returns the file on this machine for a path in the container."""
    for volume in service["volumes"]:
        if pathlib.PurePath(path).is_relative_to(volume["target"]):
            return DEPLOY / volume["source"] / pathlib.PurePath(path).relative_to(volume["target"])
    raise AssertionError(f"{path} is not mounted")


def test_the_example_is_what_graft_writes():
    """One model, its live version and one below, and a label by which clients ask."""
    (model,) = configs.read_model_config(str(DEPLOY / "models.config")).model_config_list.config
    assert (model.name, model.model_platform) == ("graft", "tensorflow")
    assert model.base_path == "/srv/graft/serving/graft"
    assert model.model_version_policy.latest.num_versions == 2
    assert dict(model.version_labels) == {"stable": 1795612102}


def test_graft_writes_the_same(tmp_path):
    """For a workspace with that version and one before it."""
    model_dir = str(tmp_path / "serving/graft")
    (tmp_path / "serving").mkdir()
    config = models_config.read(model_dir)
    models_config.write(model_dir, config, {"stable": 1795612102}, [1795612101, 1795612102])
    written = configs.read_model_config(models_config.find_file(model_dir))
    written.model_config_list.config[0].base_path = "/srv/graft/serving/graft"
    assert written == configs.read_model_config(str(DEPLOY / "models.config"))


def test_the_example_parses_by_the_servers_own_schema():
    """Without our reader between: tensorflow-serving-api has that one message."""
    message = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((DEPLOY / "models.config").read_text(), message)
    assert message.model_config_list.config


def test_batches_are_of_a_size_that_a_processor_gains_by():
    """At most 16 images at once, however many a request holds; and no waiting for company."""
    batching = configs.read_batching_parameters(str(DEPLOY / "batching.config"))
    assert batching.execution_batch_size == 16
    assert batching.max_batch_size == 128
    assert batching.batch_timeout_micros == 0
    assert batching.max_enqueued_batches * batching.execution_batch_size >= batching.max_batch_size


def test_metrics_are_served_where_prometheus_looks():
    """The path of the annotations is that of the file, and the port that of REST."""
    monitoring = configs.read_monitoring_config(str(DEPLOY / "monitoring.config"))
    annotations = POD["metadata"]["annotations"]
    assert monitoring.enable
    assert annotations["prometheus.io/scrape"] == "true"
    assert annotations["prometheus.io/path"] == monitoring.path
    assert annotations["prometheus.io/port"] == parse_flags(CONTAINER["args"])["rest_api_port"]


@pytest.mark.parametrize("name", sorted(path.name for path in DEPLOY.iterdir()))
def test_each_file_begins_with_how_it_is_used(name):
    """In two or three lines."""
    comment = re.match(r"(# .*\n|#     .*\n){2,4}", (DEPLOY / name).read_text())
    assert comment
    assert "tensorflow_model_server" in comment[0] or "docker compose" in comment[0] or "kubectl" in comment[0]


def find_faults(value, schema, place=""):
    """Yields where a value breaks a structural schema of Kubernetes: type, fields, required fields, pattern."""
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}
    allowed = [part["type"] for part in schema.get("anyOf", [schema])]
    if not any(type(value) is kinds[name] for name in allowed):
        yield f"{place}: expected {' or '.join(allowed)}, got {value!r}"
    elif isinstance(value, dict) and "x-kubernetes-preserve-unknown-fields" not in schema:
        for name in set(schema.get("required", [])) - value.keys():
            yield f"{place}.{name}: missing"
        for name, item in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            yield from find_faults(item, inner, f"{place}.{name}") if inner else [f"{place}.{name}: unknown"]
    elif isinstance(value, list):
        for item in value:
            yield from find_faults(item, schema["items"], f"{place}[]")
    elif "pattern" in schema and isinstance(value, str) and not re.search(schema["pattern"], value):
        yield f"{place}: {value!r} is not like {schema['pattern']}"


def test_kserve_takes_the_service():
    """Each field is one of the CRD, with its type."""
    assert (KSERVE["apiVersion"], KSERVE["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    assert list(find_faults(KSERVE, KSERVE_SCHEMA)) == []


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("runtimeVersion", 2.21, ".spec.predictor.model.runtimeVersion: expected string, got 2.21"),
        ("runtimeversion", "2.21.0", ".spec.predictor.model.runtimeversion: unknown"),
        ("modelFormat", {"version": "2"}, ".spec.predictor.model.modelFormat.name: missing"),
        ("args", [1], ".spec.predictor.model.args[]: expected string, got 1"),
        ("resources", {"limits": {"cpu": "four"}}, ".spec.predictor.model.resources.limits.cpu: 'four' is not like"),
    ],
)
def test_the_schema_finds_a_mistake(key, value, fault):
    changed = copy.deepcopy(KSERVE)
    changed["spec"]["predictor"]["model"][key] = value
    [found] = find_faults(changed, KSERVE_SCHEMA)
    assert found.startswith(fault)


def test_kserve_runs_the_same_server_with_the_same_bounds():
    """The runtime of KServe's chart is TensorFlow Serving 2.6.2, which no test of Graft has seen."""
    model = PREDICTOR["model"]
    assert COMPOSE["image"] == f"tensorflow/serving:{model['runtimeVersion']}"
    assert (model["modelFormat"]["name"], model["protocolVersion"]) == ("tensorflow", "v1")
    assert model["resources"] == CONTAINER["resources"]
    flags, cpus = parse_flags(model["args"]), model["resources"]["limits"]["cpu"]
    assert flags["tensorflow_intra_op_parallelism"] == flags["tensorflow_inter_op_parallelism"] == cpus
    assert set(flags) <= FLAGS
    assert not set(flags) & {"model_name", "model_base_path", "port", "rest_api_port"}  # the runtime has them


def test_the_folder_that_kserve_copies_is_for_one_version():
    """Its name is a version's number; what the pods find in it is the documentation's command."""
    uri, number = PREDICTOR["model"]["storageUri"], PREDICTOR["model"]["storageUri"].rpartition("/")[2]
    assert number.isdecimal()
    assert f"{uri}/{number}" in DOCS.read_text()
    assert 0 <= PREDICTOR["canaryTrafficPercent"] <= 100


@pytest.mark.parametrize("arguments", [COMPOSE["command"], CONTAINER["args"]], ids=["compose", "kubernetes"])
def test_every_flag_is_one_that_the_real_server_has(arguments):
    """It does not start with another; and batching parameters without batching stop it as well."""
    flags = parse_flags(arguments)
    assert set(flags) <= FLAGS
    assert (flags["port"], flags["rest_api_port"]) == ("8500", "8501")
    assert flags["enable_batching"] == "true"
    assert flags["allow_version_labels_for_unavailable_models"] == "true"
    assert int(flags["model_config_file_poll_wait_seconds"]) > 0


def test_every_flag_in_the_documentation_is_one_that_the_real_server_has():
    """A page that nobody runs is soon wrong; the built-in server has flags of its own."""
    text = DOCS.read_text().partition("## The built-in server")[0]
    flags = set(re.findall(r"--([a-z]+(?:_[a-z]+)+)", text))
    assert flags
    assert flags <= FLAGS


def test_every_file_in_the_documentation_is_there():
    """By its path from the top of the project."""
    names = set(re.findall(r"serving/deploy/([\w.]+\.(?:config|yaml))", DOCS.read_text()))
    assert names == {path.name for path in DEPLOY.iterdir()}


def test_both_run_the_same_pinned_server():
    """Documentation, too, and `./graft serve --docker`: a moving tag would change what is served overnight."""
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *DEPLOY.iterdir()]
    images = {image for page in pages for image in re.findall(r"(?:^|\s)(tensorflow/serving\b\S*)", page.read_text())}
    assert images == {COMPOSE["image"], CONTAINER["image"]} == {IMAGE}
    assert re.fullmatch(r"tensorflow/serving:\d+\.\d+\.\d+", IMAGE)


def test_compose_mounts_the_workspace_at_its_own_path(service, workspace):
    """Read-only, so that one models.config with absolute paths is right outside and inside."""
    (mount,) = [volume for volume in service["volumes"] if volume["source"] == str(workspace)]
    assert mount["target"] == str(workspace)
    (model,) = configs.read_model_config(
        str(find_outside(service, f"{workspace}/models.config"))
    ).model_config_list.config
    assert find_outside(service, model.base_path).is_dir()


def test_all_that_compose_mounts_is_there_and_stays_as_it_is(service):
    """Docker would otherwise make an empty folder of what is missing."""
    for volume in service["volumes"]:
        assert (DEPLOY / volume["source"]).exists()
        assert volume["type"] == "bind"
        assert volume["read_only"] is True
        assert volume["bind"] == {"create_host_path": False}


def test_every_file_that_compose_names_parses(service):
    """As the server in the container finds it."""
    flags = parse_flags(service["command"])
    named = {pathlib.PurePath(path).name: path for flag, path in flags.items() if flag.endswith("_file")}
    assert named.keys() == READERS.keys()
    for name, path in named.items():
        READERS[name](str(find_outside(service, path)))


def test_compose_says_what_to_set():
    """Without the workspace there is nothing to serve."""
    assert "${GRAFT_SERVING:?" in " ".join(COMPOSE["command"])
    assert "is missing" in " ".join(interpolate(COMPOSE["command"], {}))


def test_compose_binds_to_this_machine_unless_told_otherwise(service, workspace):
    """The server has no authentication."""
    assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    open_to_all = interpolate(COMPOSE, {"GRAFT_SERVING": str(workspace), "GRAFT_BIND": "0.0.0.0"})
    assert open_to_all["ports"] == ["0.0.0.0:8500:8500", "0.0.0.0:8501:8501"]


def test_compose_restarts_and_bounds_the_server(service):
    """A crash is not the end, a leak not that of the machine."""
    assert service["restart"] == "unless-stopped"
    assert service["mem_limit"] == "4g"


def serve_status(state, error_code="OK"):
    """Yields a server that answers status requests as TensorFlow Serving does."""
    status = {"version": "7", "state": state, "status": {"error_code": error_code, "error_message": ""}}
    body = json.dumps({"model_version_status": [status]}, indent=1).encode()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/v1/models/graft" else 404)
            self.end_headers()
            self.wfile.write(body if self.path == "/v1/models/graft" else b'{"error": "not AVAILABLE"}')

        def log_message(self, *arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


@pytest.mark.skipif(shutil.which("bash") is None, reason="the image's shell is bash")
@pytest.mark.parametrize(
    ("state", "error_code", "model", "healthy"),
    [
        ("AVAILABLE", "OK", "graft", True),
        ("LOADING", "OK", "graft", False),
        ("END", "UNAVAILABLE", "graft", False),
        ("AVAILABLE", "OK", "other", False),
    ],
)
def test_the_health_check_tells_whether_a_version_is_available(workspace, state, error_code, model, healthy):
    """Run as Docker runs it, against what the real server would answer."""
    variables = {"GRAFT_SERVING": str(workspace), "GRAFT_MODEL": model}
    how, *command = interpolate(COMPOSE["healthcheck"]["test"], variables)
    assert how == "CMD"
    server = serve_status(state, error_code)
    try:
        command[-1] = command[-1].replace("/8501", f"/{server.server_port}")
        done = subprocess.run(command, timeout=120, check=False)
    finally:
        server.shutdown()
        server.server_close()
    assert (done.returncode == 0) is healthy


@pytest.mark.skipif(shutil.which("bash") is None, reason="the image's shell is bash")
def test_a_server_that_is_not_there_is_not_healthy():
    """Nothing listens on port 1."""
    command = COMPOSE["healthcheck"]["test"][1:]
    command = [*command[:-1], command[-1].replace("/8501", "/1")]
    assert subprocess.run(command, timeout=120, check=False, stderr=subprocess.DEVNULL).returncode != 0


def through_the_client(document):
    """A manifest as Kubernetes' own types have it: a field that they do not know is lost on the way."""
    api = client.ApiClient()
    response = types.SimpleNamespace(data=json.dumps(document))
    return api.sanitize_for_serialization(api.deserialize(response, f"V1{document['kind']}"))


def test_the_manifests_are_the_four_that_it_takes():
    """Each once, for they are told apart by their kind here."""
    assert list(MANIFESTS) == ["ConfigMap", "PersistentVolumeClaim", "Deployment", "Service"]
    assert len(list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))) == 4


@pytest.mark.parametrize("kind", MANIFESTS)
def test_kubernetes_knows_every_field(kind):
    """Nothing is lost in its types, so nothing is misspelt or in the wrong place."""
    assert through_the_client(MANIFESTS[kind]) == MANIFESTS[kind]
    assert MANIFESTS[kind]["apiVersion"] == ("apps/v1" if kind == "Deployment" else "v1")


def test_a_misspelt_field_would_be_found():
    """Else the test above would prove nothing."""
    wrong = copy.deepcopy(MANIFESTS["Deployment"])
    probe = wrong["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    probe["periodSecond"] = probe.pop("periodSeconds")
    assert through_the_client(wrong) != wrong


@pytest.mark.parametrize("name", READERS)
def test_the_config_map_holds_what_the_files_beside_hold(tmp_path, name):
    """Neither is to be edited without the other."""
    embedded = tmp_path / name
    embedded.write_text(MANIFESTS["ConfigMap"]["data"][name])
    assert READERS[name](str(embedded)) == READERS[name](str(DEPLOY / name))


def test_the_config_map_holds_nothing_else():
    """Three files for three flags."""
    assert MANIFESTS["ConfigMap"]["data"].keys() == READERS.keys()


def test_names_in_the_manifests_meet():
    """Selectors and labels, volumes and claims, ports and probes: Kubernetes accepts what does not meet, and waits."""
    spec, claim = POD["spec"], MANIFESTS["PersistentVolumeClaim"]["metadata"]["name"]
    ports = {port["name"] for port in CONTAINER["ports"]}
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert MANIFESTS["Deployment"]["spec"]["selector"]["matchLabels"] == POD["metadata"]["labels"]
    assert MANIFESTS["Service"]["spec"]["selector"] == POD["metadata"]["labels"]
    assert {port["targetPort"] for port in MANIFESTS["Service"]["spec"]["ports"]} == ports == {"grpc", "rest"}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes.keys()
    assert volumes["config"]["configMap"]["name"] == MANIFESTS["ConfigMap"]["metadata"]["name"]
    assert volumes["models"]["persistentVolumeClaim"] == {"claimName": claim, "readOnly": True}


def test_what_the_flags_name_is_mounted_in_the_pod():
    """Each file from the ConfigMap, and the model's folder from the volume."""
    mounts = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
    files = {path for flag, path in parse_flags(CONTAINER["args"]).items() if flag.endswith("_file")}
    assert files == {f"{mounts['config']}/{name}" for name in MANIFESTS["ConfigMap"]["data"]}
    (model,) = configs.read_model_config(str(DEPLOY / "models.config")).model_config_list.config
    assert pathlib.PurePath(model.base_path).is_relative_to(mounts["models"])


def test_probes_ask_for_the_models_status():
    """For the model that is served, on the port of REST, and with time to load."""
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert CONTAINER[name]["httpGet"] == {"path": "/v1/models/graft", "port": "rest"}
    assert CONTAINER["startupProbe"]["periodSeconds"] * CONTAINER["startupProbe"]["failureThreshold"] >= 300


def test_the_pod_is_bounded_and_without_privileges():
    """A limit and a request for either resource; not root, and nothing to write to but /tmp and memory."""
    assert {kind: set(amounts) for kind, amounts in CONTAINER["resources"].items()} == {
        "requests": {"cpu", "memory"},
        "limits": {"cpu", "memory"},
    }
    assert POD["spec"]["securityContext"]["runAsNonRoot"] is True
    assert CONTAINER["securityContext"]["allowPrivilegeEscalation"] is False
    writable = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert writable == {"/tmp"}


def test_threads_are_as_many_as_the_processors_that_the_pod_may_use():
    """TensorFlow counts those of the node, and would be throttled."""
    flags = parse_flags(CONTAINER["args"])
    cpus = CONTAINER["resources"]["limits"]["cpu"]
    assert flags["tensorflow_intra_op_parallelism"] == flags["tensorflow_inter_op_parallelism"] == cpus
