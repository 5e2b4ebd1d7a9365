"""TFMA's extractors for a batch of examples; TFX's Evaluator looks `custom_extractors` up by name."""

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx_bsl.tfxio.tensor_adapter import TensorAdapterConfig

from components import progress
from components.evaluator.kept_predictions import make_keeper

_BATCH_ROWS = 32


def custom_extractors(
    eval_shared_model: tfma.MaybeMultipleEvalSharedModels,
    eval_config: config_pb2.EvalConfig,
    tensor_adapter_config: TensorAdapterConfig,
) -> list[tfma.extractors.Extractor]:
    """Returns TFMA's extractors between one that splits batches and two that keep predictions and count images.

    TFMA grows its batches up to 1000 rows. With 600 kB of pixels and several MB of activations an image, such a batch
    would fill the memory of the machine.
    """
    return [
        tfma.extractors.Extractor("BoundBatches", beam.FlatMap(_split_batch)),
        *tfma.default_extractors(
            eval_shared_model=eval_shared_model,
            eval_config=eval_config,
            tensor_adapter_config=tensor_adapter_config,
        ),
        *make_keeper(),
        tfma.extractors.Extractor("CountImages", beam.Map(_count_images)),
    ]


def _split_batch(extracts: tfma.Extracts) -> list[tfma.Extracts]:
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    starts = range(0, batch.num_rows, _BATCH_ROWS)
    return [{**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(start, _BATCH_ROWS)} for start in starts]


def _count_images(extracts: tfma.Extracts) -> tfma.Extracts:
    """Reports the images of a batch, which has its predictions by now, and returns the batch."""
    progress.report("images evaluated", len(extracts[tfma.INPUT_KEY]))
    return extracts
