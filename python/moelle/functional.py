"""Operations without state, with PyTorch's argument names. Tensors are float32 or float64 unless said otherwise; all in one call share a dtype.

Raises, everywhere: ``TypeError`` for a wrong dtype, ``moelle.Error`` (a ``ValueError``) for shapes and values out of range, naming them.
"""

from __future__ import annotations

from . import _core
from ._numpy import np
from ._core import Tensor, ops
from ._core.ops import BiasRule, GateParams, GroupScore, RopeLayout, RopeParams, RopeScalingKind, ScaleRule, Score

__all__ = [
    "BiasRule", "GateParams", "GroupScore", "RopeLayout", "ScaleRule", "Score", "add_rms_norm", "attention", "count_experts", "cross_entropy", "dead_experts", "embedding",
    "experts", "gate", "gelu", "grouped_linear", "linear", "linear_cross_entropy", "load_entropy", "log_softmax", "matmul", "max_violation", "mla_absorbed", "mla_expanded",
    "one_hot", "permute_tokens", "relu", "rms_norm", "rope", "rope_tables", "round_to_bf16", "router_z_loss", "sequence_balance_loss", "sigmoid", "silu", "softmax",
    "softplus", "swiglu", "switch_balance_loss", "token_log_probs", "unpermute_tokens", "update_bias",
]


GateParams.__doc__ = """How a gate scores, groups, chooses and weighs; ``greedy``, ``group_limited_greedy`` and ``noaux_tc`` make the known ones.

``groups`` must divide the number of experts; ``top_k <= top_groups * experts / groups``."""


# --- products -----------------------------------------------------------------------------------------------------------


def linear(input, weight, bias=None) -> Tensor:
    """``input weight^T + bias``: input [..., K], weight [N, K], bias [N] -> [..., N].

    >>> import moelle
    >>> moelle.functional.linear(moelle.ones(1, 2), moelle.tensor([[1., 2.], [3., 4.]])).tolist()
    [[3.0, 7.0]]
    """
    return ops.linear(input, weight, bias)


def matmul(input, other) -> Tensor:
    """input [..., M, K], other [..., K, N] -> [..., M, N]; leading axes broadcast."""
    return ops.matmul(input, other)


def grouped_linear(input, weight, offsets) -> Tensor:
    """Rows ``offsets[e] : offsets[e + 1]`` of input [R, K] times ``weight[e]^T``, weight [E, N, K] -> [R, N]; offsets [E + 1] int32."""
    return ops.grouped_linear(input, weight, offsets)


def embedding(input, weight) -> Tensor:
    """Rows of weight [V, D] by input [...] (int32 or int64) -> [..., D].

    >>> import moelle
    >>> moelle.functional.embedding(moelle.tensor([1, 0]), moelle.tensor([[1.], [2.]])).tolist()
    [[2.0], [1.0]]
    """
    return ops.embedding(input, weight)


# --- norms and activations ------------------------------------------------------------------------------------------------


def rms_norm(input, weight=None, eps: float = 1e-6) -> Tensor:
    """``weight input / sqrt(mean(input^2) + eps)`` over the last axis: input [..., D], weight [D].

    Source: Zhang and Sennrich, arXiv:1910.07467.

    >>> import moelle
    >>> moelle.functional.rms_norm(moelle.tensor([3., 4.]), eps=0.0)
    tensor([0.8485, 1.1314], shape=[2], dtype=float32)
    """
    return ops.rms_norm(input, weight, eps)


def add_rms_norm(input, residual, weight=None, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """``s = input + residual`` and ``rms_norm(s)``, in one pass; both [..., D]."""
    return tuple(ops.add_rms_norm(input, residual, weight, eps))


def softmax(input, dim: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along one axis.

    >>> import moelle
    >>> moelle.functional.softmax(moelle.zeros(2)).tolist()
    [0.5, 0.5]
    """
    return ops.softmax(input, dim)


def log_softmax(input, dim: int = -1) -> Tensor:
    """``x - log(sum(exp(x)))`` along one axis."""
    return ops.log_softmax(input, dim)


def sigmoid(input) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return ops.sigmoid(input)


def silu(input) -> Tensor:
    """``x sigmoid(x)`` (arXiv:1702.03118)."""
    return ops.silu(input)


def softplus(input) -> Tensor:
    """``log(1 + exp(x))``."""
    return ops.softplus(input)


def relu(input) -> Tensor:
    """``max(x, 0)``."""
    return ops.relu(input)


def gelu(input, approximate: str = "none") -> Tensor:
    """``x Phi(x)`` (arXiv:1606.08415); ``approximate="tanh"`` for the form with tanh."""
    return ops.gelu(input, approximate)


def swiglu(gate, up=None, limit: float = float("inf")) -> Tensor:
    """``silu(gate) up``, both [..., H]; with ``up`` left out, the halves of the last axis of ``gate`` [..., 2H].

    ``limit`` L clamps gate to at most L and up to [-L, L]. Source: Shazeer, arXiv:2002.05202.

    >>> import moelle
    >>> moelle.functional.swiglu(moelle.tensor([0., 2.]), moelle.tensor([1., 1.]))
    tensor([0.0000, 1.7616], shape=[2], dtype=float32)
    """
    return ops.swiglu(gate, up, limit)


def round_to_bf16(input) -> Tensor:
    """Each element as bfloat16 would hold it, dtype unchanged; the gradient passes straight through (arXiv:1308.3432)."""
    return _core.round_to_bf16(input)


# --- rotary positions -----------------------------------------------------------------------------------------------------


def rope_tables(dim: int, positions: int, *, theta: float = 10000.0, scaling: str = "none", factor: float = 1.0, original_max_position: int = 4096,
                beta_fast: float = 32.0, beta_slow: float = 1.0, mscale: float = 0.0, mscale_all_dim: float = 0.0, attention_factor: float | None = None,
                truncate: bool = True, dtype="float32") -> tuple[Tensor, Tensor, float]:
    """cos and sin [positions, dim / 2] of rotary embedding, and the factor by which scaling multiplies attention scores.

    ``scaling``: none, linear (arXiv:2306.15595), ntk or yarn (arXiv:2309.00071).
    """
    kinds = RopeScalingKind.__members__
    if scaling not in kinds:
        raise _core.Error(f"rope_tables: scaling must be one of {', '.join(kinds)}; got scaling={scaling!r}{_core.did_you_mean(scaling, list(kinds))}")
    params = RopeParams(dim=dim, theta=theta, scaling=kinds[scaling], factor=factor, original_max_position=original_max_position, beta_fast=beta_fast, beta_slow=beta_slow,
                        mscale=mscale, mscale_all_dim=mscale_all_dim, attention_factor=attention_factor, truncate=truncate)
    return ops.rope_tables(params, positions, dtype)


def rope(input, positions, cos, sin, *, layout: RopeLayout = RopeLayout.interleaved, offset: int = 0, inverse: bool = False) -> Tensor:
    """Turns channels [offset, offset + 2 cos.size(1)) of input [..., T, H, D] by the angles of positions [T] or [..., T].

    ``layout``: interleaved pairs (DeepSeek), half_split (Llama), deinterleave. Source: Su et al., arXiv:2104.09864.
    """
    return ops.rope(input, positions, cos, sin, layout, offset, inverse)


# --- attention ------------------------------------------------------------------------------------------------------------


def attention(query, key, value, *, causal: bool = True, scale: float | None = None, window: int = 0, segments=None, mask=None) -> Tensor:
    """Attention in one pass: query [B, Tq, H, Dk], key [B, Tk, J, Dk], value [B, Tk, J, Dv] -> [B, Tq, H, Dv].

    H is a multiple of J (grouped queries). ``causal``: query i stands at position i + Tk - Tq. ``window`` limits how far it
    looks back. ``segments`` [B, T] are document numbers; ``mask`` is added to the scores and broadcasts to [B, H, Tq, Tk].
    Memory is linear in length (arXiv:2205.14135).

    >>> import moelle
    >>> x = moelle.ones(1, 3, 2, 4)
    >>> moelle.functional.attention(x, x, x).shape
    (1, 3, 2, 4)
    """
    return ops.attention(query, key, value, 0.0 if scale is None else scale, causal, window, segments, mask)


def mla_expanded(query, latent, k_rope, kv_b, *, nope: int, rope: int, value: int, scale: float | None = None, segments=None) -> Tensor:
    """Latent attention with keys and values written out: query [B, Tq, H, nope + rope], latent [B, Tk, C], k_rope [B, Tk, rope],
    kv_b [H (nope + value), C] -> [B, Tq, H, value]. Source: DeepSeek-V2, arXiv:2405.04434, section 2.1."""
    return ops.mla_expanded(query, latent, k_rope, kv_b, nope, rope, value, 0.0 if scale is None else scale, segments)


def mla_absorbed(query, cache, kv_b, *, nope: int, rope: int, value: int, scale: float | None = None, segments=None) -> Tensor:
    """The same in latent space: cache [B, Tk, C + rope] holds latent and rotary key side by side and is read once for all heads."""
    return ops.mla_absorbed(query, cache, kv_b, nope, rope, value, 0.0 if scale is None else scale, segments)


# --- mixture of experts -----------------------------------------------------------------------------------------------------


def gate(logits, bias=None, *, params: GateParams, experts=None) -> tuple[Tensor, Tensor, Tensor]:
    """Picks ``params.top_k`` experts for every token: logits [N, E], bias [E] -> experts [N, K] int32, weights [N, K], scores [N, E].

    The bias moves the choice and never a weight. Higher scores first, then lower indices. With ``experts`` [N, K] the choice is
    given. Sources: DeepSeek-V3, arXiv:2412.19437, section 2.1.2; the others are named in the header ``moelle/moe/gate.hpp``.

    >>> import moelle
    >>> from moelle import functional as F
    >>> logits = moelle.tensor([[2., 0., 1., 3.]])
    >>> experts, weights, scores = F.gate(logits, params=F.GateParams.greedy(top_k=2))
    >>> experts.tolist()
    [[3, 0]]
    """
    return ops.gate(logits, bias, params, experts)


def experts(input, choice, weights, gate_up, down, limit: float = float("inf")) -> Tensor:
    """Weighed sum of the chosen SwiGLU experts: input [N, D], choice and weights [N, K], gate_up [E, 2F, D], down [E, D, F] -> [N, D]."""
    return ops.experts(input, choice, weights, gate_up, down, limit)


def permute_tokens(input, choice, num_experts: int):
    """Rows of input [N, D] ordered by expert: -> (rows [N K, D], permutation) for ``grouped_linear`` and ``unpermute_tokens``."""
    permutation = ops.make_permutation(choice, num_experts)
    return ops.permute(input, permutation), permutation


def unpermute_tokens(input, weights, permutation) -> Tensor:
    """Sum over each token's K rows, weighed: input [N K, D], weights [N, K] -> [N, D]."""
    return ops.unpermute(input, weights, permutation)


def sequence_balance_loss(scores, choice, sequences: int) -> Tensor:
    """DeepSeek-V3's sequence-wise balance loss (arXiv:2412.19437, section 2.1.2) without its factor: scores [N, E], choice [N, K]."""
    return ops.sequence_balance_loss(scores, choice, sequences)


def switch_balance_loss(scores, choice) -> Tensor:
    """The auxiliary loss of Switch Transformers (arXiv:2101.03961) without its factor: scores [N, E] after softmax, choice [N, K]."""
    return ops.switch_balance_loss(scores, choice)


def router_z_loss(logits) -> Tensor:
    """Mean squared log-sum-exp of router logits [N, E] (arXiv:2202.08906)."""
    return ops.router_z_loss(logits)


def update_bias(bias, counts, rate: float, rule: str | BiasRule = "sign") -> None:
    """Moves a selection bias [E] towards even loads, in place (arXiv:2408.15664); ``rule``: sign or proportional."""
    ops.update_bias(bias, list(counts), rate, rule if isinstance(rule, BiasRule) else BiasRule(rule))


def count_experts(choice, num_experts: int) -> list[int]:
    """Tokens of each expert: choice [N, K], a tensor, array or nested lists.

    >>> from moelle import functional as F
    >>> F.count_experts([[0, 2], [2, 1]], 3)
    [1, 1, 2]
    """
    return ops.count_experts(choice if isinstance(choice, Tensor) else Tensor(np.asarray(choice, np.int64)), num_experts)


def max_violation(counts) -> float:
    """MaxVio: (largest - mean) / mean load (arXiv:2408.15664, section 3).

    >>> from moelle import functional as F
    >>> F.max_violation([3, 1])
    0.5
    """
    return ops.max_violation(list(counts))


def dead_experts(counts, below: float = 0.1) -> int:
    """Experts with fewer tokens than ``below`` times the mean."""
    return ops.dead_experts(list(counts), below)


def load_entropy(counts) -> float:
    """Entropy of the load in nats; log(E) is perfect balance."""
    return ops.load_entropy(list(counts))


# --- losses ---------------------------------------------------------------------------------------------------------------


def cross_entropy(input, target, weight=None, ignore_index: int = -100, reduction: str = "mean", *, z_loss: float = 0.0, normalizer: float = 0.0) -> Tensor:
    """Cross-entropy of logits [..., V] and labels [...] (int32 or int64), in nats. The classes are the last axis.

    ``z_loss`` adds z lse^2 per token (arXiv:2204.02311); ``normalizer`` takes the place of the number of targets.

    >>> import moelle
    >>> moelle.functional.cross_entropy(moelle.zeros(3, 2), moelle.tensor([0, 1, 1]))
    tensor(0.6931, shape=[], dtype=float32)
    """
    return ops.cross_entropy(input, target, weight, ignore_index, reduction, z_loss, normalizer)


def linear_cross_entropy(hidden, projection, target, weight=None, ignore_index: int = -100, reduction: str = "mean", *, z_loss: float = 0.0,
                         normalizer: float = 0.0) -> Tensor:
    """``cross_entropy(linear(hidden, projection), target)`` in chunks: logits are never stored. hidden [..., D], projection [V, D]."""
    return ops.linear_cross_entropy(hidden, projection, target, weight, ignore_index, reduction, z_loss, normalizer)


def token_log_probs(input, target, ignore_index: int = -100) -> Tensor:
    """log p(target | logits): logits [..., V], target [...] -> [...]; 0 where ignored."""
    return ops.token_log_probs(input, target, ignore_index)


def one_hot(tensor, num_classes: int) -> Tensor:
    """1 at the index, 0 elsewhere along a further last axis."""
    return ops.one_hot(tensor, num_classes)
