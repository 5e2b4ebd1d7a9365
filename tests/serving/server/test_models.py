"""Loading and unloading of versions while requests are answered."""

import contextlib
import shutil
import threading

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import model_pb2, prediction_log_pb2
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig
from waiting import wait_until

from schema.errors import UsageError
from serving.releases import models_config
from serving.server import configs, models
from serving.server.configs import BatchingParameters
from serving.server.errors import ServingError
from serving.server.inference import predict_arrays
from serving.server.main import _logged_errors

pytestmark = pytest.mark.slow

AVAILABLE, UNLOADING, END = 30, 40, 50
ONES = np.ones([1, 2], np.float32)


@pytest.fixture
def folder(tmp_path, scaled):
    """Returns a folder with version 1 of the TF2 model, which tests change."""
    shutil.copytree(scaled / "1", tmp_path / "m/1")
    return tmp_path / "m"


@pytest.fixture
def add(folder, scaled):
    """Returns a function that adds a complete version to the folder: the model that multiplies by 2."""

    def add_version(number):
        shutil.copytree(scaled / "2", folder / ".staging")
        (folder / ".staging").rename(folder / str(number))
        return folder / str(number)

    return add_version


def ask(store, **spec):
    """Returns the version that answers, and its factor."""
    with store.use(to_spec(**spec)) as model:
        outputs = predict_arrays(model, "serving_default", {"x": ONES})
    return model.version, float(outputs["scale"][0])


def test_versions_are_those_of_the_rule_for_names(folder, add, caplog):
    """TensorFlow Serving's: leading zeros, the last of two names with one number, and no number above an int64."""
    (folder / "1").rename(folder / "007")
    listed = models._list_versions(str(folder))
    assert listed == {7: str(folder / "007")}
    add("7")
    add("20261126195812123456")
    for _ in range(2):
        assert models._list_versions(str(folder)) == {7: str(folder / "7")}
    assert caplog.text.count("Version 7 will be loaded from 7, 007 will be ignored") == 1


def to_spec(version=None, label=None):
    spec = model_pb2.ModelSpec(name="m")
    if version is not None:
        spec.version.value = version
    if label is not None:
        spec.version_label = label
    return spec


def states(store):
    return {status.version: status.state for status in store.get_status(to_spec())}


def test_a_new_version_takes_over_and_the_old_one_goes(folder, make_store, add):
    """With the policy that TensorFlow Serving has by default: the latest."""
    store = make_store(m=folder)
    assert ask(store) == (1, 1.0)
    add(2)
    assert ask(store) == (1, 1.0)
    store.refresh()
    assert ask(store) == (2, 2.0)
    assert states(store) == {2: AVAILABLE, 1: END}
    with pytest.raises(ServingError, match="Servable not found"):
        ask(store, version=1)


def test_a_version_that_is_taken_away_gives_way_to_the_one_before(folder, make_store, add):
    """A rollback; a version that comes again is loaded again."""
    added = add(2)
    store = make_store(m=folder)
    added.rename(folder / "withdrawn-2")
    store.refresh()
    assert ask(store) == (1, 1.0)
    (folder / "withdrawn-2").rename(folder / "2")
    store.refresh()
    assert ask(store) == (2, 2.0)


def test_a_version_that_cannot_be_loaded_replaces_nothing(folder, make_store, add):
    """The status says why; when it is written anew, it is tried again."""
    store = make_store(m=folder)
    added = add(2)
    good = (added / "saved_model.pb").read_bytes()
    (added / "saved_model.pb").write_bytes(b"no protobuf")
    for _ in range(2):
        store.refresh()
        assert ask(store) == (1, 1.0)
    broken = store.get_status(to_spec(version=2))[0]
    assert (broken.state, bool(broken.status.error_message)) == (END, True)
    assert broken.status.error_code != 0
    (added / "saved_model.pb").write_bytes(good)
    store.refresh()
    assert ask(store) == (2, 2.0)


def test_a_version_is_warmed_before_it_is_handed_out(folder, make_store, add):
    """By its own warm-up requests; one that fails keeps the version out."""
    store = make_store(m=folder)
    added = add(2)
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "m"
    log.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(-ONES))
    write_warmup_log(added, log)
    store.refresh()
    assert ask(store) == (1, 1.0)
    assert "warmup request" in store.get_status(to_spec(version=2))[0].status.error_message


def write_warmup_log(version, log):
    """Puts one warm-up request into a version's folder."""
    (version / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(version / "assets.extra/tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


@pytest.mark.parametrize("kind", ["classify_log", "regress_log", "multi_inference_log"])
def test_a_warm_up_that_no_client_can_ask_for_is_passed_over(folder, make_store, add, kind):
    """The version is served for what can be asked of it."""
    log = prediction_log_pb2.PredictionLog()
    getattr(log, kind).request.SetInParent()
    write_warmup_log(add(2), log)
    assert ask(make_store(m=folder)) == (2, 2.0)


def test_a_warm_up_that_tensorflow_refuses_with_raw_bytes_says_why(folder, make_store, add):
    """In the status, without Python's complaint about them."""
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.signature_name = "parse"
    log.predict_log.request.inputs["examples"].CopyFrom(tf.make_tensor_proto([b"\xff\xd8"]))
    write_warmup_log(add(2), log)
    (status,) = make_store(m=folder, policy=2).get_status(to_spec(version=2))
    assert status.status.error_code == 3
    reason = "Could not parse example input, value: '\\xff\\xd8'"
    assert status.status.error_message == f"Encountered an error at warmup request: {reason}"


def test_the_old_version_finishes_its_requests(folder, make_store, add, monkeypatch):
    """It is unloaded when the last is done, and answers until then; new ones go to the new version."""
    monkeypatch.setattr(models, "_DRAIN_SECONDS", 600.0)
    store = make_store(m=folder)
    add(2)
    with store.use(to_spec()) as model:
        refreshing = threading.Thread(target=store.refresh)
        refreshing.start()
        while ask(store)[0] == 1:
            pass
        assert refreshing.is_alive()
        assert predict_arrays(model, "serving_default", {"x": ONES})["scale"][0] == 1.0
    refreshing.join()
    assert states(store) == {2: AVAILABLE, 1: END}


def test_a_label_moves_when_its_version_can_be_had(folder, make_store, make_config, add):
    """Not before, and without a moment in which it points nowhere."""
    store = make_store(m=folder, labels={"stable": 1})
    with pytest.raises(ServingError, match="version 2 of model m"):
        store.configure(make_config(m=folder, labels={"stable": 2}))
    assert ask(store, label="stable") == (1, 1.0)
    add(2)
    store.refresh()
    assert ask(store, label="stable") == (2, 2.0)
    store.configure(make_config(m=folder))
    with pytest.raises(ServingError, match="Unrecognized servable version label: stable"):
        ask(store, label="stable")


def test_policies_say_which_versions_are_served(folder, make_store, make_config, add):
    """All, the last few, or some by number."""
    for number in (2, 3):
        add(number)
    store = make_store(m=folder, policy="all")
    for policy, expected in (("all", {1, 2, 3}), (2, {2, 3}), ([1, 3], {1, 3}), ([2, 9], {2})):
        store.configure(make_config(m=folder, policy=policy))
        assert {number for number, state in states(store).items() if state == AVAILABLE} == expected


def test_an_empty_folder_serves_nothing_until_a_version_comes(tmp_path, make_store, folder):
    """A missing folder is treated alike."""
    store = make_store(m=tmp_path / "later")
    with pytest.raises(ServingError, match="Servable not found for request: Latest"):
        ask(store)
    folder.rename(tmp_path / "later")
    store.refresh()
    assert ask(store) == (1, 1.0)


def test_a_folder_that_cannot_be_listed_unloads_nothing(folder, tmp_path, make_store):
    """A disk that comes and goes is no reason to stop serving; an empty folder is."""
    store = make_store(m=folder)
    folder.rename(tmp_path / "elsewhere")
    store.refresh()
    assert ask(store) == (1, 1.0)
    folder.mkdir()
    store.refresh()
    with pytest.raises(ServingError, match="Servable not found"):
        ask(store)


def test_a_version_whose_warm_up_fails_leaves_no_thread_behind(folder, make_store, add):
    """Of those that would merge its requests."""
    store = make_store(m=folder, batching=BatchingParameters(num_batch_threads=3))
    added = add(2)
    (added / "assets.extra").mkdir()
    (added / "assets.extra/tf_serving_warmup_requests").write_bytes(b"torn" * 10)
    before = set(threading.enumerate())
    store.refresh()
    assert "warmup" in store.get_status(to_spec(version=2))[0].status.error_message
    assert set(threading.enumerate()) <= before


def test_a_long_request_does_not_hold_up_the_others(folder, make_store, add, monkeypatch):
    """Its version is freed by a later look at the folder."""
    monkeypatch.setattr(models, "_DRAIN_SECONDS", 0.1)
    store = make_store(m=folder)
    add(2)
    with store.use(to_spec()):
        store.refresh()
        assert ask(store) == (2, 2.0)
        assert states(store)[1] == UNLOADING
    store.refresh()
    assert states(store) == {2: AVAILABLE, 1: END}


def test_a_model_that_cannot_be_had_is_said_when_it_is_configured(folder, tmp_path, make_store, make_config):
    """And disturbs the others no more than one that is taken out and put in again."""
    (tmp_path / "torn/1").mkdir(parents=True)
    (tmp_path / "torn/1/saved_model.pb").write_bytes(b"no protobuf")
    store = make_store(m=folder)
    with pytest.raises(ServingError, match="Some models did not become available"):
        store.configure(make_config(m=folder, torn=tmp_path / "torn"))
    assert ask(store) == (1, 1.0)
    store.configure(make_config())
    store.configure(make_config(m=folder))
    assert ask(store) == (1, 1.0)


def test_what_is_no_version_is_passed_over(folder, make_store, add):
    """Staging folders and files; TensorFlow Serving takes leading zeros."""
    (folder / "notes.txt").write_text("7")
    (folder / "9").write_text("a file")
    (folder / "99999999999999999999").mkdir()
    (folder / ".staging-1").mkdir()
    add("00002")
    assert ask(make_store(m=folder)) == (2, 2.0)


@pytest.mark.long
def test_swaps_under_load_fail_no_request_and_mix_no_versions(folder, make_store, add):
    """Four threads ask while versions change; version and factor of every answer belong together."""
    store = make_store(m=folder)
    answers, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            answers.append(ask(store))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    wait_until(lambda: answers)
    for number in range(2, 7):
        added = add(number)
        store.refresh()
        wait_until(lambda number=number: answers and answers[-1][0] == number)
        if number % 2:
            added.rename(folder / f"withdrawn-{number}")
            store.refresh()
    stop.set()
    for thread in threads:
        thread.join()
    assert {version for version, _ in answers} == set(range(1, 7))
    assert all(factor == (1.0 if version == 1 else 2.0) for version, factor in answers)
    assert len(answers) > 50


@pytest.mark.parametrize(
    "text", ["", " \n\t\n", "# Written by Graft\n# folder: /srv\n"], ids=["empty", "blank", "comments"]
)
def test_an_empty_configuration_unloads_nothing(folder, tmp_path, make_store, text):
    """ServerCore::ReloadConfig: "It is only legal to transition from one ModelConfigList to another"."""
    (tmp_path / "models.config").write_text(text)
    store = make_store(m=folder)
    with pytest.raises(ServingError, match=r"Cannot transition to requested config\..*loaded models keep serving"):
        store.configure(configs.read_model_config(str(tmp_path / "models.config")))
    assert ask(store) == (1, 1.0)


def test_a_torn_configuration_unloads_nothing(folder, tmp_path, make_store):
    """Wherever it is cut off: it cannot be read, or says nothing, or says all."""
    models_config.write(str(folder), ModelServerConfig(), {"stable": 1}, [1])
    text = (tmp_path / "models.config").read_bytes()
    store, said_all = make_store(m=folder), []
    for length in range(0, len(text), 3):
        (tmp_path / "models.config").write_bytes(text[:length])
        with contextlib.suppress(ServingError, UsageError):
            store.configure(configs.read_model_config(str(tmp_path / "models.config")))
            said_all.append(length)
    assert ask(store) == (1, 1.0)
    assert all(not text[length:].strip() for length in said_all)


def test_a_list_without_a_model_unloads_all_of_them(folder, make_store, make_config):
    """The list itself is explicit."""
    store = make_store(m=folder)
    store.configure(make_config())
    with pytest.raises(ServingError, match="Servable not found"):
        ask(store)


def test_a_configuration_that_stays_broken_is_logged_once(caplog):
    """And not each second; once more when it was right meanwhile."""
    told = set()
    for _ in range(3):
        with _logged_errors(told):
            raise UsageError("broken")
    assert caplog.text.count("broken") == 1
    told.clear()
    with _logged_errors(told):
        raise UsageError("broken")
    assert caplog.text.count("broken") == 2
