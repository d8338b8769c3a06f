"""Modules: layers of the DeepSeek family, and classes of your own that stand in for any of them.

Parameters are float32. Attributes that are ``Parameter`` or ``Module`` are registered under their names, as in PyTorch; a part of
a C++ model is replaced by assigning to it: ``model.model.layers[1].mlp.gate = MyGate(...)``.

>>> import moelle
>>> layer = moelle.nn.Linear(3, 2, bias=False)
>>> layer(moelle.ones(4, 3)).shape
(4, 2)
"""

from __future__ import annotations

from collections.abc import Iterator

from . import _core
from ._core import (
    Attention, AttentionContext, BalanceLosses, Embedding, Experts, Gate, LayerCache, Linear, LoadResult, MLA, Module, ModuleList, MoE, MultiHeadAttention, Parameter,
    RMSNorm, Rotary, Routing, SwiGLU, Tensor, TopKGate, dtype,
)
from ._core.ops import GateParams
from ._numpy import np

__all__ = ["Attention", "AttentionContext", "BalanceLosses", "Embedding", "Experts", "Gate", "GateParams", "LayerCache", "Linear", "LoadResult", "MLA", "Module",
           "ModuleList", "MoE", "MultiHeadAttention", "Parameter", "RMSNorm", "Rotary", "Routing", "SwiGLU", "TopKGate", "clip_grad_norm_",
           "pack", "set_precision"]


def _getattr(self, name: str):
    if not name.startswith("__"):
        found = Module._find(self, name)
        if found is not None or Module._has_parameter(self, name) or Module._has_module(self, name):
            return found
    raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


def _setattr(self, name: str, value) -> None:
    if isinstance(value, Parameter):
        Module._set_parameter(self, name, value)
    elif isinstance(value, Module):
        Module._set_module(self, name, value)
    elif Module._has_module(self, name):
        if value is not None:
            raise TypeError(f"{type(self).__name__}: {name} must be a Module or None; got {type(value).__name__}")
        Module._set_module(self, name, None)
    elif Module._has_parameter(self, name):
        raise TypeError(f"{type(self).__name__}: {name} must be a Parameter; got {type(value).__name__}")
    elif Module._has_buffer(self, name):
        Module._set_buffer(self, name, value, True)
    else:
        object.__setattr__(self, name, value)


def _dir(self):
    return sorted({*object.__dir__(self), *(n for n, _ in self.named_children()), *(n for n, _ in self.named_parameters() if "." not in n)})


def _call(self, *args, **kwargs):
    return self.forward(*(Tensor(a) if isinstance(a, np.ndarray) else a for a in args), **kwargs)


def _repr(self) -> str:
    children = "".join(f"\n  ({name}): " + repr(child).replace("\n", "\n  ") for name, child in self.named_children())
    sizes = ", ".join(f"{n}={list(p.shape)}" for n, p in self.named_parameters() if "." not in n)
    return f"{type(self).__name__}({sizes}{children}\n)" if children else f"{type(self).__name__}({sizes})"


def register_buffer(self, name: str, tensor: Tensor, persistent: bool = True) -> None:
    """Lists a tensor that is not trained; part of the state dict unless ``persistent`` is false."""
    self._set_buffer(name, tensor, persistent)


def register_parameter(self, name: str, param) -> None:
    """Lists a parameter under a name, as assigning it to an attribute does."""
    self._set_parameter(name, param)


def add_module(self, name: str, module) -> None:
    """Lists a child under a name, as assigning it to an attribute does."""
    self._set_module(name, module)


def modules(self) -> Iterator[Module]:
    """This module and all below it."""
    return (m for _, m in self.named_modules())


def children(self) -> Iterator[Module]:
    """The modules right below this one."""
    return (m for _, m in self.named_children())


def named_modules(self, prefix: str = ""):
    """Names and modules: this one (under ``prefix``) and all below it, parents first."""
    return self._named_modules(prefix)


def train(self, mode: bool = True):
    """Switches this module and all below it to training; returns the module."""
    self._train(mode)
    return self


def eval(self):
    """Switches this module and all below it to evaluation; returns the module."""
    self._train(False)
    return self


def requires_grad_(self, requires_grad: bool = True):
    """Sets whether the parameters collect gradients; returns the module."""
    self._requires_grad_(requires_grad)
    return self


def load_state_dict(self, state_dict, strict: bool = True) -> LoadResult:
    """Copies float32 tensors or arrays into the module. Names and shapes are checked before anything is changed.

    Returns ``missing`` and ``unexpected`` names; with ``strict`` there must be none.
    """
    tensors = {}
    for name, value in state_dict.items():
        value = Tensor(np.ascontiguousarray(value)) if isinstance(value, np.ndarray) else value
        if not isinstance(value, Tensor):
            value = Tensor(np.asarray(value))
        if value.dtype != dtype.float32:
            raise TypeError(f"load_state_dict: dtype must be float32; got {name} of dtype={value.dtype}")
        tensors[name] = value.detach()
    return self._load_state_dict(tensors, strict)


def apply(self, fn):
    """Calls ``fn`` on all modules below this one and on it, children first; returns the module."""
    for child in self.children():
        child.apply(fn)
    fn(self)
    return self


for _f in [register_buffer, register_parameter, add_module, modules, children, named_modules, train, eval, requires_grad_, load_state_dict, apply]:
    setattr(Module, _f.__name__, _f)
Module.__getattr__, Module.__setattr__, Module.__dir__, Module.__call__, Module.__repr__ = _getattr, _setattr, _dir, _call, _repr


def _list_getitem(self, index):
    if isinstance(index, slice):
        return [self._at(i) for i in range(*index.indices(len(self)))]
    if not -len(self) <= index < len(self):
        raise IndexError(f"ModuleList: index must be in [{-len(self)}, {len(self)}); got index={index}")
    return self._at(index % len(self))


def _list_setitem(self, index: int, module) -> None:
    _list_getitem(self, index)
    self._put(index % len(self), module)


ModuleList.__getitem__, ModuleList.__setitem__ = _list_getitem, _list_setitem
ModuleList.__iter__ = lambda self: (self._at(i) for i in range(len(self)))
_list_init = ModuleList.__init__


def _init_list(self, modules=()):
    _list_init(self)
    for m in modules:
        self.append(m)


ModuleList.__init__ = _init_list
for _c in [Attention, AttentionContext, BalanceLosses, Embedding, Experts, Gate, LayerCache, Linear, LoadResult, MLA, Module, ModuleList, MoE, MultiHeadAttention, RMSNorm,
           Rotary, Routing, SwiGLU, TopKGate]:
    _c.__module__ = "moelle.nn"


def set_precision(module: Module, precision: str) -> Module:
    """What the products of a module's layers compute with, children included; returns the module.

    ``"f32"``: float operands. ``"bf16"``: operands rounded to bfloat16 (nearest, ties to even), sums and all else in float: about twice as
    quick where the processor has AVX-512 BF16. ``"fp8"``: operands rounded to e4m3 in tiles of 1 x 128 (activations, gradients) and
    128 x 128 (weights), as DeepSeek-V3 was trained (arXiv:2412.19437, section 3.3.2), simulated: its accuracy, not its speed; the output
    head is bf16 then. Weights, gradients and the optimizer's state stay float in all three; so do routers.
    Raises ``moelle.Error`` for another name.
    """
    module.set_precision(precision)
    return module


def pack(module: Module, format: str) -> Module:
    """Packs the weights of a module's products, children included, for inference: less memory, and several times the speed. Returns the module.

    ``"f32"`` 4 bytes per weight, ``"bf16"`` 2, ``"fp8"`` 1 (e4m3, a scale for each output feature and 128 inputs), ``"int8"`` 1 (a scale for each
    output feature; activations are quantised to int8, a scale for each row), ``"int4"`` 0.53 (integer scales for each 32 inputs, activations
    as for int8). Embeddings, norms and routers stay float. The floats are let go: packed weights leave ``parameters()`` and ``state_dict()``
    and have no gradient. Raises ``moelle.Error`` for another format and for weights that are packed already or are not finite.

    >>> from moelle import nn
    >>> layer = nn.pack(nn.Linear(64, 64), "int8")
    >>> layer.packed_bytes
    4608
    """
    module.pack(format)
    return module


def clip_grad_norm_(parameters, max_norm: float) -> float:
    """Scales gradients so that their global norm is at most ``max_norm``; returns the norm before.

    Raises ``moelle.Error`` if ``max_norm`` is not positive.
    """
    if not max_norm > 0:
        raise _core.Error(f"clip_grad_norm_: max_norm must be positive; got max_norm={max_norm}")
    parameters = [p for p in parameters if p.grad is not None]
    norm = _core.grad_norm(parameters)
    if norm > max_norm:
        for p in parameters:
            p.grad.mul_(max_norm / norm)
    return norm


AttentionContext.__doc__ = "What an attention is told: first_position, segments [B, T] or None, cache or None."
BalanceLosses.__doc__ = "Factors of the balance losses of a MoE layer: sequence, batch, switch, z; 0 computes none."
LayerCache.__doc__ = "What one layer remembers. Derive from it and define length(), capacity(), truncate(length) and bytes()."
LoadResult.__doc__ = "Names that a state dict lacked (missing) or had too many (unexpected)."
ModuleList.__doc__ = "Modules under the names 0, 1, ..."
Parameter.__doc__ = "A tensor that training moves: assigned to an attribute of a module, it is registered there."
Rotary.__doc__ = "The rotary tables that the attentions of a model share (Su et al., arXiv:2104.09864)."
Routing.__doc__ = "Where tokens go: experts [N, K] int32, weights [N, K], scores [N, E] or None."
Linear.__doc__ = """``y = x W^T + b``: x [..., in_features] -> [..., out_features]; weight [out_features, in_features].

Initial weights are uniform in +-1/sqrt(in_features), a function of ``seed``."""
Embedding.__doc__ = "Rows of a table: ids [...] (int32 or int64) -> [..., embedding_dim]; weight [num_embeddings, embedding_dim]."
RMSNorm.__doc__ = "``w x / sqrt(mean(x^2) + eps)`` over the last axis (Zhang and Sennrich, arXiv:1910.07467)."
SwiGLU.__doc__ = "``down(silu(gate(x)) * up(x))`` (Shazeer, arXiv:2002.05202); x [..., hidden_size]."
Gate.__doc__ = """A router. Derive from it and define ``route(x)``: x [N, D] -> (experts [N, K] int32, weights [N, K], scores [N, E] or None).

``balance(counts, rate, rule)`` is called once per training step with the tokens of each expert."""
TopKGate.__doc__ = """The routers of DeepSeek V2 and V3, Mixtral, Qwen3 and OLMoE; see ``moelle.functional.gate`` for the parameters."""
Experts.__doc__ = "E SwiGLU experts in two tensors: gate_up_proj [E, 2F, D], down_proj [E, D, F]."
MoE.__doc__ = "``shared(x) + sum of the chosen experts' outputs, weighed`` (DeepSeekMoE, arXiv:2401.06066); x [..., D]."
Attention.__doc__ = """An attention. Derive from it and define ``attend(x, context)``: x [B, T, D] -> [B, T, D].

``context`` has ``first_position``, ``segments`` and ``cache``; define ``make_cache(batch, capacity)`` to decode step by step."""
MLA.__doc__ = "Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1); x [B, T, hidden_size]."
MultiHeadAttention.__doc__ = "Multi-head and grouped-query attention (arXiv:1706.03762, arXiv:2305.13245); x [B, T, hidden_size]."
Module.__doc__ = """A part of a model: parameters, buffers and children under names, and a call.

Derive from it as in PyTorch: call ``super().__init__()``, assign parameters and modules to attributes, define ``forward``.

>>> import moelle
>>> from moelle import nn
>>> class Twice(nn.Module):
...     def __init__(self):
...         super().__init__()
...         self.scale = nn.Parameter(moelle.tensor([2.0]))
...     def forward(self, x):
...         return x * self.scale
>>> Twice()(moelle.ones(2)).tolist()
[2.0, 2.0]
"""
