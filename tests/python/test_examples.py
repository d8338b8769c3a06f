"""The examples in Python and the notebook: each runs as a user would run it, and says what it promises to say."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SHORT = {"01_training_loop.py": ["--steps", "6"], "02_custom_gate.py": ["--steps", "8"], "03_v2_and_v3_routing.py": ["--steps", "8"]}


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / "python" / name), *SHORT[name], *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def row(output, label):
    """The numbers in the line of a table that begins with a label."""
    lines = [line[len(label) :] for line in output.splitlines() if line.startswith(label + "  ")]
    assert len(lines) == 1, f"{label!r} must begin one line of:\n{output}"
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", lines[0])]


def test_every_example_is_run_here():
    assert sorted(SHORT) == sorted(p.name for p in (EXAMPLES / "python").glob("*.py"))


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_training_loop_of_ones_own_has_the_bits_of_the_trainer(optimizer):
    output = run("01_training_loop.py", "--optimizer", optimizer)
    assert "all 6 losses and the validation loss have the same bits" in output


def test_a_gate_written_in_python_is_compared_with_the_models_own():
    output = run("02_custom_gate.py")
    losses = [row(output, name)[0] for name in ("the model's own gate", "CosineGate", "CosineGate, no balance")]
    assert all(3 < loss < 5.6 for loss in losses) and len(set(losses)) > 1  # log(256) is 5.55


def test_routing_of_v2_and_v3_keeps_its_limits_and_the_bias_evens_the_load(tmp_path):
    picture = tmp_path / "routing.png"
    has_matplotlib = subprocess.run([sys.executable, "-c", "import matplotlib"], capture_output=True).returncode == 0
    output = run("03_v2_and_v3_routing.py", *(["--picture", picture] if has_matplotlib else []))
    assert picture.exists() == has_matplotlib
    for gate, limit in (("greedy, no limit", 4), ("V2", 3), ("V3", 3)):
        mean, most, weights, shared = row(output, gate)
        assert mean <= most == limit and weights <= 1 and shared <= 4
    before, after, moved = row(output, "V3, bias")
    assert after < 0.2 * before and moved == 0
    before, after, moved = row(output, "V2, auxiliary loss")
    assert after < 0.2 * before and moved > 10


def test_the_notebook_runs_from_beginning_to_end_and_gives_a_verdict(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="running the notebook needs nbclient: pip install 'moelle[notebook]'")
    import nbformat

    monkeypatch.setenv("MOELLE_NOTEBOOK_STEPS", "6")
    notebook = nbformat.read(EXAMPLES / "notebooks" / "01_moe_against_dense.ipynb", as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("import sys; print(sys.executable)"))
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    text = "".join(output.get("text", "") for output in outputs)
    assert os.path.realpath(text.splitlines()[0]) == os.path.realpath(sys.executable)
    assert len(re.findall("^Verdict: ", text, re.MULTILINE)) == 1 and re.search("^Time to loss: (PASS|FAIL)", text, re.MULTILINE)
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert not list(tmp_path.iterdir())
