#!/usr/bin/env python3
"""What the precision of products costs in loss: the demo's two models, the same seeds and batches in each precision, validated in float32.

    precisions.py [--steps 600] [--seeds 1 2 3] [--precisions f32 bf16] [--arms moe dense] [--optimizer muon]

Prints bits per byte of 256 KB of other files for every run and, over the seeds, the mean excess over the first precision.
"""
import argparse
import statistics

from rich.console import Console

from moelle import _demo, models, nn


def loss(arm, documents, options):
    config = models.Config.preset("pilot")
    run = _demo.Arm(arm, arm, config if arm == "moe" else config.dense_twin(), options, documents.train, _demo.Path("unused"))
    while not run.done:
        run.step()
    nn.set_precision(run.model, "f32")
    windows = _demo.VALIDATION_BYTES // options.seq_len
    return _demo.BITS * _demo.training.evaluate(run.model, documents.validation, batch_size=32, seq_len=options.seq_len, max_windows=windows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"], choices=["f32", "bf16", "fp8"])
    parser.add_argument("--arms", nargs="+", default=["moe", "dense"], choices=["moe", "dense"])
    parser.add_argument("--optimizer", default="muon", choices=["muon", "adamw"])
    args = parser.parse_args()
    documents = _demo.load_data([], Console(quiet=True))
    for arm in args.arms:
        losses = {p: [] for p in args.precisions}
        for seed in args.seeds:
            for p in args.precisions:
                options = _demo.Options(data=[], optimizer=args.optimizer, precision=p, steps=args.steps, seed=seed, lr=6e-3 if args.optimizer == "muon" else 3e-3)
                losses[p].append(loss(arm, documents, options))
                print(f"{arm:6} seed {seed} {p:5} {losses[p][-1]:.4f} bits per byte", flush=True)
        first = losses[args.precisions[0]]
        for p in args.precisions[1:]:
            excess = [100 * (x / y - 1) for x, y in zip(losses[p], first)]
            print(f"{arm:6} {p} over {args.precisions[0]}: {statistics.mean(excess):+.2f} % [{min(excess):+.2f} .. {max(excess):+.2f}] over {len(excess)} seeds", flush=True)


if __name__ == "__main__":
    main()
