"""The version of Graft, for `--version`, the distribution and compiled pipelines: the one place that says it."""

VERSION = "0.3.0.dev0"
