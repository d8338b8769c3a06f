"""The command line ``moelle``."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

import moelle

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help="Mixture-of-experts language models on CPUs.")


def _number(n: float) -> str:
    for size, unit in [(1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")]:
        if abs(n) >= size:
            return f"{n / size:.3f} {unit}"
    return f"{n:g}"


def _bytes(n: float) -> str:
    for size, unit in [(2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")]:
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n:g} B"


def _flops(n: float) -> str:
    for size, unit in [(1e15, "PFLOP"), (1e12, "TFLOP"), (1e9, "GFLOP"), (1e6, "MFLOP")]:
        if abs(n) >= size:
            return f"{n / size:.2f} {unit}"
    return f"{n:g} FLOP"


@app.command()
def estimate(
    config: str = typer.Argument(help="A config.json, its folder, or the name of a preset."),
    context: int = typer.Option(4096, help="Positions in a sequence."),
    tokens: float = typer.Option(0.0, help="Tokens of a training run, for hours and money."),
    as_json: bool = typer.Option(False, "--json", help="Print the fields of moelle.estimate.model as JSON."),
) -> None:
    """Parameters, FLOPs, memory and cost of a configuration."""
    e = moelle.estimate.model(config, context=context)
    run = None
    if tokens > 0:
        run = moelle.estimate.training_cost(tokens=tokens, train_flops_per_token=e.train_flops_per_token)
    elif config in ("deepseek-v3", "deepseek-v2", "deepseek-67b"):
        run = moelle.estimate.training_cost(moelle.estimate.published_run(config))
    if as_json:
        out = e.to_dict()
        if run is not None:
            out["training"] = dict(hours=run.hours, days=run.days, dollars=run.dollars)
        print(json.dumps(out, indent=2))
        return
    table = Table(title=f"{config}, context {context:,}", show_header=False)
    rows = [("parameters", _number(e.total_params)), ("... active per token", _number(e.active_params)),
            ("training", _flops(e.train_flops_per_token) + " per token"), ("forward", _flops(e.forward_flops_per_token) + " per token"),
            ("decoding", _flops(e.decode_flops_per_token) + " per token"), ("cache", f"{_bytes(e.cache_bytes_per_token)} per token, {_bytes(e.cache_bytes)} in all"),
            ("training memory", f"{_bytes(e.training_memory)} (weights {_bytes(e.weights_memory)}, gradients {_bytes(e.gradients_memory)}, moments "
                                f"{_bytes(e.moments_memory)}, activations {_bytes(e.activations_memory)})")]
    rows += [(f"... {p.name}", f"{_number(p.params)}, active {_number(p.active_params)}") for p in e.parts]
    if run is not None:
        rows.append(("training run", f"{_number(run.hours)} H800 hours, ${_number(run.dollars)}"))
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _huge_pages() -> str:
    try:
        text = Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text()
        return text[text.index("[") + 1 : text.index("]")]
    except (OSError, ValueError):
        return "unknown"


def diagnosis() -> dict:
    """What ``moelle doctor`` prints, by name."""
    import importlib.util

    optional = dict(matplotlib="plots", ml_dtypes="bfloat16 in NumPy", yaml="YAML configurations", torch="comparisons", transformers="comparisons")
    missing = {name: use for name, use in optional.items() if importlib.util.find_spec(name) is None}
    return dict(version=moelle.__version__, python=platform.python_version(), cpu=_cpu_name(), cores=len(os.sched_getaffinity(0)), threads=moelle.get_num_threads(),
                isa=moelle.isa_name(), available_isas=moelle.available_isas(), isa_cap=os.environ.get("MOELLE_ISA") or None, caches=moelle._core.caches(),
                cuda=moelle._core.cuda_built(), huge_pages=_huge_pages(), headers=moelle.get_include(), missing=missing)


@app.command()
def doctor(as_json: bool = typer.Option(False, "--json", help="Print as JSON.")) -> None:
    """CPU, instruction set in use, caches, threads, and what is missing."""
    d = diagnosis()
    if as_json:
        print(json.dumps(d, indent=2))
        return
    table = Table(show_header=False, title=f"moelle {d['version']}")
    table.add_row("Python", d["python"])
    table.add_row("CPU", f"{d['cpu']}, {d['cores']} cores for this process")
    cap = f"MOELLE_ISA={d['isa_cap']} caps it" if d["isa_cap"] else "MOELLE_ISA can cap it"
    table.add_row("instruction set", f"{d['isa']} (this CPU has {', '.join(d['available_isas'])}; {cap})")
    caches = d["caches"]
    table.add_row("caches", f"{_bytes(caches['l2'])} L2 of a core, {_bytes(caches['l3'])} L3" + ("" if caches["read"] else " (assumed: the system does not say)"))
    table.add_row("threads", f"{d['threads']} (MOELLE_NUM_THREADS or set_num_threads changes it)")
    table.add_row("2 MiB pages", d["huge_pages"])
    table.add_row("CUDA", "compiled in" if d["cuda"] else "not in this build")
    table.add_row("headers", d["headers"])
    table.add_row("missing", ", ".join(f"{name} ({use})" for name, use in d["missing"].items()) or "nothing")
    Console().print(table)


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; a broken precondition is one line on standard error and status 2."""
    from . import _commands  # noqa: F401  (train, generate, demo)

    try:
        result = app(args=arguments, standalone_mode=False, prog_name="moelle")
        return result if isinstance(result, int) else 0
    except typer.Exit as e:
        return e.exit_code
    except (moelle.Error, OSError, TypeError) as e:
        print(f"moelle: {e}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("moelle: interrupted", file=sys.stderr)
        return 130
    except Exception as e:
        if hasattr(e, "show") and hasattr(e, "exit_code"):  # usage errors of the command line itself
            e.show()
            return e.exit_code
        raise


if __name__ == "__main__":
    sys.exit(main())
