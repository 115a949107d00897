"""Which devices a run uses, and how its replicas talk."""

import tensorflow as tf

from srgan_tf import errors


def make_strategy(devices: tuple[str, ...] = ()) -> tf.distribute.MirroredStrategy:
    """Returns a MirroredStrategy over `devices`, or over all GPUs, or over the one CPU.

    Args:
        devices: names such as "gpu:0" or "cpu:1"; empty means all GPUs there are.

    Raises:
        errors.InputError: a device is not there; the message lists what is.
    """
    there = [device.name.removeprefix("/device:").lower() for device in _logical_devices()]
    chosen = [name.strip().lower().removeprefix("/") for name in devices]
    if len(set(chosen)) < len(chosen):
        raise errors.InputError(f"A device is named twice: --devices={','.join(chosen)}.")
    missing = [name for name in chosen if name not in there]
    if missing:
        raise errors.InputError(
            f"No device {', '.join(missing)} on this machine; there are {', '.join(there)}."
        )
    chosen = chosen or [name for name in there if name.startswith("gpu")] or ["cpu:0"]
    # The default collectives abort on CPUs when layers reduce in the step.
    cpu = any(name.startswith("cpu") for name in chosen)
    operations = tf.distribute.ReductionToOneDevice() if cpu else None
    return tf.distribute.MirroredStrategy(chosen, cross_device_ops=operations)


def _logical_devices() -> list[tf.config.LogicalDevice]:
    return [
        device
        for device in tf.config.list_logical_devices()
        if device.device_type in ("CPU", "GPU")
    ]
