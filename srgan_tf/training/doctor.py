"""The training doctor: watches a run's numbers and says once, in one line, what ails it.

It reads the rows of metrics.csv and nothing else, so that a continued run, which hands it the rows
that are there, says what one without a break would have said. Each complaint comes once a stage and
names remedies (remedies.py); non-finite values are the loop's own business (`--on_divergence`).
"""

import collections
from collections.abc import Iterable, Mapping

from absl import logging

from srgan_tf import errors
from srgan_tf.config import TrainConfig
from srgan_tf.training import remedies

# The discriminator's accuracies are averaged over the last logged rows that cover this many steps
# and hold so many rows and images. Right about 90 % (the best of health), it reaches a mean of 0.98
# over 200 images of a kind in 8 of 10^6 windows, for HR and SR in 7 of 10^11; right about 99 %, it
# reaches it for both in 9 of 10 (binomial).
_PATIENCE_STEPS = 300
_PATIENCE_ROWS = 5
_PATIENCE_IMAGES = 200
_ALWAYS_RIGHT = 0.98
_NEVER_RIGHT = 0.02
# Validations in a row that show it: the first ones of a run are still far from the picture.
_PATIENCE_VALIDATIONS = 2
# For a grid that does not rise. Sub-pixel networks begin with one at random weights and lose it
# slowly (18.1 at step 400, 10.3 at 1200: docs/EXPERIMENTS.md), so two validations prove nothing.
_PATIENCE_GRID = 3
# Share of HR's contrast below which a picture is as good as constant.
_CONTRAST = 0.1
# Grey levels of 255; the published SRGAN weights drift by 4 to 5.
_DRIFT = 6.0
# See diagnostics.checkerboard: no grid is up to about 2, one of a grey level about 5;
# deconvolution gave 16 to 22 (docs/EXPERIMENTS.md).
_CHECKERBOARD = 6.0
_RISE = 2.0

_STRONG = (
    "the discriminator was right about {real:.1%} of the HR and {fake:.1%} of the SR images since "
    "step {since}, so the generator learns little from it"
)
_WEAK = (
    "the discriminator was right about only {share:.1%} of the {kind} images since step {since}, "
    "so the generator learns nothing from it"
)
_COLLAPSED = "the validation pictures are nearly constant ({contrast:.0%} of the HR's contrast)"
_DRIFTED = (
    "the pictures' colours have moved by {drift:.1f} of 255 grey levels (over all pictures: "
    "{channel} {signed:+.1f})"
)
_RISING = (
    "a checkerboard is rising (score {score:.1f}, lowest so far {lowest:.1f}; 1 is like the HR)"
)
_STANDING = "a checkerboard: score {score:.1f} (1 is like the HR)"
_FALLING = _STANDING + ", falling: more steps may be enough; or else"


class Doctor:
    """One run's doctor; give it every row of metrics.csv, in order."""

    def __init__(self, config: TrainConfig):
        """Starts without findings; the config decides which remedies make sense."""
        self._config = config
        self._silent = False
        self._begin()

    def _begin(self) -> None:
        self.findings: list[tuple[int, str]] = []  # (step, complaint), as they were logged.
        self._enter_stage("")

    def _enter_stage(self, name: str) -> None:
        """Forgets what was seen: every stage may be complained about anew."""
        self._stage = name
        self._said: set[str] = set()
        self._count: collections.Counter[str] = collections.Counter()
        self._window: collections.deque[tuple[int, float, float]] = collections.deque()
        self._lowest_checkerboard = float("inf")

    def recall(self, rows: Iterable[Mapping[str, object]], path: str) -> None:
        """Begins anew with `rows` of `path`, seen before: what it says of them is not logged.

        Raises:
            errors.InputError: a value is no number.
        """
        self._begin()
        self._silent = True
        try:
            for row in rows:
                self.observe(row)
        except ValueError as error:
            raise errors.InputError(
                f"{path} cannot be read as the rows of this run ({error}): mend it, or move it "
                "away to begin a new one."
            ) from error
        finally:
            self._silent = False

    def observe(self, row: Mapping[str, object]) -> None:
        """Looks at a row as `reporting.MetricsFile` takes or `run_folder.read_metrics` gives it.

        What the row does not have (a stage or an older version lacks it) is not complained about.
        """
        if row["stage"] != self._stage:
            self._enter_stage(row["stage"])
        step = int(row["step"])
        # In a stage of the discriminator alone it is meant to be right.
        if accuracies := _values(row, "generator_loss", "real_accuracy", "fake_accuracy"):
            self._observe_balance(step, *accuracies[1:])
        if contrast := _values(row, "validation_contrast"):
            holds = contrast[0] < _CONTRAST
            self._repeated("collapsed", step, holds, _COLLAPSED, contrast=contrast[0])
        names = ("colour_drift", "colour_drift_r", "colour_drift_g", "colour_drift_b")
        if drifts := _values(row, *(f"validation_{name}" for name in names)):
            self._observe_drift(step, *drifts)
        if checkerboard := _values(row, "validation_checkerboard"):
            self._observe_checkerboard(step, *checkerboard)

    def _observe_balance(self, step: int, real: float, fake: float) -> None:
        """Averages the accuracies over the shortest window that is long enough."""
        window = self._window
        window.append((step, real, fake))
        while len(window) > 1 and self._is_enough(step, window[1][0], len(window) - 1):
            window.popleft()
        since = window[0][0]
        if not self._is_enough(step, since, len(window)):
            return
        real, fake = (sum(row[kind] for row in window) / len(window) for kind in (1, 2))
        if min(real, fake) >= _ALWAYS_RIGHT:
            self._say("strong", step, _STRONG.format(since=since, real=real, fake=fake))
        for kind, share in (("HR", real), ("SR", fake)):
            if share <= _NEVER_RIGHT:
                self._say("weak", step, _WEAK.format(since=since, kind=kind, share=share), kind)

    def _is_enough(self, step: int, since: int, rows: int) -> bool:
        images = rows * self._config.data.batch_size
        return (
            step - since >= _PATIENCE_STEPS
            and rows >= _PATIENCE_ROWS
            and images >= _PATIENCE_IMAGES
        )

    def _observe_drift(self, step: int, drift: float, *signed: float) -> None:
        """`drift` does not cancel over pictures; one channel's own stands out of three."""
        channels = dict(zip(("red", "green", "blue"), signed, strict=True))
        channel = max(channels, key=lambda name: abs(channels[name]))
        drift = max(drift, abs(channels[channel]))
        values = {"drift": drift, "channel": channel, "signed": channels[channel]}
        self._repeated("drifted", step, drift > _DRIFT, _DRIFTED, **values)

    def _observe_checkerboard(self, step: int, score: float) -> None:
        falling = score < self._lowest_checkerboard
        self._lowest_checkerboard = lowest = min(self._lowest_checkerboard, score)
        there = score > _CHECKERBOARD
        rising = there and score > _RISE * lowest
        self._repeated("checkered", step, rising, _RISING, score=score, lowest=lowest)
        self._count["standing"] = self._count["standing"] + 1 if there else 0
        if self._count["standing"] >= _PATIENCE_GRID:
            text = _FALLING if falling else _STANDING
            self._say("checkered", step, text.format(score=score))

    def _repeated(self, name: str, step: int, holds: bool, text: str, **values) -> None:
        """Complains when `holds` was true in several validations in a row."""
        self._count[name] = self._count[name] + 1 if holds else 0
        if self._count[name] >= _PATIENCE_VALIDATIONS:
            self._say(name, step, text.format(**values))

    def _say(self, ailment: str, step: int, text: str, kind: str = "") -> None:
        if ailment + kind in self._said:
            return
        self._said.add(ailment + kind)
        advice = ", or ".join(remedies.REMEDIES[ailment](self._config, self._stage))
        self.findings.append((step, f"{text}: {advice}"))
        if not self._silent:
            logging.warning("Step %d: %s (in a new --run_dir).", step, self.findings[-1][1])


def _values(row: Mapping[str, object], *names: str) -> list[float] | None:
    """Returns the row's values as numbers; None where one of them is not there."""
    texts = [row.get(name) for name in names]
    return None if None in texts or "" in texts else [float(text) for text in texts]
