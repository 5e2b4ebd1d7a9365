"""Version of Graft, for `--version`, the distribution and compiled pipelines."""

VERSION = "0.3.0.dev0"
