"""What a change of the code makes run again."""

import pytest

from pipeline import resolve
from pipeline.resolve import digest_code, digest_server


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A small Graft in the place of the real one."""
    for path in (
        "schema/features.py",
        "serving/client/client.py",
        "serving/server/main.py",
        "components/network/resnet.py",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("")
    monkeypatch.setattr(resolve, "__file__", str(tmp_path / "pipeline/resolve.py"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_a_change_of_the_model_runs_everything(sources):
    """And the server is tried again, too."""
    code, server = digest_code(), digest_server(digest_code())
    (sources / "components/network/resnet.py").write_text("layers = 3")
    assert digest_code() != code
    assert digest_server(digest_code()) != server


def test_a_change_of_the_server_tries_models_and_trains_none(sources):
    """An hour of training has nothing to do with it."""
    code, server = digest_code(), digest_server("")
    (sources / "serving/server/main.py").write_text("port = 1")
    assert digest_code() == code
    assert digest_server("") != server


def test_tensorflow_serving_is_tried_when_it_comes_and_when_it_changes(sources):
    """What was served by the built-in server, or by another release, was not served by this one."""
    seen = {digest_server("")}
    (sources / "bin").mkdir()
    for release in ("2.16", "2.21.0"):
        (sources / "bin/tensorflow_model_server").write_text(release)
        (sources / "bin/tensorflow_model_server").chmod(0o755)
        seen.add(digest_server(""))
    assert len(seen) == 3
