"""The package itself: command line, headers, stubs, examples in docstrings."""
import ast
import doctest
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import moelle
import pytest

MODULES = ["moelle", "moelle._creation", "moelle._functions", "moelle._grad_mode", "moelle._operators", "moelle._optimizers", "moelle._shapes", "moelle._tensor", "moelle.autograd", "moelle.data", "moelle.estimate", "moelle.functional", "moelle.generation", "moelle.io", "moelle.models",
           "moelle.nn", "moelle.training"]
ROOT = Path(moelle.__file__).parent


def command(*arguments, **options):
    return subprocess.run([sys.executable, "-m", "moelle", *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_give_what_they_show(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    for value in vars(module).values():  # classes made in C++ are not the module's own to doctest
        if isinstance(value, type) and getattr(value, "__module__", "") == name and value.__doc__:
            for example in doctest.DocTestFinder(recurse=False).find(value, value.__name__):
                assert doctest.DocTestRunner().run(example).failed == 0


def test_enough_examples_are_run():
    assert sum(len(d.examples) for n in MODULES for d in doctest.DocTestFinder().find(importlib.import_module(n))) > 30


@pytest.mark.parametrize("name", [m for m in MODULES if not m.startswith("moelle._") and m != "moelle"])
def test_every_public_name_exists_and_says_what_it_is(name):
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public).__doc__, f"{name}.{public} has no docstring"


def test_includes_and_cmakedir_are_printed(tmp_path):
    r = command("--includes")
    assert r.returncode == 0 and r.stdout.startswith("-I")
    source = tmp_path / "a.cpp"
    source.write_text("#include <moelle/core/config.hpp>\n#include <cstdio>\nint main() { std::puts(MOELLE_VERSION); }\n")
    flags = r.stdout.split()
    subprocess.run(["c++", "-std=c++20", *flags, str(source), "-o", str(tmp_path / "a")], check=True)
    assert subprocess.run([str(tmp_path / "a")], capture_output=True, text=True).stdout.strip() == moelle.__version__


def test_estimate_prints_the_fields_of_the_library_as_json():
    r = command("estimate", "deepseek-v3", "--json")
    fields = json.loads(r.stdout)
    e = moelle.estimate.model("deepseek-v3")
    assert fields["total_params"] == e.total_params and fields["cache_bytes_per_token"] == 70272 and round(fields["training"]["hours"]) == 2788000
    r = command("estimate", "deepseek-v3")
    assert "671.026 B" in r.stdout and "37.552 B" in r.stdout


def test_a_wrong_name_is_one_line_with_the_nearest_name_and_status_2():
    r = command("estimate", "deepseek-v4x")
    assert r.returncode == 2 and "did you mean" in r.stderr.lower() and "Traceback" not in r.stderr and len(r.stderr.splitlines()) == 1
    r = command("train", "--set", "stepps=3")
    assert r.returncode == 2 and "steps" in r.stderr and "Traceback" not in r.stderr
    r = command("train", "--set", "steps=many")
    assert r.returncode == 2 and "steps must be a int" in r.stderr
    r = command("train", "--set", "precision=16")
    assert r.returncode == 2 and "precision must be a str" in r.stderr
    r = command("train", "--set", "model.hidden_sise=3")
    assert r.returncode == 2 and "hidden_size" in r.stderr


def doctor(cap):
    return json.loads(command("doctor", "--json", env={**os.environ, "MOELLE_ISA": cap}).stdout)


def test_doctor_names_the_instruction_set_the_caches_and_what_is_missing():
    d = json.loads(command("doctor", "--json").stdout)
    assert d["isa"] == moelle.isa_name() and d["threads"] == moelle.get_num_threads() and d["version"] == moelle.__version__
    assert d["available_isas"] == moelle.available_isas() and d["caches"]["l3"] >= d["caches"]["l2"] >= 2**15
    text = command("doctor").stdout
    assert "instruction set" in text and "L2 of a core" in text


def test_moelle_isa_caps_the_instruction_set_and_a_name_that_does_not_exist_is_one_line():
    best = doctor("")
    assert best["isa"] == best["available_isas"][-1] and best["isa_cap"] is None
    for isa in best["available_isas"]:
        assert doctor(isa)["isa"] == isa and doctor(isa)["isa_cap"] == isa
    if best["available_isas"][0] == "baseline":
        below = [isa for isa in best["available_isas"] if isa in ("baseline", "avx2", "avx2_vnni")]
        assert doctor("avx2_vnni")["isa"] == below[-1]  # a processor without it takes what it has below
    r = command("doctor", env={**os.environ, "MOELLE_ISA": "avx1024"})
    assert r.returncode == 2 and "MOELLE_ISA=avx1024" in r.stderr and "must be one of" in r.stderr and len(r.stderr.splitlines()) == 1


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="no qemu-x86_64 here: older processors are not emulated")
@pytest.mark.parametrize("cpu, isa", [("Nehalem", "baseline"), ("Haswell", "avx2")])
def test_an_older_processor_computes_with_what_it_has(cpu, isa):
    work = """
import moelle
from moelle import models
model = models.CausalLM(models.preset("pilot").replace(num_hidden_layers=2))
loss = model.loss([[1, 2, 3, 4, 5, 6, 7, 8]])
loss.backward()
print(moelle.isa_name(), loss.item(), model.generate([[1, 2, 3]], max_new_tokens=4).numpy().shape)
"""
    r = subprocess.run(["qemu-x86_64", "-cpu", cpu, os.path.realpath(sys.executable), "-c", work], capture_output=True, text=True, timeout=300,
                       env={**os.environ, "MOELLE_ISA": "", "PYTHONPATH": os.pathsep.join(sys.path)})
    assert r.returncode == 0, r.stderr
    assert r.stdout.split()[0] == isa and 4 < float(r.stdout.split()[1]) < 8 and r.stdout.endswith("(1, 7)\n"), r.stdout


def test_train_goes_on_from_where_it_stopped_and_generate_writes(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    for i in range(60):
        (text / f"{i}.py").write_text(f"# {i}\n" + f"def f{i}(x):\n    return x + {i}\n" * 300)
    config = tmp_path / "run.yaml"
    config.write_text(f"model: pilot\ndata: {text}\noutput: {tmp_path / 'run'}\nsteps: 4\nwarmup_steps: 1\nbatch_size: 2\nseq_len: 32\nlog_every: 1\n")
    small = ["--set", "model.num_hidden_layers=2"]
    r = command("train", config, *small)
    assert r.returncode == 0, r.stderr
    assert "step 3" in r.stdout and "validation loss" in r.stdout and len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == 4
    assert "without checkpoints" in command("train", config, *small).stderr
    r = command("train", config, *small, "--set", "steps=6", "--resume")
    assert r.returncode == 0 and "goes on after step 4" in r.stdout, r.stderr
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rounded = command("train", config, *small, "--set", "precision=bf16", "--set", f"output={tmp_path / 'bf16'}")
    assert rounded.returncode == 0, rounded.stderr
    others = [json.loads(line)["loss"] for line in (tmp_path / "bf16" / "log.jsonl").read_text().splitlines()]
    assert others[0] != losses[0] and abs(others[3] - losses[3]) < 0.02 * losses[3]
    wrong = command("train", config, *small, "--set", "precision=half", "--set", f"output={tmp_path / 'half'}")
    assert wrong.returncode == 2 and "must be f32, bf16 or fp8; got precision=half" in wrong.stderr and not (tmp_path / "half").exists()
    r = command("generate", tmp_path / "run" / "model", "--prompt", "def ", "--max-new-tokens", "8", "--seed", "1")
    assert r.returncode == 0 and r.stdout.startswith("def ")


def test_stubs_cover_the_compiled_module():
    stub = ROOT / "_core" / "__init__.pyi" if (ROOT / "_core").is_dir() else ROOT / "_core.pyi"
    names = {n.name for n in ast.parse(stub.read_text()).body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    public = {n for n in vars(moelle._core) if not n.startswith("_")} - {"ops", "Error"}
    assert public - names == set()
    assert (ROOT / "py.typed").exists()
