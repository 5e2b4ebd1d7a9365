"""One file a command; `pipeline.cli` gathers them."""
