"""First import of each Beam worker process: bounds TensorFlow's thread pools before any step runs.

Beam imports the modules of `--beam_plugins` when a worker starts, before it receives a step. Beam itself has loaded
OpenBLAS and pyarrow by then, which keep their pools.
"""

from serving.process.cores import bound_thread_pools

bound_thread_pools()
