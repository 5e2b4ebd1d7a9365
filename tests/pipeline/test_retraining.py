"""A schedule on this machine: a window of days, and what ends a run before it trains."""

import shutil

import numpy as np
import pytest
from PIL import Image

from components.retraining import Decision
from pipeline.run import Ended
from schema.errors import DataError, UsageError

DAYS = ("2026-11-21", "2026-11-22")
LABELS = "012"


@pytest.fixture(scope="module")
def photos(digits, tmp_path_factory):
    """Two days of 30 images of each of three digits."""
    return add_days(digits, tmp_path_factory.mktemp("photos"), {DAYS[0]: slice(0, 30)})


def add_days(digits, folder, days, labels=LABELS):
    for date, chosen in days.items():
        for label in labels:
            (folder / date / label).mkdir(parents=True)
            for image in sorted((digits / label).iterdir())[chosen]:
                shutil.copy(image, folder / date / label)
    return folder


@pytest.fixture(scope="module")
def run_nightly(run, photos):
    """A run over the last 30 days."""
    head = {"fine_tune_epochs": 0, "head_epochs": 10, "window_days": 30}
    return lambda **settings: run(data=str(photos), **head | settings)


@pytest.fixture(scope="module")
def first(run_nightly):
    return run_nightly()


@pytest.fixture(scope="module")
def second(first, run_nightly, photos, digits):
    add_days(digits, photos, {DAYS[1]: slice(30, 60)})
    return run_nightly(warm_start=True)


def test_new_images_are_trained_on_and_compared_with_the_live_model(first, second):
    """The second night's model has seen both days."""
    outcome, _ = second
    assert outcome.decision["new_images"] == 90
    assert outcome.evaluation["baseline"]["version"] == first[0].pushed_version
    assert sum(sum(by_label.values()) for by_label in outcome.ingest["counts"].values()) == 180
    assert outcome.pushed_now


def test_a_warm_start_begins_where_the_live_head_ended(first, second):
    """Its first epoch is better than that of a head which knows nothing."""
    cold, warm = (outcome.history["epochs"][0] for outcome, _ in (first, second))
    assert warm["loss"] < cold["loss"]


def test_a_night_without_new_images_ends_early(second, run_nightly):
    """It says so, and which version is live."""
    outcome, printed = run_nightly(window_end="2026-11-23", warm_start=True)
    assert isinstance(outcome, Ended)
    assert outcome.live_version == second[0].pushed_version
    assert f"Ended:    nothing new: version {outcome.live_version} has seen all" in printed
    assert f"graft/{outcome.live_version}\n" in printed


def test_too_few_new_images_end_a_run_early(second, run_nightly, photos, digits):
    """The number that is there and the number that is asked for."""
    folder = add_days(digits, photos, {"2026-11-24": slice(60, 61)})
    outcome, printed = run_nightly(window_end="2026-11-24", min_new_images=10, warm_start=True)
    shutil.rmtree(folder / "2026-11-24")
    assert isinstance(outcome.decision, Decision)
    assert "Ended:    3 images are new to version" in printed
    assert "min_new_images asks for 10" in printed


def test_a_window_older_than_the_live_models_is_refused(second, run_nightly):
    """Before anything is read; both dates are named."""
    with pytest.raises(UsageError, match=r"newest day is 2026-11-21, and that of the live version .* is 2026-11-22"):
        run_nightly(window_end="2026-11-21")


def test_dark_images_stop_a_run_before_training(second, run_nightly, photos, digits, pushed_versions):
    """A camera that broke: the mean grey level now and then, and the key to raise."""
    folder, before = photos / "2026-11-25", pushed_versions()
    for label in LABELS:
        (folder / label).mkdir(parents=True)
        for image in sorted((digits / label).iterdir())[60:150]:
            pixels = np.asarray(Image.open(image))
            Image.fromarray(pixels // 8).save(folder / label / image.name)
    with pytest.raises(DataError, match=r"brightness drifted: the mean grey level is .* max_brightness_drift"):
        run_nightly(window_end="2026-11-25", window_days=1)
    shutil.rmtree(folder)
    assert pushed_versions() == before


def test_another_mix_of_classes_stops_a_run_before_training(second, run_nightly, photos, digits):
    """Of a hundred images nearly all are of one class: share now and then."""
    folder = add_days(digits, photos, {"2026-11-25": slice(60, 66)}, labels="12")
    add_days(digits, photos, {"2026-11-25": slice(60, 150)}, labels="0")
    with pytest.raises(DataError, match=r"label mix drifted: 8.% of the images are 0, and 3.% of those of version"):
        run_nightly(window_end="2026-11-25", window_days=1)
    shutil.rmtree(folder / "2026-11-25")
