"""PyTorch's training step for the models that bench_train_step trains, written as a careful user would: DeepSeek-V3's layers (latent
attention, a sigmoid gate, one shared and 32 routed SwiGLU experts) or the dense twin, cross-entropy, clipping, fused AdamW.

    step = TrainStep("pilot", "MoE", "bf16", compiled=True, experts="padded", threads=2); step()
    python torch_step.py pilot MoE bf16 2        # prints the bytes that training takes beyond what PyTorch takes without a model

f32 lets oneDNN multiply (set_float32_matmul_precision("medium") computes in float32 on machines without AMX, and faster on AMD); bf16 is autocast.
Routed experts: "padded" is one batched product over rows padded to the largest load, "grouped" torch's grouped_mm over sorted rows.
"""
from __future__ import annotations

import logging
import os
import sys

os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "30000")  # loads change with every batch: no product should be compiled twice
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")        # no processes of its own beside a measurement
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

# as moelle's presets: width, layers, heads, head size without rope, rope, latent rank, dense width, expert width, experts per token, vocabulary; batch, length
SIZES = {"pilot": (128, 4, 4, 32, 16, 48, 384, 96, 3, 256, 16, 128), "demo": (256, 6, 8, 32, 16, 96, 640, 128, 4, 256, 32, 256),
         "small": (512, 8, 8, 64, 32, 128, 1280, 256, 4, 4096, 16, 512)}
EXPERTS = 32
torch._logging.set_logs(dynamo=logging.ERROR, inductor=logging.ERROR)  # reading the largest load breaks the graph: known


def linear(inputs, outputs):
    return nn.Linear(inputs, outputs, bias=False)


class Norm(nn.RMSNorm):
    def forward(self, x):  # a weight of another type than x would keep PyTorch from its fused operator
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), 1e-6)


def rotate(x, angle):
    """Pairs of neighbours [..., T, R] turned by angle [T, R/2]."""
    even, odd, c, s = x[..., ::2], x[..., 1::2], angle.cos(), angle.sin()
    return torch.stack((even * c - odd * s, odd * c + even * s), -1).flatten(-2)


class LatentAttention(nn.Module):
    def __init__(self, width, heads, nope, rope, rank, length):
        super().__init__()
        self.heads, self.sizes, self.rank = heads, (nope, rope), rank
        self.queries, self.latent = linear(width, heads * (nope + rope)), linear(width, rank + rope)
        self.norm, self.keys_values, self.out = Norm(rank), linear(rank, heads * 2 * nope), linear(heads * nope, width)
        self.register_buffer("angle", torch.outer(torch.arange(length).float(), 10000.0 ** (-torch.arange(0, rope, 2) / rope)))

    def forward(self, x):
        per_head = lambda y: y.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # noqa: E731
        q, q_rope = per_head(self.queries(x)).split(self.sizes, -1)
        latent, k_rope = self.latent(x).split((self.rank, self.sizes[1]), -1)
        k, v = per_head(self.keys_values(self.norm(latent))).chunk(2, -1)
        k_rope = rotate(k_rope[:, None], self.angle).expand(-1, self.heads, -1, -1)
        q, k = torch.cat((q, rotate(q_rope, self.angle)), -1), torch.cat((k, k_rope), -1)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True)
        return self.out(y.transpose(1, 2).flatten(2))


class Swiglu(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.gate_up, self.down = linear(width, 2 * hidden), linear(hidden, width)

    def forward(self, x):
        gate, up = self.gate_up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Mixture(nn.Module):
    def __init__(self, width, hidden, top, experts):
        super().__init__()
        self.top, self.how, self.shared = top, experts, Swiglu(width, hidden)
        self.router = linear(width, EXPERTS)
        self.gate_up = nn.Parameter(torch.randn(EXPERTS, width, 2 * hidden) * width**-0.5)
        self.down = nn.Parameter(torch.randn(EXPERTS, hidden, width) * hidden**-0.5)
        self.register_buffer("bias", torch.zeros(EXPERTS))

    def route(self, x):
        with torch.autocast("cpu", enabled=False):
            scores = self.router(x.float()).sigmoid()
            chosen = (scores.detach() + self.bias).topk(self.top, -1).indices
            weights = scores.gather(-1, chosen)
            return chosen.flatten(), (weights / weights.sum(-1, keepdim=True)).flatten()

    def forward(self, x):
        rows = x.flatten(0, 1)
        chosen, weights = self.route(rows)
        order = chosen.argsort(stable=True)
        source, loads = order // self.top, chosen.bincount(minlength=EXPERTS)
        ends = loads.cumsum(0)
        if self.how == "padded":
            room = (int(loads.max()) + 31) // 32 * 32
            place = chosen[order] * room + torch.arange(len(order)) - (ends - loads)[chosen[order]]
            padded = rows.new_zeros(EXPERTS * room, rows.shape[1]).index_copy(0, place, rows[source]).unflatten(0, (EXPERTS, room))
            gate, up = torch.bmm(padded, self.gate_up).chunk(2, -1)
            y = torch.bmm(F.silu(gate) * up, self.down).flatten(0, 1)[place]
        else:
            kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
            grouped = getattr(F, "grouped_mm", None) or torch._grouped_mm
            gate, up = grouped(rows[source].to(kind), self.gate_up.to(kind), offs=ends.int()).chunk(2, -1)
            y = grouped(F.silu(gate) * up, self.down.to(kind), offs=ends.int())
        routed = torch.zeros_like(rows, dtype=torch.float32).index_add(0, source, y.float() * weights[order, None])
        return self.shared(x) + routed.view_as(x)


class Model(nn.Module):
    def __init__(self, size, kind, experts):
        super().__init__()
        width, layers, heads, nope, rope, rank, dense, hidden, top, vocabulary, _, length = SIZES[size]
        self.embed, self.norm, self.head = nn.Embedding(vocabulary, width), Norm(width), linear(width, vocabulary)
        self.layers = nn.ModuleList()
        for i in range(layers):
            mlp = Mixture(width, hidden, top, experts) if kind == "MoE" and i > 0 else Swiglu(width, dense)
            attention = LatentAttention(width, heads, nope, rope, rank, length)
            self.layers.append(nn.ModuleList((Norm(width), attention, Norm(width), mlp)))

    def forward(self, ids):
        x = self.embed(ids)
        for before_attention, attention, before_mlp, mlp in self.layers:
            x = x + attention(before_attention(x))
            x = x + mlp(before_mlp(x))
        return self.head(self.norm(x))


class TrainStep:
    def __init__(self, size, kind, precision, compiled, experts, threads):
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        torch.set_float32_matmul_precision("medium")
        self.vocabulary, self.batch, self.length = SIZES[size][-3:]
        self.model, self.half = Model(size, kind, experts), precision == "bf16"
        self.forward = torch.compile(self.model) if compiled else self.model
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def __call__(self):
        ids = torch.randint(self.vocabulary, (self.batch, self.length + 1))
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.half):
            logits = self.forward(ids[:, :-1])
        F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def parameters(self):
        return sum(p.numel() for p in self.model.parameters())


def status(key):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(key + ":")) * 1024


def memory(size, kind, precision, threads):
    """Peak of the resident memory during steps, less what PyTorch and its compiler take without a model."""
    torch.compile(lambda x: x.sin() + 1)(torch.ones(8, requires_grad=True)).sum().backward()
    before = status("VmRSS")
    step = TrainStep(size, kind, precision, True, "padded", threads)
    for _ in range(3):
        step()
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")
    for _ in range(3):
        step()
    return status("VmHWM") - before


if __name__ == "__main__":
    print(memory(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
