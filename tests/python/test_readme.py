"""What the README shows works as it stands there."""
import re
import subprocess
from pathlib import Path

import moelle
import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def block(language):
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert len(found) == 1
    return found[0]


def test_the_lines_of_python_run(capsys):
    exec(compile(block("python"), "README.md", "exec"), {})
    loss, shape = capsys.readouterr().out.split(" ", 1)
    assert 5 < float(loss) < 6 and shape.strip() == "(32, 128)"


def test_the_lines_of_cpp_compile_with_the_flags_beside_them(tmp_path):
    flags = re.search(r"`g\+\+ (-std=.*?) -I include main.cpp", TEXT)[1].split()
    source = tmp_path / "main.cpp"
    source.write_text(block("cpp"))
    run = subprocess.run(["g++", *flags, "-fsyntax-only", "-Wall", "-Wextra", "-I", moelle.get_include(), str(source)], capture_output=True, text=True)
    assert run.returncode == 0 and run.stderr == "", run.stderr


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_what_the_readme_links_to_is_there(path):
    assert (ROOT / path).exists()
