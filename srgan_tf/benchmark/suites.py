"""What `srgan-benchmark` measures: groups of contenders, by suite.

`--quick` takes smaller pictures and networks; its figures are for trying the command out.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from srgan_tf.benchmark.contenders import Contender, Group

_PAPER = {"name": "srresnet", "filters": 64, "blocks": 16}
_LITE = {"name": "lite", "filters": 48, "blocks": 6}
# The discriminator's filters and dense units, and the VGG layer.
_PAPERS_GAN = {"filters": 64, "dense_units": 1024, "vgg_layer": "block5_conv4"}
_SCALE = 4
_CROP = 96


@dataclasses.dataclass(frozen=True)
class Settings:
    """What is measured.

    Attributes:
        precisions: of ours and of the peers'.
        batch: images per training step.
        height: of the LR picture.
        width: of the LR picture.
        generator: the paper's, or a smaller one.
        gan: the discriminator's size and the VGG layer of the GAN stage.
        data_dir: prepared shards for the pipeline; None leaves that suite out.
        photos: a folder of image files for the peers' pipeline.
        backends: what runs exported models.
        peers: the interpreter of the peers' environment; None leaves them out.
    """

    precisions: tuple[str, ...] = ("float32", "bfloat16")
    batch: int = 16
    height: int = 270
    width: int = 480
    generator: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(_PAPER))
    gan: dict[str, Any] = dataclasses.field(default_factory=lambda: dict(_PAPERS_GAN))
    data_dir: str | None = None
    photos: str | None = None
    backends: tuple[str, ...] = ("tensorflow",)
    peers: str | None = None


def limits(settings: Settings) -> list[Group]:
    """Matrix products: the most that this machine can do."""
    contenders = [
        Contender(f"TensorFlow {precision}", _ours("gemm", size=2048, precision=precision))
        for precision in settings.precisions
    ]
    return [Group("Matrix product 2048 x 2048", tuple(contenders), "TensorFlow float32")]


def training(settings: Settings) -> list[Group]:
    """One update of each stage: pre-training beside PyTorch, the discriminator's, the GAN's."""
    common = {"batch": settings.batch, "crop": _CROP, "scale": _SCALE}
    size = f"batch {settings.batch}, crop {_CROP}"

    def ours(stage: str) -> list[Contender]:
        return [
            Contender(
                f"srgan_tf {precision}",
                _ours(
                    "train",
                    stage=stage,
                    precision=precision,
                    generator=settings.generator,
                    gan=settings.gan,
                    **common,
                ),
            )
            for precision in settings.precisions
        ]

    peers = _pytorch(settings, "torch_train", **common)
    return [
        _group(f"Pre-training step, {size}", ours("pretrain") + _there(peers)),
        _group(f"Discriminator step, {size}", ours("discriminator")),
        _group(f"GAN step ({settings.gan['vgg_layer']}), {size}", ours("gan")),
    ]


def inference(settings: Settings) -> list[Group]:
    """One picture through the paper's generator and the fast one, by backend, beside peers."""
    common = {"height": settings.height, "width": settings.width, "scale": _SCALE}
    large = f"{settings.width * _SCALE}x{settings.height * _SCALE}"
    title = f"{settings.width}x{settings.height} to {large}"
    peers = _pytorch(settings, "torch_upscale", **common)
    peers.append(_peer(settings, "ONNX Runtime float32", "onnx_upscale", **common))
    peers.append(_peer(settings, "OpenCV dnn float32", "opencv_upscale", **common))
    return [
        _group(f"srresnet, {title}", _upscalers(settings, settings.generator) + _there(peers)),
        _group(f"lite, {title}", _upscalers(settings, _LITE)),
    ]


def data(settings: Settings) -> list[Group]:
    """Training batches from prepared shards on one core."""
    if not settings.data_dir:
        return []
    common = {"batch": settings.batch, "crop": _CROP, "scale": _SCALE}
    contenders = [
        Contender(
            f"srgan_tf, {crops} crop{'s'[: crops > 1]} per record",
            _ours("batches", data_dir=settings.data_dir, crops=crops, cores=1, **common),
        )
        for crops in (1, 4)
    ]
    if settings.photos:
        contenders += _there(
            [
                _peer(
                    settings,
                    "PyTorch DataLoader",
                    "torch_batches",
                    photos=settings.photos,
                    workers=0,
                    cores=1,
                    network=False,
                    **common,
                )
            ]
        )
    return [_group(f"Crops of {_CROP} px on one core", contenders)]


def startup(settings: Settings) -> list[Group]:
    """Export, and the way to a first picture in a new process."""
    generators = {"lite": _LITE, "srresnet": settings.generator}
    return [
        _group(
            title,
            [
                Contender(f"srgan_tf {name}", _ours(kind, generator=generator, scale=_SCALE))
                for name, generator in generators.items()
            ],
        )
        for title, kind in (
            ("Export as a SavedModel", "publish"),
            ("New process to first picture (32x32)", "start"),
        )
    ]


def growth(settings: Settings) -> list[Group]:
    """How the cost grows with pixels (by backend), blocks, scale and batch, float32."""
    sides = [settings.height * factor // 4 for factor in (1, 2, 3, 4)]

    def picture(
        side: int, scale: int, generator: dict[str, Any], backend: str = "tensorflow"
    ) -> dict[str, Any]:
        size = {"height": side, "width": side, "scale": scale, "generator": generator}
        return _ours("upscale", **size, **_computing(backend, "float32"))

    pixels = [
        Contender(f"{backend}, {side}x{side} px", picture(side, _SCALE, _LITE, backend))
        for backend in settings.backends
        for side in sides
    ]
    blocks = [
        Contender(f"{count} blocks", picture(sides[1], _SCALE, {**_LITE, "blocks": count}))
        for count in (2, 4, 8, 16)
    ]
    scales = [Contender(f"x{scale}", picture(sides[1], scale, _LITE)) for scale in (2, 3, 4, 8)]
    steps = [
        Contender(
            f"batch {batch}",
            _ours(
                "train",
                stage="pretrain",
                precision="float32",
                batch=batch,
                crop=_CROP,
                scale=_SCALE,
                generator=_LITE,
                gan=settings.gan,
            ),
        )
        for batch in (2, 4, 8, 16)
    ]
    return [
        _group("lite x4: cost by LR pixels", pixels),
        _group(f"lite x4, {sides[1]} px: cost by blocks", blocks),
        _group(f"lite, {sides[1]} px: cost by scale", scales),
        _group(f"lite, pre-training step, crop {_CROP}: cost by batch", steps),
    ]


SUITES: dict[str, Callable[[Settings], list[Group]]] = {
    "limits": limits,
    "training": training,
    "inference": inference,
    "data": data,
    "startup": startup,
    "growth": growth,
}


def quick(settings: Settings) -> Settings:
    """Returns small settings, for trying the command out."""
    return dataclasses.replace(
        settings,
        batch=2,
        height=32,
        width=48,
        generator={**_PAPER, "filters": 8, "blocks": 2},
        gan={"filters": 4, "dense_units": 8, "vgg_layer": "block2_conv2"},
    )


def _upscalers(settings: Settings, generator: dict[str, Any]) -> list[Contender]:
    return [
        Contender(
            f"srgan_tf {backend} {precision}",
            _ours(
                "upscale",
                height=settings.height,
                width=settings.width,
                scale=_SCALE,
                generator=generator,
                **_computing(backend, precision),
            ),
        )
        for backend in settings.backends
        for precision in settings.precisions
    ]


def _computing(backend: str, precision: str) -> dict[str, Any]:
    """TensorFlow computes as the export says; OpenVINO takes a float32 one and is told."""
    if backend == "tensorflow":
        return {"precision": precision, "options": {}}
    return {"precision": "float32", "options": {"backend": backend, "precision": precision}}


def _ours(kind: str, **spec: Any) -> dict[str, Any]:
    return {"kind": kind, **spec}


def _peer(
    settings: Settings, label: str, kind: str, *, network: bool = True, **spec: Any
) -> Contender | None:
    """Returns a contender of the peers' environment, None without one."""
    if not settings.peers:
        return None
    if network:
        spec |= {name: settings.generator[name] for name in ("filters", "blocks")}
    return Contender(label, {"kind": kind, **spec}, settings.peers)


def _pytorch(settings: Settings, kind: str, **spec: Any) -> list[Contender | None]:
    return [
        _peer(
            settings,
            f"PyTorch {mode} {precision}",
            kind,
            precision=precision,
            mode=mode,
            **spec,
        )
        for mode in ("eager", "compile")
        for precision in settings.precisions
    ]


def _there(contenders: list[Contender | None]) -> list[Contender]:
    return [contender for contender in contenders if contender]


def _group(title: str, contenders: list[Contender]) -> Group:
    return Group(title, tuple(contenders), contenders[0].label)
