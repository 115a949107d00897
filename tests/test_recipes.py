"""recipes.py and the tables behind it: every entry is built and trained for a step by its flag."""

import subprocess
import sys

import fixtures
import numpy as np
import pytest
import tensorflow as tf
import test_config

from srgan_tf import addons, config, errors, flag_utils, images, listing, recipes
from srgan_tf.data import degradations, pipeline
from srgan_tf.losses import adversarial, content
from srgan_tf.models import discriminators, generators, upsampling
from srgan_tf.training import optimizers, state, steps

# Networks, pictures and VGG kernels that cost nothing; all else is the recipe's.
TINY = (
    "--generator_filters=4",
    "--generator_blocks=1",
    "--discriminator_filters=2",
    "--discriminator_dense_units=8",
    "--crop_size=24",
    "--discriminator_jitter=8",
    "--batch_size=2",
    "--crops_per_image=1",
    "--vgg_weights=random",
)


def configured(recipe, *arguments):
    return flag_utils.apply_flags(recipes.RECIPES[recipe](), test_config._parse(*arguments))


def batch(settings):
    crop, count = settings.data.crop_size, settings.data.batch_size
    hr = tf.random.stateless_uniform([count, crop, crop, 3], [1, 2])
    lr = [pipeline.degrade(one, settings.data, seed=tf.constant([3, 4], tf.int64)) for one in hr]
    return pipeline.Pair(tf.stack(lr), images.unit_to_signed(hr))


def train_a_step(settings):
    """Runs one step of every stage; returns the state and the scalars by stage.

    Untraced: that is ten times as fast here, and test_steps.py and test_training.py trace.
    """
    made, pair, scalars = state.build(settings), batch(settings), {}
    for name, _ in settings.stages.active():
        made.enter_stage(name)
        values = steps.STEPS[name](made, pair)
        scalars[name] = {key: float(value) for key, value in values.items()}
        assert all(np.isfinite(value) for value in scalars[name].values()), scalars
    return made, scalars


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_recipe_is_built_and_trains_a_step_of_each_stage(name):
    settings = configured(name, *TINY)
    made, scalars = train_a_step(settings)
    assert list(scalars) == [stage for stage, _ in settings.stages.active()]
    for stage, values in scalars.items():
        terms = getattr(settings.stages, stage)
        wanted = {f"content_{loss}" for loss, weight in getattr(terms, "content", ()) if weight}
        assert wanted == {key for key in values if key.startswith("content_")}
    assert (made.averaged is not None) == bool(settings.ema_decay)


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_the_recipes_discriminator_takes_its_crops(name):
    # The crop is the recipe's own here: some discriminators cannot have every size.
    made = configured(name, "--discriminator_filters=2", "--discriminator_dense_units=8")
    if made.adversarial:
        model = discriminators.build(made.discriminator, made.discriminator_size)
        assert model.input_shape[1:] == (made.discriminator_size, made.discriminator_size, 3)


def test_paper_vgg22_differs_from_paper_in_its_content_alone():
    found = config.differences(recipes.paper(), recipes.paper_vgg22(), ignore=("recipe",))
    assert [line.split(":")[0] for line in found] == ["stages.gan.content", "stages.gan.vgg_layer"]


def test_seed_recipes_have_the_originals_networks_and_differ_in_upsampling():
    seed = recipes.seed()
    assert (seed.generator.name, seed.generator.blocks) == ("srresnet_seed", 15)
    assert (seed.discriminator.name, seed.data.degradation) == ("srgan", "gaussian_bicubic")
    assert seed.stages.pretrain.tv_weight == seed.stages.gan.tv_weight == 2e-8
    found = config.differences(seed, recipes.seed_subpixel(), ignore=("recipe",))
    assert found == ["generator.upsampling: 'nearest_conv' -> 'subpixel'"]


def test_esrgan_has_its_papers_figures():
    # Wang et al. 2018 (arXiv 1809.00219), sections 3.3 and 4.1.
    made = recipes.esrgan()
    assert (made.generator.name, made.generator.filters, made.generator.blocks) == ("rrdb", 64, 23)
    assert (made.data.crop_size, made.data.batch_size) == (128, 16)
    stage = made.stages.pretrain
    assert (stage.steps, stage.learning_rate, stage.content) == (10**6, 2e-4, (("l1", 1.0),))
    # Halved every 2 x 10^5 updates: at 1/16 in the last fifth.
    assert optimizers.learning_rate_at(stage, 199_999) == 2e-4
    assert optimizers.learning_rate_at(stage, 200_000) == 1e-4
    assert optimizers.learning_rate_at(stage, 999_999) == 1.25e-5
    stage = made.stages.gan
    assert (stage.steps, stage.learning_rate) == (400_000, 1e-4)
    rates = [optimizers.learning_rate_at(stage, s) for s in (49_999, 50_000, 100_000, 300_000)]
    assert rates == [1e-4, 5e-5, 2.5e-5, 6.25e-6]
    # L1 1e-2 on [0, 1] is 5e-3 on [-1, 1]; adversarial 5e-3 of half the sum is 2.5e-3 of the sum.
    assert dict(stage.content) == {"vgg": 1.0, "l1": 1e-2 / 2}
    assert (stage.adversarial, stage.adversarial_weight) == ("ragan", 5e-3 / 2)
    assert made.vgg_layers == ("block5_conv4",) and made.vgg.activation == "before"


def test_real_esrgan_has_its_papers_figures():
    # Wang et al. 2021 (arXiv 2107.10833), section 4.1.
    made = recipes.real_esrgan()
    assert (made.generator.name, made.discriminator.name) == ("rrdb", "unet")
    assert discriminators.resolve(made.discriminator).norm == "spectral"
    assert (made.data.crop_size, made.data.batch_size, made.data.degradation) == (256, 48, "blind")
    assert made.ema_decay == 0.999
    assert (made.stages.pretrain.steps, made.stages.pretrain.learning_rate) == (10**6, 2e-4)
    stage = made.stages.gan
    assert (stage.steps, stage.learning_rate, stage.decay_at) == (400_000, 1e-4, ())
    # L1 1 on [0, 1] is 0.5 on [-1, 1].
    assert dict(stage.content) == {"l1": 0.5, "vgg": 1.0} and stage.adversarial_weight == 0.1
    assert [weight for _, weight in stage.vgg_layer] == [0.1, 0.1, 1, 1, 1]
    assert [layer[5:] for layer in made.vgg_layers] == [
        "1_conv2",
        "2_conv2",
        "3_conv4",
        "4_conv4",
        "5_conv4",
    ]


def _addons_are_here():
    try:
        addons.optimizer("LAMB", instead=())
    except errors.InputError:
        return False
    return True


# Flag, table, and what else an entry needs to be used in the step.
FLAGS = [
    ("generator", generators.GENERATORS, ()),
    ("generator_upsampling", upsampling.UPSAMPLINGS, ()),
    ("discriminator", discriminators.DISCRIMINATORS, ()),
    ("discriminator_norm", discriminators.NORMS, ("--discriminator=srgan_small",)),
    ("gan_adversarial", adversarial.ADVERSARIAL, ("--discriminator=srgan_small",)),
    (
        "gan_content",
        content.CONTENT,
        ("--gan_vgg_layer=block1_conv1", "--gan_adversarial_weight=0"),
    ),
    ("degradation", degradations.DEGRADATIONS, ()),
    ("optimizer", optimizers.OPTIMIZERS, ("--discriminator=srgan_small",)),
    ("gan_schedule", optimizers.SCHEDULES, ("--discriminator=srgan_small", "--gan_decay_at=")),
]


@pytest.mark.parametrize(
    ("flag", "name", "others"),
    [(flag, name, others) for flag, table, others in FLAGS for name in sorted(table)],
)
def test_every_entry_of_the_tables_is_reached_by_its_flag(flag, name, others):
    if flag == "optimizer" and name not in ("adam", "adamw") and not _addons_are_here():
        pytest.skip("tensorflow-addons exist for Python 3.10 and 3.11 alone")
    stages = ("--pretrain_steps=0", "--discriminator_steps=0", "--gan_steps=9")
    if flag in ("generator", "generator_upsampling", "degradation"):
        stages = ("--pretrain_steps=1", "--discriminator_steps=0", "--gan_steps=0")
    settings = configured("quick", *TINY, *stages, *others, f"--{flag}={name}")
    train_a_step(settings)
    shown = {text for _, text in flag_utils.as_flags(settings)}
    assert f"--{flag}={name}" in shown or f"--{flag}={name}:1.0" in shown


@pytest.mark.parametrize("flag", [flag for flag, _, _ in FLAGS])
def test_a_wrong_name_is_one_line_that_lists_the_choices(flag):
    settings = configured("quick", *TINY)
    with pytest.raises(errors.InputError, match="nonsense"):
        listing.figures(configured("quick", *TINY, f"--{flag}=nonsense"))
    try:
        settings = configured("quick", *TINY, f"--{flag}=nonsense")
        state.build(settings)
        pipeline.degrade(tf.zeros([24, 24, 3]), settings.data, seed=tf.constant([1, 2], tf.int64))
    except errors.InputError as error:
        assert "nonsense" in str(error) and "\n" not in str(error)
        table = next(table for other, table, _ in FLAGS if other == flag)
        assert all(name in str(error) for name in table)
    else:
        pytest.fail(f"--{flag}=nonsense was accepted")


def test_list_has_a_line_for_every_entry():
    lines = listing.tables().splitlines()
    for _, table, _ in (*FLAGS, ("recipe", recipes.RECIPES, ())):
        for name in table:
            assert [line for line in lines if line.startswith(f"  {name} ")], name
    assert max(map(len, lines)) <= 160
    assert any(line.startswith("  unet ") and line.endswith("[norm: spectral]") for line in lines)
    here = not [line for line in lines if line.endswith("NOT HERE: it is of tensorflow-addons.")]
    assert here == _addons_are_here()


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_show_prints_flags_that_give_the_same_run(name, tmp_path):
    flags_file = tmp_path / "run.flags"
    changed = configured(name, "--scale=2", "--gan_r1_weight=0.5", "--blind2_jpeg_quality=40,50")
    for made in (recipes.RECIPES[name](), changed):
        flags_file.write_text(listing.figures(made))
        text = flags_file.read_text()
        assert f"--recipe={name}\n" in text
        # The flag itself is the binary's, not the config's.
        flags_file.write_text(text.replace(f"--recipe={name}\n", ""))
        assert configured(name, f"--flagfile={flags_file}") == made


def test_show_leaves_out_what_the_run_never_looks_at_and_says_what_auto_is():
    text = listing.figures(configured("lite", "--discriminator_norm=none"))
    assert "--blind_" not in text and "--vgg_" not in text and "--gan_content" not in text
    assert "--discriminator_norm=none" in text  # Not the recipe's.
    assert "--generator_upsampling=auto\n# auto is subpixel" in text
    assert "--blind_noise_sigma=1.0,30.0" in listing.figures(recipes.real_esrgan())


def test_show_needs_no_data_and_prints_nothing_else(tmp_path):
    command = [sys.executable, str(fixtures.ROOT / "scripts" / "train.py"), "--show"]
    arguments = ["--recipe=paper", "--init_from=srresnet", "--scale=2"]
    result = subprocess.run(
        [*command, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0 and not result.stderr, result.stderr
    lines = result.stdout.splitlines()
    assert all(line.startswith(("--", "#")) or not line for line in lines)
    # As the run would be: weights are given, so there is no pre-training.
    assert {"--scale=2", "--pretrain_steps=0", "--gan_steps=200000"} <= set(lines)
    assert not list(tmp_path.iterdir())
