"""The table `[kubeflow]`: what is read, and what is refused with which words."""

import re

import pytest

from pipeline.config.load import load_config, load_pods
from pipeline.config.pods import Pods
from pipeline.config.quantities import parse_cores, parse_size, render_cores, render_size
from pipeline.config.read_pods import read_pods
from schema.errors import UsageError


def refuse(table):
    """Returns the message with which a table is refused."""
    with pytest.raises(UsageError) as caught:
        read_pods(table, "graft.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (3, "kubeflow: expected a table, [kubeflow] on a line of its own; got 3."),
        ({"cpu_reqest": 1}, "unknown key 'kubeflow.cpu_reqest'. Did you mean kubeflow.cpu_request?"),
        ({"xyz": 1}, "unknown key 'kubeflow.xyz'. Known: cpu_request, "),
        ({"tasks": {"trainer": {}}}, "unknown task 'kubeflow.tasks.trainer'. Did you mean Trainer?"),
        ({"tasks": {"Tuner": {}}}, "unknown task 'kubeflow.tasks.Tuner'. Did you mean Trainer?"),
        ({"tasks": {"X": {}}}, "unknown task 'kubeflow.tasks.X'. Known: ExampleGen, "),
        (
            {"tasks": {"Trainer": {"memory_reqest": "1Gi"}}},
            "unknown key 'kubeflow.tasks.Trainer.memory_reqest'. Did you mean kubeflow.tasks.Trainer.memory_request?",
        ),
        ({"tasks": {"Trainer": {"labels": {}}}}, "kubeflow.tasks.Trainer.labels: holds for all tasks. Write it in"),
        ({"tasks": {"Trainer": 3}}, "kubeflow.tasks.Trainer: expected a table by task; got 3."),
        (
            {"secrets": [{"name": "a", "mount_pth": "/a"}]},
            "unknown key 'kubeflow.secrets[0].mount_pth'. Did you mean kubeflow.secrets[0].mount_path?",
        ),
        ({"secrets": [{"name": "A"}]}, "kubeflow.secrets[0].name: expected a name in small letters"),
        ({"secrets": [{"env": {"A": "a"}}]}, "kubeflow.secrets[0].name: missing; expected a name"),
        ({"volume_claims": {"name": "x"}}, 'kubeflow.volume_claims: expected a list of tables; got {"name": "x"}.'),
        ({"volume_claims": [{"name": "x", "mount_path": "data"}]}, "expected an absolute path such as /data; got"),
        ({"volume_claims": [{"name": "x", "mount_path": "/a/../b"}]}, "expected an absolute path such as /data"),
        ({"cpu_request": 0}, "kubeflow.cpu_request: expected cores: 2, 0.5 or \"500m\"; got 0."),
        ({"memory_request": 8}, "kubeflow.memory_request: expected a size such as 4Gi; got 8."),
        ({"accelerator": "gpu"}, "kubeflow.accelerator: expected the name of a resource such as nvidia.com/gpu"),
        ({"env": {"A B": "x"}}, "kubeflow.env: expected the name of an environment variable; got A B."),
        ({"labels": {"a b": "c"}}, "kubeflow.labels: expected the key of a label, such as team"),
        ({"image_pull_policy": "always"}, "expected Always, IfNotPresent or Never; got \"always\"."),
        ({"retries": True}, "kubeflow.retries: expected a whole number from 0 to 10; got true."),
        ({"scratch": "20Gi"}, 'kubeflow.scratch: expected a table; got "20Gi".'),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_with_what_was_expected(table, message):
    """With the nearest name of an unknown key or task."""
    assert message in refuse(table)


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ({"volume_claims": [{"name": "a", "mount_path": "/a", "read_only": True}]}, "cannot mount a claim read-only"),
        ({"volume_claims": [{"name": "a", "mount_path": "/a", "readOnly": True}]}, "cannot mount a claim read-only"),
        ({"fsGroup": 10001}, "has no fsGroup, so a volume keeps its group"),
        ({"service_account": "trainer"}, "has no service account: all pods of a run have"),
        ({"serviceAccountName": "trainer"}, "has no service account"),
        ({"tasks": {"Trainer": {"run_as_user": 0}}}, "the pods run as user 10001"),
    ],
)
def test_what_the_platform_cannot_say_is_refused_with_the_reason(table, reason):
    """Not as an unknown key: it is one of Kubernetes, and a pod would not have it."""
    message = refuse(table)
    assert reason in message
    assert "unknown" not in message


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (
            {"config_maps": [{"name": "kfp-launcher", "mount_path": "/a"}]},
            "kfp-launcher is the name of a volume that Kubeflow puts into each pod",
        ),
        ({"secrets": [{"name": "graft-scratch", "mount_path": "/a"}], "scratch": {"size": "1Gi"}}, "graft-scratch is"),
        (
            {"secrets": [{"name": "a", "mount_path": "/a"}], "config_maps": [{"name": "a", "mount_path": "/b"}]},
            "a is mounted from secrets, too: Kubeflow names both volumes a",
        ),
        ({"secrets": [{"name": "a.b", "mount_path": "/a"}]}, "a.b: Kubeflow names the volume like it"),
        ({"secrets": [{"name": "a" * 64, "mount_path": "/a"}]}, "has at most 63 small letters"),
        ({"volume_claims": [{"name": "a", "mount_path": "/gcs/x"}]}, "/gcs/x would hide /gcs of the pod"),
        ({"volume_claims": [{"name": "a", "mount_path": "/opt"}]}, "/opt would hide /opt/graft of the pod"),
        ({"volume_claims": [{"name": "a", "mount_path": "/tmp"}]}, "/tmp would hide /tmp of the pod"),
        (
            {"volume_claims": [{"name": "a", "mount_path": "/a"}, {"name": "b", "mount_path": "/a"}]},
            "b: /a is mounted twice",
        ),
        ({"secrets": [{"name": "a"}]}, "a: expected env or mount_path, else nothing of it is in the pod"),
        ({"labels": {"pipelines.kubeflow.org/x": "y"}}, "pipelines.kubeflow.org/x belongs to Kubeflow"),
        ({"env": {"KFP_POD_NAME": "x"}}, "KFP_POD_NAME is a variable that Kubeflow sets"),
        ({"env": {"TMPDIR": "/x"}, "scratch": {"size": "1Gi"}}, "TMPDIR is set by scratch, too"),
        (
            {"env": {"A": "x"}, "secrets": [{"name": "a", "env": {"A": "a"}}]},
            "secrets: A is set by env, too",
        ),
        ({"tasks": {"DataGate": {"retries": 1}}}, "tasks.DataGate.retries: expected 0: a failure of DataGate is its"),
        ({"memory_request": "4Gi", "memory_limit": "2Gi"}, "memory_request: 4Gi is more than memory_limit, 2Gi"),
        (
            {"cpu_limit": "500m", "tasks": {"Trainer": {"cpu_request": 2}}},
            "tasks.Trainer.cpu_request: 2 is more than cpu_limit, 500m",
        ),
        ({"accelerator_count": 1}, "accelerator_count: expected accelerator with it"),
        ({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}, "Exists takes no value; got b"),
        ({"tolerations": [{"value": "b"}]}, "tolerations: expected key, or operator = Exists"),
        ({"tolerations": [{"key": "a", "seconds": 3}]}, "tolerations: seconds needs effect = NoExecute"),
        ({"scratch": {"size": "1Gi", "volume": "ephemeral", "medium": "Memory"}}, "an ephemeral volume has none"),
        ({"scratch": {"size": "1Gi", "storage_class": "fast"}}, "scratch.storage_class: an emptyDir has none"),
    ],
)
def test_what_no_pod_can_have_is_refused_with_the_reason(table, reason):
    """The cluster would say so in the middle of the night, and of an invalid pod 27 times."""
    assert reason in refuse(table)


@pytest.mark.parametrize("value", [True, ["hush"], "{{hush}}"])
def test_a_wrong_variable_is_refused_without_its_value(value):
    """It may be a password."""
    message = refuse({"env": {"PASSWORD": value}})
    assert "kubeflow.env.PASSWORD: expected a table of texts, without {{ in them." in message
    assert "hush" not in message


def test_one_claim_may_be_in_two_folders_and_one_secret_be_both():
    """Kubernetes merges two equal volumes of one name; a variable is no volume."""
    claims = [{"name": "a", "mount_path": "/a"}, {"name": "a", "mount_path": "/b"}]
    pods = read_pods({"volume_claims": claims, "secrets": [{"name": "a", "env": {"A": "a"}}]}, "graft.toml")
    assert [mount[2] for mount in pods.list_mounts()] == ["/a", "/b"]


def test_paths_in_no_claim_are_told():
    """A bucket is none; a folder of a similar name is not in the claim."""
    pods = read_pods({"volume_claims": [{"name": "a", "mount_path": "/data"}]}, "graft.toml")
    assert pods.list_unmounted(["/data", "/data/photos", "/data2", "gs://b/data", ""]) == ["/data2"]
    assert Pods().list_unmounted(["/data"]) == ["/data"]


def test_a_task_has_its_own_keys_and_those_for_all():
    """Its tables are merged with those for all, and its tolerations added."""
    tolerations = [{"key": "a", "operator": "Exists"}]
    own = {
        "memory_request": "8Gi",
        "env": {"B": "2"},
        "tolerations": [{"key": "b", "operator": "Exists"}],
        "retries": 0,
    }
    table = {"cpu_request": 2, "retries": 3, "env": {"A": 1, "B": "1"}, "tolerations": tolerations}
    pods = read_pods(table | {"tasks": {"Trainer": own}}, "graft.toml")
    trainer, pusher = pods.find_task("Trainer"), pods.find_task("Pusher")
    assert (trainer.cpu_request, trainer.memory_request, trainer.retries) == (2, 8 * 2**30, 0)
    assert trainer.env == {"A": "1", "B": "2"}
    assert [toleration.key for toleration in trainer.tolerations] == ["a", "b"]
    assert (pusher.memory_request, pusher.retries, pusher.env["B"]) == (None, 3, "1")


def test_a_run_on_one_machine_leaves_the_table_alone(tmp_path):
    """It changes no run and no record; a wrong key is named all the same."""
    file = tmp_path / "graft.toml"
    file.write_text('data = "photos"\n[kubeflow]\ncpu_request = 2\n[kubeflow.tasks.Trainer]\ncpu_request = 4\n')
    config = load_config(str(file), {})
    assert "kubeflow" not in config.model_dump()
    assert load_pods(str(file))["tasks"] == {"Trainer": {"cpu_request": 4}}
    file.write_text('data = "photos"\n[kubeflow]\ncpus = 2\n')
    with pytest.raises(UsageError, match=r"graft\.toml: unknown key 'kubeflow\.cpus'"):
        load_config(str(file), {})
    file.write_text('data = "photos"\n[kubflow]\ncpus = 2\n')
    with pytest.raises(UsageError, match=r"unknown key 'kubflow'\. Did you mean kubeflow\?"):
        load_config(str(file), {})


def test_without_a_file_or_a_table_the_defaults_hold(tmp_path):
    """Nothing is asked for."""
    (tmp_path / "graft.toml").write_text('data = "photos"\n')
    assert load_pods(None) == load_pods(str(tmp_path / "graft.toml")) == {}
    assert read_pods({}, "").model_fields_set == set()


def test_every_example_of_a_key_is_taken():
    """docs/configuration.md shows them."""
    for name, field in Pods.model_fields.items():
        table = {name: field.json_schema_extra["example"]}
        table |= {"accelerator": "nvidia.com/gpu"} if name == "accelerator_count" else {}
        assert getattr(read_pods(table, "graft.toml"), name) not in (None, (), {}), name


@pytest.mark.parametrize(
    ("text", "size"),
    [("4Gi", 2**32), ("4G", 4 * 10**9), ("1.5Gi", 3 * 2**29), ("512Mi", 2**29), ("1Ti", 2**40), ("2000k", 2_000_000)],
)
def test_sizes_are_those_of_kubernetes(text, size):
    """And are written back with the largest unit that fits."""
    assert parse_size(text) == size
    assert parse_size(render_size(size)) == size


@pytest.mark.parametrize("value", [4, "4", "Gi", "-4Gi", "4 Gi", "4GB", "1k", "4ki", "4K", "nanGi", "4gi", True, None])
def test_other_sizes_are_refused(value):
    """A number without a unit may be bytes or gigabytes, and 4m are thousandths of a byte."""
    with pytest.raises(ValueError, match=re.escape("not a size")):
        parse_size(value)


@pytest.mark.parametrize(
    ("value", "cores", "text"), [(2, 2, "2"), (0.5, 0.5, "500m"), ("250m", 0.25, "250m"), ("4", 4, "4")]
)
def test_cores_are_those_of_kubernetes(value, cores, text):
    """As a number, or in thousandths."""
    assert parse_cores(value) == cores
    assert render_cores(cores) == text


@pytest.mark.parametrize("value", [0, -1, "0m", "2 cores", True, float("nan"), float("inf"), None, "1e3"])
def test_other_numbers_of_cores_are_refused(value):
    """Nothing is rounded."""
    with pytest.raises(ValueError, match="not a number of cores"):
        parse_cores(value)
