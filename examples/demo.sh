#!/usr/bin/env bash
# examples/demo.sh [options of `moelle demo`] -- sets everything up, then trains a mixture of experts and its dense twin side by side.
# Ctrl-C saves; the same command goes on from there. `bash examples/demo.sh --help` lists the options.
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
options=("$@")
source "$root/scripts/setup.sh" run
install_module
exec "$PYTHON" -m moelle demo --folder "$root/runs/demo" ${options[@]+"${options[@]}"}
