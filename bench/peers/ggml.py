"""Operators of llama.cpp alone, through the ggml libraries that llama-cpp-python installs: routed experts and attention over a latent cache.

Each function gives a call without arguments that computes the operator once on `threads` threads; its operands live as long as the call does.
ImportError: the libraries are not there.
"""
from __future__ import annotations

import ctypes as C
import importlib.util
from pathlib import Path

import numpy as np

TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 8, "I32": 26, "BF16": 30}
REPACKED = {"Q4_0"}  # on x86 llama.cpp may keep these in a layout of its own


class InitParams(C.Structure):
    _fields_ = [("bytes", C.c_size_t), ("buffer", C.c_void_p), ("no_alloc", C.c_bool)]


class Plan(C.Structure):
    _fields_ = [("work_size", C.c_size_t), ("work_data", C.c_void_p), ("n_threads", C.c_int), ("more", C.c_char * 128)]  # versions differ in what follows


def libraries():
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None:
        raise ImportError("llama-cpp-python must be installed: pip install llama-cpp-python (compiles llama.cpp, a quarter of an hour on two cores)")
    folder = Path(spec.origin).parent / "lib"
    base = C.CDLL(str(folder / "libggml-base.so"), mode=C.RTLD_GLOBAL)
    return base, C.CDLL(str(folder / "libggml-cpu.so"), mode=C.RTLD_GLOBAL)


BASE, CPU = libraries()
P, I64, SIZE = C.c_void_p, C.c_int64, C.c_size_t


def function(library, name, result, *arguments):
    f = getattr(library, name)
    f.restype, f.argtypes = result, arguments
    return f


init = function(BASE, "ggml_init", P, InitParams)
free = function(BASE, "ggml_free", None, P)
new_tensor = function(BASE, "ggml_new_tensor", P, P, C.c_int, C.c_int, C.POINTER(I64))
nbytes = function(BASE, "ggml_nbytes", SIZE, P)
get_data = function(BASE, "ggml_get_data", P, P)
mul_mat_id = function(BASE, "ggml_mul_mat_id", P, P, P, P, P)
flash_attn_ext = function(BASE, "ggml_flash_attn_ext", P, P, P, P, P, P, C.c_float, C.c_float, C.c_float)
new_graph = function(BASE, "ggml_new_graph", P, P)
expand = function(BASE, "ggml_build_forward_expand", None, P, P)
quantize_chunk = function(BASE, "ggml_quantize_chunk", SIZE, C.c_int, P, P, I64, I64, I64, P)
alloc_tensors = function(BASE, "ggml_backend_alloc_ctx_tensors_from_buft", P, P, P)
tensor_set = function(BASE, "ggml_backend_tensor_set", None, P, P, SIZE, SIZE)
buffer_free = function(BASE, "ggml_backend_buffer_free", None, P)
plain_buffers = function(BASE, "ggml_backend_cpu_buffer_type", P)
plan_graph = function(CPU, "ggml_graph_plan", Plan, P, C.c_int, P)
compute_graph = function(CPU, "ggml_graph_compute", C.c_int, P, C.POINTER(Plan))
function(CPU, "ggml_cpu_init", None)()
LOG = C.CFUNCTYPE(None, C.c_int, C.c_char_p, P)
quiet = LOG(lambda level, text, data: None)  # kept: ggml calls it as long as it lives
function(BASE, "ggml_log_set", None, LOG, P)(quiet, None)
try:
    repacked_buffers = function(CPU, "_Z35ggml_backend_cpu_repack_buffer_typev", P)
except AttributeError:
    repacked_buffers = None


def tensor(context, kind, *shape):
    """shape as ggml counts it: the axis of neighbours in memory first."""
    return new_tensor(context, TYPES[kind], len(shape), (I64 * len(shape))(*shape))


def fill(to, array):
    array = np.ascontiguousarray(array)
    if array.nbytes != nbytes(to):
        raise ValueError(f"ggml: an operand must have {nbytes(to)} bytes; got {array.nbytes}")
    C.memmove(get_data(to), array.ctypes.data, array.nbytes)


def encoded(kind, rows):
    """Rows of float32 in one of ggml's types, as bytes."""
    if kind == "F32":
        return rows.view(np.uint8).reshape(-1)
    out = np.empty(4 * rows.size, np.uint8)
    used = quantize_chunk(TYPES[kind], rows.ctypes.data, out.ctypes.data, 0, len(rows), rows.shape[1], None)
    return out[:used].copy()


class Call:
    """Computes the graph of one operator."""

    def __init__(self, context, result, threads, buffers=()):
        self.context, self.result, self.buffers = context, result, buffers
        self.graph = new_graph(context)
        expand(self.graph, result)
        self.plan = plan_graph(self.graph, threads, None)
        self.room = np.empty(self.plan.work_size + 64, np.uint8)
        self.plan.work_data = (self.room.ctypes.data + 63) // 64 * 64

    def __call__(self):
        if compute_graph(self.graph, C.byref(self.plan)) != 0:
            raise RuntimeError("ggml: an operator failed")

    def output(self, *shape):
        count = int(np.prod(shape))
        return np.ctypeslib.as_array(C.cast(get_data(self.result), C.POINTER(C.c_float)), (count,)).reshape(shape).copy()

    def close(self):
        for buffer in self.buffers:
            buffer_free(buffer)
        free(self.context)
        self.buffers, self.context = (), None


def experts(kind, repacked, weights, ids, shared, threads):
    """mul_mat_id: ids [tokens, top], weights [m, k] of which all experts are copies; shared: the experts of a token see one row, else each its own."""
    (tokens, top), (m, k), count = ids.shape, weights.shape, int(ids.max()) + 1
    held = init(InitParams(1 << 20, None, True))  # of the weights
    w = tensor(held, kind, k, m, count)
    buffer = alloc_tensors(held, repacked_buffers() if repacked else plain_buffers())
    bytes_ = np.tile(encoded(kind, weights), count)
    tensor_set(w, bytes_.ctypes.data, 0, bytes_.size)
    rows = np.random.default_rng(1).standard_normal((tokens, 1 if shared else top, k), dtype=np.float32)
    context = init(InitParams(rows.nbytes + 4 * tokens * top * (m + 1) + (16 << 20), None, False))
    x, chosen = tensor(context, "F32", k, rows.shape[1], tokens), tensor(context, "I32", top, tokens)
    fill(x, rows)
    fill(chosen, ids.astype(np.int32))
    call = Call(context, mul_mat_id(context, w, x, chosen), threads, [buffer])
    call()
    expected = rows[:2] @ weights.T  # [2, 1 or top, m]
    error = np.abs(call.output(tokens, top, m)[:2] - expected).max() / np.abs(expected).max()
    if not error < (0.15 if kind == "Q4_0" else 0.02):
        raise RuntimeError(f"ggml: mul_mat_id of {kind} must compute the experts' products; got a relative error of {error:.3f}")
    return call


def latent_attention(heads, keys, threads):
    """flash_attn_ext of one query in every head over a cache of 576 channels in float16, of which 512 are the values."""
    rng = np.random.default_rng(2)
    queries, rows = rng.standard_normal((heads, 1, 576), dtype=np.float32), rng.standard_normal((keys, 576), dtype=np.float32).astype(np.float16)
    context = init(InitParams(64 << 20, None, False))
    q, k, v = tensor(context, "F32", 576, 1, heads), tensor(context, "F16", 576, keys), tensor(context, "F16", 512, keys)
    fill(q, queries)
    fill(k, rows)
    fill(v, rows[:, :512])
    call = Call(context, flash_attn_ext(context, q, k, v, None, 576**-0.5, 0.0, 0.0), threads)
    call()
    scores = queries[:, 0] @ rows.astype(np.float32).T * 576**-0.5
    weights = np.exp(scores - scores.max(1, keepdims=True))
    expected = weights / weights.sum(1, keepdims=True) @ rows[:, :512].astype(np.float32)
    error = np.abs(call.output(heads, 512) - expected).max() / np.abs(expected).max()
    if not error < 0.05:
        raise RuntimeError(f"ggml: flash_attn_ext must compute attention; got a relative error of {error:.3f}")
    return call
