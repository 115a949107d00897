"""training/optimizers.py and addons.py: rates, weight decay, clipping, resume, replicas."""

import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf

from srgan_tf import addons, errors
from srgan_tf.config import OptimizerConfig, PretrainStage
from srgan_tf.training import optimizers

SETTINGS = {
    "adam": {},
    "adamw": {"weight_decay": 0.01},
    "radam": {"weight_decay": 0.01},
    "lamb": {"weight_decay": 0.01},
    "lookahead": {},
}
SCHEDULES = {
    "constant": PretrainStage(steps=8, learning_rate=0.3),
    "step": PretrainStage(steps=8, learning_rate=0.3, decay_at=(2, 5), decay_factor=0.5),
    "cosine": PretrainStage(
        steps=8, learning_rate=0.3, schedule="cosine", warmup_steps=3, final_fraction=0.1
    ),
}


def _config(name):
    if name not in ("adam", "adamw"):
        pytest.importorskip("tensorflow_addons")
    return OptimizerConfig(name=name, **SETTINGS[name])


def _model():
    tf.keras.utils.set_random_seed(3)
    return tf.keras.Sequential([tf.keras.layers.Input([2]), tf.keras.layers.Dense(2)])


def _sgd(monkeypatch):
    table = {"adam": lambda rate, _: tf.keras.optimizers.SGD(rate)}
    monkeypatch.setattr(optimizers, "OPTIMIZERS", table)


def test_every_optimizer_is_tested():
    assert set(SETTINGS) == set(optimizers.OPTIMIZERS)


def test_cosine_after_a_warm_up_by_hand():
    stage = PretrainStage(
        steps=6, learning_rate=1.0, schedule="cosine", warmup_steps=2, final_fraction=0.2
    )
    # Warm-up 1/2, 1; then 0.2 + 0.8 * (1 + cos(pi * done)) / 2 with done = 0, 1/4, 1/2, 3/4.
    root = np.sqrt(0.5)
    cosine = [0.2 + 0.4 * (1 + x) for x in (1, root, 0, -root)]
    rates = [optimizers.learning_rate_at(stage, step) for step in range(7)]
    np.testing.assert_allclose(rates, [0.5, 1.0, *cosine, 0.2], rtol=1e-6)


def test_warm_up_goes_with_step_decay():
    stage = PretrainStage(steps=9, learning_rate=1e-4, warmup_steps=4, decay_at=(6,))
    rates = [optimizers.learning_rate_at(stage, step) for step in range(8)]
    np.testing.assert_allclose(rates[:3], [2.5e-5, 5e-5, 7.5e-5], rtol=1e-6)
    # Decimals as a person would write them, although the rate is a float32.
    assert rates[3:] == [1e-4, 1e-4, 1e-4, 1e-5, 1e-5]


@pytest.mark.parametrize("updates", [1, 2])
@pytest.mark.parametrize("name", sorted(SCHEDULES))
def test_logged_rate_is_the_rate_of_every_update(name, updates, monkeypatch):
    _sgd(monkeypatch)
    stage, model = SCHEDULES[name], _model()
    optimizer = optimizers.build(OptimizerConfig(), stage, model, updates)
    kernel, bias = model.trainable_variables

    @tf.function
    def update():
        optimizers.apply(optimizer, [tf.ones_like(kernel), tf.ones_like(bias)], [kernel, bias], 0)

    for step in range(stage.steps):
        for _ in range(updates):
            kernel.assign(tf.zeros_like(kernel))
            update()
            # SGD moves by the rate times a gradient of one.
            expected = np.float32(optimizers.learning_rate_at(stage, step))
            np.testing.assert_array_equal(-kernel.numpy(), np.full([2, 2], expected))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_rates_reach_every_optimizer(name):
    """A schedule that ends at 0 leaves the weights where they are (but for Lookahead's pull)."""
    stage = PretrainStage(steps=4, learning_rate=0.1, decay_at=(2,), decay_factor=1e-9)
    model = _model()
    optimizer = optimizers.build(_config(name), stage, model)
    moved = []
    for _ in range(4):
        before = model.get_weights()
        gradients = [tf.ones_like(variable) for variable in model.trainable_variables]
        optimizers.apply(optimizer, gradients, model.trainable_variables, 0)
        moved.append(np.abs(before[0] - model.get_weights()[0]).max())
    assert min(moved[:2]) > 1e-3 and max(moved[2:]) < 1e-7


@pytest.mark.parametrize("name", ["adamw", "radam"])
def test_weight_decay_is_decoupled(name):
    stage = PretrainStage(steps=4, learning_rate=0.1, decay_at=(1,))
    model = _model()
    optimizer = optimizers.build(_config(name), stage, model)
    before = model.get_weights()[0]
    for _ in range(2):
        gradients = [tf.zeros_like(variable) for variable in model.trainable_variables]
        optimizers.apply(optimizer, gradients, model.trainable_variables, 0)
    # Without a gradient only the decay acts: w * (1 - rate * 0.01), rates 0.1 and 0.01.
    expected = before * (1 - 0.001) * (1 - 0.0001)
    np.testing.assert_allclose(model.get_weights()[0], expected, rtol=1e-6)


class _Run:
    """A few traced updates of a tiny model over two replicas."""

    def __init__(self, config):
        self.strategy = fixtures.strategy()
        with self.strategy.scope():
            self.model = _model()
            self.optimizer = optimizers.build(config, SCHEDULES["cosine"], self.model)
        self.checkpoint = tf.train.Checkpoint(model=self.model, optimizer=self.optimizer)

        def replica(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.square(self.model(x, training=True) - 1.0)) / 4.0
            variables = self.model.trainable_variables
            optimizers.apply(self.optimizer, tape.gradient(loss, variables), variables, 0.5)
            return loss

        @tf.function
        def step(x):
            return self.strategy.reduce("SUM", self.strategy.run(replica, args=(x,)), axis=None)

        self._step = step

    def train(self, first, last):
        losses = []
        for number in range(first, last):
            whole = tf.random.stateless_uniform([4, 2], [number, 1])
            halves = self.strategy.experimental_distribute_values_from_function(
                lambda context, whole=whole: tf.split(whole, 2)[context.replica_id_in_sync_group]
            )
            losses.append(float(self._step(halves)))
        return losses


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_every_optimizer_trains_on_replicas_and_resumes_to_the_bit(name, tmp_path):
    config = _config(name)
    whole = _Run(config)
    losses = whole.train(0, 3)
    path = whole.checkpoint.write(str(tmp_path / "ckpt"))
    losses += whole.train(3, 8)  # Lookahead pulls back at the sixth.
    assert np.mean(losses[-2:]) < losses[0]
    resumed = _Run(config)
    resumed.checkpoint.read(path).assert_consumed()
    resumed.train(3, 8)
    for one, two in zip(whole.model.get_weights(), resumed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    for variable in whole.model.trainable_variables:
        value = variable if isinstance(variable, tf.Variable) else variable.value
        first, second = whole.strategy.experimental_local_results(value)
        np.testing.assert_array_equal(first.numpy(), second.numpy())


def test_clipping_is_of_the_sum_over_replicas(monkeypatch):
    _sgd(monkeypatch)
    strategy = fixtures.strategy()
    with strategy.scope():
        model = _model()
        stage = PretrainStage(steps=1, learning_rate=1.0)
        optimizer = optimizers.build(OptimizerConfig(), stage, model)
    before = model.get_weights()

    @tf.function
    def step(clip_norm):
        def replica():
            number = tf.distribute.get_replica_context().replica_id_in_sync_group
            # Kernel (3, 0) from one replica, bias (0, 4) from the other: together of norm 5, each
            # alone of norm 3 or 4, which would be scaled otherwise.
            kernel = tf.constant([[3.0, 0.0], [0.0, 0.0]]) * tf.cast(number == 0, tf.float32)
            bias = tf.constant([0.0, 4.0]) * tf.cast(number == 1, tf.float32)
            optimizers.apply(optimizer, [kernel, bias], model.trainable_variables, clip_norm)

        strategy.run(replica)

    step(1.0)
    moved = [old - new for old, new in zip(before, model.get_weights(), strict=True)]
    np.testing.assert_allclose(moved[0], [[0.6, 0.0], [0.0, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(moved[1], [0.0, 0.8], rtol=1e-6)
    step(100.0)  # Smaller than the limit: as it is.
    np.testing.assert_allclose(before[1] - model.get_weights()[1], [0.0, 4.8], rtol=1e-6)


def test_weight_decay_that_would_be_ignored_is_refused():
    with pytest.raises(errors.InputError, match="adamw"):
        optimizers.make(OptimizerConfig(weight_decay=0.1), 0.1)


@pytest.mark.parametrize("name", ["radam", "lamb", "lookahead"])
def test_without_addons_the_error_names_what_is_there(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_addons", None)
    with pytest.raises(errors.InputError, match=r"tensorflow-addons.*\['adam', 'adamw'\]"):
        optimizers.make(OptimizerConfig(name=name), 0.1)


def test_addons_are_there_where_setup_says(recwarn):
    if sys.version_info >= (3, 12):
        pytest.skip("tensorflow-addons exist for Python < 3.12 alone")
    assert addons.optimizer("LAMB", 0.1, instead=()).beta_1
    assert not recwarn.list  # It would announce its end.
