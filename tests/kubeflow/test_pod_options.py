"""Options of `compile` for the pods."""

import pytest

from kubeflow.pod_options import POD_OPTIONS, add_options
from pipeline.config.read_pods import read_pods
from schema.errors import UsageError

NONE = dict.fromkeys(POD_OPTIONS, ()) | {"scratch": None}


def test_options_say_what_the_table_says():
    """Each as the key of its name."""
    options = {
        "env": ("AWS_REGION=eu=1",),
        "secret_env": ("bucket:access-key=AWS_ACCESS_KEY_ID", "bucket:secret=AWS_SECRET_ACCESS_KEY"),
        "volume_claim": ("photos:/data",),
        "node_selector": ("pool=train", "Trainer:cloud.google.com/gke-accelerator=nvidia-l4"),
        "accelerator": ("Trainer:nvidia.com/gpu=2", "Embedder:nvidia.com/gpu"),
        "memory_request": ("Trainer:8Gi",),
        "scratch": "20Gi",
    }
    table = add_options({}, options)
    assert table == {
        "env": {"AWS_REGION": "eu=1"},
        "secrets": [
            {"name": "bucket", "env": {"AWS_ACCESS_KEY_ID": "access-key"}},
            {"name": "bucket", "env": {"AWS_SECRET_ACCESS_KEY": "secret"}},
        ],
        "volume_claims": [{"name": "photos", "mount_path": "/data"}],
        "node_selector": {"pool": "train"},
        "scratch": {"size": "20Gi"},
        "tasks": {
            "Trainer": {
                "node_selector": {"cloud.google.com/gke-accelerator": "nvidia-l4"},
                "accelerator": "nvidia.com/gpu",
                "accelerator_count": 2,
                "memory_request": "8Gi",
            },
            "Embedder": {"accelerator": "nvidia.com/gpu", "accelerator_count": 1},
        },
    }
    read_pods(table, "options")


def test_options_add_to_the_file_and_override_it():
    """Key by key; the table of the file is left as it is."""
    table = {"env": {"A": "1", "B": "1"}, "scratch": {"size": "1Gi", "mount_path": "/big"}}
    added = add_options(table, NONE | {"env": ("B=2",), "scratch": "9Gi"})
    assert added == {"env": {"A": "1", "B": "2"}, "scratch": {"size": "9Gi", "mount_path": "/big"}}
    assert table["env"] == {"A": "1", "B": "1"}
    assert add_options(table, NONE) == table


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("env", "AWS_REGION", "--env: expected NAME=VALUE."),
        ("env", "PASSWORD hush", "--env: expected NAME=VALUE."),
        ("secret_env", "bucket:key", "--secret-env: expected SECRET:KEY=NAME."),
        ("volume_claim", "photos", "--volume-claim: expected CLAIM:/PATH."),
        ("accelerator", "nvidia.com/gpu", "--accelerator: expected TASK:RESOURCE[=N]."),
        ("accelerator", "Trainer:nvidia.com/gpu=x", "--accelerator: expected a whole number behind =, got"),
        ("memory_request", "8Gi", "--memory-request: expected TASK:SIZE."),
    ],
)
def test_an_option_of_another_form_is_told_its_own(name, text, message):
    """The value of a variable is not shown."""
    with pytest.raises(UsageError) as caught:
        add_options({}, NONE | {name: (text,)})
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_wrong_task_of_an_option_is_refused_with_the_nearest():
    """As one of the table is."""
    table = add_options({}, NONE | {"memory_request": ("Trainr:8Gi",)})
    with pytest.raises(UsageError, match=r"^options: unknown task 'kubeflow\.tasks\.Trainr'\. Did you mean Trainer\?"):
        read_pods(table, "options")
