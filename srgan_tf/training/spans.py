"""Which steps of a run belong to which stage."""

import dataclasses

from srgan_tf.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Span:
    """A stage's place in the run: steps `first` + 1 to `last`."""

    name: str
    first: int
    last: int


def spans(config: TrainConfig) -> list[Span]:
    """Returns the active stages with the steps that they cover."""
    made, first = [], 0
    for name, stage in config.stages.active():
        made.append(Span(name, first, first + stage.steps))
        first += stage.steps
    return made
