"""Builds the wheel of the project that workers without the code are sent.

Beam's own way, `--setup_file`, sends sources: on the worker pip builds them in isolation and asks a package index for
setuptools, which a closed network does not have. The wheel has no requirements, so pip asks nobody.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from schema.errors import GraftError
from schema.version import VERSION
from serving.storage.whole_files import name_temporary, write_whole

SETUP_FILE = pathlib.Path(__file__).parents[2] / "setup.py"


def find_wheel(root: str) -> str | None:
    """Returns the path of the wheel in a workspace; None if there are no sources, for Graft is installed."""
    if not SETUP_FILE.is_file():
        return None
    return os.path.join(root, "beam", f"graft-{VERSION}-py3-none-any.whl")


def build_wheel(path: str) -> None:
    """Builds the wheel with this environment's setuptools, in about 2 s, and writes it whole.

    Args:
        path: path that `find_wheel` returned.
    Raises:
        GraftError: if setuptools fails.
    """
    with tempfile.TemporaryDirectory() as folder:  # setuptools would keep removed modules in the project's build/
        commands = ["egg_info", "--egg-base", folder, "build", "--build-base", f"{folder}/build"]
        commands += ["bdist_wheel", "--bdist-dir", f"{folder}/bdist", "--dist-dir", f"{folder}/dist"]
        built = subprocess.run(
            [sys.executable, SETUP_FILE.name, "--quiet", *commands],
            cwd=SETUP_FILE.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        if built.returncode:
            reason = (built.stderr.strip().splitlines() or ["no message"])[-1]
            raise GraftError(f"{SETUP_FILE}: the wheel for Beam's workers cannot be built: {reason}.")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with write_whole(path, name_temporary(path)) as temporary:
            pathlib.Path(temporary).write_bytes(pathlib.Path(folder, "dist", os.path.basename(path)).read_bytes())
