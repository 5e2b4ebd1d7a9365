"""RetrainingGate: a run trains if its images or settings are new."""

import hashlib
import json

import pytest
from damaged_files import DAMAGES
from data_reports import make_broken, write_counts

from components.artifacts import IngestReport, RunDecision
from components.example_gen import image_set
from components.gates import retraining
from components.gates.retraining import RetrainingGate, RetrainingSettings
from components.gates.retraining_rules import Case, decide
from components.gates.unpushed import write_unpushed
from components.records.decision import RetrainingDecision
from components.records.quarantine import write_quarantine
from components.run_parameters import NOT_GIVEN
from schema.errors import UsageError
from serving.releases import versions

SETTINGS = "s1"
SEEN = {"a": "cat", "b": "cat", "c": "dog"}


def make_keys(images):
    return image_set.make((hashlib.sha256(name.encode()).hexdigest(), label) for name, label in images.items())


def write_report(folder, images, newest_day="", broken=0, tested=10):
    """Writes ExampleGen's report for images, given as name to label; returns the folder."""
    folder.mkdir()
    image_set.write(str(folder), make_keys(images))
    counts = {split: {"cat": 10, "dog": 10} for split in ("train", "val")} | {"test": {"cat": tested, "dog": tested}}
    spans = [newest_day] if newest_day else []
    write_counts(folder, counts, spans=spans, files=60 + broken)
    write_quarantine(str(folder), make_broken(broken))
    return str(folder)


def make_live(model_dir, images=SEEN, number=7, **record):
    """Returns a version that was trained on images; with None, a version without a set of images."""
    folder = model_dir / str(number)
    for name in ("saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra/graft.json").write_text(json.dumps({"settings_key": SETTINGS} | record))
    if images is not None:
        image_set.write(str(folder / "assets.extra"), make_keys(images))
    return versions.find_live(str(model_dir))


@pytest.fixture
def live(tmp_path):
    return make_live(tmp_path / "serving")


@pytest.fixture
def ask():
    """Returns a function that decides on images."""

    def run(images, live, settings_key=SETTINGS, min_new_images=0, force=False, newest_day="", others=()):
        return decide(Case(make_keys(images), newest_day, settings_key, live, others, None, min_new_images, force))

    return run


def test_without_a_live_version_it_trains(ask):
    """min_new_images does not matter, because there is no model yet."""
    decision = ask(SEEN, None, min_new_images=100)
    assert (decision.train, decision.reason) == (True, "no version is live yet")
    assert (decision.new_images, decision.gone_images, decision.settings_key) == (3, 0, SETTINGS)


def test_a_live_version_that_does_not_tell_what_it_has_seen_is_trained_anew(ask, tmp_path):
    """An older Graft or another program has pushed that version."""
    decision = ask(SEEN, make_live(tmp_path / "serving", images=None), min_new_images=100)
    assert decision.train
    assert decision.reason == "the images of version 7 are unknown"
    assert decision.new_images == 3


@pytest.mark.parametrize("min_new_images", [0, 1])
def test_nothing_new_ends_early(ask, live, min_new_images):
    """The images are exactly those of the live version."""
    decision = ask(SEEN, live, min_new_images=min_new_images)
    assert (decision.train, decision.refused) == (False, False)
    assert decision.reason == "nothing new: version 7 has seen all 3 images, and no others"
    assert (decision.new_images, decision.gone_images) == (0, 0)


def test_images_that_are_gone_are_reason_enough_where_none_must_be_new(ask, live):
    """A user may have removed wrong images."""
    decision = ask({"a": "cat", "c": "dog"}, live, min_new_images=0)
    assert (decision.train, decision.new_images, decision.gone_images) == (True, 0, 1)
    assert decision.reason == "version 7 has not seen 0 of the images, and 1 others are gone"


def test_images_that_are_gone_are_no_reason_where_some_must_be_new(ask, live):
    """Images leave a window every day."""
    decision = ask({"a": "cat", "c": "dog"}, live, min_new_images=1)
    assert (decision.train, decision.new_images, decision.gone_images) == (False, 0, 1)
    assert decision.reason == "nothing new: version 7 has seen all of the images, and min_new_images asks for 1"


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ("d", "1 image is new to version 7, and min_new_images asks for 3"),
        ("de", "2 images are new to version 7, and min_new_images asks for 3"),
    ],
)
def test_too_few_new_images_end_early(ask, live, new, expected):
    """The reason has the number of new images and min_new_images."""
    decision = ask(SEEN | dict.fromkeys(new, "dog"), live, min_new_images=3)
    assert (decision.train, decision.reason, decision.new_images) == (False, expected, len(new))


def test_exactly_as_many_new_images_as_asked_for_are_enough(ask, live):
    """New ones are counted, whatever has gone."""
    decision = ask({"c": "dog"} | dict.fromkeys("def", "dog"), live, min_new_images=3)
    assert (decision.train, decision.new_images, decision.gone_images) == (True, 3, 2)
    assert decision.reason == "version 7 has not seen 3 of the images, and 2 others are gone"


def test_a_relabelled_image_is_new(ask, live):
    """The model has learnt a wrong label."""
    decision = ask(SEEN | {"b": "dog"}, live, min_new_images=1)
    assert (decision.train, decision.new_images, decision.gone_images) == (True, 1, 1)


def test_other_settings_are_reason_enough(ask, live):
    """With other settings the same images give another model."""
    decision = ask(SEEN, live, settings_key="s2", min_new_images=100)
    assert (decision.train, decision.reason) == (True, "settings or code are not those of version 7")


def test_a_version_without_settings_is_of_other_ones(ask, tmp_path):
    """The settings of that version are unknown."""
    assert ask(SEEN, make_live(tmp_path / "serving", settings_key=None)).train


def test_force_trains_on_what_the_live_model_has_seen(ask, live):
    """How many images are new is counted all the same."""
    decision = ask(SEEN, live, min_new_images=100, force=True)
    assert (decision.train, decision.reason, decision.new_images) == (True, "forced", 0)


def test_a_window_older_than_that_of_the_live_model_is_refused(ask, tmp_path):
    """The message names both dates, and the ways on."""
    live = make_live(tmp_path / "serving", window_end="2026-11-23")
    with pytest.raises(
        UsageError, match=r"window_end: the newest day is 2026-11-22, .* live version 7 is 2026-11-23"
    ) as error:
        ask(SEEN | {"d": "dog"}, live, newest_day="2026-11-22")
    assert "Choose a later one; or force it" in str(error.value)


def test_a_window_older_than_that_of_the_live_model_can_be_forced(ask, tmp_path):
    """--force allows an older window."""
    live = make_live(tmp_path / "serving", window_end="2026-11-23")
    assert ask(SEEN, live, newest_day="2026-11-22", force=True).train


@pytest.mark.parametrize(
    ("before", "now"),
    [("2026-11-23", "2026-11-23"), ("2026-11-23", "2026-11-24"), ("2026-11-23", ""), ("", "2026-11-23"), (None, "")],
)
def test_a_window_that_is_not_older_is_fine(ask, tmp_path, before, now):
    """The same day again, a later one, and folders without dates on either side."""
    record = {} if before is None else {"window_end": before}
    assert ask(SEEN | {"d": "dog"}, make_live(tmp_path / "serving", **record), newest_day=now).train


@pytest.fixture
def run_gate(tmp_path):
    """Returns a function that runs the component; gives its decision, and what Kubeflow's conditions would read."""
    count = 0

    def run(images=SEEN, live="", newest_day="", broken=0, tested=10, **properties):
        nonlocal count
        count += 1
        report, decision = IngestReport(), RunDecision()
        report.uri = write_report(tmp_path / f"report {count}", images, newest_day, broken, tested)
        decision.uri = str(tmp_path / f"decision {count}")
        (tmp_path / f"decision {count}").mkdir()
        settings = {
            "live": live,
            "made_by": "made of",
            "classes": ["cat", "dog"],
            "max_bad_fraction": 0.05,
            "weights": "",
        }
        settings |= {name: properties.pop(name) for name in settings.keys() & properties}
        defaults = {
            "settings": RetrainingSettings(**settings).model_dump_json(),
            "head_epochs": 5,
            "fine_tune_epochs": 5,
            "min_accuracy": 0.9,
            "max_accuracy_drop": NOT_GIVEN,
            "min_recall": NOT_GIVEN,
            "min_new_images": retraining.DEFAULT_MIN_NEW_IMAGES,
            "window_days": 0,
            "force": 0,
            "code_digest": "",
        }
        RetrainingGate.EXECUTOR_SPEC.executor_class().Do(
            {"report": [report]},
            {"decision": [decision]},
            defaults | {"model_dir": str(tmp_path / "serving")} | properties,
        )
        return RetrainingDecision.read(decision.uri), decision.get_string_custom_property("train")

    return run


@pytest.fixture
def pushed(run_gate, tmp_path):
    """The live version of a run of the defaults; it has seen all of SEEN."""
    settings_key = run_gate()[0].settings_key
    return make_live(tmp_path / "serving", settings_key=settings_key, window_end="2026-11-23")


def test_weights_that_were_replaced_in_place_make_another_model(run_gate, tmp_path):
    """On Kubeflow no earlier step digests the file; the same bytes are the same weights."""
    weights = tmp_path / "weights.h5"
    weights.write_bytes(b"old")
    make_live(tmp_path / "serving", settings_key=run_gate(weights=str(weights))[0].settings_key)
    assert not run_gate(weights=str(weights))[0].train
    weights.write_bytes(b"new")
    assert run_gate(weights=str(weights))[0].train
    weights.write_bytes(b"old")
    assert not run_gate(weights=str(weights))[0].train


def test_weights_that_cannot_be_read_are_named(run_gate, tmp_path):
    """The error comes before the training, with the path and a remedy."""
    with pytest.raises(UsageError, match=r"weights: .*gone\.h5: cannot be read here: .*No such file.*every task"):
        run_gate(weights=str(tmp_path / "gone.h5"))


def test_the_artifact_says_whether_to_train(run_gate, tmp_path):
    """As text, for the conditions of Kubeflow compare strings; and with the reason, for people."""
    decision, train = run_gate()
    assert (decision.train, train) == (True, "true")
    make_live(tmp_path / "serving", settings_key=decision.settings_key)
    decision, train = run_gate()
    assert (decision.train, train) == (False, "false")
    assert decision.reason.startswith("nothing new")


@pytest.mark.parametrize(
    "change",
    [
        {"made_by": "other"},
        {"head_epochs": 6},
        {"fine_tune_epochs": 0},
        {"min_accuracy": 0.8},
        {"max_accuracy_drop": 0.1},
        {"min_recall": 0.5},
    ],
    ids=str,
)
def test_whatever_makes_another_model_or_verdict_is_another_setting(run_gate, pushed, change):
    """Parameters of the run are part of the settings key."""
    decision, _ = run_gate(**change)
    assert decision.reason == "settings or code are not those of version 7"


@pytest.mark.parametrize("change", [{"window_days": 3}, {"min_new_images": 5}, {"code_digest": "x"}], ids=str)
def test_what_makes_no_other_model_is_no_setting(run_gate, pushed, change):
    """The code is in the digest of the settings already."""
    assert not run_gate(**change)[0].train


def test_a_whole_number_is_the_same_threshold_as_its_fraction(run_gate):
    """Kubeflow hands 0 on where 0.0 was set."""
    assert run_gate(max_accuracy_drop=0)[0].settings_key == run_gate(max_accuracy_drop=0.0)[0].settings_key


@pytest.mark.parametrize("bound", ["min_accuracy", "max_accuracy_drop", "min_recall"])
def test_a_bound_out_of_range_stops_the_run_before_the_training(run_gate, bound):
    """Kubeflow takes any number for a parameter."""
    with pytest.raises(UsageError, match=f"{bound}: expected a number from 0 to 1, or -1 for none, got 1.5"):
        run_gate(**{bound: 1.5})


def test_data_on_which_no_model_could_pass_goes_on_to_the_data_gate(run_gate, pushed):
    """There the run fails; ending early would be a success."""
    assert run_gate(min_accuracy=NOT_GIVEN, tested=1)[0].reason.startswith("the data is not fit for training")
    assert not run_gate(tested=1)[0].train


def test_by_default_any_change_will_do(run_gate, pushed):
    """Without a window, a user has removed the image that is gone."""
    assert run_gate({"a": "cat", "c": "dog"})[0].train


def test_by_default_a_window_of_days_needs_a_new_image(run_gate, pushed):
    """Every day some images leave it."""
    decision, _ = run_gate({"a": "cat", "c": "dog"}, window_days=3)
    assert decision.reason == "nothing new: version 7 has seen all of the images, and min_new_images asks for 1"
    assert run_gate({"a": "cat", "d": "dog"}, window_days=3)[0].train


@pytest.mark.parametrize(("min_new_images", "train"), [(0, True), (2, False)])
def test_how_many_new_images_are_needed_can_be_set(run_gate, pushed, min_new_images, train):
    """With a window or without."""
    images = {"a": "cat", "d": "dog"}
    assert run_gate(images, window_days=3, min_new_images=min_new_images)[0].train == train
    assert run_gate(images, min_new_images=min_new_images)[0].train == train


def test_the_gate_refuses_an_older_window_unless_forced(run_gate, pushed):
    """The run stops; nothing is decided."""
    with pytest.raises(UsageError, match=r"2026-11-20.*2026-11-23"):
        run_gate(newest_day="2026-11-20")
    assert run_gate(newest_day="2026-11-20", force=1)[0].reason == "forced"


def test_images_are_compared_with_those_of_the_version_that_was_live(run_gate, pushed, tmp_path):
    """When the run began, if that is known; another run may have pushed meanwhile."""
    make_live(tmp_path / "serving", SEEN | {"d": "dog"}, 8, settings_key=pushed.record.settings_key)
    images = SEEN | {"d": "dog"}
    assert (
        run_gate(images, live=pushed.identity)[0].reason
        == "version 7 has not seen 1 of the images, and 0 others are gone"
    )
    assert run_gate(images, live="")[0].reason == "nothing new: version 8 has seen all 4 images, and no others"
    assert run_gate(images, live=versions.NOT_LIVE)[0].reason == "no version is live yet"


NEW = {**SEEN, "d": "dog"}


def refuse(run_gate, tmp_path, live, refused=True):
    """Writes the Pusher's record of a model of NEW that was not pushed."""
    decision, _ = run_gate(NEW)
    assert decision.train
    write_unpushed(str(tmp_path / "serving"), live, decision, ["too bad", "too slow"], refused)


@pytest.mark.parametrize("refused", [True, False])
def test_a_model_that_was_not_pushed_is_not_trained_again(run_gate, pushed, tmp_path, refused):
    """The next run of the same images and settings ends early, with the same reasons."""
    refuse(run_gate, tmp_path, 7, refused)
    decision, train = run_gate(NEW)
    assert (decision.train, train, decision.refused) == (False, "false", refused)
    assert decision.reason == "the model of the same images and settings is not pushed: too bad; too slow"


def test_the_first_model_of_all_is_not_trained_again_if_it_was_refused(run_gate, tmp_path):
    """No version is live, and none can become live before the images change."""
    refuse(run_gate, tmp_path, None)
    assert run_gate(NEW)[0].refused
    assert run_gate(NEW | {"e": "cat"})[0].train


def test_what_was_not_pushed_can_be_forced(run_gate, pushed, tmp_path):
    """The machine may have been at fault."""
    refuse(run_gate, tmp_path, 7)
    decision, _ = run_gate(NEW, force=1)
    assert (decision.train, decision.reason, decision.refused) == (True, "forced", False)


def test_what_was_not_pushed_does_not_count_for_other_settings(run_gate, pushed, tmp_path):
    """Other settings may give a better model."""
    refuse(run_gate, tmp_path, 7)
    assert run_gate(NEW, min_accuracy=0.5)[0].train


def test_what_was_not_pushed_does_not_count_for_other_images(run_gate, pushed, tmp_path):
    """One image is added, or one has another label."""
    refuse(run_gate, tmp_path, 7)
    assert run_gate(NEW | {"e": "cat"})[0].train
    assert run_gate(NEW | {"d": "cat"})[0].train


def test_what_was_not_pushed_does_not_count_beside_another_live_version(run_gate, pushed, tmp_path):
    """The model may be better than the version that is live now."""
    refuse(run_gate, tmp_path, 6)
    assert run_gate(NEW)[0].train
    refuse(run_gate, tmp_path, None)
    assert run_gate(NEW)[0].train


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_torn_memory_is_passed_over(run_gate, pushed, tmp_path, damage):
    """A damaged record costs one training; a record that cannot be written ends no run."""
    refuse(run_gate, tmp_path, 7)
    [memory] = (path for path in (tmp_path / "serving").iterdir() if path.is_file())
    damage(str(memory))
    if memory.is_dir():
        refuse(run_gate, tmp_path, 7)
    assert run_gate(NEW)[0].train


@pytest.mark.parametrize("change", [{"reasons": "bad"}, {"reasons": [7]}, {"refused": 1}], ids=str)
def test_a_memory_of_another_shape_is_passed_over(run_gate, pushed, tmp_path, change):
    """A record with another key is ignored."""
    refuse(run_gate, tmp_path, 7)
    [memory] = (path for path in (tmp_path / "serving").iterdir() if path.is_file())
    memory.write_text(json.dumps(json.loads(memory.read_text()) | change))
    assert run_gate(NEW)[0].train


def test_a_memory_of_graft_0_2_0_is_read(run_gate, pushed, tmp_path):
    """The record of 0.2.0 has no `format`."""
    refuse(run_gate, tmp_path, 7)
    [memory] = (path for path in (tmp_path / "serving").iterdir() if path.is_file())
    old = {name: value for name, value in json.loads(memory.read_text()).items() if name != "format"}
    assert set(old) == {"settings_key", "images_digest", "live", "reasons", "refused"}
    memory.write_text(json.dumps(old, indent=1))
    decision, _ = run_gate(NEW)
    assert (decision.train, decision.refused) == (False, True)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["7", "withdrawn-9"])
def test_damaged_image_keys_of_a_version_are_unknown_ones(run_gate, pushed, tmp_path, name, damage):
    """Trained anew, and no traceback."""
    make_live(tmp_path / "serving", number=9, settings_key=pushed.record.settings_key)
    (tmp_path / "serving/9").rename(tmp_path / "serving/withdrawn-9")
    damage(str(tmp_path / "serving" / name / "assets.extra/images.u64"))
    assert run_gate(NEW)[0].train


def test_damaged_image_keys_are_named(ask, live):
    """The decision's reason has the damage."""
    DAMAGES["a number"](f"{live.path}/assets.extra/images.u64")
    reason = "the images of version 7 are unknown (images.u64: 1 bytes; expected 8 for each image)"
    assert ask(SEEN, live).reason == reason


def test_what_is_remembered_is_no_version(run_gate, pushed, tmp_path):
    """A model server ignores the record, and Graft does not list it as a version."""
    refuse(run_gate, tmp_path, 7)
    assert versions.find_versions(str(tmp_path / "serving")) == [pushed]


def test_a_memory_is_kept_in_a_store_as_well(run_gate, tmp_path):
    """The serving folder may be a bucket."""
    model_dir = f"ram://{tmp_path.name}/serving"
    decision, _ = run_gate(NEW, model_dir=model_dir)
    write_unpushed(model_dir, None, decision, ["too bad"])
    decision, _ = run_gate(NEW, model_dir=model_dir)
    assert (decision.train, decision.refused) == (False, True)


@pytest.mark.parametrize(
    "unfit", [{"broken": 20}, {"classes": ["cat", "dog", "wolf"]}], ids=["broken files", "vanished class"]
)
def test_data_that_the_data_gate_will_refuse_is_no_reason_to_end_well(run_gate, pushed, unfit):
    """No readable image is new, but the DataGate must fail the scheduled run and name the files."""
    assert not run_gate()[0].train
    decision, train = run_gate(**unfit)
    assert (decision.reason, train) == ("the data is not fit for training; the DataGate says why", "true")


def test_a_model_that_was_withdrawn_is_not_made_again(ask, tmp_path):
    """Trained anew on other processors, its weights may differ in the last bits, and nobody would know it."""
    make_live(tmp_path / "serving", SEEN | {"d": "dog"}, number=8)
    withdrawn = versions.withdraw(versions.find_live(str(tmp_path / "serving")))
    decision = ask(SEEN | {"d": "dog"}, make_live(tmp_path / "serving"), others=[withdrawn])
    assert (decision.train, decision.refused) == (False, True)
    assert decision.reason == "the model of the same images and settings is version 8, which was withdrawn"


def test_a_canary_is_not_made_again(ask, tmp_path):
    """Otherwise each scheduled run would train the canary's images again."""
    canary = make_live(tmp_path / "serving", SEEN | {"d": "dog"}, number=6)
    decision = ask(SEEN | {"d": "dog"}, make_live(tmp_path / "serving"), others=[canary])
    assert (decision.train, decision.refused) == (False, False)
    assert decision.reason == "the model of the same images and settings is version 6, which is the canary"


def test_a_withdrawn_model_of_other_images_is_no_reason_to_end(ask, tmp_path):
    """The withdrawn model was made without one of the images."""
    make_live(tmp_path / "serving", SEEN | {"d": "dog"}, number=8)
    withdrawn = versions.withdraw(versions.find_live(str(tmp_path / "serving")))
    assert ask(SEEN | {"d": "dog", "e": "cat"}, make_live(tmp_path / "serving"), others=[withdrawn]).train
