"""config.py, recipes.py, flag_utils.py: ranges, json, flags, overrides."""

import dataclasses
import json

import pytest
from absl import flags

from srgan_tf import config, errors, flag_utils, recipes, registry


@pytest.mark.parametrize("name", sorted(recipes.RECIPES))
def test_recipe_survives_json(name):
    made = recipes.RECIPES[name]()
    read = config.from_dict(config.TrainConfig, json.loads(config.to_json(made)))
    assert read == made
    assert made.recipe == name
    assert recipes.RECIPES[name].__doc__


def test_paper_recipe_has_the_papers_figures():
    # Ledig et al. 2017, section 3.2.
    paper = recipes.paper()
    assert (paper.data.scale, paper.data.crop_size, paper.data.batch_size) == (4, 96, 16)
    assert paper.stages.pretrain.steps == 10**6
    assert paper.stages.pretrain.content == (("mse", 1.0),)
    assert paper.stages.gan.steps == 2 * 10**5
    assert paper.stages.gan.decay_at == (10**5,)
    assert paper.stages.gan.adversarial_weight == 1e-3
    assert paper.vgg.feature_scale == pytest.approx(1 / 12.75)
    assert paper.optimizer.beta_1 == 0.9
    assert paper.vgg_layers == ("block5_conv4",)


def test_seed_recipe_uses_two_layers_and_soft_labels():
    made = recipes.seed()
    assert made.vgg.network == "vgg16"
    assert made.vgg_layers == ("block2_conv2", "block5_conv3")
    assert [name for name, _ in made.stages.active()] == ["pretrain", "discriminator", "gan"]
    assert made.stages.gan.real_labels == (0.7, 1.2)
    assert made.stages.gan.fake_labels == (0.0, 0.3)
    assert made.stages.gan.flip_labels == 0.1


def test_quick_recipe_downloads_nothing():
    made = recipes.quick()
    assert made.vgg_layers == ()
    assert all(stage.steps for _, stage in made.stages.active())
    assert len(made.stages.active()) == 3


@pytest.mark.parametrize(
    ("cls", "values", "word"),
    [
        (config.DataConfig, {"scale": 5}, "scale"),
        (config.DataConfig, {"scale": 3, "crop_size": 100}, "crop_size"),
        (config.DataConfig, {"batch_size": 0}, "batch_size"),
        (config.DataConfig, {"jpeg_quality": (0.0, 50.0)}, "jpeg_quality"),
        (config.DataConfig, {"gaussian_sigma": 0.0}, "gaussian_sigma"),
        (config.BlindPass, {"blur_sigma": (3.0, 0.2)}, "blur_sigma"),
        (config.BlindPass, {"blur_sigma": (0.2,)}, "blur_sigma"),
        (config.BlindPass, {"kernel_size": (7, 23)}, "kernel_size"),
        (config.BlindPass, {"kernel_size": (8, 20)}, "kernel_size"),
        (config.BlindPass, {"kernels": (("isotropic", 1.0),)}, "generalized_aniso"),
        (config.BlindPass, {"resize": (("up", 0.0),)}, "resize"),
        (config.BlindPass, {"resize_range": (1.2, 1.5)}, "resize_range"),
        (config.BlindSecondPass, {"blur_probability": 1.1}, "blur_probability"),
        (config.BlindFinal, {"sinc_cutoff": (0.0, 1.0)}, "sinc_cutoff"),
        (config.VggConfig, {"activation": "both"}, "activation"),
        (config.PretrainStage, {"steps": -1}, "steps"),
        (config.PretrainStage, {"decay_at": (5, 5)}, "decay_at"),
        (config.GanStage, {"real_labels": (1.0, 0.5)}, "real_labels"),
        (config.DiscriminatorStage, {"flip_labels": 1.5}, "flip_labels"),
        (config.DiscriminatorStage, {"r1_weight": -1.0}, "r1_weight"),
        (config.PretrainStage, {"schedule": "linear"}, "schedule must be one of"),
        (config.PretrainStage, {"schedule": "cosine", "decay_at": (5,)}, "decay_at is for"),
        (config.PretrainStage, {"final_fraction": 2.0}, "final_fraction"),
        (config.PretrainStage, {"final_fraction": 0.1}, "final_fraction is for the cosine"),
        (config.PretrainStage, {"steps": 5, "warmup_steps": 5}, "warmup_steps"),
        (config.PretrainStage, {"vgg_layer": (("a", 1.0), ("a", 2.0))}, "a layer twice"),
        (config.PretrainStage, {"vgg_layer": (("a", -1.0),)}, "not negative"),
        (config.GanStage, {"content": (("vgg", 1.0),), "vgg_layer": (("a", 0.0),)}, "above 0"),
        (config.GanStage, {"adversarial_ramp": -1}, "adversarial_ramp"),
        (config.GanStage, {"discriminator_updates": 0}, "discriminator_updates"),
        (config.OptimizerConfig, {"clip_norm": -1.0}, "optimizer_clip_norm"),
        (config.OptimizerConfig, {"weight_decay": float("nan")}, "optimizer_weight_decay"),
        (config.TrainConfig, {"ema_decay": 1.0}, "ema_decay"),
        (config.TrainConfig, {"precision": "half"}, "precision"),
        (config.RunConfig, {"profile": (3,)}, "profile"),
        (config.RunConfig, {"profile": (0, 2)}, "profile"),
        (config.RunConfig, {"profile": (3, 2)}, "profile"),
        (config.TrainConfig, {}, "at least one stage"),
    ],
)
def test_out_of_range_names_the_field(cls, values, word):
    with pytest.raises(errors.InputError, match=word):
        cls(**values)


def test_older_config_with_one_plain_vgg_layer_is_read():
    made = recipes.paper_vgg22()
    older = config.to_dict(made)
    older["stages"]["pretrain"]["vgg_layer"] = "block5_conv4"
    older["stages"]["gan"]["vgg_layer"] = "block2_conv2"
    for field in ("schedule", "warmup_steps"):
        del older["stages"]["gan"][field]
    read = config.from_dict(config.TrainConfig, json.loads(json.dumps(older)))
    assert read == made and config.differences(read, made) == []


def test_vgg_is_built_for_all_layers_with_a_weight():
    values = _parse("--gan_vgg_layer=block1_conv2:0.1,block5_conv4,block2_conv1:0")
    made = flag_utils.apply_flags(recipes.paper(), values)
    assert made.stages.gan.vgg_layer == (
        ("block1_conv2", 0.1),
        ("block5_conv4", 1.0),
        ("block2_conv1", 0.0),
    )
    assert made.vgg_layers == ("block1_conv2", "block5_conv4")


def test_unknown_field_is_refused_with_its_place():
    made = config.to_dict(recipes.quick())
    made["data"]["colour"] = "blue"
    with pytest.raises(errors.InputError, match="run.json:data.*colour"):
        config.from_dict(config.TrainConfig, made, "run.json")


def test_blind_degradation_has_real_esrgans_figures():
    # options/train_realesrgan_x4plus.yml of the authors' repository.
    data = config.DataConfig()
    assert data.blind.blur_sigma == (0.2, 3) and data.blind2.blur_sigma == (0.2, 1.5)
    assert data.blind.resize_range == (0.15, 1.5) and data.blind2.resize_range == (0.3, 1.2)
    assert dict(data.blind.resize) == {"up": 0.2, "down": 0.7, "keep": 0.1}
    assert dict(data.blind2.resize) == {"up": 0.3, "down": 0.4, "keep": 0.3}
    assert data.blind.noise_sigma == (1, 30) and data.blind2.noise_sigma == (1, 25)
    assert data.blind.poisson_scale == (0.05, 3) and data.blind2.poisson_scale == (0.05, 2.5)
    assert data.blind.blur_probability == 1 and data.blind2.blur_probability == 0.8
    assert data.blind_final.sinc_probability == 0.8
    for one in (data.blind, data.blind2):
        assert [weight for _, weight in one.kernels] == [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]
        assert one.jpeg_quality == (30, 95) and one.sinc_probability == 0.1


def test_config_of_a_run_before_the_degradations_still_loads():
    made = config.to_dict(recipes.quick())
    for name in ("gaussian_sigma", "jpeg_quality", "blind", "blind2", "blind_final"):
        del made["data"][name]
    read = config.from_dict(config.TrainConfig, made)
    assert read == recipes.quick()
    changed = dataclasses.replace(read.data, blind2=config.BlindSecondPass(noise_sigma=(0.0, 9.0)))
    assert config.differences(read, dataclasses.replace(read, data=changed)) == [
        "data.blind2.noise_sigma: (1.0, 25.0) -> (0.0, 9.0)"
    ]


def test_differences_name_the_fields():
    old = recipes.quick()
    new = dataclasses.replace(
        old, seed=2, run=config.RunConfig(log_every=3), data=config.DataConfig(scale=2)
    )
    found = config.differences(old, new, ignore=("run.",))
    assert "data.scale: 4 -> 2" in found
    assert "seed: 1 -> 2" in found
    assert not [line for line in found if line.startswith("run.")]


def _parse(*arguments):
    values = flags.FlagValues()
    # define_flags works on absl's global flags; give it a registry of its own.
    saved, flags.FLAGS = flags.FLAGS, values
    defaults = flags.DEFINE.__defaults__, flags.DEFINE_boolean.__defaults__
    try:
        flags.DEFINE.__defaults__ = tuple(
            values if value is saved else value for value in flags.DEFINE.__defaults__
        )
        flags.DEFINE_boolean.__defaults__ = tuple(
            values if value is saved else value for value in flags.DEFINE_boolean.__defaults__
        )
        flag_utils.define_flags()
    finally:
        flags.FLAGS = saved
        flags.DEFINE.__defaults__, flags.DEFINE_boolean.__defaults__ = defaults
    values(["train", *arguments])
    return values


def test_flags_override_single_fields():
    values = _parse(
        "--pretrain_steps=7",
        "--gan_vgg_layer=block2_conv2",
        "--gan_content=vgg:1,mse:0.5",
        "--gan_real_labels=0.7,1.2",
        "--pretrain_decay_at=3,5",
        "--noflip",
        "--generator_blocks=2",
        "--scale=2",
        "--discriminator_steps=4",
        "--vgg_weights=random",
        "--log_every=1",
        "--blind_blur_sigma=0.5,2",
        "--blind2_kernel_size=7,13",
        "--blind2_resize=down:3,keep:1",
        "--blind_final_sinc_probability=0.1",
    )
    made = flag_utils.apply_flags(recipes.paper(), values)
    assert made.stages.pretrain.steps == 7
    assert made.stages.pretrain.decay_at == (3, 5)
    assert made.stages.gan.content == (("vgg", 1.0), ("mse", 0.5))
    assert made.stages.gan.vgg_layer == (("block2_conv2", 1.0),)
    assert made.stages.gan.real_labels == (0.7, 1.2)
    assert made.stages.discriminator.steps == 4
    assert made.data.scale == 2 and not made.data.flip
    assert made.generator.blocks == 2
    assert made.data.blind.blur_sigma == (0.5, 2) and made.data.blind2.blur_sigma == (0.2, 1.5)
    assert made.data.blind2.kernel_size == (7, 13)
    assert made.data.blind2.resize == (("down", 3.0), ("keep", 1.0))
    assert made.data.blind_final.sinc_probability == 0.1
    # What has no flag is the recipe's.
    assert made.stages.gan.steps == recipes.paper().stages.gan.steps


def test_no_flags_give_the_recipe():
    assert flag_utils.apply_flags(recipes.seed(), _parse()) == recipes.seed()


def test_bad_list_is_one_line():
    with pytest.raises(flags.IllegalFlagValueError, match="mse:1,vgg:0.006"):
        _parse("--gan_content=vgg:much")


def test_lookup_lists_choices_and_a_near_miss():
    with pytest.raises(errors.InputError, match=r"did you mean 'paper'.*\['esrgan', 'lite'"):
        registry.lookup(recipes.RECIPES, "papper", "recipe")


def test_vgg_jitter_leaves_something_of_the_crop():
    data = config.DataConfig(crop_size=16)
    made = recipes.paper()
    vgg = dataclasses.replace(made.vgg, jitter=8)
    assert dataclasses.replace(made, data=data, vgg=vgg).vgg.jitter == 8
    with pytest.raises(errors.InputError, match="vgg_jitter must be at most half of crop_size"):
        dataclasses.replace(made, data=data, vgg=dataclasses.replace(vgg, jitter=9))
    with pytest.raises(errors.InputError, match="vgg_jitter must be 0 to 16"):
        config.VggConfig(jitter=17)


def test_discriminator_jitter_leaves_something_of_the_crop():
    data = config.DataConfig(crop_size=16)
    made = recipes.paper()
    assert made.discriminator_size == made.data.crop_size  # The paper's: none.
    discriminator = dataclasses.replace(made.discriminator, jitter=8)
    changed = dataclasses.replace(made, data=data, discriminator=discriminator)
    assert changed.discriminator_size == 8
    too_much = dataclasses.replace(discriminator, jitter=9)
    with pytest.raises(errors.InputError, match="discriminator_jitter must be at most half of"):
        dataclasses.replace(made, data=data, discriminator=too_much)
    with pytest.raises(errors.InputError, match="discriminator_jitter must be 0 to 16"):
        config.DiscriminatorConfig(jitter=17)
