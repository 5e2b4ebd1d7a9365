"""Commands of `./graft`, one file each; `pipeline.cli` gathers them."""
