"""Runs and model servers on this machine: runner, log, progress and report."""
