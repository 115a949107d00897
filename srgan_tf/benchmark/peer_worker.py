"""Times other libraries on the same tasks, in an environment of their own; see contenders.py.

Run by path with that environment's interpreter: nothing of srgan_tf is imported, and nothing here
is needed by it. The network is the paper's generator, written anew in PyTorch.
"""

import contextlib
import os
import tempfile

import protocol  # The neighbour: the folder of this file is first on the path.


def torch_train(
    *, precision: str, batch: int, crop: int, scale: int, filters: int, blocks: int, mode: str
) -> protocol.Prepared:
    """One MSE update of the paper's generator with Adam."""
    import torch

    model, cast = _torch_model(scale, filters, blocks, precision, mode)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    side = crop // scale
    lr = torch.rand(batch, 3, side, side).to(memory_format=torch.channels_last)
    hr = torch.rand(batch, 3, crop, crop).to(memory_format=torch.channels_last) * 2 - 1

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        with cast():
            sr = model(lr)
        loss = torch.nn.functional.mse_loss(sr.float(), hr)
        loss.backward()
        optimizer.step()
        return loss.item()

    return _warm(run), batch, "image"


def torch_upscale(
    *,
    height: int,
    width: int,
    precision: str,
    scale: int,
    filters: int,
    blocks: int,
    mode: str,
) -> protocol.Prepared:
    """A picture through the paper's generator, in one piece."""
    import torch

    model, cast = _torch_model(scale, filters, blocks, precision, mode)
    model.eval()
    lr = torch.rand(1, 3, height, width).to(memory_format=torch.channels_last)

    def run() -> object:
        with torch.inference_mode(), cast():
            return model(lr).float().add(1).mul(127.5).clamp(0, 255).byte().numpy()

    return _warm(run), height * width * scale**2 / 1e6, "megapixel"


def onnx_upscale(
    *, height: int, width: int, scale: int, filters: int, blocks: int
) -> protocol.Prepared:
    """The same network in ONNX Runtime, exported from PyTorch."""
    import onnxruntime

    with _onnx_file(height, width, scale, filters, blocks) as path:
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    lr = _picture(height, width)
    run = _warm(lambda: _to_uint8(session.run(None, {"lr": _to_planes(lr)})[0]))
    return run, height * width * scale**2 / 1e6, "megapixel"


def opencv_upscale(
    *, height: int, width: int, scale: int, filters: int, blocks: int
) -> protocol.Prepared:
    """The same network in OpenCV's dnn module, which its dnn_superres is made of."""
    import cv2

    with _onnx_file(height, width, scale, filters, blocks) as path:
        network = cv2.dnn.readNetFromONNX(path)
    lr = _picture(height, width)

    def run() -> object:
        network.setInput(_to_planes(lr))
        return _to_uint8(network.forward())

    return _warm(run), height * width * scale**2 / 1e6, "megapixel"


@contextlib.contextmanager
def _onnx_file(height: int, width: int, scale: int, filters: int, blocks: int):
    """Yields the path of the generator as ONNX, for pictures of one size."""
    import torch

    model, _ = _torch_model(scale, filters, blocks, "float32", "eager")
    model.eval()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        lr = torch.rand(1, 3, height, width)
        torch.onnx.export(model, (lr,), path, input_names=["lr"], dynamo=False)
        yield path


def _picture(height: int, width: int):
    import numpy as np

    return np.random.RandomState(0).randint(0, 256, (height, width, 3)).astype(np.uint8)


def _to_planes(lr):
    import numpy as np

    return (lr.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32)


def _to_uint8(sr):
    import numpy as np

    return np.clip((sr + 1) * 127.5, 0, 255).astype(np.uint8)


def torch_batches(
    *, photos: str, batch: int, crop: int, scale: int, workers: int
) -> protocol.Prepared:
    """Crops of image files through a DataLoader, bicubic by Pillow: the usual way."""
    import glob

    import numpy as np
    import torch
    from PIL import Image

    paths = sorted(glob.glob(os.path.join(photos, "*")))

    class Crops(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 10**9

        def __getitem__(self, index: int):
            random = np.random.RandomState(index % 2**31)
            with Image.open(paths[random.randint(len(paths))]) as opened:
                image = opened.convert("RGB")
            left, top = (random.randint(side - crop + 1) for side in image.size)
            hr = image.crop((left, top, left + crop, top + crop))
            lr = hr.resize((crop // scale,) * 2, Image.Resampling.BICUBIC)
            return tuple(
                torch.from_numpy(np.asarray(one).transpose(2, 0, 1).copy()).float() / 255
                for one in (lr, hr)
            )

    loader = iter(torch.utils.data.DataLoader(Crops(), batch_size=batch, num_workers=workers))
    count = max(1, 128 // batch)

    def run() -> None:
        for _ in range(count):
            next(loader)

    return _warm(run), count * batch, "crop"


def _torch_model(scale: int, filters: int, blocks: int, precision: str, mode: str):
    """Returns the generator, and the context in which it computes in `precision`."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(filters, filters, 3, padding=1),
                nn.BatchNorm2d(filters),
                nn.PReLU(filters),
                nn.Conv2d(filters, filters, 3, padding=1),
                nn.BatchNorm2d(filters),
            )

        def forward(self, x):
            return x + self.body(x)

    class Generator(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(nn.Conv2d(3, filters, 9, padding=4), nn.PReLU(filters))
            self.trunk = nn.Sequential(
                *(Block() for _ in range(blocks)),
                nn.Conv2d(filters, filters, 3, padding=1),
                nn.BatchNorm2d(filters),
            )
            factors = {2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]
            up = []
            for factor in factors:
                up += [
                    nn.Conv2d(filters, filters * factor**2, 3, padding=1),
                    nn.PixelShuffle(factor),
                    nn.PReLU(filters),
                ]
            self.tail = nn.Sequential(*up, nn.Conv2d(filters, 3, 9, padding=4), nn.Tanh())

        def forward(self, x):
            head = self.head(x)
            return self.tail(head + self.trunk(head))

    model = Generator().to(memory_format=torch.channels_last)
    if mode == "compile":
        model = torch.compile(model)
    if precision == "float32":
        return model, contextlib.nullcontext
    return model, lambda: torch.autocast("cpu", dtype=getattr(torch, precision))


def _warm(run):
    for _ in range(2):
        run()
    return run


KINDS = {
    "torch_train": torch_train,
    "torch_upscale": torch_upscale,
    "torch_batches": torch_batches,
    "onnx_upscale": onnx_upscale,
    "opencv_upscale": opencv_upscale,
}

if __name__ == "__main__":
    protocol.serve(KINDS)
