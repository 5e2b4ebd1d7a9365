"""The server of the ServingValidator leaves the cards alone: the run holds their memory, and they round differently."""

import pytest

from components.serving_validator.trial import Limits, try_model
from schema.errors import GraftError


def test_server_sees_no_card(tmp_path, monkeypatch):
    """Whatever cards the run may use; a stand-in for TensorFlow Serving tells what it sees."""
    program = tmp_path / "bin/tensorflow_model_server"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "cards: <$CUDA_VISIBLE_DEVICES>" >&2\nexit 1\n')
    program.chmod(0o755)
    (tmp_path / "model").mkdir()
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with pytest.raises(GraftError, match="cards: <-1>"):
        try_model(str(tmp_path / "model"), "m", [], ["a", "b"], Limits(1000.0, 1000.0))
