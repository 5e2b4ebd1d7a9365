"""Lets `./graft` run this folder: Python then looks here for packages first, and not where the user stands."""

import signal

# Ctrl-C during the imports ends the process without a word. `graft` starts Python with the signal blocked, for Python
# itself would say where it was.
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])

from kubeflow.cli import main  # noqa: E402

main()
