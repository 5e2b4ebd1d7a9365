"""TFMA's extractors for a batch of test examples."""

import apache_beam as beam
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from components import progress
from components.evaluator.kept_predictions import make_keeper


def make_extractors(
    eval_shared_model: tfma.MaybeMultipleEvalSharedModels, eval_config: config_pb2.EvalConfig
) -> list[tfma.extractors.Extractor]:
    """Returns TFMA's extractors, and two behind them that keep predictions and count images."""
    return [
        *tfma.default_extractors(eval_shared_model=eval_shared_model, eval_config=eval_config),
        *make_keeper(),
        tfma.extractors.Extractor("CountImages", beam.Map(_count_images)),
    ]


def _count_images(extracts: tfma.Extracts) -> tfma.Extracts:
    """Reports the images of a batch, which has its predictions by now, and returns the batch."""
    progress.report("images evaluated", len(extracts[tfma.INPUT_KEY]))
    return extracts
