"""Trains a super-resolution GAN: srgan-train --recipe=quick --data=DIR --run_dir=DIR

Runs the stages of a recipe (generator pre-training, discriminator pre-training, GAN training) in
one run folder. Ctrl-C saves and stops; the same command continues. Every figure of the recipe has
a flag below; one that is not given is the recipe's. config.json in the run folder records what ran.

Exit codes: 0 done; 1 the run cannot go on (it diverged, the disk is full); 2 a mistake, or another
process trains in the run folder; 130 stopped by Ctrl-C, 143 by SIGTERM (preemption): after the step
that was running, and saved. A second Ctrl-C exits at once.

srgan-train --list                prints all recipes, networks, losses, degradations, optimizers
srgan-train --recipe=NAME --show  prints all figures of a run as flags (for --flagfile=FILE, too)
"""

import pathlib
import sys
import types

from absl import flags

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

from srgan_tf import cli, errors, files, flag_utils, ray_cluster, recipes, registry
from srgan_tf.training import stopping

_RECIPE = flags.DEFINE_string(
    "recipe", "paper", f"Named recipe to start from: {', '.join(recipes.RECIPES)}."
)
_DATA = flags.DEFINE_string("data", None, "Folder that srgan-prepare wrote.")
_RUN_DIR = flags.DEFINE_string("run_dir", None, "Folder of the run; made, or continued.")
_DEVICES = flags.DEFINE_list(
    "devices",
    [],
    "Devices to train on, for example gpu:0,gpu:1 (default: all GPUs, or the CPU); tpu or tpu:NAME "
    "for a TPU.",
)
_LIST = flags.DEFINE_boolean(
    "list", False, "Print what there is to choose from, with a line each, and exit."
)
_SHOW = flags.DEFINE_boolean(
    "show", False, "Print all figures of the run as flags and exit; needs no --data."
)
_ENGINE, _RAY_ADDRESS = ray_cluster.define_flags("train")
_NUM_WORKERS = flags.DEFINE_integer(
    "num_workers",
    1,
    "With --engine=ray: processes that train together, each on its part of a batch.",
    lower_bound=1,
)
_CPUS_PER_WORKER = flags.DEFINE_integer(
    "cpus_per_worker",
    1,
    "With --engine=ray: cores that Ray is to count for each of them.",
    lower_bound=0,
)
_USE_GPU = flags.DEFINE_boolean("use_gpu", False, "With --engine=ray: GPUs for each of them.")
_GPUS_PER_WORKER = flags.DEFINE_integer(
    "gpus_per_worker", 1, "With --use_gpu: how many, best all of a machine.", lower_bound=1
)
_MAX_FAILURES = flags.DEFINE_integer(
    "max_failures",
    3,
    "With --engine=ray: how often they are started again after one was lost; -1: always.",
    lower_bound=-1,
)
flag_utils.define_flags()


def main(argv: list[str]) -> int:
    """Builds the config from recipe and flags, and trains."""
    if len(argv) > 1:
        raise errors.InputError(f"Unexpected arguments: {' '.join(argv[1:])}; use --flag=value.")
    if _LIST.value:
        cli.emit(_listing().tables())
        return 0
    if not _SHOW.value:
        for flag in (_DATA, _RUN_DIR):
            if not flag.value:
                raise errors.InputError(f"--{flag.name} is needed; see --help.")
    recipe = registry.lookup(recipes.RECIPES, _RECIPE.value, "recipe")
    config = flag_utils.apply_flags(recipe())
    if config.init_from and flags.FLAGS.pretrain_steps is None:
        config = config.without_pretraining()
    if _SHOW.value:
        cli.emit(_listing().figures(config))
        return 0
    _check_engine()
    with stopping.StopRequest() as stop:
        cli.import_tensorflow()
        from srgan_tf.training import loop, on_ray
    if stop.signal:
        return stop.exit_code
    folders = {"data_dir": files.expand(_DATA.value), "run_dir": files.expand(_RUN_DIR.value)}
    if _ENGINE.value == "ray":
        cluster = on_ray.Cluster(
            num_workers=_NUM_WORKERS.value,
            address=_RAY_ADDRESS.value,
            use_gpu=_USE_GPU.value,
            gpus_per_worker=_GPUS_PER_WORKER.value,
            cpus_per_worker=_CPUS_PER_WORKER.value,
            max_failures=_MAX_FAILURES.value,
        )
        return on_ray.train(config, **folders, cluster=cluster)
    return loop.train(config, **folders, devices=tuple(_DEVICES.value))


def _check_engine() -> None:
    """Refuses flags of the other engine; finds out whether Ray is there before TensorFlow loads."""
    if _ENGINE.value == "ray":
        ray_cluster.require()
        if _DEVICES.value:
            raise errors.InputError("With --engine=ray leave --devices out: Ray gives out GPUs.")
        if flags.FLAGS[_GPUS_PER_WORKER.name].present and not _USE_GPU.value:
            raise errors.InputError("--gpus_per_worker counts with --use_gpu alone; give both.")
        return
    ours = (_RAY_ADDRESS, _NUM_WORKERS, _CPUS_PER_WORKER, _USE_GPU, _GPUS_PER_WORKER, _MAX_FAILURES)
    given = [f"--{flag.name}" for flag in ours if flags.FLAGS[flag.name].present]
    if given:
        raise errors.InputError(f"{', '.join(given)} count with --engine=ray alone.")


def _listing() -> types.ModuleType:
    cli.import_tensorflow()
    from srgan_tf import listing

    return listing


def run() -> None:
    """Entry point of the console command."""
    cli.run(main, doc=__doc__, module=__name__)


if __name__ == "__main__":
    run()
