"""Measures the drift of the training images against those of the live version, by the figures of the gates."""

import dataclasses
import os

import numpy as np
from google.protobuf import message
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.embedder.moments import Moments, measure_distance
from pipeline.report.sources import RunFiles
from schema.features import BRIGHTNESS, LABEL, TRAIN
from serving.storage.saved_model import EXTRA_ASSETS
from serving.storage.side_files import DamagedError, read_bytes

_STATISTICS = "FeatureStats.pb"  # file name of StatisticsGen
_LEVELS = 255.0
_BINS = 16


@dataclasses.dataclass(frozen=True)
class Drift:
    """Distances between the training images of this run and of the live version; None if they cannot be measured.

    Attributes:
        label: largest difference between the two shares of a class, 0 to 1.
        label_class: class with the largest difference.
        embedding: distance between the mean embeddings, in standard deviations.
        divergence: Jensen-Shannon divergence between the histograms of brightness, 0 to 1.
        brightness: share of this run's images in each of 16 bins of brightness, 0 to 255; empty if unknown.
        live_brightness: share of the live version's images in each bin; empty if unknown.
        mean_brightness, live_mean_brightness: mean brightness of both, 0 to 255.
    """

    label: float | None = None
    label_class: str = ""
    embedding: float | None = None
    divergence: float | None = None
    brightness: tuple[float, ...] = ()
    live_brightness: tuple[float, ...] = ()
    mean_brightness: float | None = None
    live_mean_brightness: float | None = None

    @property
    def edges(self) -> list[float]:
        """Edges of the bins of brightness."""
        return np.linspace(0, _LEVELS, _BINS + 1).tolist()


def measure_drift(files: RunFiles) -> Drift:
    """Reads the statistics of this run and of the live version, and compares them."""
    statistics = files.find_output("StatisticsGen", "statistics")
    now = _load(os.path.join(statistics, f"Split-{TRAIN}", _STATISTICS)) if statistics else None
    extra = os.path.join(files.live.path, EXTRA_ASSETS) if files.live else ""
    before = _load(os.path.join(extra, _STATISTICS)) if extra else None
    label, name = _compare_labels(now, before) if now and before else (None, "")
    embeddings = files.find_output("Embedder", "embeddings")
    return Drift(
        label=label,
        label_class=name,
        embedding=_compare_embeddings(embeddings, extra) if embeddings and extra else None,
        divergence=measure_divergence(_list_buckets(now), _list_buckets(before)),
        brightness=_bin_brightness(now),
        live_brightness=_bin_brightness(before),
        mean_brightness=_find(now, BRIGHTNESS).num_stats.mean if now else None,
        live_mean_brightness=_find(before, BRIGHTNESS).num_stats.mean if before else None,
    )


def _load(path: str) -> statistics_pb2.DatasetFeatureStatistics | None:
    """Reads statistics; returns None if the file is missing or damaged."""
    try:
        content = read_bytes(path)
        found = statistics_pb2.DatasetFeatureStatisticsList.FromString(content or b"")
    except (DamagedError, message.DecodeError, OSError):
        return None
    return found.datasets[0] if found.datasets else None


def _find(
    statistics: statistics_pb2.DatasetFeatureStatistics | None, name: str
) -> statistics_pb2.FeatureNameStatistics:
    features = statistics.features if statistics else []
    found = (feature for feature in features if list(feature.path.step) == [name] or feature.name == name)
    return next(found, statistics_pb2.FeatureNameStatistics())


def _compare_labels(
    now: statistics_pb2.DatasetFeatureStatistics, before: statistics_pb2.DatasetFeatureStatistics
) -> tuple[float | None, str]:
    """Returns the L-infinity distance of the class shares, as in TFDV, and the class that differs most."""
    new, old = (_read_shares(statistics) for statistics in (now, before))
    if not new or not old:
        return None, ""
    distances = {name: abs(new.get(name, 0) - old.get(name, 0)) for name in sorted({*new, *old})}
    name = max(distances, key=lambda key: distances[key])
    return distances[name], name


def _read_shares(statistics: statistics_pb2.DatasetFeatureStatistics) -> dict[str, float]:
    buckets = _find(statistics, LABEL).string_stats.rank_histogram.buckets
    total = sum(bucket.sample_count for bucket in buckets) or 1.0
    return {bucket.label: bucket.sample_count / total for bucket in buckets}


def _bin_brightness(statistics: statistics_pb2.DatasetFeatureStatistics | None) -> tuple[float, ...]:
    """Distributes TFDV's histogram over fixed bins of 0 to 255, because the edges of two runs' histograms differ."""
    buckets = _list_buckets(statistics)
    total = buckets[:, 2].sum()
    if not total:
        return ()
    counts = np.zeros(_BINS)
    for low, high, count in buckets:
        places = np.linspace(low, high, 101)
        middles = (places[:-1] + places[1:]) / 2
        bins = np.clip(middles / _LEVELS * _BINS, 0, _BINS - 1).astype(int)
        counts += np.bincount(bins, minlength=_BINS) * count / len(middles)
    return tuple((counts / total).tolist())


def _list_buckets(statistics: statistics_pb2.DatasetFeatureStatistics | None) -> np.ndarray:
    """Returns TFDV's histogram of brightness: lower edge, upper edge and number of images of each bucket, [N, 3]."""
    histograms = _find(statistics, BRIGHTNESS).num_stats.histograms
    standard = [histogram for histogram in histograms if histogram.type == statistics_pb2.Histogram.STANDARD]
    buckets = [(b.low_value, b.high_value, b.sample_count) for histogram in standard for b in histogram.buckets]
    return np.array(buckets, np.float64).reshape(-1, 3)


def measure_divergence(now: np.ndarray, before: np.ndarray) -> float | None:
    """Returns the Jensen-Shannon divergence of two histograms, as TFDV computes it for the DataGate.

    Both histograms are divided at the edges of either, with the images spread evenly in a bucket, as in TFDV.

    Args:
        now: lower edge, upper edge and number of images of each bucket, [num_buckets, 3].
        before: the same of the live version.
    Returns:
        0 for equal histograms, 1 for two without overlap; None if one is empty.
    """
    if not now[:, 2].sum() or not before[:, 2].sum():
        return None
    edges = np.unique(np.concatenate([now[:, :2].ravel(), before[:, :2].ravel()]))
    shares = np.array([_rebin(buckets, edges) for buckets in (now, before)])
    middle = shares.mean(axis=0)
    ratios = np.divide(shares, middle, out=np.ones_like(shares), where=shares > 0)
    return float((shares * np.log2(ratios)).sum() / 2)


def _rebin(buckets: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Returns the share of the images in each bin between the edges, and behind those on each edge alone."""
    bins, points = np.zeros(len(edges) - 1), np.zeros(len(edges))
    for low, high, count in buckets:
        first, last = np.searchsorted(edges, [low, high])
        if first == last:
            points[first] += count
        else:
            bins[first:last] += count * np.diff(edges[first : last + 1]) / (high - low)
    return np.concatenate([bins, points]) / buckets[:, 2].sum()


def _compare_embeddings(embeddings: str, extra: str) -> float | None:
    """Returns the distance that the DriftGate measures; None for damaged moments or other feature keys."""
    try:
        now, before = Moments.read_kept(embeddings), Moments.read_kept(extra)
    except DamagedError:
        return None
    if not now or not before or now.kind != before.kind or now.mean.shape != before.mean.shape or before.count < 2:
        return None
    return measure_distance(now, before)
