"""Drift on the page, compared with what the DataGate has TFDV compute."""

import numpy as np
import pytest
import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import schema_pb2, statistics_pb2

from pipeline.report.drift import _list_buckets, measure_divergence
from schema.features import BRIGHTNESS

# Lower edge, upper edge and number of images of each bucket.
HISTOGRAMS = {
    "same": ([(0, 10, 5), (10, 20, 7)], [(0, 10, 50), (10, 20, 70)]),
    "apart": ([(0, 10, 5)], [(20, 30, 5)]),
    "other edges": ([(3, 90, 12), (90, 177, 30), (177, 255, 2)], [(10, 70, 20), (70, 130, 1), (130, 190, 22)]),
    "inside": ([(0, 255, 9)], [(100, 101, 9)]),
    "one level": ([(80, 80, 9)], [(10, 70, 20), (70, 130, 1)]),
    "empty buckets": ([(0, 50, 0), (50, 100, 3), (100, 150, 0)], [(0, 50, 4), (50, 100, 0), (100, 150, 8)]),
}


def make_statistics(buckets):
    statistics = statistics_pb2.DatasetFeatureStatisticsList()
    found = statistics.datasets.add(num_examples=sum(count for *_, count in buckets))
    feature = found.features.add(type=statistics_pb2.FeatureNameStatistics.FLOAT)
    feature.path.step.append(BRIGHTNESS)
    feature.num_stats.common_stats.num_non_missing = found.num_examples
    histogram = feature.num_stats.histograms.add(type=statistics_pb2.Histogram.STANDARD)
    for low, high, count in buckets:
        histogram.buckets.add(low_value=low, high_value=high, sample_count=count)
    return statistics


def ask_tfdv(now, before):
    schema = schema_pb2.Schema()
    feature = schema.feature.add(name=BRIGHTNESS, type=schema_pb2.FLOAT)
    feature.drift_comparator.jensen_shannon_divergence.threshold = 0.1
    anomalies = tfdv.validate_statistics(now, schema, previous_statistics=before)
    return anomalies.drift_skew_info[0].drift_measurements[0].value


@pytest.mark.parametrize("case", HISTOGRAMS)
def test_divergence_of_brightness_is_that_of_the_gate(case):
    statistics = [make_statistics(buckets) for buckets in HISTOGRAMS[case]]
    now, before = (_list_buckets(found.datasets[0]) for found in statistics)
    assert measure_divergence(now, before) == pytest.approx(ask_tfdv(*statistics), abs=1e-9)


def test_without_images_there_is_no_divergence():
    assert measure_divergence(_list_buckets(None), np.array([[0.0, 1.0, 5.0]])) is None
