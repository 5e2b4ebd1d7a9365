"""`schema/schema.pbtxt` with the classes of a run filled in."""

import json

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from components.schema_gen import SchemaGen, read_schema
from schema import features


def test_the_classes_are_the_domain_of_the_label():
    """In the given order, in any script."""
    schema = read_schema(["zebra", "猫", "golden retriever"])
    label = next(feature for feature in schema.feature if feature.name == features.LABEL)
    domains = {domain.name: list(domain.value) for domain in schema.string_domain}
    assert domains[label.domain] == ["zebra", "猫", "golden retriever"]


def test_two_schemas_do_not_share_their_classes():
    """Each call reads the file again."""
    read_schema(["cat", "dog"])
    assert list(read_schema(["bird", "fish"]).string_domain[0].value) == ["bird", "fish"]


def test_every_raw_feature_is_one_value_in_every_example():
    """The names are those of schema/features.py; none is optional; all but the brightness are bytes."""
    described = {f.name: f for f in read_schema(["cat", "dog"]).feature}
    texts = {features.IMAGE, features.LABEL, features.PATH, features.DIGEST}
    assert set(described) == texts | {features.BRIGHTNESS}
    for name, feature in described.items():
        assert feature.type == (schema_pb2.BYTES if name in texts else schema_pb2.FLOAT)
        assert (feature.presence.min_fraction, feature.presence.min_count) == (1.0, 1)
        assert [dim.size for dim in feature.shape.dim] == [1]


@pytest.fixture
def written(tmp_path):
    """Runs the component; returns the two schemas."""
    artifacts = {}
    for name in ("schema", "statistics_schema"):
        artifact = standard_artifacts.Schema()
        artifact.uri = str(tmp_path / name)
        (tmp_path / name).mkdir()
        artifacts[name] = [artifact]
    executor = SchemaGen.EXECUTOR_SPEC.executor_class()
    executor.Do({}, artifacts, {"classes": json.dumps(["猫", "dog"]), "code_digest": ""})
    return {
        name: text_format.Parse((tmp_path / name / "schema.pbtxt").read_text(encoding="utf-8"), schema_pb2.Schema())
        for name in artifacts
    }


def test_the_schema_is_written_with_the_classes_of_the_run(written):
    """The file has the classes that the component was given."""
    assert written["schema"] == read_schema(["猫", "dog"])


def test_statistics_are_made_without_the_image(written):
    """TFDV would keep the bytes of every image; the other features stay, with the domain of the label."""
    names = [feature.name for feature in written["statistics_schema"].feature]
    assert names == [f.name for f in written["schema"].feature if f.name != features.IMAGE]
    assert written["statistics_schema"].string_domain == written["schema"].string_domain
