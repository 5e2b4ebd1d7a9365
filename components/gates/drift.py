"""Drift of the training images from those of the live model: label mix, brightness and embeddings.

TFDV's drift comparators compare label mix and brightness with the statistics beside the live version. For embeddings
the drift is the distance between the two means.
"""

import os

import numpy as np
import tensorflow as tf
import tensorflow_data_validation as tfdv
from google.protobuf import message
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2, statistics_pb2

from components.embedder.moments import FILE as MOMENTS
from components.embedder.moments import Moments, measure_distance
from schema.features import BRIGHTNESS, LABEL, TRAIN
from schema.shares import write_percent
from serving.releases import versions
from serving.storage.saved_model import EXTRA_ASSETS
from serving.storage.side_files import DamagedError, read_bytes

STATISTICS = "FeatureStats.pb"  # file name of StatisticsGen
_MIN_IMAGES = 50  # with fewer images, chance alone makes a divergence of 0.3
_WAYS = "Look at the newest images; if they are right, raise {key}, or force the run"


def find_statistics_drift(
    statistics: str, live: versions.Version, max_label_drift: float, max_brightness_drift: float
) -> list[str]:
    """Compares label mix and brightness of the training images with those of the live version.

    There is no comparison if the statistics of the version are missing or damaged, or if either side has fewer than 50
    training images.

    Args:
        statistics: folder of StatisticsGen's artifact.
        live: version to compare with.
        max_label_drift: upper bound on the L-infinity distance between the shares of the classes, 0 to 1.
        max_brightness_drift: upper bound on the Jensen-Shannon divergence between the histograms, 0 to 1.
    Returns:
        A problem with a remedy for each bound that is exceeded.
    """
    try:
        before = _read_live_statistics(live)
    except DamagedError:
        return []
    if before is None:
        return []
    current = load_statistics(os.path.join(statistics, f"Split-{TRAIN}", STATISTICS))
    if min(found.datasets[0].num_examples for found in (current, before)) < _MIN_IMAGES:
        return []
    schema = _make_schema(max_label_drift, max_brightness_drift)
    anomalies = tfdv.validate_statistics(current, schema, previous_statistics=before)
    distances = {tuple(info.path.step): info.drift_measurements[0] for info in anomalies.drift_skew_info}
    problems = []
    label, brightness = distances[(LABEL,)], distances[(BRIGHTNESS,)]
    if label.value > label.threshold:
        problems.append(_describe_labels(current, before, label, live.number))
    if brightness.value > brightness.threshold:
        problems.append(_describe_brightness(current, before, brightness, live.number))
    return problems


def find_embedding_drift(embeddings: str, live: versions.Version, max_embedding_drift: float) -> list[str]:
    """Compares the embeddings of the training images with those of the live version.

    There is no comparison if the embeddings have different keys (other weights, another size), if the moments of the
    version are missing or damaged, or if either side has fewer than 50 images.

    Args:
        embeddings: folder of the Embedder's artifact.
        live: version to compare with.
        max_embedding_drift: upper bound on the distance between the means, in standard deviations of the live model's
            embeddings.
    Returns:
        The problem with a remedy, or an empty list.
    """
    try:
        moments, before = Moments.read(embeddings), Moments.read_kept(os.path.join(live.path, EXTRA_ASSETS))
    except DamagedError:
        return []
    if not moments or not before or moments.kind != before.kind or min(moments.count, before.count) < _MIN_IMAGES:
        return []
    if moments.mean.shape != before.mean.shape:
        return []
    distance = measure_distance(moments, before)
    if distance <= max_embedding_drift:
        return []
    return [
        f"the images drifted: the mean embedding is {distance:.2f} standard deviations from that of version "
        f"{live.number}; max_embedding_drift allows {max_embedding_drift:g}. {_WAYS.format(key='max_embedding_drift')}."
    ]


def describe_damaged_statistics(live: versions.Version) -> list[str]:
    """Returns a warning if the statistics of a version cannot be read."""
    try:
        _read_live_statistics(live)
    except DamagedError as error:
        return [
            f"{STATISTICS} of version {live.number} cannot be read ({error}): label mix and brightness were compared "
            "with nothing"
        ]
    return []


def describe_damaged_moments(live: versions.Version) -> list[str]:
    """Returns a warning if the moments of a version's embeddings cannot be read."""
    try:
        Moments.read_kept(os.path.join(live.path, EXTRA_ASSETS))
    except DamagedError as error:
        return [
            f"{MOMENTS} of version {live.number} cannot be read ({error}): the embeddings were compared with nothing"
        ]
    return []


def _read_live_statistics(live: versions.Version) -> statistics_pb2.DatasetFeatureStatisticsList | None:
    """Reads the statistics beside the live version; returns None if that version has none.

    Raises:
        DamagedError: if the file is not statistics of StatisticsGen with label and brightness.
    """
    content = read_bytes(os.path.join(live.path, EXTRA_ASSETS, STATISTICS))
    if content is None:
        return None
    try:
        statistics = statistics_pb2.DatasetFeatureStatisticsList.FromString(content)
    except message.DecodeError:
        raise DamagedError("not what StatisticsGen wrote") from None
    names = {".".join(f.path.step) or f.name for found in statistics.datasets[:1] for f in found.features}
    if not {LABEL, BRIGHTNESS} <= names:
        raise DamagedError("not what StatisticsGen wrote: no label or no brightness")
    return statistics


def load_statistics(path: str) -> statistics_pb2.DatasetFeatureStatisticsList:
    """Reads a file of StatisticsGen."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return statistics_pb2.DatasetFeatureStatisticsList.FromString(file.read())


def _make_schema(max_label_drift: float, max_brightness_drift: float) -> schema_pb2.Schema:
    schema = schema_pb2.Schema()
    label = schema.feature.add(name=LABEL, type=schema_pb2.BYTES)
    label.drift_comparator.infinity_norm.threshold = max_label_drift
    brightness = schema.feature.add(name=BRIGHTNESS, type=schema_pb2.FLOAT)
    brightness.drift_comparator.jensen_shannon_divergence.threshold = max_brightness_drift
    return schema


def _describe_labels(
    current: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList,
    measured: anomalies_pb2.DriftSkewInfo.Measurement,
    live: int,
) -> str:
    shares, old = _read_shares(current), _read_shares(before)
    name = max(sorted({*shares, *old}), key=lambda label: abs(shares.get(label, 0) - old.get(label, 0)))
    now, then = (write_percent(counted.get(name, 0), 0) for counted in (shares, old))
    return (
        f"the label mix drifted: {now} of the images are {name}, and {then} of those of version {live} were; "
        f"max_label_drift allows {measured.threshold:g}. "
        f"{_WAYS.format(key='max_label_drift')}."
    )


def _describe_brightness(
    current: statistics_pb2.DatasetFeatureStatisticsList,
    before: statistics_pb2.DatasetFeatureStatisticsList,
    measured: anomalies_pb2.DriftSkewInfo.Measurement,
    live: int,
) -> str:
    mean, old = (_find_feature(statistics, BRIGHTNESS).num_stats.mean for statistics in (current, before))
    return (
        f"the brightness drifted: the mean pixel value is {mean:.0f}, and was {old:.0f} in the images of version "
        f"{live} (Jensen-Shannon divergence {measured.value:.2f}; max_brightness_drift allows {measured.threshold:g}). "
        f"{_WAYS.format(key='max_brightness_drift')}."
    )


def _read_shares(statistics: statistics_pb2.DatasetFeatureStatisticsList) -> dict[str, float]:
    buckets = _find_feature(statistics, LABEL).string_stats.rank_histogram.buckets
    counts = {bucket.label: bucket.sample_count for bucket in buckets}
    total = float(np.sum(list(counts.values()))) or 1.0
    return {label: count / total for label, count in counts.items()}


def _find_feature(
    statistics: statistics_pb2.DatasetFeatureStatisticsList, name: str
) -> statistics_pb2.FeatureNameStatistics:
    features = statistics.datasets[0].features
    return next(feature for feature in features if list(feature.path.step) == [name] or feature.name == name)
