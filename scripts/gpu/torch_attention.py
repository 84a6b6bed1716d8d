"""Times PyTorch's scaled_dot_product_attention, causal, forward and backward, and prints JSON.

The shapes are those of `minichilla bench`. Exit status 77: no PyTorch with CUDA.
"""

import json
import sys

SKIPPED = 77
SAMPLES, REPETITIONS = 10, 20
SHAPES = [{"shape": "S", "B": 16, "T": 128, "H": 4, "D": 16}, {"shape": "M", "B": 8, "T": 256, "H": 4, "D": 32},
          {"shape": "L", "B": 8, "T": 256, "H": 8, "D": 32}, {"shape": "124M", "B": 16, "T": 1024, "H": 12, "D": 64}]

try:
    import torch
except ImportError as error:
    print(f"no PyTorch: {error}")
    sys.exit(SKIPPED)


def best_ms(work):
    """Of one call, from events on the stream around many."""
    for _ in range(3):
        work()
    times = []
    for _ in range(SAMPLES):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(REPETITIONS):
            work()
        end.record()
        torch.cuda.synchronize()
        times.append(begin.elapsed_time(end) / REPETITIONS)
    return min(times)


def measure(shape, precision):
    torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = [shape[key] for key in "BHTD"]  # what the function takes: the heads before the tokens
    q, k, v = (torch.randn(size, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3))
    attention = torch.nn.functional.scaled_dot_product_attention
    d_out = torch.randn(size, device="cuda", dtype=dtype)
    out = attention(q, k, v, is_causal=True)
    forward = best_ms(lambda: attention(q, k, v, is_causal=True))
    backward = best_ms(lambda: torch.autograd.grad(out, (q, k, v), d_out, retain_graph=True))
    return {**shape, "precision": precision, "forward_ms": forward, "backward_ms": backward}


def main():
    if not torch.cuda.is_available():
        print("PyTorch finds no GPU")
        sys.exit(SKIPPED)
    rows = [measure(shape, precision) for shape in SHAPES for precision in ("fp32", "tf32", "bf16")]
    print(json.dumps({"torch": torch.__version__, "rows": rows}))


main()
