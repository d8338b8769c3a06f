# Written by python/tools/make_stubs.py.
"""
Compiled part of moelle; use the package's own modules.
"""
from __future__ import annotations
import collections.abc
import numpy
import typing
from . import ops
__all__: list[str] = ['Attention', 'AttentionContext', 'BalanceLosses', 'Batch', 'ByteLoader', 'CausalLM', 'Config', 'Corpus', 'Decoder', 'DecoderCache', 'DecoderLayer', 'Documents', 'Embedding', 'Error', 'Estimate', 'Experts', 'Gate', 'GroupOptimizer', 'Guard', 'LayerCache', 'Linear', 'LoadResult', 'LossOutput', 'MLA', 'MetricLog', 'MoE', 'Module', 'ModuleList', 'MtpLayer', 'MultiHeadAttention', 'Parameter', 'ParameterGroup', 'Part', 'PretrainedDirectory', 'RMSNorm', 'RopeScaling', 'Rotary', 'Routing', 'StepReport', 'SwiGLU', 'Tensor', 'TopKGate', 'Trainer', 'TrainingCost', 'TrainingRun', 'arange', 'available_isas', 'caches', 'cuda_built', 'did_you_mean', 'dtype', 'empty', 'estimate_model', 'evaluate', 'full', 'get_num_threads', 'grad_norm', 'isa_name', 'list_checkpoints', 'load_checkpoint', 'load_corpus', 'load_file', 'load_metadata', 'memory_stats', 'ops', 'parameter_groups', 'preset', 'preset_names', 'published_run', 'rand', 'randint', 'randn', 'rate_at', 'require_device', 'reset_peak_memory', 'round_to_bf16', 'save_checkpoint', 'save_file', 'save_pretrained', 'saving', 'set_isa', 'set_num_threads', 'to_type', 'training_cost', 'trim_memory']
class Error(ValueError):
    pass
class dtype:
    """
    Members:

      float32

      float64

      bfloat16

      int32

      int64

      uint8

      bool
    """
    __members__: typing.ClassVar[dict[str, dtype]]
    bfloat16: typing.ClassVar[dtype]
    bool: typing.ClassVar[dtype]
    float32: typing.ClassVar[dtype]
    float64: typing.ClassVar[dtype]
    int32: typing.ClassVar[dtype]
    int64: typing.ClassVar[dtype]
    uint8: typing.ClassVar[dtype]
    @typing.overload
    def __eq__(self: numpy.dtype[typing.Any], other: numpy.dtype[typing.Any]) -> bool:
        ...
    @typing.overload
    def __eq__(self: numpy.dtype[typing.Any], other: typing.Any) -> bool:
        ...
    def __getstate__(self) -> int:
        ...
    def __hash__(self) -> int:
        ...
    def __index__(self: numpy.dtype[typing.Any]) -> int:
        ...
    def __init__(self: numpy.dtype[typing.Any], value: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __int__(self: numpy.dtype[typing.Any]) -> int:
        ...
    @typing.overload
    def __ne__(self: numpy.dtype[typing.Any], other: numpy.dtype[typing.Any]) -> bool:
        ...
    @typing.overload
    def __ne__(self: numpy.dtype[typing.Any], other: typing.Any) -> bool:
        ...
    def __repr__(self):
        ...
    def __setstate__(self: numpy.dtype[typing.Any], state: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def __str__(self):
        ...
    @property
    def is_floating_point(self) -> bool:
        ...
    @property
    def itemsize(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def value(self) -> int:
        ...
class Tensor:
    __array_ufunc__ = None
    requires_grad: bool
    def __add__(self, other) -> Tensor:
        ...
    def __and__(self, other) -> Tensor:
        ...
    def __array__(self, dtype = None, copy = None) -> numpy.ndarray:
        ...
    def __bool__(self) -> bool:
        ...
    def __dlpack__(self, *, stream = None, max_version = None, dl_device = None, copy = None) -> typing.Any:
        ...
    def __dlpack_device__(self) -> tuple[int, int]:
        ...
    def __eq__(self, other) -> Tensor:
        ...
    def __float__(self) -> float:
        ...
    def __ge__(self, other) -> Tensor:
        ...
    def __getitem__(self, index) -> Tensor:
        ...
    def __gt__(self, other) -> Tensor:
        ...
    def __hash__(self) -> int:
        ...
    def __iadd__(self, other) -> Tensor:
        ...
    def __imul__(self, other) -> Tensor:
        ...
    def __index__(self) -> int:
        ...
    def __init__(self, array: numpy.ndarray) -> None:
        ...
    def __int__(self) -> int:
        ...
    def __invert__(self) -> Tensor:
        ...
    def __isub__(self, other) -> Tensor:
        ...
    def __iter__(self) -> typing.Iterator[Tensor]:
        ...
    def __itruediv__(self, other) -> Tensor:
        ...
    def __le__(self, other) -> Tensor:
        ...
    def __len__(self) -> int:
        ...
    def __lt__(self, other) -> Tensor:
        ...
    def __matmul__(self, other) -> Tensor:
        ...
    def __mul__(self, other) -> Tensor:
        ...
    def __ne__(self, other) -> Tensor:
        ...
    def __neg__(self) -> Tensor:
        ...
    def __or__(self, other) -> Tensor:
        ...
    def __pow__(self, other) -> Tensor:
        ...
    def __radd__(self, other) -> Tensor:
        ...
    def __reduce__(self) -> typing.Any:
        ...
    def __repr__(self) -> str:
        ...
    def __rmatmul__(self, other) -> Tensor:
        ...
    def __rmul__(self, other) -> Tensor:
        ...
    def __rsub__(self, other) -> Tensor:
        ...
    def __rtruediv__(self, other) -> Tensor:
        ...
    def __setitem__(self, index, value) -> None:
        ...
    def __sub__(self, other) -> Tensor:
        ...
    def __truediv__(self, other) -> Tensor:
        ...
    def abs(self) -> Tensor:
        ...
    def add(self, other) -> Tensor:
        ...
    def add_(self, other, *, alpha = 1) -> Tensor:
        """
        Adds ``alpha * other`` to the elements.
        """
    def all(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Whether all elements hold. Over all axes, or those in ``dim``.
        """
    def amax(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Largest element. Over all axes, or those in ``dim``.
        """
    def amin(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Smallest element. Over all axes, or those in ``dim``.
        """
    def any(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Whether any element holds. Over all axes, or those in ``dim``.
        """
    def argmax(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Place of the first largest element. Over all axes, or those in ``dim``.
        """
    def argmin(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Place of the first smallest element. Over all axes, or those in ``dim``.
        """
    def backward(self, gradient: Tensor = None, retain_graph: bool = False) -> None:
        ...
    def bfloat16(self) -> Tensor:
        """
        The tensor as bfloat16.
        """
    def bool(self) -> Tensor:
        """
        The tensor as bool.
        """
    def byte(self) -> Tensor:
        """
        The tensor as uint8.
        """
    def chunk(self, chunks: int, dim: int = 0) -> list[Tensor]:
        """
        Views of ``chunks`` parts whose sizes differ by at most one.
        """
    def clamp(self, min = None, max = None) -> Tensor:
        """
        The elements, moved into [min, max].
        """
    def clone(self) -> Tensor:
        """
        A copy, with gradient.
        """
    def contiguous(self) -> Tensor:
        """
        The tensor itself if its elements lie in row-major order, else a copy.
        """
    def copy_(self, source) -> Tensor:
        """
        Overwrites the elements with those of ``source``, which broadcasts.
        """
    def cpu(self) -> Tensor:
        """
        The tensor itself.
        """
    def cuda(self) -> Tensor:
        """
        Raises: tensors of Python live on the CPU.
        """
    def cumsum(self, dim: int) -> Tensor:
        """
        Running sums along one axis.
        """
    def data_ptr(self) -> int:
        ...
    def detach(self) -> Tensor:
        ...
    def dim(self) -> int:
        """
        The number of axes.
        """
    def div(self, other) -> Tensor:
        ...
    def div_(self, other) -> Tensor:
        """
        Divides the elements.
        """
    def double(self) -> Tensor:
        """
        The tensor as float64.
        """
    def eq(self, other) -> Tensor:
        ...
    def exp(self) -> Tensor:
        ...
    def expand(self, *sizes) -> Tensor:
        """
        Repeated along axes of size 1 without being copied; -1 keeps a size.
        """
    def fill_(self, value) -> Tensor:
        """
        Overwrites all elements with one number.
        """
    def flatten(self, start_dim: int = 0, end_dim: int = -1) -> Tensor:
        """
        Axes ``start_dim`` to ``end_dim``, both included, as one.
        """
    def float(self) -> Tensor:
        """
        The tensor as float32.
        """
    def gather(self, dim: int, index) -> Tensor:
        """
        ``y[i, j] = x[index[i, j], j]`` for dim 0.
        """
    def ge(self, other) -> Tensor:
        ...
    def gt(self, other) -> Tensor:
        ...
    def index_add(self, dim: int, index, source) -> Tensor:
        """
        A copy with slices added at the given indices.
        """
    def index_select(self, dim: int, index) -> Tensor:
        """
        Slices along one axis, chosen by a list of indices.
        """
    def int(self) -> Tensor:
        """
        The tensor as int32.
        """
    def is_contiguous(self) -> bool:
        ...
    def is_same(self, other: Tensor) -> bool:
        ...
    def isfinite(self) -> Tensor:
        ...
    def isnan(self) -> Tensor:
        ...
    def item(self) -> typing.Any:
        ...
    def le(self, other) -> Tensor:
        ...
    def log(self) -> Tensor:
        ...
    def log_softmax(self, dim: int = -1) -> Tensor:
        """
        log(softmax(x)) along one axis.
        """
    def logical_and(self, other) -> Tensor:
        ...
    def logical_not(self) -> Tensor:
        ...
    def logical_or(self, other) -> Tensor:
        ...
    def long(self) -> Tensor:
        """
        The tensor as int64.
        """
    def lt(self, other) -> Tensor:
        ...
    def masked_fill(self, mask, value) -> Tensor:
        """
        ``value`` where the mask holds.
        """
    def masked_select(self, mask) -> Tensor:
        """
        The elements where the mask holds, as a list.
        """
    def matmul(self, other) -> Tensor:
        ...
    def max(self, dim = None, keepdim: bool = False) -> typing.Any:
        """
        The maximum of all elements; with ``dim``, a pair of values and indices.
        """
    def maximum(self, other) -> Tensor:
        ...
    def mean(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Mean. Over all axes, or those in ``dim``.
        """
    def min(self, dim = None, keepdim: bool = False) -> typing.Any:
        """
        The minimum of all elements; with ``dim``, a pair of values and indices.
        """
    def minimum(self, other) -> Tensor:
        ...
    def mul(self, other) -> Tensor:
        ...
    def mul_(self, other) -> Tensor:
        """
        Multiplies the elements.
        """
    def narrow(self, dim: int, start: int, length: int) -> Tensor:
        """
        ``x[start : start + length]`` along one axis; a view.
        """
    def ne(self, other) -> Tensor:
        ...
    def nonzero(self) -> Tensor:
        """
        Indices of the elements that differ from 0: [N, ndim].
        """
    def numel(self) -> int:
        ...
    def numpy(self) -> numpy.ndarray:
        """
        The elements as a NumPy array on the same memory, which the array keeps alive.

            The array is read-only if the tensor is, or if it takes part in gradients (``x.detach().numpy()`` can be written to).
            bfloat16 needs the package ``ml_dtypes``.

        """
    def permute(self, *dims) -> Tensor:
        """
        Axis i of the result is axis ``dims[i]``; a view.
        """
    def pow(self, exponent: float) -> Tensor:
        """
        The elements raised to a number.
        """
    def relu(self) -> Tensor:
        ...
    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """
        Sets whether gradients are collected; returns the tensor.
        """
    def reshape(self, *shape) -> Tensor:
        """
        The same elements under another shape; one size may be -1. A view where the tensor is contiguous.
        """
    def retain_grad(self) -> None:
        ...
    def rsqrt(self) -> Tensor:
        ...
    def scatter_add(self, dim: int, index, src) -> Tensor:
        """
        A copy with ``y[index[i, j], j] += src[i, j]`` for dim 0.
        """
    def sigmoid(self) -> Tensor:
        ...
    def sign(self) -> Tensor:
        ...
    def size(self, dim: int | None = None) -> typing.Any:
        """
        The shape, or the size of one axis.
        """
    def softmax(self, dim: int = -1) -> Tensor:
        """
        exp(x) / sum(exp(x)) along one axis.
        """
    def sort(self, dim: int = -1, descending: bool = False) -> tuple[Tensor, Tensor]:
        """
        Values and indices in order along one axis; equal elements keep their order.
        """
    def split(self, split_size, dim: int = 0) -> list[Tensor]:
        """
        Views of the given size, or sizes, along one axis.
        """
    def sqrt(self) -> Tensor:
        ...
    def squeeze(self, dim: int | None = None) -> Tensor:
        """
        Without an axis of size 1, or without all of them.
        """
    def stride(self) -> typing.Sequence[int]:
        ...
    def sub(self, other) -> Tensor:
        ...
    def sub_(self, other, *, alpha = 1) -> Tensor:
        """
        Subtracts ``alpha * other`` from the elements.
        """
    def sum(self, dim = None, keepdim: bool = False) -> Tensor:
        """
        Sum, kept in double and rounded once; int64 for integers and bool. Over all axes, or those in ``dim``.
        """
    def tanh(self) -> Tensor:
        ...
    def to(self, target) -> Tensor:
        """
        The tensor with another dtype (itself if it has it already). ``"cpu"`` is the only device of tensors in Python.
        """
    def tolist(self) -> typing.Any:
        """
        The elements as nested lists of Python numbers.
        """
    def topk(self, k: int, dim: int = -1) -> tuple[Tensor, Tensor]:
        """
        The k largest along one axis, largest first: values and indices.
        """
    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """
        Two axes exchanged; a view.
        """
    def type_as(self, other) -> Tensor:
        """
        The tensor with the dtype of another.
        """
    def unflatten(self, dim: int, sizes) -> Tensor:
        """
        One axis as several.
        """
    def unsqueeze(self, dim: int) -> Tensor:
        """
        With an axis of size 1 before axis ``dim`` of the result.
        """
    def view(self, *shape) -> Tensor:
        """
        As ``reshape``, but only where no copy is needed.
        """
    def zero_(self) -> Tensor:
        """
        Overwrites all elements with 0.
        """
    def zero_grad(self) -> None:
        """
        Forgets the gradient.
        """
    @property
    def T(self) -> Tensor:
        """
        All axes in reverse order; a view.
        """
    @property
    def _producer(self) -> str:
        ...
    @property
    def _version(self) -> int:
        ...
    @property
    def _writable(self) -> bool:
        ...
    @property
    def data(self) -> Tensor:
        """
        The elements without the graph.
        """
    @data.setter
    def data(self, value):
        ...
    @property
    def device(self) -> str:
        ...
    @property
    def dtype(self) -> numpy.dtype[typing.Any]:
        ...
    @property
    def grad(self) -> typing.Any:
        ...
    @grad.setter
    def grad(self, arg1: Tensor) -> None:
        ...
    @property
    def is_leaf(self) -> bool:
        ...
    @property
    def mT(self) -> Tensor:
        """
        The last two axes exchanged; a view.
        """
    @property
    def ndim(self) -> int:
        ...
    @property
    def shape(self) -> typing.Sequence[int]:
        ...
class Parameter(Tensor):
    """
    A tensor that training moves: assigned to an attribute of a module, it is registered there.
    """
    def __init__(self, data: Tensor, requires_grad: bool = True) -> None:
        ...
    def __repr__(self):
        ...
class LoadResult:
    """
    Names that a state dict lacked (missing) or had too many (unexpected).
    """
    def __repr__(self) -> str:
        ...
    @property
    def missing(self) -> list[str]:
        ...
    @property
    def missing_keys(self) -> list[str]:
        ...
    @property
    def unexpected(self) -> list[str]:
        ...
    @property
    def unexpected_keys(self) -> list[str]:
        ...
class Module:
    """
    A part of a model: parameters, buffers and children under names, and a call.

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
    def __call__(self, *args, **kwargs):
        ...
    def __getattr__(self, name: str):
        ...
    def __init__(self) -> None:
        ...
    def __repr__(self) -> str:
        ...
    def __setattr__(self, name: str, value) -> None:
        ...
    def _find(self, arg0: str) -> typing.Any | None:
        ...
    def _has_buffer(self, arg0: str) -> bool:
        ...
    def _has_module(self, arg0: str) -> bool:
        ...
    def _has_parameter(self, arg0: str) -> bool:
        ...
    def _load_state_dict(self, arg0: collections.abc.Mapping[str, Tensor], arg1: bool) -> LoadResult:
        ...
    def _named_modules(self, arg0: str) -> list:
        ...
    def _requires_grad_(self, arg0: bool) -> None:
        ...
    def _set_buffer(self, arg0: str, arg1: Tensor, arg2: bool) -> None:
        ...
    def _set_module(self, arg0: str, arg1: Module) -> None:
        ...
    def _set_parameter(self, arg0: str, arg1: Tensor) -> None:
        ...
    def _train(self, arg0: bool) -> None:
        ...
    def add_module(self, name: str, module) -> None:
        """
        Lists a child under a name, as assigning it to an attribute does.
        """
    def apply(self, fn):
        """
        Calls ``fn`` on all modules below this one and on it, children first; returns the module.
        """
    def children(self) -> typing.Iterator[Module]:
        """
        The modules right below this one.
        """
    def eval(self):
        """
        Switches this module and all below it to evaluation; returns the module.
        """
    def forward(self, input: Tensor) -> Tensor:
        ...
    def grad_dict(self) -> dict:
        ...
    def load_state_dict(self, state_dict, strict: bool = True) -> LoadResult:
        """
        Copies float32 tensors or arrays into the module. Names and shapes are checked before anything is changed.

            Returns ``missing`` and ``unexpected`` names; with ``strict`` there must be none.

        """
    def modules(self) -> typing.Iterator[Module]:
        """
        This module and all below it.
        """
    def named_buffers(self) -> list[tuple[str, Tensor]]:
        ...
    def named_children(self) -> list[tuple[str, Module]]:
        ...
    def named_modules(self, prefix: str = ''):
        """
        Names and modules: this one (under ``prefix``) and all below it, parents first.
        """
    def named_parameters(self) -> list:
        ...
    def num_parameters(self) -> int:
        ...
    def parameters(self) -> list:
        ...
    def register_buffer(self, name: str, tensor: Tensor, persistent: bool = True) -> None:
        """
        Lists a tensor that is not trained; part of the state dict unless ``persistent`` is false.
        """
    def register_parameter(self, name: str, param) -> None:
        """
        Lists a parameter under a name, as assigning it to an attribute does.
        """
    def requires_grad_(self, requires_grad: bool = True):
        """
        Sets whether the parameters collect gradients; returns the module.
        """
    def state_dict(self) -> dict:
        ...
    def train(self, mode: bool = True):
        """
        Switches this module and all below it to training; returns the module.
        """
    def zero_grad(self) -> None:
        ...
    @property
    def training(self) -> bool:
        ...
class ModuleList(Module):
    """
    Modules under the names 0, 1, ...
    """
    def __getitem__(self, index):
        ...
    def __init__(self, modules = tuple()):
        ...
    def __iter__(self):
        ...
    def __len__(self) -> int:
        ...
    def __setitem__(self, index: int, module) -> None:
        ...
    def _at(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> Module:
        ...
    def _put(self, arg0: typing.SupportsInt | typing.SupportsIndex, arg1: Module) -> None:
        ...
    def append(self, module: Module) -> None:
        ...
class Linear(Module):
    """
    ``y = x W^T + b``: x [..., in_features] -> [..., out_features]; weight [out_features, in_features].

    Initial weights are uniform in +-1/sqrt(in_features), a function of ``seed``.
    """
    def __init__(self, in_features: typing.SupportsInt | typing.SupportsIndex, out_features: typing.SupportsInt | typing.SupportsIndex, bias: bool = True, *, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
class Embedding(Module):
    """
    Rows of a table: ids [...] (int32 or int64) -> [..., embedding_dim]; weight [num_embeddings, embedding_dim].
    """
    def __init__(self, num_embeddings: typing.SupportsInt | typing.SupportsIndex, embedding_dim: typing.SupportsInt | typing.SupportsIndex, *, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def forward(self, input: Tensor) -> Tensor:
        ...
class RMSNorm(Module):
    """
    ``w x / sqrt(mean(x^2) + eps)`` over the last axis (Zhang and Sennrich, arXiv:1910.07467).
    """
    def __init__(self, normalized_shape: typing.SupportsInt | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex = 1e-06) -> None:
        ...
    @property
    def eps(self) -> float:
        ...
class SwiGLU(Module):
    """
    ``down(silu(gate(x)) * up(x))`` (Shazeer, arXiv:2002.05202); x [..., hidden_size].
    """
    def __init__(self, hidden_size: typing.SupportsInt | typing.SupportsIndex, intermediate_size: typing.SupportsInt | typing.SupportsIndex, *, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
class Routing:
    """
    Where tokens go: experts [N, K] int32, weights [N, K], scores [N, E] or None.
    """
    def __init__(self, experts: Tensor, weights: Tensor, scores: Tensor = None) -> None:
        ...
    def __iter__(self) -> collections.abc.Iterator:
        ...
    @property
    def experts(self) -> Tensor:
        ...
    @property
    def scores(self) -> Tensor:
        ...
    @property
    def weights(self) -> Tensor:
        ...
class Gate(Module):
    """
    A router. Derive from it and define ``route(x)``: x [N, D] -> (experts [N, K] int32, weights [N, K], scores [N, E] or None).

    ``balance(counts, rate, rule)`` is called once per training step with the tokens of each expert.
    """
    def __init__(self) -> None:
        ...
    def balance(self, counts: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], rate: typing.SupportsFloat | typing.SupportsIndex, rule: ops.BiasRule) -> None:
        ...
    def route(self, input: Tensor) -> Routing:
        ...
class TopKGate(Gate):
    """
    The routers of DeepSeek V2 and V3, Mixtral, Qwen3 and OLMoE; see ``moelle.functional.gate`` for the parameters.
    """
    params: ops.GateParams
    def __init__(self, hidden_size: typing.SupportsInt | typing.SupportsIndex, num_experts: typing.SupportsInt | typing.SupportsIndex, params: ops.GateParams, selection_bias: bool = False, *, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    @property
    def logits(self) -> Tensor:
        ...
class Experts(Module):
    """
    E SwiGLU experts in two tensors: gate_up_proj [E, 2F, D], down_proj [E, D, F].
    """
    def __init__(self, num_experts: typing.SupportsInt | typing.SupportsIndex, hidden_size: typing.SupportsInt | typing.SupportsIndex, intermediate_size: typing.SupportsInt | typing.SupportsIndex, *, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def forward(self, input: Tensor, routing: typing.Any) -> Tensor:
        ...
class BalanceLosses:
    """
    Factors of the balance losses of a MoE layer: sequence, batch, switch, z; 0 computes none.
    """
    def __init__(self, *, sequence: typing.SupportsFloat | typing.SupportsIndex = 0.0, batch: typing.SupportsFloat | typing.SupportsIndex = 0.0, switch: typing.SupportsFloat | typing.SupportsIndex = 0.0, z: typing.SupportsFloat | typing.SupportsIndex = 0.0) -> None:
        ...
    @property
    def batch(self) -> float:
        ...
    @batch.setter
    def batch(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def sequence(self) -> float:
        ...
    @sequence.setter
    def sequence(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def switch(self) -> float:
        ...
    @switch.setter
    def switch(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def z(self) -> float:
        ...
    @z.setter
    def z(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class MoE(Module):
    """
    ``shared(x) + sum of the chosen experts' outputs, weighed`` (DeepSeekMoE, arXiv:2401.06066); x [..., D].
    """
    losses: BalanceLosses
    def __init__(self, gate: Gate, experts: Experts, shared_experts: Module = None, losses: BalanceLosses = ...) -> None:
        ...
    def reset_counts(self) -> None:
        ...
    def update_bias(self, rate: typing.SupportsFloat | typing.SupportsIndex, rule: ops.BiasRule = ...) -> None:
        ...
    @property
    def balance_loss(self) -> Tensor:
        ...
    @property
    def counts(self) -> list[int]:
        ...
    @property
    def last_experts(self) -> Tensor:
        ...
class LayerCache:
    """
    What one layer remembers. Derive from it and define length(), capacity(), truncate(length) and bytes().
    """
    def __init__(self) -> None:
        ...
    def bytes(self) -> int:
        ...
    def capacity(self) -> int:
        ...
    def length(self) -> int:
        ...
    def truncate(self, length: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class AttentionContext:
    """
    What an attention is told: first_position, segments [B, T] or None, cache or None.
    """
    def __init__(self, first_position: typing.SupportsInt | typing.SupportsIndex = 0, segments: Tensor = None) -> None:
        ...
    @property
    def cache(self) -> LayerCache:
        ...
    @property
    def first_position(self) -> int:
        ...
    @property
    def segments(self) -> Tensor:
        ...
class Attention(Module):
    """
    An attention. Derive from it and define ``attend(x, context)``: x [B, T, D] -> [B, T, D].

    ``context`` has ``first_position``, ``segments`` and ``cache``; define ``make_cache(batch, capacity)`` to decode step by step.
    """
    def __init__(self) -> None:
        ...
    def attend(self, input: Tensor, context: AttentionContext) -> Tensor:
        ...
    def make_cache(self, batch: typing.SupportsInt | typing.SupportsIndex, capacity: typing.SupportsInt | typing.SupportsIndex) -> LayerCache:
        ...
class Rotary:
    """
    The rotary tables that the attentions of a model share (Su et al., arXiv:2104.09864).
    """
    def __init__(self, dim: typing.SupportsInt | typing.SupportsIndex, *, theta: typing.SupportsFloat | typing.SupportsIndex = 10000.0, max_positions: typing.SupportsInt | typing.SupportsIndex = 4096, interleaved: bool = True) -> None:
        ...
    def rotate(self, input: Tensor, first: typing.SupportsInt | typing.SupportsIndex = 0, offset: typing.SupportsInt | typing.SupportsIndex = 0) -> Tensor:
        ...
class MLA(Attention):
    """
    Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1); x [B, T, hidden_size].
    """
    def __init__(self, *, hidden_size: typing.SupportsInt | typing.SupportsIndex, num_attention_heads: typing.SupportsInt | typing.SupportsIndex, q_lora_rank: typing.SupportsInt | typing.SupportsIndex | None = None, kv_lora_rank: typing.SupportsInt | typing.SupportsIndex, qk_nope_head_dim: typing.SupportsInt | typing.SupportsIndex, qk_rope_head_dim: typing.SupportsInt | typing.SupportsIndex, v_head_dim: typing.SupportsInt | typing.SupportsIndex, rotary: Rotary, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    @property
    def absorb_up_to(self) -> int | None:
        """
        With a cache, so many new tokens or fewer attend in latent space; None: whichever form is less work.
        """
    @absorb_up_to.setter
    def absorb_up_to(self, arg1: typing.SupportsInt | typing.SupportsIndex | None) -> None:
        ...
class MultiHeadAttention(Attention):
    """
    Multi-head and grouped-query attention (arXiv:1706.03762, arXiv:2305.13245); x [B, T, hidden_size].
    """
    def __init__(self, *, hidden_size: typing.SupportsInt | typing.SupportsIndex, num_attention_heads: typing.SupportsInt | typing.SupportsIndex, num_key_value_heads: typing.SupportsInt | typing.SupportsIndex | None = None, head_dim: typing.SupportsInt | typing.SupportsIndex | None = None, bias: bool = False, sliding_window: typing.SupportsInt | typing.SupportsIndex = 0, rotary: Rotary, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
class RopeScaling:
    @property
    def attention_factor(self) -> float | None:
        ...
    @property
    def beta_fast(self) -> float:
        ...
    @property
    def beta_slow(self) -> float:
        ...
    @property
    def factor(self) -> float:
        ...
    @property
    def mscale(self) -> float | None:
        ...
    @property
    def mscale_all_dim(self) -> float | None:
        ...
    @property
    def original_max_position_embeddings(self) -> int:
        ...
    @property
    def type(self) -> str:
        ...
class Config:
    """
    A checked configuration; attributes are the keys of Hugging Face's config.json. Make one with ``Config.from_json`` or ``Config.preset``.
    """
    __hash__: typing.ClassVar[None] = None
    @staticmethod
    def _parse(arg0: str, arg1: bool) -> Config:
        ...
    @staticmethod
    def from_dict(source, unknown: str = 'ignore') -> Config:
        """
        A configuration from the path of a config.json (or its folder), a dict, or the text itself.

            Keys are Hugging Face's; official ``rope_theta`` and ``rope_scaling`` and transformers 5's ``rope_parameters`` are both read.
            Keys that a family leaves out take that family's defaults. Keys that say nothing about the model are ignored, or refused with
            the nearest name if ``unknown="refuse"``. Values that no model can have are refused.

        """
    @staticmethod
    def from_json(source, unknown: str = 'ignore') -> Config:
        """
        A configuration from the path of a config.json (or its folder), a dict, or the text itself.

            Keys are Hugging Face's; official ``rope_theta`` and ``rope_scaling`` and transformers 5's ``rope_parameters`` are both read.
            Keys that a family leaves out take that family's defaults. Keys that say nothing about the model are ignored, or refused with
            the nearest name if ``unknown="refuse"``. Values that no model can have are refused.

        """
    @staticmethod
    def keys() -> list[str]:
        ...
    @staticmethod
    def model_types() -> list[str]:
        ...
    @staticmethod
    def preset(name: str) -> Config:
        """
        A configuration by name; see ``presets()``.
        """
    def __copy__(self) -> Config:
        ...
    def __deepcopy__(self, arg0: dict) -> Config:
        ...
    def __eq__(self, arg0: Config) -> bool:
        ...
    def __getattr__(self, arg0: str) -> typing.Any:
        ...
    def __repr__(self):
        ...
    def __setattr__(self, arg0: str, arg1: typing.Any) -> None:
        ...
    def check(self) -> None:
        ...
    def dense_twin(self) -> Config:
        ...
    def equal_total_twin(self) -> Config:
        ...
    def is_mla(self) -> bool:
        ...
    def is_moe(self) -> bool:
        ...
    def is_moe_layer(self, layer: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def num_moe_layers(self) -> int:
        ...
    def replace(self, **changes) -> Config:
        """
        A copy with other values under the given keys; unknown keys are refused.
        """
    def to_dict(self) -> dict:
        """
        The configuration as a dict with Hugging Face's keys.
        """
    def to_json(self) -> str:
        ...
class Part:
    """
    A part of a model: its parameters, and those that one token passes through.
    """
    def __repr__(self) -> str:
        ...
    @property
    def active_params(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
    @property
    def params(self) -> int:
        ...
class Estimate:
    """
    Parameters, FLOPs per token, cache and memory of a model; bytes where the name says memory or bytes.
    """
    def __repr__(self):
        ...
    def to_dict(self) -> dict:
        """
        The fields by name, parts included.
        """
    @property
    def activations_memory(self) -> float:
        ...
    @property
    def active_params(self) -> int:
        ...
    @property
    def active_params_without_embedding(self) -> int:
        ...
    @property
    def attention_flops_per_token(self) -> float:
        ...
    @property
    def cache_bytes(self) -> float:
        ...
    @property
    def cache_bytes_per_token(self) -> float:
        ...
    @property
    def cache_elements_per_token(self) -> int:
        ...
    @property
    def decode_flops_per_token(self) -> float:
        ...
    @property
    def forward_flops_per_token(self) -> float:
        ...
    @property
    def gradients_memory(self) -> float:
        ...
    @property
    def moments_memory(self) -> float:
        ...
    @property
    def mtp_params(self) -> int:
        ...
    @property
    def parts(self) -> list[Part]:
        ...
    @property
    def total_params(self) -> int:
        ...
    @property
    def train_flops_per_token(self) -> float:
        ...
    @property
    def train_flops_per_token_noncausal(self) -> float:
        ...
    @property
    def training_memory(self) -> float:
        ...
    @property
    def weights_memory(self) -> float:
        ...
class TrainingCost:
    """
    FLOPs, machine hours, days, dollars, and the utilisation reached.
    """
    @property
    def days(self) -> float:
        ...
    @property
    def dollars(self) -> float:
        ...
    @property
    def flops(self) -> float:
        ...
    @property
    def flops_per_second(self) -> float:
        ...
    @property
    def hours(self) -> float:
        ...
    @property
    def utilisation(self) -> float:
        ...
class TrainingRun:
    """
    A run: tokens, FLOPs per token or hours per trillion tokens, machine and price.
    """
    def __init__(self, *, tokens: typing.SupportsFloat | typing.SupportsIndex, train_flops_per_token: typing.SupportsFloat | typing.SupportsIndex = 0.0, hours_per_trillion_tokens: typing.SupportsFloat | typing.SupportsIndex = 0.0, peak_flops_per_second: typing.SupportsFloat | typing.SupportsIndex = 989500000000000.0, utilisation: typing.SupportsFloat | typing.SupportsIndex = 0.4, extra_hours: typing.SupportsFloat | typing.SupportsIndex = 0.0, machines: typing.SupportsFloat | typing.SupportsIndex = 1.0, dollars_per_hour: typing.SupportsFloat | typing.SupportsIndex = 2.0) -> None:
        ...
    @property
    def dollars_per_hour(self) -> float:
        ...
    @dollars_per_hour.setter
    def dollars_per_hour(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def extra_hours(self) -> float:
        ...
    @extra_hours.setter
    def extra_hours(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def hours_per_trillion_tokens(self) -> float:
        ...
    @hours_per_trillion_tokens.setter
    def hours_per_trillion_tokens(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def machines(self) -> float:
        ...
    @machines.setter
    def machines(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def peak_flops_per_second(self) -> float:
        ...
    @peak_flops_per_second.setter
    def peak_flops_per_second(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def tokens(self) -> float:
        ...
    @tokens.setter
    def tokens(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def train_flops_per_token(self) -> float:
        ...
    @train_flops_per_token.setter
    def train_flops_per_token(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def utilisation(self) -> float:
        ...
    @utilisation.setter
    def utilisation(self, arg0: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
class DecoderLayer(Module):
    """
    x + attention(norm(x)), then x + mlp(norm(x)); x [B, T, D].
    """
    def forward(self, input: Tensor, context: AttentionContext = ...) -> Tensor:
        ...
class MtpLayer(DecoderLayer):
    """
    A multi-token prediction module of DeepSeek-V3 (arXiv:2412.19437, section 2.2).
    """
class Decoder(Module):
    """
    Embedding, layers and final norm: everything under ``model.``.
    """
class DecoderCache:
    """
    What all layers remember of the tokens seen so far: ``model.make_cache(batch, capacity)``.
    """
    def bytes(self) -> int:
        ...
    def length(self) -> int:
        ...
    def truncate(self, length: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    @property
    def layers(self) -> list[LayerCache]:
        ...
class LossOutput:
    """
    loss, mtp and balance (None where there is none), and their weighted sum total.
    """
    @property
    def balance(self) -> Tensor:
        ...
    @property
    def loss(self) -> Tensor:
        ...
    @property
    def mtp(self) -> Tensor:
        ...
    @property
    def total(self) -> Tensor:
        ...
class CausalLM(Module):
    """
    A decoder-only language model: ``CausalLM(config, seed=0)``. Weights are functions of the seed and their names.

    Modules and names are Hugging Face's: ``model.model.layers[i].self_attn``, ``.mlp``, ``model.lm_head``.
    """
    recompute: bool
    @staticmethod
    def from_pretrained(path, *, strict: bool = True, follow_links: bool = False) -> CausalLM:
        """
        A model from a folder with ``config.json`` and safetensors files; weights become float32.
        """
    def __init__(self, config: Config, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def forward(self, ids, segments = None, cache = None) -> Tensor:
        """
        ids [B, T] -> logits [B, T, V]. With a ``DecoderCache`` the ids continue what it holds.
        """
    def generate(self, ids, *, max_new_tokens: int = 64, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, seed: int = 0, eos_token_id = None, prefill_chunk: int = 512, use_cache: bool = True, on_token = None) -> Tensor:
        """
        ids [B, T] -> [B, T + n], n <= max_new_tokens, on the cache. Temperature 0 takes the most likely token.

            ``on_token(step, tokens)`` sees each step's tokens [B]; returning False ends generation. A seed decides everything drawn.

        """
    def hidden_states(self, ids, segments = None, cache = None) -> Tensor:
        """
        ids [B, T] -> states [B, T, D] after the final norm.
        """
    def last_routing(self) -> list[Tensor]:
        ...
    def loss(self, ids, labels = None, *, targets = None, segments = None) -> Tensor:
        """
        Mean next-token cross-entropy in nats, without storing logits.

            ``labels`` [B, T] follow Hugging Face: position t predicts ``labels[:, t + 1]``; they default to the ids. Batches of
            ``moelle.data`` are shifted already: pass ``targets``, where position t predicts ``targets[:, t]``. -100 is not counted.

        """
    def losses(self, ids, labels = None, *, targets = None, segments = None, mtp_weight: float = 0.0, balance_weight: float = 1.0, normalizer: float = 0.0) -> LossOutput:
        """
        All that training looks at: ``loss``, ``mtp``, ``balance`` and their weighted sum ``total``, which is to be minimised.
        """
    def make_cache(self, batch: typing.SupportsInt | typing.SupportsIndex, capacity: typing.SupportsInt | typing.SupportsIndex) -> DecoderCache:
        ...
    def moe_layers(self) -> list[tuple[int, MoE]]:
        ...
    def save_pretrained(self, path) -> None:
        """
        Writes ``config.json`` and ``model.safetensors`` under Hugging Face's names into a folder.
        """
    @property
    def config(self) -> Config:
        ...
class PretrainedDirectory:
    @staticmethod
    def open(path: str, follow_links: bool = False) -> PretrainedDirectory:
        ...
    def names(self) -> list[str]:
        ...
    def read(self, name: str) -> Tensor:
        ...
    def read_float32(self, name: str) -> Tensor:
        ...
    @property
    def config(self) -> Config:
        ...
class ParameterGroup:
    def __init__(self, method: str, entries: collections.abc.Sequence[tuple[str, Tensor, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]], weight_decay: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def entries(self) -> list[tuple[str, Tensor, int, int, int]]:
        ...
    @property
    def method(self) -> str:
        ...
    @property
    def weight_decay(self) -> float:
        ...
class GroupOptimizer:
    def __init__(self, groups: collections.abc.Sequence[ParameterGroup], *, beta1: typing.SupportsFloat | typing.SupportsIndex, beta2: typing.SupportsFloat | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex, muon_steps: str, momentum: typing.SupportsFloat | typing.SupportsIndex, nesterov: bool, rms: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    def state(self) -> list[tuple[str, Tensor]]:
        ...
    def step(self, lr: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], weight_decay: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], grad_scale: typing.SupportsFloat | typing.SupportsIndex) -> None:
        ...
    @property
    def steps(self) -> int:
        ...
    @steps.setter
    def steps(self, arg1: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
class Guard:
    """
    Decides whether a step may be applied: ``Guard(limit=8.0, window=64, patience=8).refuse(loss, grad_norm)`` is "" or the reason why not.

    NaN and infinities never may; nor, once ``window`` steps are known, may a loss or norm ``limit`` standard deviations above their
    mean, at most ``patience`` times in a row.
    """
    def __init__(self, *, limit: typing.SupportsFloat | typing.SupportsIndex = 8.0, window: typing.SupportsInt | typing.SupportsIndex = 64, patience: typing.SupportsInt | typing.SupportsIndex = 8) -> None:
        ...
    def refuse(self, loss: typing.SupportsFloat | typing.SupportsIndex, grad_norm: typing.SupportsFloat | typing.SupportsIndex) -> str:
        ...
class MetricLog:
    """
    Metrics of a run, one line per step: JSON lines or, for a path that ends in ``.csv``, a table.

    ``MetricLog(path, resume_step=0)``: opening for a resumed run keeps the lines of the steps before ``resume_step``.
    """
    def __init__(self, path: str, resume_step: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def _write(self, step: typing.SupportsInt | typing.SupportsIndex, metrics: collections.abc.Sequence[tuple[str, typing.SupportsFloat | typing.SupportsIndex]]) -> None:
        ...
    def write(self, step: int, metrics: dict) -> None:
        """
        One line: ``metrics`` maps names to numbers. A table (a path that ends in ``.csv``) must get the same names in every line.
        """
class Documents:
    """
    Texts with their names; ``Documents([text, ...])`` makes some from str or bytes in memory.
    """
    def __init__(self, texts: collections.abc.Sequence[str]) -> None:
        ...
    def __iter__(self):
        ...
    def __len__(self) -> int:
        ...
    def bytes(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> bytes:
        ...
    def name(self, arg0: typing.SupportsInt | typing.SupportsIndex) -> str:
        ...
class Corpus:
    """
    ``train`` and ``validation`` documents, their bytes, and how many files, duplicates and others there were.
    """
    @property
    def duplicates(self) -> int:
        ...
    @property
    def files(self) -> int:
        ...
    @property
    def skipped(self) -> int:
        ...
    @property
    def train(self) -> Documents:
        ...
    @property
    def train_bytes(self) -> int:
        ...
    @property
    def validation(self) -> Documents:
        ...
    @property
    def validation_bytes(self) -> int:
        ...
class Batch:
    """
    ids [B, T], targets [B, T] (the next tokens), and segments [B, T] (numbers of documents) or None; int32.
    """
    def __init__(self, ids: Tensor, targets: Tensor, segments: Tensor = None) -> None:
        ...
    @property
    def ids(self) -> Tensor:
        ...
    @property
    def segments(self) -> Tensor:
        ...
    @property
    def targets(self) -> Tensor:
        ...
class ByteLoader:
    """
    Batches of windows over packed documents: ``ByteLoader(documents, batch_size=16, seq_len=128, seed=0)``.

    ``batch(i)`` is a function of the seed and i alone; the next one is made meanwhile.
    """
    def __init__(self, documents: Documents, *, batch_size: typing.SupportsInt | typing.SupportsIndex = 16, seq_len: typing.SupportsInt | typing.SupportsIndex = 128, seed: typing.SupportsInt | typing.SupportsIndex = 0, shuffle: bool = True, segments: bool = False) -> None:
        ...
    def batch(self, index: typing.SupportsInt | typing.SupportsIndex) -> Batch:
        ...
    @property
    def batches_per_epoch(self) -> int:
        ...
class StepReport:
    """
    What happened in one step: loss in nats, gradient norm, tokens, seconds, balance of the experts, and why it was skipped.
    """
    def __repr__(self):
        ...
    def metrics(self) -> dict[str, float]:
        """
        The numbers of the report, for ``MetricLog.write``.
        """
    def to_dict(self):
        ...
    @property
    def balance_loss(self) -> float:
        ...
    @property
    def dead_experts(self) -> int:
        ...
    @property
    def grad_norm(self) -> float:
        ...
    @property
    def load(self) -> list[list[int]]:
        ...
    @property
    def loss(self) -> float:
        ...
    @property
    def lr(self) -> float:
        ...
    @property
    def max_violation(self) -> float:
        ...
    @property
    def mtp_loss(self) -> float:
        ...
    @property
    def seconds(self) -> float:
        ...
    @property
    def skipped(self) -> str:
        ...
    @property
    def step(self) -> int:
        ...
    @property
    def tokens(self) -> int:
        ...
class Trainer:
    """
    One optimiser step after another on a ``CausalLM``: gradients of all micro-batches, guard, clipping, update, balance of the experts.

    Matrices take ``optimizer`` ("muon" or "adamw"), everything else AdamW. ``schedule``: constant, cosine, wsd, deepseek_v3. It trains
    the parameters that the model has now: replace parts before.
    """
    def __init__(self, model: CausalLM, *, lr: typing.SupportsFloat | typing.SupportsIndex = 0.006, steps: typing.SupportsInt | typing.SupportsIndex, warmup_steps: typing.SupportsInt | typing.SupportsIndex = 0, schedule: str = 'cosine', min_ratio: typing.SupportsFloat | typing.SupportsIndex = 0.1, optimizer: str = 'muon', weight_decay: typing.SupportsFloat | typing.SupportsIndex = 0.1, beta1: typing.SupportsFloat | typing.SupportsIndex = 0.9, beta2: typing.SupportsFloat | typing.SupportsIndex = 0.95, muon_steps: str = 'deepseek_v4', clip: typing.SupportsFloat | typing.SupportsIndex = 1.0, accumulation: typing.SupportsInt | typing.SupportsIndex = 1, bias_update_rate: typing.SupportsFloat | typing.SupportsIndex = 0.001, bias_rule: str = 'sign', mtp_weight: typing.SupportsFloat | typing.SupportsIndex = 0.3, guard_limit: typing.SupportsFloat | typing.SupportsIndex = 8.0) -> None:
        ...
    def _load(self, arg0: str) -> tuple[bool, str, str, list[str]]:
        ...
    def _save(self, arg0: str, arg1: str, arg2: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def load(self, folder) -> str | None:
        """
        Goes on from the newest whole checkpoint under ``folder``; returns its ``extra``, or None if there is no checkpoint.

            Everything is checked before anything is changed. What comes after has the same bits as if training had never stopped.

        """
    def next_batches(self, loader: ByteLoader) -> list[Batch]:
        ...
    def save(self, folder, extra: str = '{}', *, keep: int = 2) -> None:
        """
        Writes a checkpoint of everything that training goes on from under ``folder``; ``extra`` is a JSON text of the caller's own.

            It appears whole or not at all; the newest ``keep`` stay.

        """
    def step(self, batches: collections.abc.Sequence[Batch]) -> StepReport:
        ...
    @property
    def steps_done(self) -> int:
        ...
    @property
    def tokens_seen(self) -> int:
        ...
def arange(arg0: typing.SupportsInt | typing.SupportsIndex, arg1: typing.SupportsInt | typing.SupportsIndex, arg2: typing.SupportsInt | typing.SupportsIndex, arg3: typing.Any) -> Tensor:
    ...
def available_isas() -> list[str]:
    ...
def caches() -> dict:
    ...
def cuda_built() -> bool:
    ...
def did_you_mean(arg0: str, arg1: collections.abc.Sequence[str]) -> str:
    ...
def empty(arg0: typing.Sequence[int], arg1: typing.Any) -> Tensor:
    ...
def estimate_model(config: Config, *, context: typing.SupportsInt | typing.SupportsIndex, tokens_in_flight: typing.SupportsInt | typing.SupportsIndex, cache_bytes_per_element: typing.SupportsFloat | typing.SupportsIndex, weight_bytes: typing.SupportsFloat | typing.SupportsIndex, gradient_bytes: typing.SupportsFloat | typing.SupportsIndex, moment_bytes: typing.SupportsFloat | typing.SupportsIndex, activation_bytes: typing.SupportsFloat | typing.SupportsIndex, mtp_modules: typing.SupportsInt | typing.SupportsIndex) -> Estimate:
    ...
def evaluate(model: CausalLM, documents: Documents, *, batch_size: typing.SupportsInt | typing.SupportsIndex = 16, seq_len: typing.SupportsInt | typing.SupportsIndex = 128, max_windows: typing.SupportsInt | typing.SupportsIndex = 0) -> float:
    ...
def full(arg0: typing.Sequence[int], arg1: typing.Any, arg2: typing.Any) -> Tensor:
    ...
def get_num_threads() -> int:
    ...
def grad_norm(parameters: collections.abc.Sequence[Tensor]) -> float:
    ...
def isa_name() -> str:
    ...
def list_checkpoints(arg0: str) -> list[tuple[int, str]]:
    ...
def load_checkpoint(arg0: str) -> dict:
    ...
def load_corpus(paths: collections.abc.Sequence[str], *, extensions: collections.abc.Sequence[str], exclude: collections.abc.Sequence[str], validation_fraction: typing.SupportsFloat | typing.SupportsIndex, min_validation_bytes: typing.SupportsInt | typing.SupportsIndex, max_file_bytes: typing.SupportsInt | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex) -> Corpus:
    ...
def load_file(arg0: str) -> dict[str, Tensor]:
    ...
def load_metadata(arg0: str) -> dict[str, str]:
    ...
def memory_stats() -> dict:
    ...
def parameter_groups(module: Module, optimizer: str, weight_decay: typing.SupportsFloat | typing.SupportsIndex) -> list[ParameterGroup]:
    ...
def preset(name: str) -> Config:
    ...
def preset_names() -> list[str]:
    ...
def published_run(name: str) -> TrainingRun:
    ...
def rand(arg0: typing.Sequence[int], arg1: typing.SupportsInt | typing.SupportsIndex, arg2: str, arg3: typing.SupportsFloat | typing.SupportsIndex, arg4: typing.SupportsFloat | typing.SupportsIndex, arg5: typing.Any) -> Tensor:
    ...
def randint(arg0: typing.Sequence[int], arg1: typing.SupportsInt | typing.SupportsIndex, arg2: str, arg3: typing.SupportsInt | typing.SupportsIndex, arg4: typing.SupportsInt | typing.SupportsIndex, arg5: typing.Any) -> Tensor:
    ...
def randn(arg0: typing.Sequence[int], arg1: typing.SupportsInt | typing.SupportsIndex, arg2: str, arg3: typing.SupportsFloat | typing.SupportsIndex, arg4: typing.SupportsFloat | typing.SupportsIndex, arg5: typing.Any) -> Tensor:
    ...
def rate_at(kind: str, step: typing.SupportsInt | typing.SupportsIndex, steps: typing.SupportsInt | typing.SupportsIndex, warmup_steps: typing.SupportsInt | typing.SupportsIndex, min_ratio: typing.SupportsFloat | typing.SupportsIndex, decay_fraction: typing.SupportsFloat | typing.SupportsIndex) -> float:
    ...
def require_device(arg0: str) -> None:
    ...
def reset_peak_memory() -> None:
    ...
def round_to_bf16(arg0: Tensor) -> Tensor:
    ...
def save_checkpoint(arg0: str, arg1: typing.SupportsInt | typing.SupportsIndex, arg2: collections.abc.Mapping[str, collections.abc.Mapping[str, Tensor]], arg3: str, arg4: str, arg5: typing.SupportsInt | typing.SupportsIndex) -> str:
    ...
def save_file(arg0: collections.abc.Mapping[str, Tensor], arg1: str, arg2: collections.abc.Mapping[str, str]) -> None:
    ...
def save_pretrained(arg0: str, arg1: Config, arg2: collections.abc.Mapping[str, Tensor]) -> None:
    ...
def saving(a: TrainingRun, b: TrainingRun) -> float:
    ...
def set_isa(name: str) -> None:
    ...
def set_num_threads(threads: typing.SupportsInt | typing.SupportsIndex) -> None:
    ...
def to_type(arg0: Tensor, arg1: typing.Any) -> Tensor:
    ...
def training_cost(run: TrainingRun) -> TrainingCost:
    ...
def trim_memory() -> None:
    ...
