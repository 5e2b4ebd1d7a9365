"""Removes temporary files of the process at its end, also those that no handler of `atexit` removes."""

import atexit
import contextlib
import importlib.util
import os
import shutil
import sys
import threading

_SECONDS = 2.0  # a temporary folder that hangs does not keep the process from its end
_AUTOGRAPH = "__autograph_generated_file"  # modules that TensorFlow writes into the temporary folder
_folders: list[str] = []


def remove_at_exit(folder: str) -> None:
    """Removes a folder when the process ends, by itself or by `remove_now`."""
    _folders.append(folder)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)


def remove_now() -> None:
    """Removes the folders of `remove_at_exit` and the modules of TensorFlow's autograph; waits 2 s at most.

    Runs no handler of `atexit`: those of libraries may wait for threads that hang.
    """
    thread = threading.Thread(target=_remove, daemon=True, name="temporary files")
    with contextlib.suppress(RuntimeError):  # Python starts no thread any more at its own end
        thread.start()
        thread.join(_SECONDS)


def _remove() -> None:
    remove_autograph_modules()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)


def remove_autograph_modules() -> None:
    """Removes the modules that TensorFlow's autograph has written in this process, with their bytecode."""
    for name, module in list(sys.modules.items()):
        if name.startswith(_AUTOGRAPH) and (path := getattr(module, "__file__", None)):
            bytecode = importlib.util.cache_from_source(path)  # Python wrote it beside the module; nothing removes it
            for remove, file in ((os.remove, path), (os.remove, bytecode), (os.rmdir, os.path.dirname(bytecode))):
                with contextlib.suppress(OSError):
                    remove(file)
