"""Installation of Chromium for the browser tests, with made-up programs on the PATH."""

import os

import pytest

from pipeline.downloads import browser
from pipeline.downloads.browser import PROGRAMS, install_browser

TELL = '#!/bin/sh\necho "$(basename "$0") $*" >>"$CALLS"\n'
INSTALL = TELL + 'case $1 in install) for name in chromium npm; do cp "$0" "$(dirname "$0")/$name"; done;; esac\n'
RUN = TELL + 'shift; exec "$@"\n'
FAIL = TELL + 'echo "E: no network" >&2; exit 100\n'


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Returns a function that installs with these programs alone, as root or not; gives advice and calls."""

    def install(root=True, **programs):
        folder, calls = tmp_path / "bin", tmp_path / "calls"
        folder.mkdir()
        for name in ("sh", "basename", "dirname", "cp", "true"):
            (folder / name).symlink_to(next(p for p in (f"/bin/{name}", f"/usr/bin/{name}") if os.path.exists(p)))
        for name, script in programs.items():
            path = folder / name.replace("_", "-")
            path.write_text(script)
            path.chmod(0o755)
        calls.touch()
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setenv("CALLS", str(calls))
        monkeypatch.setattr(browser.os, "geteuid", lambda: 0 if root else 1000)
        return install_browser(), calls.read_text().splitlines()

    return install


def test_what_is_there_is_not_installed(machine):
    assert machine(google_chrome=TELL, npm=TELL, apt_get=INSTALL) == ("", [])


def test_root_installs_what_is_missing(machine):
    advice, calls = machine(apt_get=INSTALL)
    assert (advice, calls) == ("", ["apt-get update", "apt-get install --yes --no-install-recommends chromium npm"])
    assert set(PROGRAMS) == {"chromium", "npm"}


def test_a_sudo_without_password_installs(machine):
    advice, calls = machine(root=False, apt_get=INSTALL, sudo=RUN)
    assert advice == ""
    assert calls[0] == "sudo --non-interactive true"
    assert calls[-1] == "apt-get install --yes --no-install-recommends chromium npm"


@pytest.mark.parametrize(
    ("programs", "why"),
    [
        ({}, "apt-get needs root or a sudo without a password"),
        ({"apt_get": INSTALL, "sudo": FAIL}, "apt-get needs root or a sudo without a password"),
        ({"apt_get": FAIL, "sudo": RUN}, "`sudo --non-interactive apt-get update` failed: E: no network"),
        ({"apt_get": TELL, "sudo": RUN}, "the package of this system does not have the program"),
    ],
)
def test_where_it_cannot_be_installed_the_way_is_told(machine, programs, why):
    advice, _ = machine(root=False, npm=TELL, **programs)
    assert f"chromium missing, and {why}." in advice
    assert "As root, run `apt-get install --yes --no-install-recommends chromium`" in advice
