"""Says what is kept of a run that was interrupted."""

from serving.releases import versions

# Of all other components nothing is kept.
_KEPT = {
    "ExampleGen": "it keeps which images could be decoded",
    "Embedder": "it keeps the images that it has stored, 1,024 at a time",
    "Pusher": "a version is pushed whole or not at all",
}


def describe_interruption(component: str, finished: int, model_dir: str) -> str:
    """Describes what a run leaves behind, and with what the same command goes on.

    Args:
        component: the one that was at work; "" if none was.
        finished: number of components before it.
        model_dir: folder of the versions.
    """
    if component:
        text = f"interrupted in {component}: {_KEPT.get(component, 'nothing of it is kept')}. "
        text += "The same command begins with it" + (
            f" and repeats none of the {finished} before it" if finished else ""
        )
    elif finished:
        text = f"interrupted after {finished} components, which the same command does not repeat"
    else:
        text = "interrupted before the first component: nothing was done"
    live = versions.find_live(model_dir)
    return f"{text}. {f'Version {live.number}' if live else 'No version'} is live."
