"""The wheel that workers without the code are sent."""

import pathlib
import zipfile

import pytest

from pipeline.beam import wheel
from pipeline.beam.engines import beam_pipeline_args, prepare_code
from pipeline.beam.wheel import find_wheel
from pipeline.config.config import Beam
from schema.errors import GraftError

ROOT = pathlib.Path(__file__).parents[3]
PORTABLE = {"runner": "portable", "job_endpoint": "localhost:8099"}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A wheel, where `beam_pipeline_args` says that it is."""
    root = str(tmp_path_factory.mktemp("out"))
    prepare_code(Beam(**PORTABLE), root)
    return find_wheel(root)


def test_wheel_has_the_code_and_no_requirements(built):
    """So pip on the worker asks no package index, which a closed network does not have."""
    folders = ("schema", "serving", "components", "pipeline", "kubeflow")
    code = {str(path.relative_to(ROOT)) for folder in folders for path in (ROOT / folder).rglob("*.py")}
    with zipfile.ZipFile(built) as file:
        names = file.namelist()
        [metadata] = (file.read(name).decode() for name in names if name.endswith("/METADATA"))
        [kind] = (file.read(name).decode() for name in names if name.endswith("/WHEEL"))
    assert {name for name in names if name.endswith(".py")} == code
    assert "Requires-Dist" not in metadata
    assert "Root-Is-Purelib: true\nTag: py3-none-any" in kind
    assert f"--extra_package={built}" in beam_pipeline_args(Beam(**PORTABLE), str(pathlib.Path(built).parents[1]))


@pytest.mark.parametrize("keys", [{}, PORTABLE | {"sdk_container_image": "graft:1"}])
def test_nothing_is_built_for_workers_that_have_the_code(keys, tmp_path):
    """Those of this process, and those of an image."""
    prepare_code(Beam(**keys), str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_setuptools_that_fails_says_why(monkeypatch, tmp_path):
    """The last line of its message; no half-written wheel is left."""
    (tmp_path / "setup.py").write_text("raise SystemExit('error: no such command')")
    monkeypatch.setattr(wheel, "SETUP_FILE", tmp_path / "setup.py")
    with pytest.raises(GraftError, match="wheel for Beam's workers cannot be built: error: no such command"):
        wheel.build_wheel(str(tmp_path / "out" / "graft.whl"))
    assert [path.name for path in tmp_path.iterdir()] == ["setup.py"]
