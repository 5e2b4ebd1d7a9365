"""The container image: its Dockerfile, and the steps of its build without Docker."""

import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from packaging.markers import Marker

from kubeflow.version import read_version
from pipeline.beam.wheel import build_wheel, find_wheel
from schema.version import VERSION

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / "kubeflow/Dockerfile"


def read_instructions():
    """Instructions and their arguments, in order; comments and continuations resolved."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


def read_stages():
    """The instructions of each stage by its name."""
    stages, name = {}, ""
    for instruction, text in read_instructions():
        if instruction == "FROM":
            name = text.split(" AS ")[1]
        stages.setdefault(name, []).append((instruction, text))
    return stages


def copy_context(target):
    """Returns the build context: .dockerignore excludes all names, and then includes some."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    everything, *rest = lines
    let_in = [line.removeprefix("!") for line in rest if line.startswith("!")]
    left_out = [line.removeprefix("**/") for line in rest if line.startswith("**/")]
    assert everything == "*"
    assert len(let_in) + len(left_out) == len(rest)
    for source in map(ROOT.joinpath, let_in):
        if source.is_dir():
            shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns(*left_out))
        else:
            shutil.copy(source, target)
    return target


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    return copy_context(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def installed(context, tmp_path_factory):
    """The project as the build stage installs it, in a folder of its own."""
    target = tmp_path_factory.mktemp("installed")
    source = tmp_path_factory.mktemp("src") / "src"
    shutil.copytree(context, source)
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, timeout=300)
    return target


def run_installed(installed, *arguments, cwd):
    """Runs a command with the installed project and this environment's libraries, without the checkout."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(installed), "HOME": str(cwd)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False)


def test_the_base_is_that_of_the_newer_stack():
    """Python and glibc as the lock asks for; Beam's harness is of the Beam that is locked."""
    arguments = dict(text.split("=", 1) for instruction, text in read_instructions() if instruction == "ARG")
    assert arguments["BASE"] == "python:3.13-slim-trixie"
    locked = (ROOT / "requirements.lock").read_text()
    [beam] = re.findall(r"^apache-beam(?:\[.*\])?==(\S+) ; python_full_version >= '3.11'", locked, re.MULTILINE)
    assert arguments["BEAM_SDK"] == f"apache/beam_python3.13_sdk:{beam}"


def follow(name):
    """Returns the instructions of a stage, after those of the stages that it builds on."""
    base = next(text for instruction, text in read_stages()[name] if instruction == "FROM").split()[0]
    return [*(follow(base) if base in read_stages() else []), *read_stages()[name]]


@pytest.mark.parametrize("stage", ["task", "worker"])
def test_nothing_runs_as_root(stage):
    """Kubernetes' runAsNonRoot takes a user by number alone; the last USER counts, and one that is made by then."""
    instructions = follow(stage)
    user = [text for instruction, text in instructions if instruction == "USER"][-1]
    assert int(user) > 0
    assert f"useradd --uid {user} " in " ".join(text for instruction, text in instructions if instruction == "RUN")


def test_the_image_that_is_built_if_none_is_named_is_that_of_the_tasks():
    """Docker builds the last stage."""
    assert list(read_stages())[-1] == "task"


def read_environment(stage):
    texts = [text for instruction, text in read_stages()[stage] if instruction == "ENV"]
    return dict(pair.split("=", 1) for text in texts for pair in text.split())


def test_workers_run_in_the_environment_of_the_image(tmp_path):
    """Beam's start would make one inside it, from which nothing of /opt/graft can be imported."""
    environment = read_environment("worker")
    assert environment["RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT"] == "1"
    venv = [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(tmp_path / "venv")]
    subprocess.run(venv, check=True, timeout=300)
    inside = [str(tmp_path / "venv/bin/python"), "-c", "import apache_beam"]
    assert subprocess.run(inside, check=False, capture_output=True, timeout=300).returncode == 1


def test_what_a_job_sends_to_a_worker_is_installed_and_found(tmp_path):
    """By a user who may not write into the environment: pip takes another folder, and Python looks there first.

    As Beam's boot program calls pip, in a closed network: of sources pip would build a wheel, and ask an index for
    setuptools.
    """
    environment = read_environment("worker")
    assert environment["PIP_TARGET"] == environment["PYTHONPATH"]
    wheel, sent = find_wheel(str(tmp_path)), tmp_path / "sent"
    build_wheel(wheel)
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PIP_TARGET": str(sent), "PYTHONPATH": str(sent)}
    install = ["-m", "pip", "install", "--no-index", "--quiet", wheel]
    for arguments in (install, ["-c", "import components; print(components.__file__)"]):
        command = [sys.executable, *arguments]
        ended = subprocess.run(command, cwd=tmp_path, env=variables, check=True, capture_output=True, timeout=300)
    assert ended.stdout.decode().startswith(str(sent))


def test_the_lock_is_what_is_installed_here():
    """So the tests ran with what the image will have, as far as this is the newer stack; pip may be another."""
    missing = []
    for name, version, marker in read_lock():
        applies = not marker or Marker(marker).evaluate()
        installed = find_version(name)
        if applies and installed != version:
            missing.append((name, version, installed))
    assert missing == []


def read_lock():
    """Returns name, version and marker of each locked package."""
    line = re.compile(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)(?: ; (.+?))? \\\\$", re.MULTILINE)
    return line.findall((ROOT / "requirements.lock").read_text())


def find_version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def test_the_entry_point_is_what_the_spec_calls(spec):
    """A spec names the command outright; the image alone does the same."""
    [entry_point] = [text for instruction, text in read_stages()["task"] if instruction == "ENTRYPOINT"]
    executors = spec["deploymentSpec"]["executors"].values()
    assert {str(e["container"]["command"]).replace("'", '"') for e in executors} == {entry_point}


def test_the_context_holds_what_is_installed_and_no_more(context):
    """No tests, no benchmarks, no data, no environment."""
    assert {path.name for path in context.iterdir()} == {
        "requirements.lock", "requirements-cuda.lock", "setup.py", "pyproject.toml",
        "schema", "serving", "components", "pipeline", "kubeflow",
    }  # fmt: skip
    assert not list(context.rglob("__pycache__"))


@pytest.mark.parametrize(("cuda", "expected"), [("0", False), ("1", True)])
def test_an_image_for_cards_has_the_libraries_where_tensorflow_looks(context, tmp_path, cuda, expected):
    """By the lock and the links that ./graft takes; the step runs here with a stand-in for pip."""
    stage = read_stages()["build"]
    assert ("ARG", "CUDA=0") in stage
    [step] = [text for instruction, text in stage if instruction == "RUN" and "cuda" in text]
    [copied] = [text.split()[:-1] for instruction, text in stage if instruction == "COPY" and "cuda" in text]
    (tmp_path / "src").mkdir()
    for name in copied:
        shutil.copy(context / name, tmp_path / "src")
    libraries = tmp_path / "opt/graft/lib/python3.13/site-packages/nvidia"
    pip = tmp_path / "bin/pip"
    pip.parent.mkdir()
    made = f"mkdir -p '{libraries}/cuda_runtime/lib' '{libraries}/nccl/lib'; : >'{libraries}/nccl/lib/libnccl.so.2'"
    pip.write_text(f'#!/bin/sh\nset -e\n[ -f "$5" ]\n[ "$2 $3" = "--no-deps --require-hashes" ]\n{made}\n')
    pip.chmod(0o755)
    for folder in ("/src", "/opt"):
        step = step.replace(f" {folder}/", f" {tmp_path}{folder}/")
    environment = {"PATH": f"{pip.parent}:/usr/bin:/bin", "CUDA": cuda}
    subprocess.run(["sh", "-c", step], env=environment, check=True, timeout=300)
    assert (libraries / "cuda_runtime/lib/libnccl.so.2").is_file() == expected


def test_the_installed_project_is_the_checkout(installed, tmp_path):
    """Every module, the schema, the configuration of servers; its version is the one that specs are compiled with."""
    for path in ("schema/schema.pbtxt", "components/pusher/card_template.md", "pipeline/report/templates/page.html"):
        assert (installed / path).read_text() == (ROOT / path).read_text()
    assert sorted(p.name for p in (installed / "serving/deploy").iterdir()) == sorted(
        p.name for p in (ROOT / "serving/deploy").iterdir()
    )
    ended = run_installed(installed, "-m", "kubeflow.entry_point", "--version", cwd=tmp_path)
    assert ended.stdout == f"Graft {read_version()}\n", ended.stderr


def test_the_entry_point_starts_where_only_the_image_is(installed, tmp_path):
    """In an empty folder, with nothing in the environment: it says what it misses."""
    ended = run_installed(installed, "-m", "kubeflow.entry_point", cwd=tmp_path)
    assert ended.returncode == 2
    assert "the following arguments are required: --component" in ended.stderr


@pytest.mark.long  # test_imports.py reads the imports
def test_every_module_of_a_task_imports_from_the_image(installed, tmp_path):
    """The executors, and the built-in server that the ServingValidator starts."""
    names = [path.stem for path in (ROOT / "components").glob("*.py") if path.stem != "__init__"]
    code = f"import importlib\nfor name in {names!r}: importlib.import_module('components.' + name)\n"
    code += "import serving.server.main, components; print(components.__file__)"
    ended = run_installed(installed, "-c", code, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.strip().endswith(str(installed / "components/__init__.py"))


def test_the_versions_agree(tmp_path):
    """Of the distribution, of the command line and of the image's label."""
    asked = subprocess.run(
        [sys.executable, str(ROOT / "setup.py"), "--version"], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert asked.stdout.splitlines()[-1] == VERSION
    assert f'org.opencontainers.image.version="{VERSION}"' in DOCKERFILE.read_text()
