"""``moelle train``, ``moelle generate``, ``moelle demo``."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import typer

import moelle

from .cli import app


def _settings() -> dict:
    """Everything a training configuration may say, with its default."""
    trainer = dict(lr=6e-3, steps=600, warmup_steps=50, schedule="cosine", min_ratio=0.1, optimizer="muon", weight_decay=0.1, beta1=0.9, beta2=0.95,
                   muon_steps="deepseek_v4", clip=1.0, accumulation=1, bias_update_rate=1e-3, bias_rule="sign", mtp_weight=0.3, guard_limit=8.0)
    return dict(model="pilot", data=[], extensions=[], exclude=[], output="runs/train", precision="f32", seed=0, batch_size=16, seq_len=128, save_every=100, log_every=10, log="log.jsonl") | trainer


def _read(path: str) -> dict:
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith((".yaml", ".yml")):
        import yaml

        value = yaml.safe_load(text)
    else:
        value = json.loads(text)
    if not isinstance(value, dict):
        raise moelle.Error(f"train: a configuration must be a mapping; got {type(value).__name__} in {path}")
    return value


def _convert(key: str, value, default):
    """A value of the default's type, or an error that names the key."""
    if key == "model":
        return value
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        ok = isinstance(value, type(default)) or (isinstance(default, list) and isinstance(value, str))
        value = [value] if isinstance(default, list) and isinstance(value, str) else value
    else:
        ok = isinstance(value, (int, float)) and not isinstance(value, bool) and (isinstance(default, float) or value == int(value))
        value = type(default)(value) if ok else value
    if not ok:
        raise moelle.Error(f"train: {key} must be a {type(default).__name__}; got {key}={value!r}")
    return value


def load_settings(path: str | None, changes: list[str]) -> dict:
    """The defaults, then the file, then ``key=value`` changes (values in JSON or plain words). ``model.key=value`` reaches into the model."""
    settings = _settings()
    given = _read(path) if path else {}
    model: dict = {}
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise moelle.Error(f"train: --set must be key=value; got {change!r}")
        try:
            value = json.loads(text)
        except ValueError:
            value = text
        if key.startswith("model."):
            model[key[6:]] = value
        else:
            given[key] = value
    for key, value in given.items():
        if key not in settings:
            raise moelle.Error(f"train: unknown key; got {key!r}{moelle._core.did_you_mean(key, list(settings))}")
        settings[key] = _convert(key, value, settings[key])
    for key in ("steps", "save_every", "log_every"):
        if settings[key] < 1:
            raise moelle.Error(f"train: {key} must be at least 1; got {key}={settings[key]}")
    config = settings["model"]
    base = moelle.models.Config.from_json(config, unknown="refuse") if isinstance(config, dict) else moelle.estimate.config_of(config)
    settings["config"] = base.replace(**model) if model else base
    return settings


@app.command()
def train(
    config: str = typer.Argument(None, help="A YAML or JSON file; see the README for its keys."),
    set_: list[str] = typer.Option([], "--set", help="key=value, more than once; model.key=value reaches into the model."),
    resume: bool = typer.Option(False, "--resume", help="Go on from the newest checkpoint in the output folder."),
) -> None:
    """Trains a byte-level model on text files."""
    from . import data, models, nn, training

    s = load_settings(config, set_)
    if not s["data"]:
        raise moelle.Error("train: data must name files or folders; got data=[]")
    corpus = data.load_corpus(s["data"], extensions=s["extensions"], exclude=s["exclude"], seed=s["seed"])
    model = nn.set_precision(models.CausalLM(s["config"], seed=s["seed"]), s["precision"])
    names = ["lr", "steps", "warmup_steps", "schedule", "min_ratio", "optimizer", "weight_decay", "beta1", "beta2", "muon_steps", "clip", "accumulation", "bias_update_rate",
             "bias_rule", "mtp_weight", "guard_limit"]
    trainer = training.Trainer(model, **{n: s[n] for n in names} | dict(warmup_steps=min(s["warmup_steps"], s["steps"])))
    loader = data.ByteLoader(corpus.train, batch_size=s["batch_size"], seq_len=s["seq_len"], seed=s["seed"])
    folder = Path(s["output"])
    if resume and trainer.load(folder) is not None:
        print(f"goes on after step {trainer.steps_done}")
    elif not resume and moelle.io.list_checkpoints(folder):
        raise moelle.Error(f"train: output must be a folder without checkpoints, or --resume be given; got output={folder}")
    folder.mkdir(parents=True, exist_ok=True)
    log = training.MetricLog(str(folder / s["log"]), resume_step=trainer.steps_done)
    try:
        while trainer.steps_done < s["steps"]:
            report = trainer.step(trainer.next_batches(loader))
            log.write(report.step, report.metrics())
            if trainer.steps_done % s["log_every"] == 0 or trainer.steps_done == s["steps"]:
                left = datetime.timedelta(seconds=round(report.seconds * (s["steps"] - trainer.steps_done)))
                print(f"step {trainer.steps_done}/{s['steps']}  loss {report.loss:.4f}  {report.tokens / report.seconds:,.0f} tokens/s  MaxVio {report.max_violation:.2f}  "
                      f"{left} left  {report.skipped}".rstrip(), flush=True)
            if trainer.steps_done % s["save_every"] == 0:
                trainer.save(folder)
    except KeyboardInterrupt:
        trainer.save(folder)
        print(f"stopped after step {trainer.steps_done}; saved in {folder}: --resume goes on from there")
        raise
    trainer.save(folder)
    model.save_pretrained(folder / "model")
    loss = training.evaluate(model, corpus.validation, batch_size=s["batch_size"], seq_len=s["seq_len"], max_windows=512)
    print(f"validation loss {loss:.4f} nats per byte; model in {folder / 'model'}")


@app.command()
def generate(
    model: str = typer.Argument(help="A folder with config.json and model.safetensors."),
    prompt: str = typer.Option("\n", help="Text that the model continues (byte-level models)."),
    max_new_tokens: int = typer.Option(200),
    temperature: float = typer.Option(0.8),
    top_k: int = typer.Option(0),
    top_p: float = typer.Option(1.0),
    min_p: float = typer.Option(0.0),
    seed: int = typer.Option(0),
) -> None:
    """Writes on from a prompt with a byte-level model."""
    from . import generation, models

    lm = models.CausalLM.from_pretrained(model)
    print(prompt + generation.text(lm, prompt, max_new_tokens=max_new_tokens, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed))


@app.command()
def demo(
    data: list[str] = typer.Option([], "--data", help="Files or folders to train on; default: the Python standard library's sources."),
    quick: bool = typer.Option(False, "--quick", help="A short run: less than a minute of training on two cores."),
    steps: int = typer.Option(None, help="Steps of 2,048 bytes; default 600, with --quick 100."),
    optimizer: str = typer.Option("muon", help="muon (for matrices, AdamW for the rest) or adamw, in both arms."),
    lr: float = typer.Option(None, help="Peak learning rate; default 6e-3, with adamw 3e-3."),
    precision: str = typer.Option("f32", help="Operands of the products, in both arms: f32, bf16 or fp8 (simulated)."),
    seed: int = typer.Option(1),
    folder: Path = typer.Option(Path("runs/demo"), help="Where runs are kept, to go on with."),
    picture: Path = typer.Option(Path("demo.png")),
    fresh: bool = typer.Option(False, "--fresh", help="Forget an earlier run with the same options."),
) -> None:
    """Trains a mixture of experts and its dense twin on the same text, side by side."""
    from rich.console import Console

    from . import _demo

    if optimizer not in ("muon", "adamw"):
        raise moelle.Error(f"demo: optimizer must be muon or adamw; got optimizer={optimizer!r}{moelle._core.did_you_mean(optimizer, ['muon', 'adamw'])}")
    if precision not in ("f32", "bf16", "fp8"):
        raise moelle.Error(f"demo: precision must be f32, bf16 or fp8; got precision={precision!r}")
    steps = steps if steps is not None else 100 if quick else 600
    if not 1 <= steps <= 1_000_000:
        raise moelle.Error(f"demo: steps must be in [1, 1000000]; got steps={steps}")
    options = _demo.Options(data=[str(Path(p).resolve()) for p in data], optimizer=optimizer, precision=precision, steps=steps, seed=seed,
                            lr=lr if lr is not None else 6e-3 if optimizer == "muon" else 3e-3)
    raise typer.Exit(_demo.run(options, folder=folder, picture=picture, fresh=fresh, console=Console()))
