"""What PyTorch and NumPy make of small tensors: products, convolutions, activations, rows.

    python scripts/reference/tensor_ops.py

Writes tests/fixtures/tensor_ops.safetensors. A tensor's name is CASE.PART; the test reads what to compute from CASE:
`matmul`, `conv_STRIDE_PADDING`, `act_NAME`, `softmax`, `log_softmax`, `layer_norm`, `rms_norm`, `reduce_NAME`, `quantize`,
each with the type of its elements at the end. Narrow types are computed in f32 from the rounded inputs and rounded once.
"""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

OUT = pathlib.Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tensor_ops.safetensors"
TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
ACTIVATIONS = {
    "relu": F.relu, "relu6": F.relu6, "leaky_relu": F.leaky_relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh,
    "gelu": F.gelu, "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"), "silu": F.silu, "elu": F.elu,
    "selu": F.selu, "softplus": F.softplus, "softsign": F.softsign, "hard_swish": F.hardswish,
    "hard_sigmoid": F.hardsigmoid, "mish": F.mish, "softmax": lambda x: F.softmax(x, 1),
    "log_softmax": lambda x: F.log_softmax(x, 1),
}
REDUCTIONS = {
    "sum": lambda x: x.sum(1), "mean": lambda x: x.mean(1), "max": lambda x: x.amax(1), "min": lambda x: x.amin(1),
    "l2_norm": lambda x: torch.linalg.vector_norm(x, dim=1), "argmax": lambda x: x.argmax(1).to(torch.int32),
}
torch.set_num_threads(1)
torch.manual_seed(2026)
tensors = {}


def put(case, **parts):
    for part, tensor in parts.items():
        tensors[f"{case}.{part}"] = tensor.contiguous()


for name, dtype in TYPES.items():
    def random(*shape, scale=1.0):
        return (torch.randn(shape) * scale).to(dtype)

    a, b = random(19, 45), random(45, 33)
    put(f"matmul_{name}", a=a, b=b, c=(a.float() @ b.float()).to(dtype))
    for stride, padding, kernel in [(1, 1, 3), (2, 0, 3), (2, 2, 5), (1, 0, 1)]:
        x, w = random(2, 3, 11, 9), random(5, 3, kernel, kernel)
        y = F.conv2d(x.float(), w.float(), stride=stride, padding=padding).to(dtype)
        put(f"conv_{stride}_{padding}_{name}", input=x, filter=w, output=y)
    x = random(2, 5, 4, 7, scale=4.0)
    for act, function in ACTIVATIONS.items():
        put(f"act_{act}_{name}", x=x, y=function(x.float()).to(dtype))
    x, w, b = random(6, 70, scale=3.0), random(70), random(70)
    put(f"softmax_{name}", x=x, y=F.softmax(x.float(), 1).to(dtype))
    put(f"log_softmax_{name}", x=x, y=F.log_softmax(x.float(), 1).to(dtype))
    layer = F.layer_norm(x.float(), (70,), w.float(), b.float(), 1e-5)
    put(f"layer_norm_{name}", x=x, weight=w, bias=b, y=layer.to(dtype))
    rms = x.float() * torch.rsqrt((x.float() ** 2).mean(1, keepdim=True) + 1e-6) * w.float()
    put(f"rms_norm_{name}", x=x, weight=w, y=rms.to(dtype))
    for reduction, function in REDUCTIONS.items():
        put(f"reduce_{reduction}_{name}", x=x, y=function(x.float()))
    values = x.float().numpy()
    largest = np.abs(values).max(1, keepdims=True)
    codes = np.rint(values * (np.float32(127) / largest)).astype(np.int8)
    put(f"quantize_{name}", x=x, q=torch.from_numpy(codes), scales=torch.from_numpy((largest / np.float32(127))[:, 0]))

a = torch.randint(-128, 128, (19, 45), dtype=torch.int8)
b = torch.randint(-128, 128, (45, 33), dtype=torch.int8)
put("matmul_i8", a=a, b=b, c=a.to(torch.int32) @ b.to(torch.int32))
x = torch.randint(-128, 128, (2, 3, 11, 9), dtype=torch.int8)
w = torch.randint(-128, 128, (5, 3, 3, 3), dtype=torch.int8)
put("conv_2_1_i8", input=x, filter=w, output=F.conv2d(x.double(), w.double(), stride=2, padding=1).to(torch.int32))

# One storage each: the same input of several cases is written several times, and stays readable.
save_file({k: v.clone() for k, v in tensors.items()}, OUT)
print(OUT, OUT.stat().st_size, "bytes,", len(tensors), "tensors")
