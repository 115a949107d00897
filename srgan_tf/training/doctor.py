"""The training doctor: watches a run's numbers and says once, in one line, what ails it.

It reads what the loop logs anyway: the scalars of logged steps and the scores of validations.
Each complaint comes once a stage and names the remedy; non-finite values are the loop's own
business (`--on_divergence`).
"""

import collections

from absl import logging

# A discriminator that is right (or wrong) in every logged batch for so many steps and rows.
_PATIENCE_STEPS = 300
_PATIENCE_ROWS = 5
_ALWAYS_RIGHT = 0.99
_NEVER_RIGHT = 0.02
# Validations in a row that show it: the first ones of a run are still far from the picture.
_PATIENCE_VALIDATIONS = 2
# Share of HR's contrast below which a picture is as good as constant.
_CONTRAST = 0.1
# Grey levels of 255; the published SRGAN weights drift by 4 to 5.
_DRIFT = 6.0
# See diagnostics.checkerboard: no grid is up to about 2, one of a grey level about 5;
# deconvolution gave 16 to 22 (docs/EXPERIMENTS.md).
_CHECKERBOARD = 6.0
_RISE = 2.0

_STRONG = (
    "the discriminator is right about every image since step {since}, so the generator learns "
    "little from it: give it soft labels (--gan_real_labels=0.7,1.0 --gan_fake_labels=0,0.3), "
    "spectral norm (--discriminator_norm=spectral), or a penalty (--gan_r1_weight=10)"
)
_WEAK = (
    "the discriminator is wrong about nearly all {kind} images since step {since}: give it more "
    "updates (--gan_discriminator_updates=2) or pre-training (--discriminator_steps=500), or lower "
    "--gan_adversarial_weight"
)
_COLLAPSED = (
    "the validation pictures are nearly constant ({contrast:.0%} of the originals' contrast): "
    "lower the learning rate, or begin from pre-trained weights (--init_from)"
)
_DRIFTED = (
    "the pictures' colours have moved by {drift:.1f} of 255 grey levels ({channel}): raise the "
    "content weight or add pixels to it (l1:0.01 in --gan_content), or lower "
    "--gan_adversarial_weight"
)
_CHECKERED = (
    "a checkerboard is rising (score {score:.1f}, lowest so far {lowest:.1f}; 1 is like the "
    "original): upsample by --generator_upsampling=subpixel or nearest_conv, or raise the content "
    "weight against the adversarial one"
)


class Doctor:
    """One run's doctor; call `enter_stage` at each stage's start."""

    def __init__(self):
        """Starts without findings."""
        self.findings: list[tuple[int, str]] = []  # (step, complaint), as they were logged.
        self.enter_stage()

    def enter_stage(self) -> None:
        """Forgets what was seen: every stage may be complained about anew."""
        self._said: set[str] = set()
        self._since: dict[str, int] = {}
        self._count: collections.Counter[str] = collections.Counter()
        self._lowest_checkerboard = float("inf")

    def observe(self, step: int, scalars: dict[str, float]) -> None:
        """Looks at the scalars of a logged step."""
        # In a stage of the discriminator alone it is meant to be right.
        if not {"generator_loss", "real_accuracy"} <= scalars.keys():
            return
        right = {"real": scalars["real_accuracy"], "fake": scalars["fake_accuracy"]}
        self._lasting("strong", step, min(right.values()) >= _ALWAYS_RIGHT, _STRONG)
        for kind, accuracy in right.items():
            self._lasting(f"weak on {kind}", step, accuracy <= _NEVER_RIGHT, _WEAK, kind=kind)

    def observe_validation(self, step: int, scores: dict[str, float]) -> None:
        """Looks at a validation's scores (see `validation.Validator.evaluate`)."""
        contrast, checkerboard = scores["contrast"], scores["checkerboard"]
        drifts = {name: scores[f"colour_drift_{name[0]}"] for name in ("red", "green", "blue")}
        channel = max(drifts, key=lambda name: abs(drifts[name]))
        self._lowest_checkerboard = min(self._lowest_checkerboard, checkerboard)
        self._repeated("collapsed", step, contrast < _CONTRAST, _COLLAPSED, contrast=contrast)
        self._repeated(
            "drifted",
            step,
            abs(drifts[channel]) > _DRIFT,
            _DRIFTED,
            drift=drifts[channel],
            channel=channel,
        )
        self._repeated(
            "checkered",
            step,
            checkerboard > max(_CHECKERBOARD, _RISE * self._lowest_checkerboard),
            _CHECKERED,
            score=checkerboard,
            lowest=self._lowest_checkerboard,
        )

    def _lasting(self, name: str, step: int, holds: bool, text: str, **values) -> None:
        """Complains when `holds` was true in all rows for long."""
        if not holds:
            self._since.pop(name, None)
            self._count.pop(name, None)
            return
        since = self._since.setdefault(name, step)
        self._count[name] += 1
        if step - since >= _PATIENCE_STEPS and self._count[name] >= _PATIENCE_ROWS:
            self._say(name, step, text.format(since=since, **values))

    def _repeated(self, name: str, step: int, holds: bool, text: str, **values) -> None:
        """Complains when `holds` was true in several validations in a row."""
        self._count[name] = self._count[name] + 1 if holds else 0
        if self._count[name] >= _PATIENCE_VALIDATIONS:
            self._say(name, step, text.format(**values))

    def _say(self, name: str, step: int, text: str) -> None:
        if name not in self._said:
            self._said.add(name)
            self.findings.append((step, text))
            logging.warning("Step %d: %s (in a new --run_dir).", step, text)
