"""NVIDIA's libraries: those that TensorFlow names are locked, and each is found where TensorFlow looks."""

import _ctypes
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess

import pytest
from cuda_loader import find_libraries
from packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).parents[1]
SITE_PACKAGES = pathlib.Path(importlib.metadata.distribution("tensorflow").locate_file(""))
# Folder below nvidia/ of each library, as its wheel has it.
FOLDERS = {
    "libcublas": "cublas",
    "libcublasLt": "cublas",
    "libcudart": "cuda_runtime",
    "libcudnn": "cudnn",
    "libcufft": "cufft",
    "libcupti": "cuda_cupti",
    "libcusolver": "cusolver",
    "libcusparse": "cusparse",
    "libnccl": "nccl",
}
PLATFORM = {"sys_platform": "linux", "platform_machine": "x86_64"}


def read_lock(name):
    lines = re.findall(r"^[A-Za-z0-9].*", (ROOT / name).read_text(), re.MULTILINE)
    return [Requirement(line.rstrip(" \\")) for line in lines]


def test_lock_holds_the_libraries_that_tensorflow_names_and_no_other():
    """In versions that TensorFlow's extra accepts; those that NVIDIA's packages need are among them."""
    extra = {"extra": "and-cuda"}
    needed = [one for one in map(Requirement, importlib.metadata.requires("tensorflow")) if "nvidia" in one.name]
    locked = {one.name: one for one in read_lock("requirements-cuda.lock") if one.marker.evaluate(PLATFORM)}
    assert locked.keys() == {one.name for one in needed if one.marker.evaluate(extra)}
    for one in needed:
        [version] = locked[one.name].specifier
        assert one.specifier.contains(version.version), one
    assert len(locked) == 12


def test_lock_is_for_one_platform_and_complete():
    """No package of requirements.lock stands in it; each has a hash; nothing has an address."""
    text = (ROOT / "requirements-cuda.lock").read_text()
    locked = read_lock("requirements-cuda.lock")
    assert not {one.name for one in locked} & {one.name for one in read_lock("requirements.lock")}
    assert not any(one.marker.evaluate({**PLATFORM, "platform_machine": "aarch64"}) for one in locked)
    assert len(re.findall(r"^nvidia\S+==[^\\]*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(locked)
    assert "://" not in text


@pytest.fixture
def packages(tmp_path):
    """The installed TensorFlow's loader, with a stand-in for each library where NVIDIA's wheels have it."""
    (tmp_path / "tensorflow").mkdir()
    framework = "tensorflow/libtensorflow_framework.so.2"
    (tmp_path / framework).symlink_to(SITE_PACKAGES / framework)
    for name in find_libraries(tmp_path):
        folder = tmp_path / "nvidia" / FOLDERS[name.split(".")[0]] / "lib"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(_ctypes.__file__, folder / name)  # some shared library
    return tmp_path


def link(packages):
    subprocess.run(["sh", ROOT / "pipeline/shell/link_cuda.sh", packages], check=True, timeout=300)


def test_tensorflow_finds_each_library_under_the_name_that_it_asks_for(packages):
    """Some are found after the linking alone: NCCL and CUPTI by TensorFlow 2.16, cuSOLVER by 2.21."""
    found = find_libraries(packages)
    assert {name.split(".")[0] for name in found} == FOLDERS.keys()
    assert not all(found.values())
    link(packages)
    assert all(find_libraries(packages).values())


def test_links_stay_right_where_the_packages_are_copied_and_are_made_once(packages):
    """The image copies them; a library of the folder itself is no link."""
    link(packages)
    link(packages)
    copy = packages / "copy"
    shutil.copytree(packages / "nvidia", copy / "nvidia", symlinks=True)
    shutil.rmtree(packages / "nvidia")
    folder = copy / "nvidia/cuda_runtime/lib"
    assert len(list(folder.iterdir())) == len(FOLDERS)
    assert [path.name[:9] for path in folder.iterdir() if not path.is_symlink()] == ["libcudart"]
    assert all(path.is_file() for path in folder.iterdir())


@pytest.mark.long
def test_installed_libraries_are_found():
    """An environment that GRAFT_CUDA=1 made has each library, with those that the libraries ask for themselves."""
    if not (SITE_PACKAGES / "nvidia/cuda_runtime").exists():
        pytest.skip("this environment was made without GRAFT_CUDA=1")
    found = find_libraries(SITE_PACKAGES)
    assert {name.split(".")[0] for name in found} >= FOLDERS.keys()
    assert all(found.values()), found
    assert os.access(SITE_PACKAGES / "nvidia/cuda_nvcc/bin/ptxas", os.X_OK)  # XLA and TensorFlow start it
    assert (SITE_PACKAGES / "nvidia/cuda_nvcc/nvvm/libdevice/libdevice.10.bc").is_file()
