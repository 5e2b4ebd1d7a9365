"""Lets `./graft` run this folder: Python then looks here for packages first, and not where the user stands."""

from kubeflow.cli import main

main()
