"""The main job: a mixture of experts and its dense twin, trained on the same bytes, side by side.

Both models read the same batches in the same order for the same number of steps; the dense twin has the same attention
and the same active FLOPs per token. Everything that is printed and plotted is written to the run's folder as JSON, so
that an interrupted run goes on where it stopped and ends with the same table.
"""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import sysconfig
import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

import moelle
from moelle import data, estimate, models, training

BITS = 1 / math.log(2)  # nats to bits

PILOT = dict(
    model_type="deepseek_v3", vocab_size=256, hidden_size=128, num_hidden_layers=4, num_attention_heads=4, q_lora_rank=None,
    kv_lora_rank=48, qk_nope_head_dim=32, qk_rope_head_dim=16, v_head_dim=32, intermediate_size=384, moe_intermediate_size=96,
    n_routed_experts=32, n_shared_experts=1, num_experts_per_tok=3, first_k_dense_replace=1, n_group=1, topk_group=1,
    norm_topk_prob=True, routed_scaling_factor=1.0, scoring_func="sigmoid", topk_method="noaux_tc", aux_loss_alpha=1e-4, seq_aux=True,
    num_nextn_predict_layers=0, rope_theta=10000.0, rms_norm_eps=1e-6, initializer_range=0.02, tie_word_embeddings=False,
    max_position_embeddings=1024,
)


@dataclasses.dataclass
class Options:
    """What a run is made of; a run can only be continued with the same options."""

    data: list[str]
    optimizer: str = "muon"
    steps: int = 600
    batch_size: int = 16
    seq_len: int = 128
    lr: float = 6e-3
    seed: int = 1
    eval_windows: int = 0  # 0: all windows of the first 256 KiB of validation text


def default_data() -> tuple[list[str], dict]:
    """The source files of the Python standard library: real text that every machine has."""
    return [sysconfig.get_paths()["stdlib"]], dict(extensions=[".py"], exclude=["site-packages", "dist-packages", "__pycache__"])


class Arm:
    """One of the two models with its trainer, its history and its place in the run's folder."""

    def __init__(self, name: str, config, options: Options, documents, folder: Path):
        self.name, self.config, self.options, self.folder = name, config, options, folder / name
        self.model = models.CausalLM(config, seed=options.seed)
        self.trainer = training.Trainer(
            self.model, lr=options.lr, steps=options.steps, warmup_steps=min(50, max(1, options.steps // 10)), schedule="cosine", min_ratio=0.1,
            optimizer=options.optimizer, weight_decay=0.1, clip=1.0, bias_update_rate=10.0 / options.steps)
        self.loader = data.ByteLoader(documents, batch_size=options.batch_size, seq_len=options.seq_len, seed=options.seed)
        self.estimate = estimate.model(config, context=options.seq_len)
        self.flops = self.estimate.train_flops_per_token
        self.history: list[dict] = []
        self.seconds = 0.0
        self.load: list[list[int]] = []

    def resume(self) -> None:
        state = self.trainer.load(str(self.folder)) if self.folder.exists() else None
        if state:
            saved = json.loads(state)
            self.history, self.seconds, self.load = saved["history"], saved["seconds"], saved["load"]

    def save(self) -> None:
        self.trainer.save(str(self.folder), json.dumps(dict(history=self.history, seconds=self.seconds, load=self.load)))

    @property
    def done(self) -> bool:
        return self.trainer.steps_done >= self.options.steps

    def step(self) -> dict:
        report = self.trainer.step(self.trainer.next_batches(self.loader))
        self.seconds += report.seconds
        tokens = self.trainer.tokens_seen
        row = dict(step=report.step, loss=report.loss, tokens=tokens, flops=tokens * self.flops, seconds=self.seconds, grad_norm=report.grad_norm,
                   max_violation=report.max_violation, dead=report.dead_experts, skipped=report.skipped)
        self.history.append(row)
        self.load = [list(layer) for layer in report.load]
        return row | dict(rate=report.tokens / report.seconds)

    def smooth(self) -> list[float]:
        """Training loss in bits per byte, averaged over about 20 steps."""
        out, mean = [], None
        for row in self.history:
            mean = row["loss"] if mean is None else 0.95 * mean + 0.05 * row["loss"]
            out.append(mean * BITS)
        return out
