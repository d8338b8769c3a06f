"""How DeepSeek-V2 and DeepSeek-V3 route: the same logits through both gates, then tiny models trained with both.

    python examples/python/03_v2_and_v3_routing.py [--steps 100] [--picture routing.png]

V2 (arXiv:2405.04434, section 2.2): softmax; the groups (devices) with the best single experts; weights are not normalized; an
auxiliary loss keeps the load even. V3 (arXiv:2412.19437, section 2.1.2): sigmoid; the groups with the best sums of two; weights add
up to one; a bias per expert, which moves the choice and never a weight, keeps the load even.
"""

import argparse
import sysconfig

import numpy as np

import moelle
from moelle import data, models, training
from moelle import functional as F

E, GROUPS, TOP_GROUPS, TOP_K = 32, 8, 3, 4
V2 = F.GateParams.group_limited_greedy(GROUPS, TOP_GROUPS, TOP_K)
V3 = F.GateParams.noaux_tc(GROUPS, TOP_GROUPS, TOP_K)


def one_token():
    """Eight experts in four groups, of which two may supply three experts."""
    logits = moelle.tensor([[3.0, -2.0, 2.0, 1.9, 2.4, 0.0, -1.0, 0.5]])
    print("One token, 8 experts in 4 groups, 3 experts from 2 groups\n")
    print("expert      " + "".join(f"{e:>7}" for e in range(8)) + "   chosen groups")
    print("logit       " + "".join(f"{x:>7.2f}" for x in logits.tolist()[0]))
    for name, params in (("V2", F.GateParams.group_limited_greedy(4, 2, 3)), ("V3", F.GateParams.noaux_tc(4, 2, 3))):
        experts, weights, scores = F.gate(logits, params=params)
        weight = dict(zip(experts.tolist()[0], weights.tolist()[0]))
        print(f"{name} score    " + "".join(f"{s:>7.3f}" for s in scores.tolist()[0]))
        chosen = "".join(f"{weight[e]:>7.3f}" if e in weight else "      -" for e in range(8))
        print(f"{name} weight   {chosen}   {sorted({e // 2 for e in weight})}")
    print("\nV2 keeps group 0 for its one strong expert; V3 prefers group 1 with two good ones.\n")


def many_tokens():
    """How many groups a token reaches, and what its weights add up to."""
    logits = moelle.randn(4096, E, std=1.5, seed=0)
    gates = {"greedy, no limit": F.GateParams.greedy(TOP_K), "V2": V2, "V3": V3}
    routed = {name: F.gate(logits, params=params) for name, params in gates.items()}
    print(f"4,096 tokens, {E} experts in {GROUPS} groups, {TOP_K} experts per token from at most {TOP_GROUPS} groups\n")
    print(f"{'gate':<18}{'groups per token':>17}{'at most':>9}{'sum of weights':>16}{'experts shared with V3':>24}")
    for name, (experts, weights, _) in routed.items():
        groups = [len({e // (E // GROUPS) for e in row}) for row in experts.tolist()]
        shared = sum(len(set(a) & set(b)) for a, b in zip(experts.tolist(), routed["V3"][0].tolist())) / len(groups)
        total = weights.sum(-1).mean().item()
        print(f"{name:<18}{sum(groups) / len(groups):>17.2f}{max(groups):>9}{total:>16.3f}{shared:>24.2f}")
    print()


def fixed_tokens(steps):
    """Tokens that all prefer the same experts: MaxVio before and after, and how far the scores were moved for it."""
    noise, slope = moelle.randn(2048, E, seed=1), 1.5 - 3.0 * moelle.arange(E).float() / (E - 1)

    def violation(experts):
        return F.max_violation(F.count_experts(experts, E))

    bias = moelle.zeros(E)
    first, _, before = F.gate(noise + slope, bias, params=V3)
    for _ in range(steps):
        F.update_bias(bias, F.count_experts(F.gate(noise + slope, bias, params=V3)[0], E), rate=0.005)
    last, _, after = F.gate(noise + slope, bias, params=V3)
    rows = [("V3, bias", violation(first), violation(last), (after - before).abs().mean() / before.mean())]

    learned = slope.clone().requires_grad_()
    optimizer = training.AdamW([learned], lr=0.02, weight_decay=0.0)
    first, _, before = F.gate(noise + slope, params=V2)
    for _ in range(steps):
        experts, _, scores = F.gate(noise + learned, params=V2)
        optimizer.zero_grad()
        F.sequence_balance_loss(scores, experts, 1).backward()
        optimizer.step()
    last, _, after = F.gate(noise + learned.detach(), params=V2)
    rows.append(("V2, auxiliary loss", violation(first), violation(last), (after - before).abs().mean() / before.mean()))

    print(f"2,048 tokens that prefer the same experts, {steps} updates of nothing but the balance\n")
    print(f"{'gate':<20}{'MaxVio before':>14}{'after':>8}{'scores moved by':>18}")
    for name, start, end, moved in rows:
        print(f"{name:<20}{start:>14.2f}{end:>8.2f}{100 * moved.item():>16.0f} %")
    print()


def small_models(steps):
    """MaxVio of every step and the last losses of tiny models, by name."""
    corpus = data.load_corpus(sysconfig.get_paths()["stdlib"], extensions=[".py"], exclude=["site-packages", "dist-packages", "test"])
    v3 = models.Config.preset("pilot").replace(
        num_hidden_layers=2, hidden_size=64, num_attention_heads=2, intermediate_size=192, moe_intermediate_size=32, n_routed_experts=E,
        num_experts_per_tok=TOP_K, n_group=GROUPS, topk_group=TOP_GROUPS, aux_loss_alpha=0.0)
    v2 = v3.replace(model_type="deepseek_v2", topk_method="group_limited_greedy", scoring_func="softmax", norm_topk_prob=False)
    arms = {  # the papers' 0.003 and 0.001 are meant for runs many times as long
        "V2, no balance": (v2, 0.0),
        "V2, auxiliary loss 0.1": (v2.replace(aux_loss_alpha=0.1), 0.0),
        "V3, bias held": (v3, 0.0),
        "V3, bias moves": (v3, 1.0 / steps),
    }
    print(f"Tiny models on the Python standard library, {steps} steps of 512 bytes; means of the last ten steps\n")
    print(f"{'model':<24}{'training loss':>14}{'MaxVio':>8}{'dead experts':>14}")
    history = {}
    for name, (config, rate) in arms.items():
        model = models.CausalLM(config, seed=1)
        trainer = training.Trainer(model, lr=3e-3, steps=steps, warmup_steps=steps // 10, optimizer="adamw", bias_update_rate=rate)
        loader = data.ByteLoader(corpus.train, batch_size=8, seq_len=64, seed=1)
        reports = [trainer.step(trainer.next_batches(loader)) for _ in range(steps)]
        loss, violation, dead = np.mean([(r.loss, r.max_violation, r.dead_experts) for r in reports[-10:]], axis=0)
        print(f"{name:<24}{loss:>14.3f}{violation:>8.2f}{dead:>11.1f}/{E}")
        history[name] = [r.max_violation for r in reports]
    print(f"\nThe largest MaxVio there can be is {E / TOP_K - 1:.0f}: all tokens at the same {TOP_K} experts. One seed: the losses differ by noise.")
    return history


def plot(history, path):
    """MaxVio against the step."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    for name, values in history.items():
        plt.plot(values, label=name)
    plt.xlabel("step")
    plt.ylabel("MaxVio")
    plt.legend()
    plt.savefig(path, dpi=110)
    print(f"plotted in {path}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--picture", help="where to plot MaxVio against the step; needs matplotlib")
    args = parser.parse_args()
    one_token()
    many_tokens()
    fixed_tokens(steps=200)
    history = small_models(args.steps)
    if args.picture:
        plot(history, args.picture)


if __name__ == "__main__":
    main()
