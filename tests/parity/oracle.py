"""Tiny models of every family in transformers, and what it computes with them: the oracle of the parity tests.

Weights are random but not small, so that norms, routing and positions all matter; a seed is taken only if no token's choice of
experts is close to a tie, because a tie may fall either way in float32.
"""
from __future__ import annotations

import dataclasses
import re

import numpy as np
import torch
import transformers

V, D, T, B = 96, 48, 24, 2  # vocabulary, hidden size, length, batch

_DEEPSEEK = dict(vocab_size=V, hidden_size=D, num_hidden_layers=3, num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=20, qk_nope_head_dim=12,
                 qk_rope_head_dim=8, v_head_dim=10, intermediate_size=40, moe_intermediate_size=16, first_k_dense_replace=1, max_position_embeddings=128,
                 tie_word_embeddings=False, attention_bias=False)
_YARN = dict(type="yarn", factor=8.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)
_YARN_V3 = _YARN | dict(mscale=1.0, mscale_all_dim=1.0)


def _official(model_type: str, base: dict, **extra) -> dict:
    return dict(model_type=model_type, rms_norm_eps=1e-6, rope_theta=10000.0, hidden_act="silu") | base | extra


_V2 = _DEEPSEEK | dict(n_routed_experts=8, n_shared_experts=2, num_experts_per_tok=3, norm_topk_prob=False, moe_layer_freq=1)
_V3 = _DEEPSEEK | dict(q_lora_rank=24, n_routed_experts=16, n_shared_experts=1, num_experts_per_tok=4, norm_topk_prob=True)

# name: transformers' configuration class, its arguments, and the same as an official config.json where that looks different
MODELS = {
    "deepseek_v2_greedy": dict(
        cls="DeepseekV2", args=_V2 | dict(q_lora_rank=None, n_group=1, topk_group=1, topk_method="greedy", routed_scaling_factor=1.0, rope_theta=10000.0),
        official=_official("deepseek_v2", _V2, q_lora_rank=None, n_group=1, topk_group=1, topk_method="greedy", scoring_func="softmax", routed_scaling_factor=1.0,
                           rope_scaling=None)),
    "deepseek_v2_grouped": dict(
        cls="DeepseekV2", args=_V2 | dict(q_lora_rank=24, n_group=4, topk_group=2, topk_method="group_limited_greedy", routed_scaling_factor=4.0, rope=_YARN),
        official=_official("deepseek_v2", _V2, q_lora_rank=24, n_group=4, topk_group=2, topk_method="group_limited_greedy", scoring_func="softmax",
                           routed_scaling_factor=4.0, rope_scaling=_YARN)),
    "deepseek_v3": dict(
        cls="DeepseekV3", args=_V3 | dict(n_group=4, topk_group=2, routed_scaling_factor=2.5, rope=_YARN_V3),
        official=_official("deepseek_v3", _V3, n_group=4, topk_group=2, topk_method="noaux_tc", scoring_func="sigmoid", routed_scaling_factor=2.5,
                           rope_scaling=_YARN_V3, num_nextn_predict_layers=0)),
    "moonlight": dict(
        cls="DeepseekV3", args=_DEEPSEEK | dict(q_lora_rank=None, n_routed_experts=16, n_shared_experts=2, num_experts_per_tok=4, n_group=1, topk_group=1,
                                                 norm_topk_prob=True, routed_scaling_factor=2.446, rms_norm_eps=1e-5, rope_theta=50000.0),
        official=_official("deepseek_v3", _DEEPSEEK, q_lora_rank=None, n_routed_experts=16, n_shared_experts=2, num_experts_per_tok=4, n_group=1, topk_group=1,
                           topk_method="noaux_tc", scoring_func="sigmoid", norm_topk_prob=True, routed_scaling_factor=2.446, rms_norm_eps=1e-5,
                           rope_theta=50000.0, num_nextn_predict_layers=0)),
    "mixtral": dict(
        cls="Mixtral", args=dict(vocab_size=V, hidden_size=D, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=12, intermediate_size=24,
                                 num_local_experts=6, num_experts_per_tok=2, max_position_embeddings=128, rope_theta=1e6, sliding_window=None)),
    "qwen3_moe": dict(
        cls="Qwen3Moe", args=dict(vocab_size=V, hidden_size=D, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=40,
                                  moe_intermediate_size=16, num_experts=8, num_experts_per_tok=3, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[1],
                                  max_position_embeddings=128, rope_theta=1e6, tie_word_embeddings=False)),
    "olmoe": dict(
        cls="Olmoe", args=dict(vocab_size=V, hidden_size=D, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, intermediate_size=16, num_experts=8,
                               num_experts_per_tok=3, norm_topk_prob=False, max_position_embeddings=128, rope_theta=10000.0, clip_qkv=1.5)),
}


@dataclasses.dataclass
class Expected:
    logits: np.ndarray  # [B, T, V]
    loss: float
    grads: dict[str, np.ndarray]  # official names
    experts: list[np.ndarray]  # per layer with experts [B T, K], each row sorted
    generated: np.ndarray  # [B, T + new]
    margin: float  # smallest distance of a choice from a tie


def _config(name: str):
    spec = MODELS[name]
    args = dict(spec["args"])
    rope = args.pop("rope", None)
    theta = args.pop("rope_theta", 10000.0)
    parameters = dict(rope_type="default", rope_theta=theta)
    if rope is not None:
        parameters = {k: v for k, v in rope.items() if k != "type"} | dict(rope_type=rope["type"], rope_theta=theta)
    config = getattr(transformers, spec["cls"] + "Config")(**args, rope_parameters=parameters, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    config._attn_implementation = "eager"
    return config


def _randomize(model, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if key.endswith("norm.weight") or "layernorm" in key:
                p.copy_(1.0 + 0.3 * torch.randn(p.shape, generator=g))
            elif "embed" in key:
                p.copy_(torch.randn(p.shape, generator=g))
            elif re.search(r"mlp\.gate\.|block_sparse_moe\.gate\.", key):
                p.copy_(0.6 * torch.randn(p.shape, generator=g))
            else:
                p.copy_(torch.randn(p.shape, generator=g) * 1.5 / p.shape[-1] ** 0.5)
        for key, b in model.named_buffers():
            if key.endswith("e_score_correction_bias"):
                b.copy_(0.2 * torch.randn(b.shape, generator=g))


def build(name: str, seed: int = 0):
    """A model and ids [B, T] whose choices of experts all keep clear of ties."""
    for attempt in range(seed * 100, seed * 100 + 60):
        torch.manual_seed(attempt)
        model = getattr(transformers, MODELS[name]["cls"] + "ForCausalLM")(_config(name)).float().eval()
        _randomize(model, attempt)
        ids = torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1000 + attempt))
        if trace(model, ids)[1] > 3e-4 and _greedy_margin(model, ids) > 1e-3:
            return model, ids
    raise RuntimeError(f"{name}: no seed keeps clear of ties")


def _gates(model):
    for layer in model.model.layers:
        block = getattr(layer, "mlp", None) or getattr(layer, "block_sparse_moe", None)
        if block is not None and hasattr(block, "gate") and hasattr(block, "experts"):
            yield block


def trace(model, ids):
    """Chosen experts per layer, each row sorted, and the smallest gap between the last chosen and the first left out."""
    seen, hooks = [], []

    def record(block):
        def hook(_module, args, _kwargs=None):
            # experts are called with (hidden, indices, weights) in every family
            seen.append((block, args[0].detach(), args[1].detach()))
        return hook

    for block in _gates(model):
        hooks.append(block.experts.register_forward_pre_hook(record(block)))
    with torch.no_grad():
        model(ids)
    for h in hooks:
        h.remove()
    margin, experts = float("inf"), []
    for block, hidden, index in seen:
        experts.append(np.sort(index.reshape(-1, index.shape[-1]).numpy().astype(np.int32), axis=1))
        margin = min(margin, _margin(model.config, block.gate, hidden.reshape(-1, hidden.shape[-1]), index.reshape(-1, index.shape[-1])))
    return experts, margin


def _margin(config, gate, hidden, index) -> float:
    logits = hidden.double() @ gate.weight.double().T
    scores = logits.sigmoid() if config.model_type == "deepseek_v3" else logits.log_softmax(-1)  # small probabilities: compare their logarithms
    bias = getattr(gate, "e_score_correction_bias", None)
    rank = scores if bias is None else scores + bias.double()
    groups = getattr(config, "n_group", 1) or 1
    if groups > 1:
        per = rank.view(rank.shape[0], groups, -1)
        value = per.topk(2, -1).values.sum(-1) if config.model_type == "deepseek_v3" else per.max(-1).values
        order = value.sort(-1, descending=True)
        gap = (order.values[:, config.topk_group - 1] - order.values[:, config.topk_group]).min().item()
        keep = torch.zeros_like(value, dtype=torch.bool).scatter(1, order.indices[:, : config.topk_group], True)
        rank = rank.masked_fill(~keep.repeat_interleave(per.shape[-1], 1), -1e9)
    else:
        gap = float("inf")
    top = rank.sort(-1, descending=True)
    k = index.shape[-1]
    return min(gap, (top.values[:, k - 1] - top.values[:, k]).min().item())


def _greedy(model, ids, new_tokens: int):
    """Greedy continuation, and the smallest gap between the best and the second best logit on the way."""
    gap, past, step, out = float("inf"), None, ids, ids
    with torch.no_grad():
        for _ in range(new_tokens):
            run = model(step, past_key_values=past, use_cache=True)
            past = run.past_key_values
            top = run.logits[:, -1].topk(2, -1)
            gap = min(gap, (top.values[:, 0] - top.values[:, 1]).min().item())
            step = top.indices[:, :1]
            out = torch.cat([out, step], 1)
    return out.numpy().astype(np.int32), gap


def _greedy_margin(model, ids) -> float:
    return _greedy(model, ids, 12)[1]


def _per_expert(key: str, value: np.ndarray, mixtral: bool) -> dict[str, np.ndarray]:
    """transformers keeps experts fused; released files hold one tensor per expert."""
    m = re.fullmatch(r"(.*)\.experts\.(gate_up_proj|down_proj)", key)
    if m is None:
        return {key: value}
    names = ("w1", "w3", "w2") if mixtral else ("gate_proj", "up_proj", "down_proj")
    prefix = m[1].replace(".mlp", ".block_sparse_moe") if mixtral else m[1]
    out = {}
    for e, w in enumerate(value):
        if m[2] == "gate_up_proj":
            half = w.shape[0] // 2
            out[f"{prefix}.experts.{e}.{names[0]}.weight"] = w[:half]
            out[f"{prefix}.experts.{e}.{names[1]}.weight"] = w[half:]
        else:
            out[f"{prefix}.experts.{e}.{names[2]}.weight"] = w
    return out


def _renamed(model, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    mixtral = model.config.model_type == "mixtral"
    out = {}
    for key, value in tensors.items():
        for k, v in _per_expert(key, value, mixtral).items():
            if mixtral:
                k = k.replace(".mlp.gate.", ".block_sparse_moe.gate.")
            out[k] = np.ascontiguousarray(v)
    return out


def official_weights(model) -> dict[str, np.ndarray]:
    """The state dict under the names of the released checkpoints, float32."""
    return _renamed(model, {k: v.detach().float().numpy() for k, v in model.state_dict().items() if "rotary" not in k})


def expectations(model, ids, new_tokens: int) -> Expected:
    experts, margin = trace(model, ids)
    model.zero_grad()
    logits = model(ids).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, V), ids[:, 1:].reshape(-1))
    loss.backward()
    grads = {k: (p.grad if p.grad is not None else torch.zeros_like(p)).numpy() for k, p in model.named_parameters()}
    generated, gap = _greedy(model, ids, new_tokens)
    return Expected(logits.detach().numpy(), loss.item(), _renamed(model, grads), experts, generated, min(margin, gap))
