"""Language models of one checked configuration, with Hugging Face's keys and names.

>>> import moelle
>>> cfg = moelle.models.Config.preset("pilot").replace(num_hidden_layers=2)
>>> model = moelle.models.CausalLM(cfg, seed=0)
>>> model([[1, 2, 3]]).shape
(1, 3, 256)
"""

from __future__ import annotations

import json
from os import PathLike, fspath
from pathlib import Path

from . import _core, nn  # noqa: F401  (nn gives modules their methods)
from ._core import CausalLM, Config, Decoder, DecoderCache, DecoderLayer, LossOutput, MtpLayer, Tensor
from ._numpy import np

__all__ = ["CausalLM", "Config", "Decoder", "DecoderCache", "DecoderLayer", "LossOutput", "MtpLayer", "presets"]


def _text(source) -> str:
    if isinstance(source, dict):
        try:
            return json.dumps(source)
        except TypeError as e:
            raise _core.Error(f"config: values must be those of JSON; got {e}") from None
    if not isinstance(source, (str, PathLike)):
        raise TypeError(f"config: must be a path, a dict or the text of a config.json; got {type(source).__name__}")
    if isinstance(source, str) and source.lstrip().startswith("{"):
        return source
    path = Path(source)
    return (path / "config.json" if path.is_dir() else path).read_text(encoding="utf-8")


def from_json(source, unknown: str = "ignore") -> Config:
    """A configuration from the path of a config.json (or its folder), a dict, or the text itself.

    Keys are Hugging Face's; official ``rope_theta`` and ``rope_scaling`` and transformers 5's ``rope_parameters`` are both read.
    Keys that a family leaves out take that family's defaults. Keys that say nothing about the model are ignored, or refused with
    the nearest name if ``unknown="refuse"``. Values that no model can have are refused.
    """
    if unknown not in ("ignore", "refuse"):
        raise _core.Error(f"config: unknown must be ignore or refuse; got unknown={unknown!r}")
    return Config._parse(_text(source), unknown == "refuse")


def to_dict(self) -> dict:
    """The configuration as a dict with Hugging Face's keys."""
    return json.loads(self.to_json())


def replace(self, **changes) -> Config:
    """A copy with other values under the given keys; unknown keys are refused."""
    return from_json({**to_dict(self), **changes}, unknown="refuse")


def preset(name: str) -> Config:
    """A configuration by name; see ``presets()``."""
    return _core.preset(name)


def presets() -> list[str]:
    """The names of ``Config.preset``."""
    return _core.preset_names()


Config.from_json = staticmethod(from_json)
Config.from_dict = staticmethod(from_json)
Config.preset = staticmethod(preset)
Config.to_dict = to_dict
Config.replace = replace
Config.__repr__ = lambda self: f"Config({', '.join(f'{k}={v!r}' for k, v in to_dict(self).items())})"
Config.__doc__ = "A checked configuration; attributes are the keys of Hugging Face's config.json. Make one with ``Config.from_json`` or ``Config.preset``."
Decoder.__doc__ = "Embedding, layers and final norm: everything under ``model.``."
DecoderCache.__doc__ = "What all layers remember of the tokens seen so far: ``model.make_cache(batch, capacity)``."
DecoderLayer.__doc__ = "x + attention(norm(x)), then x + mlp(norm(x)); x [B, T, D]."
MtpLayer.__doc__ = "A multi-token prediction module of DeepSeek-V3 (arXiv:2412.19437, section 2.2)."
LossOutput.__doc__ = "loss, mtp and balance (None where there is none), and their weighted sum total."
for _c in [CausalLM, Config, Decoder, DecoderCache, DecoderLayer, LossOutput, MtpLayer]:
    _c.__module__ = "moelle.models"


def as_ids(ids) -> Tensor:
    """Token ids from a tensor, an array of integers, or nested lists."""
    if isinstance(ids, Tensor):
        return ids
    a = np.asarray(ids)
    if a.dtype.kind not in "iu":
        raise TypeError(f"ids: must be whole numbers; got dtype={a.dtype}")
    return Tensor(np.ascontiguousarray(a, np.int64 if a.dtype.itemsize == 8 else np.int32))


def _optional(ids):
    return None if ids is None else as_ids(ids)


_forward, _loss, _losses, _generate, _hidden = CausalLM.forward, CausalLM.loss, CausalLM.losses, CausalLM.generate, CausalLM.hidden_states


def forward(self, ids, segments=None, cache=None) -> Tensor:
    """ids [B, T] -> logits [B, T, V]. With a ``DecoderCache`` the ids continue what it holds."""
    return _forward(self, as_ids(ids), _optional(segments), cache)


def hidden_states(self, ids, segments=None, cache=None) -> Tensor:
    """ids [B, T] -> states [B, T, D] after the final norm."""
    return _hidden(self, as_ids(ids), _optional(segments), cache)


def loss(self, ids, labels=None, *, targets=None, segments=None) -> Tensor:
    """Mean next-token cross-entropy in nats, without storing logits.

    ``labels`` [B, T] follow Hugging Face: position t predicts ``labels[:, t + 1]``; they default to the ids. Batches of
    ``moelle.data`` are shifted already: pass ``targets``, where position t predicts ``targets[:, t]``. -100 is not counted.
    """
    return _loss(self, as_ids(ids), _optional(labels), targets=_optional(targets), segments=_optional(segments))


def losses(self, ids, labels=None, *, targets=None, segments=None, mtp_weight: float = 0.0, balance_weight: float = 1.0, normalizer: float = 0.0) -> LossOutput:
    """All that training looks at: ``loss``, ``mtp``, ``balance`` and their weighted sum ``total``, which is to be minimised."""
    return _losses(self, as_ids(ids), _optional(labels), targets=_optional(targets), segments=_optional(segments), mtp_weight=mtp_weight,
                   balance_weight=balance_weight, normalizer=normalizer)


def generate(self, ids, *, max_new_tokens: int = 64, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0, seed: int = 0, eos_token_id=None,
             prefill_chunk: int = 512, use_cache: bool = True, on_token=None) -> Tensor:
    """ids [B, T] -> [B, T + n], n <= max_new_tokens, on the cache. Temperature 0 takes the most likely token.

    ``on_token(step, tokens)`` sees each step's tokens [B]; returning False ends generation. A seed decides everything drawn.
    """
    eos = [] if eos_token_id is None else [eos_token_id] if isinstance(eos_token_id, int) else list(eos_token_id)
    return _generate(self, as_ids(ids), max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed, eos_token_id=eos,
                     prefill_chunk=prefill_chunk, use_cache=use_cache, on_token=on_token)


def save_pretrained(self, path) -> None:
    """Writes ``config.json`` and ``model.safetensors`` under Hugging Face's names into a folder."""
    _core.save_pretrained(fspath(path), self.config, self.state_dict())


def from_pretrained(path, *, strict: bool = True, follow_links: bool = False) -> CausalLM:
    """A model from a folder with ``config.json`` and safetensors files; weights become float32."""
    folder = _core.PretrainedDirectory.open(fspath(path), follow_links)
    model = CausalLM(folder.config)
    model.load_state_dict({name: folder.read_float32(name) for name in folder.names()}, strict=strict)
    return model


for _f in [forward, hidden_states, loss, losses, generate, save_pretrained]:
    setattr(CausalLM, _f.__name__, _f)
CausalLM.from_pretrained = staticmethod(from_pretrained)
CausalLM.__doc__ = """A decoder-only language model: ``CausalLM(config, seed=0, format=None)``. Weights are functions of the seed and their names; with a
``format`` (see ``moelle.nn.pack``) they are packed one by one as they are made, so that the whole model never exists in floats.

Modules and names are Hugging Face's: ``model.model.layers[i].self_attn``, ``.mlp``, ``model.lm_head``."""
