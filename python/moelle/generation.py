"""Text from a byte-level model. Token ids come from ``CausalLM.generate``."""

from __future__ import annotations

from .models import CausalLM, generate

__all__ = ["generate", "text"]


def text(model: CausalLM, prompt: str | bytes, *, max_new_tokens: int = 200, temperature: float = 0.8, **options) -> str:
    """What a byte-level model (``vocab_size`` 256) writes after ``prompt``; bytes that are no UTF-8 become replacement characters."""
    data = prompt.encode() if isinstance(prompt, str) else bytes(prompt)
    ids = generate(model, [list(data)], max_new_tokens=max_new_tokens, temperature=temperature, **options)
    return bytes(ids.tolist()[0][len(data) :]).decode("utf-8", errors="replace")
