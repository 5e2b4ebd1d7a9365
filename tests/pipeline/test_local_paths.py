"""Documents that travel with a model name no folder of the machine."""

import dataclasses

import pytest

from pipeline.chain import _version_record
from pipeline.config.config import Config
from pipeline.local_paths import shorten_paths
from pipeline.resolve import Resolved


@pytest.mark.parametrize(
    ("path", "short"),
    [
        ("/home/ann/photos", "photos"),
        ("/home/ann/my photos/", "my photos"),
        ("/", ""),
        ("~/photos", "photos"),
        ("file:///home/ann/w.h5", "w.h5"),
        ("--temp_location=/tmp/beam", "--temp_location=beam"),
        ('{"command": "/opt/worker/boot", "env": {"A": "/b/c"}}', '{"command": "boot", "env": {"A": "c"}}'),
        ("--files=/a/b,/c/d", "--files=b,d"),
        ("photos", "photos"),
        ("../photos", "../photos"),
        ("gs://bucket/photos", "gs://bucket/photos"),
        ("--temp_location=gs://bucket/beam", "--temp_location=gs://bucket/beam"),
        ("localhost:8099", "localhost:8099"),
        ("registry.example/graft:0.2.0", "registry.example/graft:0.2.0"),
    ],
)
def test_an_absolute_path_is_shortened_to_its_name(path, short):
    """The path may stand alone or in an argument; a text without an absolute path stays."""
    assert shorten_paths({"a": [path, 1, None, True]}) == {"a": [short, 1, None, True]}


def test_the_record_of_a_version_holds_no_path_of_the_machine():
    """This holds for each key of the configuration that can have a path."""
    texts = {field.name: "" for field in dataclasses.fields(Resolved)}
    resolved = Resolved(**texts | {"classes": ["cat"], "code_digests": {}, "weights": "/srv/secret/w.h5"})
    beam = {"args": ["--x=/srv/secret/x"], "environment_config": "/srv/secret/boot"}
    config = Config(data="/srv/secret/photos", out="/srv/secret/out", weights="/srv/secret/w.h5", beam=beam)
    record = _version_record(config, resolved)
    assert "/srv" not in repr(record)
    assert (record["config"]["data"], record["resolved"]["weights"]) == ("photos", "w.h5")
