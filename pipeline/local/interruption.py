"""Describes the state that an interrupted run leaves behind."""

from serving.releases import versions

# Work that an interrupted component keeps; the components that are not listed keep nothing.
_KEPT = {
    "ExampleGen": "it keeps which images could be decoded",
    "Embedder": "it keeps the images that it has stored, 1,024 at a time",
    "Pusher": "a version is pushed whole or not at all",
}


def describe_interruption(component: str, finished: int, model_dir: str) -> str:
    """Describes what an interrupted run keeps, and where the same command continues.

    Args:
        component: the interrupted component; "" for none.
        finished: number of finished components.
        model_dir: folder of the versions.
    """
    if component:
        text = f"interrupted in {component}: {_KEPT.get(component, 'it keeps nothing')}. "
        text += "The same command begins with it" + (
            f" and repeats none of the {finished} before it" if finished else ""
        )
    elif finished:
        text = f"interrupted after {finished} components, which the same command does not repeat"
    else:
        text = "interrupted before the first component: nothing was done"
    live = versions.find_live(model_dir)
    return f"{text}. {f'Version {live.number}' if live else 'No version'} is live."
