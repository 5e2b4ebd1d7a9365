"""Device, precision, XLA and cores that a component computed with."""

from serving.storage.documents import Fields

PROCESSOR = "CPU"


class Computation(Fields):
    """Means of a computation.

    Attributes:
        device: "CPU", or number and name of the cards: "NVIDIA H200".
        precision: type that the network computes in; "" if it is not one type, or no network ran.
        xla: whether XLA compiled the network; None if it was not decided, or no network ran.
        cores: number of processor cores that the component could use.
    """

    device: str
    precision: str = ""
    xla: bool | None = None
    cores: int

    @property
    def has_card(self) -> bool:
        """True if a card computed."""
        return self.device != PROCESSOR

    @property
    def text(self) -> str:
        """Text for a person: "NVIDIA H200, bfloat16, with XLA, 16 cores"."""
        xla = {True: "with XLA", False: "without XLA", None: ""}[self.xla]
        cores = f"{self.cores} {'core' if self.cores == 1 else 'cores'}"
        return ", ".join(filter(None, [self.device, self.precision, xla, cores]))
