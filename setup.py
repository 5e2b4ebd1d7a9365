"""The distribution: the wheel that workers of Beam are sent, and what the container image installs.

The environment itself is requirements.lock; a worker image has it. So nothing is required here.
"""

import pathlib
import runpy

from setuptools import find_packages, setup

setup(
    name="graft",
    version=runpy.run_path(str(pathlib.Path(__file__).with_name("schema") / "version.py"))["VERSION"],
    description="From a folder of labelled images to a model that TensorFlow Serving serves",
    license="Apache-2.0",
    # Without tests: the older stack's site-packages hold a package of that name.
    packages=find_packages(include=["schema", "serving*", "components*", "pipeline*", "kubeflow*"]),
    package_data={
        "schema": ["*.pbtxt"],
        "serving": ["deploy/*"],
        "components": ["pusher/*.md"],
        "pipeline": ["report/templates/*", "try_page/page/*"],
    },
    python_requires=">=3.10,<3.14",
    entry_points={"console_scripts": ["graft = kubeflow.cli:main"]},
)
