"""CAM++ as an ONNX file: its architecture as a graph, and its weights out of the checkpoint that PyTorch wrote.

The architecture is that of Wang et al., "CAM++: A Fast and Efficient Network for Speaker Verification Using
Context-Aware Masking" (2023); sizes and names are those of the checkpoint. Comments give the shape of what flows, for B
stretches of T frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dropscribe.models.checkpoints import torch_archive
from dropscribe.models.speakers import onnx_bytes
from dropscribe.models.speakers.onnx_bytes import Attribute

BANDS = 80  # of the mel filter bank, for each frame
DIMENSIONS = 192
BLOCKS = ((12, 1), (24, 2), (16, 2))  # layers of each dense block, and how far apart their three taps lie
SEGMENT = 100  # frames (of 20 ms) that share one mask
# What sherpa-onnx has to know: samples lie in [-1, 1], and the mean of each band over the stretch is taken away.
METADATA = {
    "framework": "3d-speaker",
    "language": "Chinese-English",
    "sample_rate": "16000",
    "output_dim": str(DIMENSIONS),
    "normalize_samples": "1",
    "feature_normalize_type": "global-mean",
}


def fill(checkpoint: Path, target: Path) -> None:
    """Write the graph with the weights of a checkpoint to `target`. The same checkpoint gives the same bytes.

    Raises ModelUnavailableError if the checkpoint is not such a file, or holds something other than tensors.
    """
    tensors = torch_archive.read(checkpoint)
    with target.open("wb") as sink:
        sink.write(graph())
        for name, tensor in tensors.items():
            if tensor.dtype == torch_archive.FLOAT32:  # integers only count the steps of training
                sink.write(onnx_bytes.initializer(name, tensor.shape, tensor.content))


def graph() -> bytes:
    """The model without weights, for which it takes the checkpoint's names: `fbank` (B, T, 80) in, `embedding` (B, 192)
    out.
    """
    network = _Network()
    _embed(network, _encode(network, _front(network, "fbank")))
    inputs = [onnx_bytes.value("fbank", ("batch", "frames", BANDS))]
    outputs = [onnx_bytes.value("embedding", ("batch", DIMENSIONS))]
    return onnx_bytes.model("campplus", network.nodes, inputs, outputs) + onnx_bytes.metadata(METADATA)


class _Network:
    """Nodes in the order in which they run. Every method adds some, and returns the name of what comes out."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []

    def add(self, operator: str, *inputs: str, **attributes: Attribute) -> str:
        """A node under a name of its own."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(onnx_bytes.node(operator, inputs, name, attributes))
        return name

    def normalize(self, x: str, name: str) -> str:
        """Batch normalization with the statistics of the training."""
        weights = (f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))
        return self.add("BatchNormalization", x, *weights)

    def activate(self, x: str, name: str) -> str:
        """The same, and nothing below 0."""
        return self.add("Relu", self.normalize(x, name))

    def convolve(self, x: str, name: str, *, bias: bool = False, **attributes: Attribute) -> str:
        """Convolution with the kernel of that name."""
        weights = (f"{name}.weight", f"{name}.bias") if bias else (f"{name}.weight",)
        return self.add("Conv", x, *weights, **attributes)


def _front(n: _Network, fbank: str) -> str:
    """The convolutional head: bands and frames as a picture, from which 320 channels of T frames come."""
    bands = n.add("Transpose", fbank, perm=(0, 2, 1))
    x = n.add("Unsqueeze", bands, n.add("Constant", value_ints=(1,)))  # (B, 1, 80, T)
    x = n.activate(n.convolve(x, "head.conv1", pads=(1, 1, 1, 1)), "head.bn1")  # (B, 32, 80, T)
    for layer in ("head.layer1", "head.layer2"):  # each halves the bands
        x = _residual(n, x, f"{layer}.0", halve=True)
        x = _residual(n, x, f"{layer}.1", halve=False)
    x = n.convolve(x, "head.conv2", pads=(1, 1, 1, 1), strides=(2, 1))
    x = n.activate(x, "head.bn2")  # (B, 32, 10, T)
    return n.add("Reshape", x, n.add("Constant", value_ints=(0, 320, -1)))


def _residual(n: _Network, x: str, name: str, *, halve: bool) -> str:
    """Two convolutions beside a shortcut."""
    strides = (2 if halve else 1, 1)
    y = n.activate(n.convolve(x, f"{name}.conv1", pads=(1, 1, 1, 1), strides=strides), f"{name}.bn1")
    y = n.normalize(n.convolve(y, f"{name}.conv2", pads=(1, 1, 1, 1)), f"{name}.bn2")
    if halve:
        x = n.normalize(n.convolve(x, f"{name}.shortcut.0", strides=strides), f"{name}.shortcut.1")
    return n.add("Relu", n.add("Add", x, y))


def _encode(n: _Network, x: str) -> str:
    """Three dense blocks over half the frames: (B, 320, T) becomes (B, 512, T / 2)."""
    x = n.convolve(x, "xvector.tdnn.linear", pads=(2, 2), strides=(2,))
    x = n.activate(x, "xvector.tdnn.nonlinear.batchnorm")  # (B, 128, T / 2)
    segments = _segments(n, x)
    for block, (layers, dilation) in enumerate(BLOCKS, start=1):
        for layer in range(1, layers + 1):
            new = _dense_layer(n, x, f"xvector.block{block}.tdnnd{layer}", dilation, segments)
            x = n.add("Concat", x, new, axis=1)  # 32 channels more
        transit = f"xvector.transit{block}"
        x = n.convolve(n.activate(x, f"{transit}.nonlinear.batchnorm"), f"{transit}.linear")  # half the channels
    return n.activate(x, "xvector.out_nonlinear.batchnorm")


@dataclass(frozen=True, slots=True)
class _Segments:
    """Stretches of frames: `of_frame` (T / 2) is each frame's number of its segment, and a product with `average`
    (T / 2, segments) the mean of each segment.

    AveragePool with `ceil_mode` would say the same, but the versions of ONNX Runtime do not agree on its last window.
    """

    of_frame: str
    average: str


def _segments(n: _Network, x: str) -> _Segments:
    """Nodes that average over segments of frames."""
    frames = n.add("Squeeze", n.add("Shape", x, start=2, end=3))
    zero, one, length = (n.add("Constant", value_int=number) for number in (0, 1, SEGMENT))
    of_frame = n.add("Div", n.add("Range", zero, frames, one), length)
    last = n.add("Div", n.add("Sub", frames, one), length)
    numbers = n.add("Range", zero, n.add("Add", last, one), one)
    member = n.add("Equal", n.add("Unsqueeze", of_frame, n.add("Constant", value_ints=(1,))), numbers)
    members = n.add("Cast", member, to=onnx_bytes.FLOAT)  # (T / 2, segments), 1 where the frame is in the segment
    counts = n.add("ReduceSum", members, n.add("Constant", value_ints=(0,)), keepdims=1)
    return _Segments(of_frame, n.add("Div", members, counts))


def _dense_layer(n: _Network, x: str, name: str, dilation: int, segments: _Segments) -> str:
    """Features of three frames, each channel masked by what the segment and the whole stretch are like."""
    x = n.convolve(n.activate(x, f"{name}.nonlinear1.batchnorm"), f"{name}.linear1")  # (B, 128, T / 2)
    x = n.activate(x, f"{name}.nonlinear2.batchnorm")
    name = f"{name}.cam_layer"
    local = n.convolve(x, f"{name}.linear_local", dilations=(dilation,), pads=(dilation, dilation))
    whole = n.add("ReduceMean", x, axes=(2,), keepdims=1)
    parts = n.add("MatMul", x, segments.average)  # (B, 128, segments)
    context = n.add("Relu", n.convolve(n.add("Add", parts, whole), f"{name}.linear1", bias=True))
    mask = n.add("Sigmoid", n.convolve(context, f"{name}.linear2", bias=True))  # (B, 32, segments)
    return n.add("Mul", local, n.add("Gather", mask, segments.of_frame, axis=2))


def _embed(n: _Network, x: str) -> None:
    """Mean and standard deviation over all frames, projected to `embedding` and normalized without weights.

    No Relu follows. Some copies of the architecture have one; it makes different people alike.
    """
    mean = n.add("ReduceMean", x, axes=(2,), keepdims=1)
    squares = n.add("ReduceSumSquare", n.add("Sub", x, mean), axes=(2,), keepdims=1)
    frames = n.add("Cast", n.add("Shape", x, start=2, end=3), to=onnx_bytes.FLOAT)
    others = n.add("Sub", frames, n.add("Constant", value_float=1.0))
    deviation = n.add("Sqrt", n.add("Div", squares, others))
    x = n.convolve(n.add("Concat", mean, deviation, axis=1), "xvector.dense.linear")  # (B, 192, 1)
    x = n.add("Squeeze", x, n.add("Constant", value_ints=(2,)))
    name = "xvector.dense.nonlinear.batchnorm"
    variance = n.add("Add", f"{name}.running_var", n.add("Constant", value_float=1e-5))  # as in each normalization
    centred = n.add("Sub", x, f"{name}.running_mean")
    n.nodes.append(onnx_bytes.node("Div", (centred, n.add("Sqrt", variance)), "embedding", {}))
