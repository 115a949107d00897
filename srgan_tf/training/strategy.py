"""Which devices a run uses, and how its replicas talk."""

import tensorflow as tf

from srgan_tf import errors

_TPU = "tpu"


def make_strategy(devices: tuple[str, ...] = ()) -> tf.distribute.Strategy:
    """Returns a MirroredStrategy over `devices`, or over all GPUs, or over the one CPU.

    Args:
        devices: names such as "gpu:0" or "cpu:1"; empty means all GPUs there are. "tpu" alone means
            all cores of the TPU of this machine, "tpu:NAME" those of the TPU of that name or
            address (a TPUStrategy).

    Raises:
        errors.InputError: a device is not there; the message lists what is.
    """
    chosen = [name.strip().removeprefix("/") for name in devices]
    if any(name.lower().split(":")[0] == _TPU for name in chosen):
        return _tpu_strategy(chosen)
    chosen = [name.lower() for name in chosen]
    there = [device.name.removeprefix("/device:").lower() for device in _logical_devices()]
    if len(set(chosen)) < len(chosen):
        raise errors.InputError(f"A device is named twice: --devices={','.join(chosen)}.")
    missing = [name for name in chosen if name not in there]
    if missing:
        raise errors.InputError(
            f"No device {', '.join(missing)} on this machine; there are {', '.join(there)}."
        )
    chosen = chosen or [name for name in there if name.startswith("gpu")] or ["cpu:0"]
    return tf.distribute.MirroredStrategy(chosen, cross_device_ops=_cross_device_ops(chosen))


def _cross_device_ops(chosen: list[str]) -> tf.distribute.CrossDeviceOps | None:
    """Returns what adds up over replicas; None is the strategy's default, NCCL on GPUs."""
    # The default collectives abort on CPUs when layers reduce in the step.
    cpu = any(name.startswith("cpu") for name in chosen)
    return tf.distribute.ReductionToOneDevice() if cpu else None


def _tpu_strategy(chosen: list[str]) -> tf.distribute.TPUStrategy:
    if len(chosen) > 1:
        raise errors.InputError(
            f"A TPU is used whole and alone: --devices={','.join(chosen)}; give --devices=tpu."
        )
    # The resolver's own word for the TPU of the machine that the program runs on.
    name = chosen[0].partition(":")[2] or "local"
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        if name != "local":
            tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
        return tf.distribute.TPUStrategy(resolver)
    # What a missing TPU raises depends on how it is missing (and is not only TensorFlow's errors).
    except Exception as error:
        # The first sentence; operations and addresses follow, over many lines.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise errors.InputError(
            f"No TPU {name!r} can be used: {reason}. Give --devices=tpu on a machine with a TPU, "
            "or --devices=tpu:NAME (or tpu:ADDRESS); without --devices GPUs or the CPU are used."
        ) from error


def _logical_devices() -> list[tf.config.LogicalDevice]:
    return [
        device
        for device in tf.config.list_logical_devices()
        if device.device_type in ("CPU", "GPU")
    ]
