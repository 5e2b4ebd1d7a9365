"""Describes the state that an interrupted run leaves behind."""

from serving.releases import versions

# Work that an interrupted component keeps; the components that are not listed keep nothing.
_KEPT = {
    "ExampleGen": "it keeps which images could be decoded",
    "Embedder": "it keeps the embeddings that it has stored",
    "Pusher": "a version is pushed whole or not at all",
}


def describe_interruption(component: str, finished: int, model_dir: str, run_id: str) -> str:
    """Describes what an interrupted run keeps, where the same command continues, and which version is live.

    Args:
        component: the interrupted component; "" for none.
        finished: number of finished components.
        model_dir: folder of the versions.
        run_id: id of the run.
    """
    found = versions.find_versions(model_dir)
    kept = describe_kept("interrupted", component, finished)
    if not found:
        return f"{kept} No version is live."
    live, own = found[-1], next((version for version in found if version.record.run_id == run_id), None)
    if own is None:
        return f"{kept} Version {live.number} is live."
    if own.number == live.number:
        return f"{kept} Version {live.number} is live: this run pushed it."
    return f"{kept} Version {live.number} is live, and this run pushed version {own.number}, the canary."


def describe_kept(how: str, component: str, finished: int) -> str:
    """Describes what a run keeps that ended early, and where the same command continues.

    Args:
        how: how the run ended: "interrupted" or "stopped".
        component: the component that was running; "" for none.
        finished: number of finished components.
    """
    if component:
        text = f"{how} in {component}: {_KEPT.get(component, 'it keeps nothing')}. The same command begins with it"
        return text + (f" and repeats none of the {finished} before it." if finished else ".")
    if finished:
        return f"{how} after {finished} components, which the same command does not repeat."
    return f"{how} before the first component: nothing was done."
