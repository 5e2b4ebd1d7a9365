"""Installs the programs of the browser tests with apt-get: Chromium, and npm, which gives axe-core."""

import os
import shutil
import subprocess

# Programs that serve a test, the preferred first, by the package of Debian that has one of them.
PROGRAMS = {"chromium": ("chromium", "google-chrome"), "npm": ("npm",)}
_LIMIT = 900  # seconds for one call of apt-get


def find_program(package: str) -> str | None:
    """Returns the path of a package's program; None if it is not installed."""
    return next((path for name in PROGRAMS[package] if (path := shutil.which(name))), None)


def install_browser() -> str:
    """Installs the missing programs, if apt-get can be run as root without a password.

    Returns:
        "" if every program is there; else a sentence with the missing programs and what to do.
    """
    missing = [package for package in PROGRAMS if not find_program(package)]
    if not missing:
        return ""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *missing]
    why = _try_to_install(command)
    missing = [package for package in missing if not find_program(package)]
    if not missing:
        return ""
    named = " and ".join(missing)
    return (
        f"The browser tests are skipped: {named} missing, {why}. As root, run `{' '.join(command)}`; on a system "
        "without apt-get, install them in its own way."
    )


def _try_to_install(command: list[str]) -> str:
    """Runs apt-get as root; returns a clause about what was tried."""
    root = _find_root()
    if root is None:
        return "and apt-get needs root or a sudo without a password"
    for step in (["apt-get", "update"], command):
        if failure := _run([*root, *step]):
            return f"and {failure}"
    return "and the package of this system does not have the program"


def _find_root() -> list[str] | None:
    """Returns the words before a command that run it as root; None if there is no way, or no apt-get."""
    if not shutil.which("apt-get"):
        return None
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "--non-interactive"]
    return sudo if shutil.which("sudo") and not _run([*sudo, "true"]) else None


def _run(command: list[str]) -> str:
    """Runs a command without questions; returns a clause about its failure, or ""."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} failed: {error}"
    last = (done.stderr.strip() or "no message").splitlines()[-1]
    return f"`{' '.join(command)}` failed: {last}" if done.returncode else ""
