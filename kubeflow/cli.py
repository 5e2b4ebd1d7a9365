"""The commands of `./graft kubeflow`.

A command imports what it needs inside its function, as the commands in `pipeline/commands/` do.
"""
# ruff: noqa: D301  (click's \b keeps the lines of a paragraph apart)

from collections.abc import Callable
from typing import Any

import click

from kubeflow.pod_options import POD_OPTIONS, add_options, pod_options
from pipeline import CONFIG_FILE
from pipeline.cli import cli, main
from pipeline.commands.configured import ConfiguredCommand
from pipeline.config.here import find_config
from pipeline.console.printing import echo, echo_json, make_console
from schema.text import quote

__all__ = ["cli", "main"]

DEFAULT_SPEC, DEFAULT_EXPERIMENT = "graft.yaml", "graft"


@cli.group(short_help="Compile for Kubeflow Pipelines; run there, once or on a schedule.")
def kubeflow() -> None:
    """The same pipeline on Kubeflow Pipelines 2: compiled, run there, and retrained on a schedule.

    \b
    ./graft kubeflow compile gs://bucket/photos --classes cats,dogs --image IMAGE --pipeline-root gs://bucket/graft
    ./graft kubeflow submit --host http://localhost:8080 --wait
    ./graft kubeflow schedule --cron "0 0 3 * * *" --window-days 30
    ./graft kubeflow schedules

    The server and its credentials are those of kfp: --host or KF_PIPELINES_ENDPOINT, else the cluster it runs in or
    kubectl's; KF_PIPELINES_SA_TOKEN_PATH is a file with a token.
    """


@kubeflow.command("compile", cls=ConfiguredCommand)
@click.argument("folder", required=False, metavar="[DATA]")
@click.option(
    "--config", "file", metavar="FILE", help=f"TOML file; options override it.  [{CONFIG_FILE}, if it is there]"
)
@click.option(
    "--output", default=DEFAULT_SPEC, show_default=True, metavar="FILE.yaml", help="File to write the spec to."
)
@click.option("--image", required=True, metavar="IMAGE", help="Container image that each step runs in.")
@click.option(
    "--pipeline-root", required=True, metavar="URI", help="Folder of the artifacts, such as gs://bucket/graft."
)
@click.option("--stores", metavar="URI", help="Folder of embeddings and versions.  [the pipeline root]")
@pod_options
def compile_(
    folder: str | None,
    file: str | None,
    output: str,
    image: str,
    pipeline_root: str,
    stores: str | None,
    **options: Any,
) -> None:
    """Write the pipeline as a spec for Kubeflow Pipelines.

    What is configured becomes the defaults of the run's parameters. The table [kubeflow] of the file, and the options
    from --env to --scratch, say what the pods have; docs/kubeflow.md has two examples.

    \b
    ./graft kubeflow compile gs://bucket/photos --classes cats,dogs --image REGISTRY/graft:1 --pipeline-root gs://bucket/graft
    """
    from kubeflow.compile import compile_spec, write_spec
    from pipeline.config.load import load_config, load_pods
    from pipeline.config.read_pods import read_pods

    file = file or find_config()
    own = {name: options.pop(name) for name in POD_OPTIONS}
    pods = read_pods(add_options(load_pods(file), own), "options")
    names = {name.replace("__", "."): value for name, value in options.items()}
    names["data"] = names["data"] or folder
    config = load_config(file, names)
    write_spec(compile_spec(config, image, pipeline_root, stores, pods), output, pods)
    echo(f"Wrote:    {output}")
    for path in pods.list_unmounted([config.data, stores or ""]):
        echo(f"Note:     {path} lies in no volume claim of [kubeflow]; a pod has there what the image has.")
    echo(f"Next:     ./graft kubeflow submit {quote(output)}")


def _server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    host = click.option("--host", metavar="URL", help="URL of the API.  [that of kfp's configuration]")
    namespace = click.option("--namespace", metavar="NS", help="Your namespace, on a server for many users.")
    experiment = click.option("--experiment", default=DEFAULT_EXPERIMENT, show_default=True, metavar="NAME")
    return host(namespace(experiment(command)))


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.argument("file", default=DEFAULT_SPEC, metavar="[FILE.yaml]"),
        click.option(
            "--param", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter of the spec; may be repeated."
        ),
        click.option("--window-end", metavar="DATE", help="Newest date folder to read, such as 2026-11-23."),
        click.option("--window-days", type=click.IntRange(0), metavar="N", help="Number of days up to it; 0 for all."),
        click.option("--force", is_flag=True, help="Train in any case."),
        click.option("--pipeline-root", metavar="URI", help="Folder of the artifacts.  [as compiled]"),
        click.option("--dry-run", is_flag=True, help="Print the pods and the requests, and send none."),
    )
    for option in reversed(options):
        command = option(command)
    return _server_options(command)


def _beside_options(command: Callable[..., Any]) -> Callable[..., Any]:
    beside = click.option("--beside", is_flag=True, help="Do not look for a run of the pipeline that is going on.")
    limit = click.option(
        "--wait-limit",
        type=click.FloatRange(0, min_open=True),
        metavar="MINUTES",
        help="Most minutes that --wait takes in all; the run goes on, and the exit code is 1.  [no limit]",
    )
    return beside(limit(command))


@kubeflow.command(short_help="Run a compiled spec once.")
@_run_options
@click.option("--name", default="", metavar="NAME", help="Name of the run.  [the pipeline's, with the time]")
@click.option(
    "--wait",
    is_flag=True,
    help="Wait for a run of the pipeline that is going on, then for this one; exit with 0 if it succeeded, else with "
    "the code of the task that failed, or with 1 where the server does not hand out its log.",
)
@_beside_options
def submit(
    host: str | None,
    namespace: str | None,
    experiment: str,
    file: str,
    pairs: tuple[str, ...],
    window_end: str | None,
    window_days: int | None,
    force: bool,
    pipeline_root: str | None,
    dry_run: bool,
    name: str,
    wait: bool,
    beside: bool,
    wait_limit: float | None,
) -> None:
    """Upload a compiled spec, unless it is there already, and start a run of it.

    While a run of the pipeline is going on, no other is started. A schedule that fires during this run does not look.

    \b
    ./graft kubeflow submit --window-end 2026-11-23 --window-days 30
    ./graft kubeflow submit graft.yaml --param head_epochs=5 --wait
    """
    from kubeflow.compiled import make_parameters, read_spec

    spec = read_spec(file)
    parameters = make_parameters(spec, pairs, window_end, window_days, force)
    _check_root(pipeline_root or spec.pipeline_root)
    _check_limit(wait, wait_limit)
    from kubeflow.failures import explain_failure
    from kubeflow.runs import expect_no_active_run, link_to, make_patience, wait_for_run
    from kubeflow.submit import start_run

    server, recorder = _connect(host, namespace, dry_run)
    patience = make_patience(_tell, wait_limit)
    if not beside:
        expect_no_active_run(server, spec.name, patience if wait else None)
    version, run = start_run(server, spec, experiment, name, parameters, pipeline_root)
    if recorder:
        _print_dry_run(recorder, spec)
        return
    echo(_describe_version(spec.name, version))
    echo(f"Run:      {run.display_name} ({run.run_id})", f"Link:     {link_to(server, run.run_id)}")
    if wait:
        ended = wait_for_run(server, run.run_id, patience)
        if ended.state not in ("SUCCEEDED", "SKIPPED"):
            raise explain_failure(server, ended, spec.name)


@kubeflow.command(short_help="Run a compiled spec at the times of a cron expression.")
@_run_options
@click.option("--cron", required=True, metavar='"S M H D M W"', help="Second, minute, hour, day, month, weekday; UTC.")
@click.option("--name", default="", metavar="NAME", help="Name of the schedule.  [the pipeline's]")
@click.option("--wait", is_flag=True, help="Wait for a run of the pipeline that is going on, then change the schedule.")
@_beside_options
def schedule(
    host: str | None,
    namespace: str | None,
    experiment: str,
    file: str,
    pairs: tuple[str, ...],
    window_end: str | None,
    window_days: int | None,
    force: bool,
    pipeline_root: str | None,
    dry_run: bool,
    cron: str,
    name: str,
    wait: bool,
    beside: bool,
    wait_limit: float | None,
) -> None:
    """Upload a compiled spec, unless it is there already, and make or change the schedule of this name.

    With a window of days, each run gets the day it was scheduled for as the newest to read. None starts while
    another of this schedule is going on, and of the times that were missed only the last is made up for. A schedule
    does not look for the runs of another one and of submit; so nothing is changed while a run of the pipeline is
    going on.

    \b
    ./graft kubeflow schedule --cron "0 0 3 * * *" --window-days 30     each night at 3:00 UTC
    ./graft kubeflow schedule --cron "0 30 4 * * mon" --name weekly
    """
    from kubeflow.compiled import SCHEDULED_DATE, WINDOW_DAYS, WINDOW_END, make_parameters, read_spec
    from kubeflow.cron import parse_cron

    times = parse_cron(cron)
    spec = read_spec(file)
    parameters = make_parameters(spec, pairs, window_end, window_days, force)
    days = parameters.get(WINDOW_DAYS, spec.parameters.get(WINDOW_DAYS, {}).get("defaultValue"))
    if (
        days and WINDOW_END in spec.parameters
    ):  # without a window a run reads all images, and there may be no date folders
        parameters.setdefault(WINDOW_END, SCHEDULED_DATE)
    _check_root(pipeline_root or spec.pipeline_root)
    _check_limit(wait, wait_limit)
    from kubeflow.runs import expect_no_active_run, make_patience
    from kubeflow.schedules import set_schedule

    server, recorder = _connect(host, namespace, dry_run)
    patience = make_patience(_tell, wait_limit) if wait else None

    def look() -> None:
        if not beside:
            expect_no_active_run(server, spec.name, patience)

    result = set_schedule(server, spec, experiment, name or spec.name, times, parameters, pipeline_root, look)
    if recorder:
        _print_dry_run(recorder, spec)
        return
    made = result.schedule
    echo(_describe_version(spec.name, result.version))
    paused = "" if result.enabled else f"; it is paused, ./graft kubeflow resume {made.display_name}"
    echo(f"Schedule: {made.display_name} ({made.recurring_run_id}), {result.change}{paused}")
    for older in result.left:
        echo(f"Left:     {older}, paused, because a run of it is active. The next schedule or delete removes it.")


@kubeflow.command(short_help="List the schedules.")
@_server_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def schedules(host: str | None, namespace: str | None, experiment: str, as_json: bool) -> None:
    """List the schedules of an experiment: when each runs next, and with what.

    \b
    ./graft kubeflow schedules
    ./graft kubeflow schedules --json --host http://localhost:8080
    """
    from kubeflow.client import connect
    from kubeflow.schedules import describe_schedules, print_schedules, render_json

    rows = describe_schedules(connect(host, namespace), experiment)
    if as_json:
        echo_json(render_json(experiment, rows))
    elif rows:
        print_schedules(rows, make_console())
    else:
        echo(f"No schedule in the experiment {experiment}. Make one with: ./graft kubeflow schedule")


@kubeflow.command(short_help="Pause a schedule.")
@click.argument("which", metavar="NAME|ID")
@_server_options
def pause(which: str, host: str | None, namespace: str | None, experiment: str) -> None:
    """Pause a schedule: it starts no more runs; one that is going on goes on.

    \b
    ./graft kubeflow pause graft
    """
    from kubeflow.client import connect
    from kubeflow.schedules import pause_schedule

    echo(f"Paused:   {', '.join(pause_schedule(connect(host, namespace), experiment, which))}")


@kubeflow.command(short_help="Resume a schedule.")
@click.argument("which", metavar="NAME|ID")
@_server_options
def resume(which: str, host: str | None, namespace: str | None, experiment: str) -> None:
    """Resume a schedule that was paused. Of the times that have gone by, the last is made up for, at once.

    \b
    ./graft kubeflow resume graft
    """
    from kubeflow.client import connect
    from kubeflow.schedules import resume_schedule

    echo(f"Resumed:  {', '.join(resume_schedule(connect(host, namespace), experiment, which))}")


@kubeflow.command(short_help="Delete a schedule.")
@click.argument("which", metavar="NAME|ID")
@_server_options
def delete(which: str, host: str | None, namespace: str | None, experiment: str) -> None:
    """Delete a schedule. The runs that it has started are kept; while one is going on, nothing is deleted.

    \b
    ./graft kubeflow delete graft
    """
    from kubeflow.client import connect
    from kubeflow.schedules import delete_schedule

    echo(f"Deleted:  {', '.join(delete_schedule(connect(host, namespace), experiment, which))}")


def _check_limit(wait: bool, limit: float | None) -> None:
    if limit is not None and not wait:
        raise click.UsageError("--wait-limit: expected --wait beside it, for nothing is waited for.")


def _tell(label: str, text: str) -> None:
    echo(f"{label + ':':<10}{text}")


def _connect(host: str | None, namespace: str | None, dry_run: bool) -> tuple[Any, Any]:
    """Returns the server and None; for a dry run a server without network, and the recorder of its requests."""
    if dry_run:
        from kubeflow.dry_run import connect_dry_run

        return connect_dry_run(namespace)
    from kubeflow.client import connect

    return connect(host, namespace), None


def _print_dry_run(recorder: Any, spec: Any) -> None:
    echo("# The pods:", *(f"#   {line}" for line in spec.describe_pods()))
    echo(*recorder.render().rstrip("\n").split("\n"))


def _check_root(uri: str | None) -> None:
    """Refuses a pipeline root that Kubeflow's launcher cannot open.

    The schemes are those of backend/src/v2/objectstore/config.go.
    """
    if uri is not None and not uri.startswith(("gs://", "s3://", "minio://")):
        raise click.UsageError(
            f"--pipeline-root: expected a URI such as gs://bucket/graft, s3://... or minio://..., got {uri!r}."
        )
    if uri is not None:
        from serving.storage.wildcards import check_plain

        check_plain(uri, "--pipeline-root", "Name another folder.")


def _describe_version(pipeline: str, version: Any) -> str:
    return f"Version:  {pipeline} {version.name}, {'uploaded' if version.uploaded else 'already there'}"
