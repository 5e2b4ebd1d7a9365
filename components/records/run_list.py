"""List of the runs of a workspace, as `./graft runs --json` prints it."""

from typing import Literal

from serving.storage.documents import Fields


class ListedRun(Fields):
    """Run in the list.

    Attributes:
        run_id: id of the run.
        begun: start of the run, in UTC and ISO 8601; None if the id has no time.
        outcome: outcome in one or two words.
        reason: reason of the outcome; "" for a pushed model.
        accuracy: accuracy on the test images, 0 to 1; None if no model was evaluated.
        accuracy_interval: 95 % confidence interval of the accuracy; None as for `accuracy`.
        test_images: number of test images; None as for `accuracy`.
        images: number of images in all splits; None if it is unknown.
        seconds: duration of the run in seconds, from its begin to its page; None if it is unknown.
        version: number of the pushed version; None if the run pushed none.
        version_now: number of that version now, which a promotion changes; None if the version is gone.
        state: state of that version now: "live", "canary", "older", "withdrawn", "removed"; "" if the run pushed none.
        report: path of the run's page; None if the run has no page.
    """

    run_id: str
    begun: str | None
    outcome: str
    reason: str
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    test_images: int | None
    images: int | None
    seconds: float | None
    version: int | None
    version_now: int | None
    state: str
    report: str | None


class RunList(Fields):
    """Runs of a workspace, as `./graft runs --json` prints them.

    Attributes:
        runs: runs, newest first.
        more: number of older runs that are not listed.
    """

    format: Literal[1] = 1
    runs: list[ListedRun]
    more: int
