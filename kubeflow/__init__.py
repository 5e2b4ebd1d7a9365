"""Kubeflow Pipelines: the pipeline as a spec, its runs and its schedules."""
