"""The training loop written out by hand, from the parts of which training.Trainer is made, and a check that both give the same losses.

    python examples/python/01_training_loop.py [--steps 40] [--optimizer muon|adamw]

One step: gradients of several micro-batches, their norm, the guard, clipping, the update at the scheduled rate, and then the biases
that keep the experts evenly loaded (DeepSeek-V3, arXiv:2412.19437, section 2.1.2).
"""

import argparse
import sysconfig

import moelle
from moelle import data, models, training

LR, CLIP, BIAS_RATE = 6e-3, 1.0, 0.02
ACCUMULATION = 2  # micro-batches per step
SHAPE = dict(batch_size=8, seq_len=64)


def train(model, loader, steps, method):
    """The losses of all steps. With Muon, AdamW still moves embedding, head, router and norms."""
    optimizer = training.Muon(model, lr=LR) if method == "muon" else training.AdamW(model, lr=LR)
    rate = training.schedule("cosine", steps=steps, warmup_steps=steps // 10)
    guard = training.Guard()
    layers = [moe for _, moe in model.moe_layers()]
    losses = []
    for step in range(steps):
        batches = [loader.batch(step * ACCUMULATION + i) for i in range(ACCUMULATION)]
        targets = sum(b.targets.numel() for b in batches)
        optimizer.zero_grad()
        for moe in layers:
            moe.reset_counts()
        loss = 0.0
        for b in batches:  # with this normalizer the gradients add up to that of the mean over all targets of the step
            out = model.losses(b.ids, targets=b.targets, normalizer=targets, balance_weight=b.targets.numel() / targets)
            out.total.backward()
            loss += out.loss.item()
        norm = optimizer.grad_norm()
        refused = guard.refuse(loss, norm)
        if not refused:
            for group in optimizer.param_groups:
                group["lr"] = LR * rate(step)
            optimizer.step(grad_scale=CLIP / max(norm, CLIP))
            for moe in layers:
                moe.update_bias(BIAS_RATE)
        losses.append(loss)
        if step % 10 == 0 or step == steps - 1:
            violation = sum(moelle.functional.max_violation(moe.counts) for moe in layers) / len(layers)
            print(f"step {step:3d}  loss {loss:.4f}  gradient norm {norm:.2f}  rate {rate(step):.2f}  MaxVio {violation:.2f}  {refused}".rstrip())
    return losses


def evaluate(model, documents, windows):
    """Mean loss over the first windows of documents that training has not seen."""
    loader = data.ByteLoader(documents, shuffle=False, **SHAPE)
    model.eval()
    with moelle.no_grad():
        batches = [loader.batch(i) for i in range(windows // SHAPE["batch_size"])]
        losses = [model.loss(b.ids, targets=b.targets).item() for b in batches]
    model.train()
    return sum(losses) / len(losses)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--optimizer", choices=["muon", "adamw"], default="muon")
    args = parser.parse_args()

    corpus = data.load_corpus(sysconfig.get_paths()["stdlib"], extensions=[".py"], exclude=["site-packages", "dist-packages", "test"])
    print(f"{corpus.train_bytes:,} bytes of the Python standard library to train on, {corpus.validation_bytes:,} of other files to validate")
    config = models.Config.preset("pilot").replace(
        num_hidden_layers=2, hidden_size=64, intermediate_size=192, moe_intermediate_size=48, n_routed_experts=16)

    mine, theirs = models.CausalLM(config, seed=0), models.CausalLM(config, seed=0)
    losses = train(mine, data.ByteLoader(corpus.train, seed=0, **SHAPE), args.steps, args.optimizer)

    trainer = training.Trainer(theirs, lr=LR, steps=args.steps, warmup_steps=args.steps // 10, optimizer=args.optimizer, clip=CLIP,
                               accumulation=ACCUMULATION, bias_update_rate=BIAS_RATE)
    loader = data.ByteLoader(corpus.train, seed=0, **SHAPE)
    reference = [trainer.step(trainer.next_batches(loader)).loss for _ in range(args.steps)]

    ours, library = evaluate(mine, corpus.validation, windows=256), training.evaluate(theirs, corpus.validation, max_windows=256, **SHAPE)
    print(f"validation loss {ours:.6f} by hand, {library:.6f} by the library")
    if losses != reference or ours != library:
        raise SystemExit(f"the loop and Trainer differ: losses by up to {max(abs(a - b) for a, b in zip(losses, reference))}")
    print(f"all {args.steps} losses and the validation loss have the same bits as Trainer's")


if __name__ == "__main__":
    main()
