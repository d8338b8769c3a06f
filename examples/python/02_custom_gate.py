"""A gate written in Python, trained inside a C++ model, beside the model's own gate.

    python examples/python/02_custom_gate.py [--steps 60]

CosineGate compares directions only: tokens and experts are projected to a small sphere, as in X-MoE (Chi et al., arXiv:2204.09179),
so that no expert can win by the length of its vector. Choice and balance follow DeepSeek-V3 (arXiv:2412.19437, section 2.1.2): a
bias moves the choice and never a weight.
"""

import argparse
import sysconfig

import numpy as np

import moelle
from moelle import data, models, nn, training
from moelle import functional as F


class CosineGate(nn.Gate):
    """Experts by the cosine between token and expert, each projected to ``rank`` dimensions."""

    def __init__(self, hidden_size, num_experts, top_k, *, rank=16, temperature=0.2, balanced=True, seed=0):
        super().__init__()
        self.project = nn.Parameter(moelle.randn(rank, hidden_size, std=hidden_size**-0.5, seed=seed))
        self.experts = nn.Parameter(moelle.randn(num_experts, rank, seed=seed + 1))
        self.log_scale = nn.Parameter(-moelle.full([1], temperature).log())
        self.register_buffer("bias", moelle.zeros(num_experts))
        self.top_k, self.balanced = top_k, balanced

    def route(self, x):
        """x [N, D] -> experts [N, K], weights [N, K], scores [N, E]."""
        tokens, experts = F.rms_norm(F.linear(x, self.project)), F.rms_norm(self.experts)  # of length sqrt(rank)
        cosine = F.linear(tokens, experts) / self.experts.size(1)
        scores = F.sigmoid(cosine * self.log_scale.exp())
        chosen = (scores.detach() + self.bias).topk(self.top_k)[1]
        weights = scores.gather(1, chosen)
        return chosen, weights / weights.sum(-1, keepdim=True), scores

    def balance(self, counts, rate, rule):
        """Called by the trainer once per step with the tokens of each expert."""
        if self.balanced:
            F.update_bias(self.bias, counts, rate, rule.name)


def trained(config, corpus, steps, make_gate=None):
    """Validation loss, and the means of MaxVio and of dead experts over the last ten steps, and seconds."""
    model = models.CausalLM(config, seed=0)
    if make_gate is not None:
        for layer, moe in model.moe_layers():
            moe.gate = make_gate(layer)
    trainer = training.Trainer(model, lr=6e-3, steps=steps, warmup_steps=steps // 10, bias_update_rate=1.0 / steps)
    loader = data.ByteLoader(corpus.train, batch_size=8, seq_len=64, seed=0)
    reports = [trainer.step(trainer.next_batches(loader)) for _ in range(steps)]
    loss = training.evaluate(model, corpus.validation, batch_size=16, seq_len=64, max_windows=512)
    violation, dead = np.mean([(r.max_violation, r.dead_experts) for r in reports[-10:]], axis=0)
    return loss, violation, dead, sum(r.seconds for r in reports)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=60)
    steps = parser.parse_args().steps

    corpus = data.load_corpus(sysconfig.get_paths()["stdlib"], extensions=[".py"], exclude=["site-packages", "dist-packages", "test"])
    config = models.Config.preset("pilot").replace(
        num_hidden_layers=3, hidden_size=64, intermediate_size=192, moe_intermediate_size=48, n_routed_experts=16)

    def cosine(balanced):
        return lambda layer: CosineGate(config.hidden_size, config.n_routed_experts, config.num_experts_per_tok, balanced=balanced, seed=2 * layer)

    arms = {"the model's own gate": None, "CosineGate": cosine(True), "CosineGate, no balance": cosine(False)}
    print(f"{'gate':<24}{'validation loss':>16}{'MaxVio':>8}{'dead':>6}{'seconds':>9}")
    for name, make_gate in arms.items():
        loss, violation, dead, seconds = trained(config, corpus, steps, make_gate)
        print(f"{name:<24}{loss:>16.3f}{violation:>8.2f}{dead:>6.1f}{seconds:>9.1f}")
    print(f"{steps} steps of 512 bytes, one seed: differences of a few hundredths in the loss are noise; MaxVio and dead experts are not.")


if __name__ == "__main__":
    main()
