"""SchemaGen: writes `schema/schema.pbtxt` with the classes of this run.

TFX's ImportSchemaGen does not fit: its cache key holds the path of the file and not the content.
"""

import json
import os
import pathlib

import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.dsl.component.experimental.annotations import OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import standard_artifacts

import schema as schema_package
from schema.features import IMAGE

_SCHEMA_FILE = pathlib.Path(schema_package.__file__).with_name("schema.pbtxt")


def read_schema(classes: list[str]) -> schema_pb2.Schema:
    """Returns the schema of the examples, with the given classes as the domain of the label."""
    schema = text_format.Parse(_SCHEMA_FILE.read_text(), schema_pb2.Schema())
    schema.string_domain[0].value.extend(classes)
    return schema


@component
def SchemaGen(
    schema: OutputArtifact[standard_artifacts.Schema],
    statistics_schema: OutputArtifact[standard_artifacts.Schema],
    classes: Parameter[str],
    code_digest: Parameter[str],
) -> None:
    """Writes the schema of the examples, and a second schema without the image for the statistics.

    TFDV would keep the bytes of every image to count equal values; so StatisticsGen reads `statistics_schema`.

    Args:
        schema: output, the schema of the examples.
        statistics_schema: output, the same schema without the image.
        classes: class names as a JSON list, in the order of the model's outputs.
        code_digest: part of the cache key, not used.
    """
    del code_digest
    whole = read_schema(json.loads(classes))
    _write(whole, schema.uri)
    described = [feature for feature in whole.feature if feature.name != IMAGE]
    del whole.feature[:]
    whole.feature.extend(described)
    _write(whole, statistics_schema.uri)


def _write(schema: schema_pb2.Schema, uri: str) -> None:
    with tf.io.gfile.GFile(os.path.join(uri, "schema.pbtxt"), "w") as file:
        file.write(text_format.MessageToString(schema, as_utf8=True))
