"""`python -m serving.server`: the command line of the built-in server."""

import os
import signal
import sys
import warnings

# Ctrl-C during the imports, which take seconds, prints no traceback.
if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
warnings.filterwarnings("ignore", message="You are using a non-supported Python version", category=FutureWarning)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from serving.process.cores import bound_thread_pools  # noqa: E402
from serving.process.late_flags import receive_flags  # noqa: E402
from serving.process.muting import mute_tensorflow  # noqa: E402

bound_thread_pools()
mute_tensorflow()

from serving.server.main import main  # noqa: E402, the log level must be set before TensorFlow is imported

if __name__ == "__main__":
    main(receive_flags(sys.argv[1:]))
