"""Describes the state that an interrupted run leaves behind."""

from serving.releases import versions

# Work that an interrupted component keeps; the components that are not listed keep nothing.
_KEPT = {
    "ExampleGen": "it keeps which images could be decoded",
    "Embedder": "it keeps the embeddings that it has stored",
    "Pusher": "a version is pushed whole or not at all",
}


def describe_interruption(component: str, finished: int, model_dir: str) -> str:
    """Describes what an interrupted run keeps, where the same command continues, and which version is live.

    Args:
        component: the interrupted component; "" for none.
        finished: number of finished components.
        model_dir: folder of the versions.
    """
    live = versions.find_live(model_dir)
    kept = describe_kept("interrupted", component, finished)
    return f"{kept} {f'Version {live.number}' if live else 'No version'} is live."


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
