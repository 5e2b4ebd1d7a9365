"""Kubeflow Pipelines: compiles the chain to a spec, starts runs and manages schedules."""
