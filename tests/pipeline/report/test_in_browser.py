"""The page in headless Chromium: no console message, no network request, no serious finding of axe-core.

`long`, and skipped where Chromium or npm is not installed; `./graft test --all` installs both. axe-core comes from npm.
"""

import json
import os
import re
import subprocess

import compared_runs
import pytest
import run_folders
from axe import fetch_axe
from run_folders import RUN, make_workspace

from pipeline.compare.compare import compare
from pipeline.compare.page import write_page
from pipeline.compare.sides import find_side
from pipeline.downloads.browser import find_program
from pipeline.report.page import write_report

CHROMIUM = find_program("chromium")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0")
SCHEMES = {"dark": 0, "light": 1}  # of Blink's setting
_ASK = """<script>{axe}</script><pre id="found"></pre><script>
axe.run(document).then(result => {{ document.getElementById("found").textContent = JSON.stringify({{
  wide: document.documentElement.scrollWidth - window.innerWidth,
  violations: result.violations.map(v => [v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]) }}) }})
</script></body>"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed"),
    pytest.mark.skipif(not find_program("npm"), reason="npm is not installed"),
]


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    return fetch_axe(tmp_path_factory.mktemp("axe"))


def write_pushed(workspace, data):
    run_folders.write_trained(workspace, data)


def write_of_twelve(workspace, data):
    run_folders.write_trained(workspace, data, tuple(f"class {i}" for i in range(12)))


def write_of_many(workspace, data):
    run_folders.write_trained(workspace, data, tuple(f"class {i}" for i in range(30)), 1)


def write_refused(workspace, data):
    evaluation = run_folders.RESULT.evaluation.model_copy(
        update={"blessed": False, "failures": ["test accuracy 0.400 is below the 0.600 that is needed"]}
    )
    run_folders.write_trained(workspace, data, evaluation=evaluation, pushed_version=None, live_version=6)


def write_failed(workspace, data):
    run_folders.write_failed(workspace, data, "7 of 9 files are broken. Mend them.\n  a.jpg: empty file")


def browse(page, tmp_path, *flags):
    """Opens a local page; returns its DOM and the messages of Chromium."""
    own = [f"--user-data-dir={tmp_path / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND", "--dump-dom"]
    done = subprocess.run(
        [CHROMIUM, *FLAGS, *own, *flags, "--virtual-time-budget=20000", f"file://{page}"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=os.environ | {"HOME": str(tmp_path)},
    )
    return done.stdout, done.stderr


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    "write",
    [write_pushed, write_refused, write_of_twelve, write_of_many, run_folders.write_skipped, write_failed],
    ids=lambda write: write.__name__,
)
def test_axe_finds_nothing_serious_and_a_phone_does_not_scroll_sideways(axe, tmp_path, write, scheme):
    workspace = make_workspace(tmp_path)
    write(workspace, tmp_path / "data")
    check_page(write_report(workspace, RUN), axe, tmp_path, scheme)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_of_a_comparison_is_as_good(axe, tmp_path, scheme):
    workspace = compared_runs.write_runs(tmp_path)
    sides = [find_side(workspace, name, None) for name in (compared_runs.A, compared_runs.B)]
    page = tmp_path / "compare.html"
    write_page(workspace, *sides, compare(workspace, *sides), page)
    check_page(page, axe, tmp_path, scheme)


def check_page(page, axe, tmp_path, scheme):
    """Opens a page in a colour scheme; fails for a message, a request, a finding of axe-core or a wide page."""
    flags = [f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", "--window-size=500,900"]
    _, said = browse(page, tmp_path, *flags)
    assert "CONSOLE" not in said
    assert not re.findall(r"https?://\S+", said)
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text())
    asking = tmp_path / "asking.html"
    asking.write_text(html.replace("</body>", _ASK.format(axe=axe)))
    dom, _ = browse(asking, tmp_path, *flags)
    found = json.loads(re.search(r'<pre id="found">(.*?)</pre>', dom, re.DOTALL)[1])
    assert [violation for violation in found["violations"] if violation[0] in ("serious", "critical", "moderate")] == []
    assert found["wide"] <= 0
