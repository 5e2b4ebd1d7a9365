"""The command line: gathers the commands of `pipeline/commands/`, and turns errors into messages and exit codes.

A command imports what it needs inside its function: TensorFlow takes seconds to import, TFX more.
"""

import atexit
import logging
import os
import signal
import sys
import warnings

import click

from pipeline.commands.check import check
from pipeline.commands.checks import test
from pipeline.commands.compare import compare
from pipeline.commands.convert import convert
from pipeline.commands.demo import demo
from pipeline.commands.embeddings import embeddings
from pipeline.commands.init import init
from pipeline.commands.model import model
from pipeline.commands.predict import predict
from pipeline.commands.releases import releases
from pipeline.commands.repair import repair_workspace
from pipeline.commands.report import report
from pipeline.commands.run import run
from pipeline.commands.runs import runs
from pipeline.commands.sample import sample
from pipeline.commands.serve import serve
from pipeline.commands.tensorboard import tensorboard
from pipeline.commands.try_model import try_model
from pipeline.console.ending import Interrupts, end_at_once, interruptible
from pipeline.console.printing import echo, find_command, print_error, print_usage_error
from schema.errors import GraftError, UsageError
from schema.version import VERSION
from serving.process.cores import bound_thread_pools
from serving.process.muting import mute_tensorflow
from serving.process.output import make_streams_safe
from serving.process.temporary_files import remove_autograph_modules
from serving.storage.gfile import set_defaults

_COMMANDS = (
    *(init, check, convert, run, demo, predict, try_model, serve, releases, runs, report, compare, tensorboard),
    *(embeddings, repair_workspace, model, sample, test),
)


def _print_versions(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    import importlib.metadata
    import platform

    libraries = ("tfx", "tensorflow", "keras", "apache-beam")
    stack = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in libraries)
    echo(f"Graft {VERSION} (Python {platform.python_version()}, {stack})")
    ctx.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_versions, help="Show versions."
)
def cli() -> None:
    """Graft turns a folder of labelled images into a served classifier.

    \b
    ./graft demo               the whole of it, on real digits
    ./graft check photos/      what a run would make of it
    ./graft convert in/ out/   HEIC, WebP, TIFF become JPEG
    ./graft init photos/       write a commented graft.toml
    ./graft run photos/        photos/cats/*.jpg, photos/dogs/
    ./graft predict one.jpg    ask the newest pushed model
    ./graft try                a page to drop pictures on
    ./graft serve              a server, as TensorFlow Serving
    ./graft kubeflow           the same on Kubeflow Pipelines
    """


for command in _COMMANDS:
    cli.add_command(command)


def main() -> None:
    """Runs the command line; prints an error that a user can cause as one message, without a traceback."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    bound_thread_pools()
    mute_tensorflow()
    set_defaults()
    make_streams_safe()
    atexit.register(remove_autograph_modules)  # behind TensorFlow's handlers, which leave the bytecode
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it would warn of a read-only home folder
    warnings.filterwarnings("ignore", message="You are using a non-supported Python version", category=FutureWarning)
    # Its C code imports a Python module, and crashes where a KeyboardInterrupt ends that import. It does so once: here,
    # where Ctrl-C still ends the process.
    from google.protobuf import any_pb2  # noqa: F401

    arguments, sys.argv = sys.argv[1:], sys.argv[:1]  # absl, inside TFX, would parse the arguments again
    with interruptible() as interrupts:
        status = _call(arguments, interrupts)
    sys.exit(status)


def _call(arguments: list[str], interrupts: Interrupts) -> int:
    """Calls a command; returns its exit code."""
    try:
        try:
            interrupts.raises = True
            status = cli.main(arguments, prog_name=find_command(), standalone_mode=False)
        finally:
            interrupts.raises = False
            if interrupts.received:  # also if a library caught the KeyboardInterrupt
                end_at_once(128 + signal.SIGINT)
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        print_usage_error(error)
        return UsageError.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 128 + signal.SIGINT
    except GraftError as error:
        print_error(error)
        return error.exit_code
    except Exception as error:
        from pipeline.card_advice import explain_full_card

        if full := explain_full_card(error):
            print_error(full)
            return full.exit_code
        raise
