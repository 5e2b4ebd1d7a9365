"""The command line, as a user types it: exit codes, messages, and what is imported."""

import functools
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from made_up_evaluation import EVALUATION
from manifests import write_manifest

from pipeline import cli
from pipeline.config.here import choose_workspace

ROOT = pathlib.Path(__file__).parents[2]


def graft(*arguments, cwd, python=sys.executable):
    return subprocess.run(
        [python, ROOT, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_thread_pools_are_bounded_before_a_command_runs(monkeypatch):
    """TensorFlow and the others read the number of threads when a command imports them."""
    done = []
    monkeypatch.setattr(cli, "bound_thread_pools", lambda: done.append("bounded"))
    monkeypatch.setattr(cli, "mute_tensorflow", lambda: None)
    monkeypatch.setattr(cli, "_call", lambda *_: done.append("called"))
    monkeypatch.setattr(sys, "argv", ["graft"])
    with pytest.raises(SystemExit):
        cli.main()
    assert done == ["bounded", "called"]


@pytest.fixture
def warm_graft(warm_python, tmp_path):
    """Types a command as `graft` does, in a folder of the test's own and in a fork that has the imports."""
    return functools.partial(graft, cwd=tmp_path, python=warm_python.program)


def write_classes(data, *labels):
    for label in labels:
        (data / label).mkdir(parents=True)
        (data / label / "1.jpg").write_bytes(b"bytes of " + label.encode())


def imported_by(code, cwd):
    """Returns the names of all modules that are loaded after some code."""
    script = f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}; print('MODULES', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, timeout=600, check=True
    )
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_help_starts_no_tensorflow(tmp_path):
    """Help is there at once."""
    modules = imported_by("from pipeline.cli import cli; cli.main(['run', '--help'], standalone_mode=False)", tmp_path)
    assert not modules & {"tensorflow", "tfx", "apache_beam", "keras"}


@pytest.mark.slow
def test_predict_starts_no_tfx(tmp_path):
    """TensorFlow is all that a prediction needs."""
    modules = imported_by("import serving.client.predict", tmp_path)
    assert "tensorflow" in modules
    assert not modules & {"tfx", "apache_beam", "tensorflow_transform"}


@pytest.mark.long
@pytest.mark.slow
def test_run_starts_no_google_cloud_client(tmp_path):
    """It costs seconds, and no local run uses it; Beam itself imports those of its own I/O."""
    modules = imported_by("import pipeline.local.run", tmp_path)
    assert "tfx.components" in modules
    assert not {m for m in modules if m.startswith(("tfx.v1", "google.cloud.aiplatform"))}


def test_user_folder_with_our_package_names_does_no_harm(tmp_path):
    """People do call a folder `schema`."""
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "__init__.py").write_text("raise RuntimeError('not this one')")
    assert graft("--help", cwd=tmp_path).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "code", "message"),
    [
        (lambda data: None, 3, "no such folder"),
        (lambda data: data.mkdir(), 3, "expected one folder per class"),
        (lambda data: (data / "cats").mkdir(parents=True), 3, "no image in 1 folders"),
        (lambda data: write_classes(data, "cats"), 3, "only one class (cats)"),
    ],
)
def test_data_that_cannot_be_used_is_one_message(warm_graft, tmp_path, make, code, message):
    """No traceback, the exit code for bad data, and what to do."""
    make(tmp_path / "photos")
    done = warm_graft("run", "--data", "photos", "--weights", "random")
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.slow
def test_classes_that_do_not_match_the_folders_are_refused_before_the_ingest(warm_graft, tmp_path):
    """Unknown and vanished in one message, and what to do."""
    write_classes(tmp_path / "photos", "cats", "dogs")
    done = warm_graft("run", "--data", "photos", "--weights", "random", "--classes", "cats,dgos")
    assert done.returncode == 3
    assert "unknown class: the folder dogs" in done.stderr
    assert "vanished class: no image of 'dgos'" in done.stderr
    assert "ExampleGen" not in done.stdout


def test_options_of_beam_are_told_apart(tmp_path):
    """Few need them; the help says where they are, and they are taken as all others."""
    told, beam = (graft("run", option, cwd=tmp_path).stdout for option in ("--help", "--help-beam"))
    assert "--help-beam" in told
    assert "--beam-runner" not in told
    assert all(f"--beam-{name}" in beam for name in ("runner", "job-endpoint", "args"))
    done = graft("run", "photos", "--beam-parallelism", "3", "--print-config", cwd=tmp_path)
    assert "parallelism = 3" in done.stdout


def test_help_keeps_its_examples_on_lines_of_their_own(tmp_path):
    """To be copied."""
    assert "\n  ./graft run photos/\n" in graft("run", "--help", cwd=tmp_path).stdout


def test_bad_option_is_exit_code_2(tmp_path):
    """Bad usage, whoever finds it: the parser or the configuration."""
    assert graft("run", "--head-epochs", "five", cwd=tmp_path).returncode == 2
    done = graft("run", "--data", "x", "--image-size", 7, "--seed", "one", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "graft: --image-size: expected a whole number from 32 to 1024; got 7.",
        "graft: --seed: expected a whole number from 0; got one.",
    ]


def test_every_command_shows_examples_in_its_help(tmp_path):
    """Each with the command that it is about."""
    from pipeline.cli import cli

    groups = {name: command.commands for name, command in cli.commands.items() if name in ("sample", "releases")}
    for name, command in {
        **cli.commands,
        **{f"{group} {n}": c for group, commands in groups.items() for n, c in commands.items()},
    }.items():
        if name != "sample":
            assert re.search(rf"^ *\./graft {name}\b", command.help, re.MULTILINE), name


def test_init_run_and_print_config_work_together(tmp_path):
    """The file is found, options override it, and nothing is made but the file."""
    assert graft("init", "--minimal", cwd=tmp_path).returncode == 0
    (tmp_path / "graft.toml").write_text('data = "photos"\n')
    done = graft("run", "--print-config", "--seed", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = {line.split(" = ")[0]: line for line in done.stdout.splitlines()}
    assert lines["data"].split() == ["data", "=", '"photos"', "#", "graft.toml"]
    assert lines["seed"].split() == ["seed", "=", "3", "#", "--seed"]
    assert {path.name for path in tmp_path.iterdir()} == {"graft.toml"}


def test_version_names_the_stack(tmp_path):
    """A bug report needs the versions."""
    import tensorflow as tf

    from schema.version import VERSION

    printed = graft("--version", cwd=tmp_path).stdout
    assert printed.startswith(f"Graft {VERSION} (Python 3.")
    assert f"tensorflow {tf.__version__}" in printed


@pytest.mark.slow
def test_predict_asks_the_workspace_of_the_configuration(warm_graft, tmp_path):
    """Where `run` has pushed to."""
    (tmp_path / "graft.toml").write_text('data = "photos"\nout = "elsewhere"\n')
    assert "elsewhere: no pushed model here" in warm_graft("predict", "cat.jpg").stderr


@pytest.mark.slow
def test_predict_asks_the_workspace_that_is_named(warm_graft, tmp_path):
    """By --out, as all other commands; by --model or by both is one too many."""
    assert "elsewhere: no pushed model here" in warm_graft("predict", "cat.jpg", "--out", "elsewhere").stderr
    both = warm_graft("predict", "cat.jpg", "--out", "elsewhere", "--model", "graft")
    assert both.returncode == 2
    assert "--out: expected neither --model nor --server beside it." in both.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [["predict", "cat.jpg"], ["serve"], ["releases"]])
@pytest.mark.parametrize("here", ["graft.toml", "graft-out"])
def test_the_demo_is_not_asked_where_a_workspace_of_ones_own_is(warm_graft, tmp_path, command, here):
    """Though nothing was pushed to it: a digit would be the answer for a cat. The last run's outcome is."""
    version = tmp_path / "graft-demo/serving/graft/7"
    (version / "variables").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    if here == "graft.toml":
        (tmp_path / here).write_text('data = "photos"\n')
    else:
        refused = EVALUATION.model_copy(update={"failures": ["test accuracy 0.333 is below the 0.608"]})
        write_manifest(tmp_path / "graft-out", "20261126T101500-000Z-3f2a", evaluation=refused)
    done = warm_graft(*command)
    assert done.returncode == 2
    assert "no pushed model" in done.stderr
    assert "graft-demo" not in done.stderr.replace("./graft demo", "")
    if here == "graft-out":
        assert "was not pushed: test accuracy 0.333 is below the 0.608. ./graft predict IMAGE --out" in done.stderr


def test_a_workspace_in_which_no_run_began_does_not_hide_the_demo(tmp_path, monkeypatch):
    """A run that was refused for its weights leaves a log there, and no answer for another model's to be taken for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "graft-demo").mkdir()
    (tmp_path / "graft-out/runs").mkdir(parents=True)
    assert choose_workspace() == "graft-demo"
    (tmp_path / "graft-out/runs/20261126T101500-000Z-3f2a").mkdir()
    assert choose_workspace() == "graft-out"


@pytest.mark.slow
def test_gate_stops_a_run_and_keeps_the_list(warm_graft, tmp_path):
    """Too many broken files: exit code 3, which files, where the whole list lies, and nothing is pushed."""
    for label in ("cats", "dogs"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for index in range(3):
            (tmp_path / "photos" / label / f"{index}.jpg").write_bytes(b"no image %d" % index)
    done = warm_graft("run", "--data", "photos", "--weights", "random", "--image-size", 32)
    assert done.returncode == 3, done.stderr
    assert "6 of 6 files (100.0 %) are broken" in done.stderr
    assert "cats/0.jpg" in done.stderr
    [quarantine] = (tmp_path / "graft-out" / "runs").glob("*/quarantine.jsonl")
    assert str(quarantine) in done.stderr
    assert len([json.loads(line) for line in quarantine.read_text().splitlines()]) == 6
    assert not (tmp_path / "graft-out" / "serving").exists()


@pytest.mark.slow
def test_predict_without_a_model_says_how_to_get_one(warm_graft, tmp_path):
    """The first thing that somebody may type."""
    done = warm_graft("predict", "cat.jpg")
    assert done.returncode == 2
    assert "Train one with: ./graft run photos/" in done.stderr


@pytest.mark.slow
def test_model_table_shows_175_layers_and_their_phases(warm_graft, tmp_path):
    """Frozen in the head phase; from conv5_block1 on trained in fine-tuning, but for BatchNorm."""
    done = warm_graft("model")
    assert "175 layers in the base" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()[:-1]]
    rows = {cells[1]: cells for cells in lines if cells and cells[0].isdigit()}
    assert len(rows) == 175 + 1 + 6
    assert rows["conv4_block6_3_conv"][-2:] == ["frozen", "frozen"]
    assert rows["conv5_block1_1_conv"][-2:] == ["frozen", "trained"]
    assert rows["conv5_block1_1_bn"][-2:] == ["frozen", "frozen"]
    assert rows["probabilities"][-2:] == ["trained", "trained"]


@pytest.mark.slow
def test_a_user_without_a_home_sees_nothing_of_it():
    """Matplotlib says in two lines where it keeps its cache instead; Python is started anew, for it has none yet."""
    code = "import contextlib, sys; sys.argv = ['graft', '--help']; from kubeflow.cli import main\n"
    code += "with contextlib.suppress(SystemExit):\n    main()\nimport components.trainer.curves"
    environment = {name: value for name, value in os.environ.items() if name not in ("MPLCONFIGDIR", "XDG_CONFIG_HOME")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=pathlib.Path(__file__).parents[2],
        env=environment | {"HOME": "/dev/null/none", "XDG_CACHE_HOME": "/dev/null/none"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "./graft demo" in done.stdout or "Usage:" in done.stdout
