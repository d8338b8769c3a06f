#!/usr/bin/env bash
# bench/run.sh [gemm|operations|training ...] -- builds the benchmarks and prints ratios to the yardsticks, all from one run.
#
#   gemm        float products against oneDNN and Eigen     operations   the other domains' Google Benchmarks
#   training    whole training steps against PyTorch's best float32 variant, interleaved (bench/training/compare.py)
# Measure on an otherwise idle machine. Results that did not work out are kept in bench/LOG.md.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
set +u
source "$root/scripts/setup.sh" bench || exit 1
set +e -u
cd "$root"
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE DNNL_MAX_CPU_ISA OMP_NUM_THREADS  # whatever holds a yardstick back
build="${MOELLE_BUILD:-$root/build}/bench"
what=("$@")
[[ ${#what[@]} -gt 0 ]] || what=(gemm operations training)
cmake -S . -B "$build" -G Ninja -DMOELLE_BENCH=ON -DMOELLE_TESTS=OFF -DMOELLE_EXAMPLES=OFF >/dev/null || exit 1
cmake --build "$build" -j "$(nproc)" >/dev/null || { echo "bench/run.sh: the benchmarks do not build" >&2; exit 1; }
grep -m1 'model name' /proc/cpuinfo || true
for w in "${what[@]}"; do
  case "$w" in
    gemm) for t in 1 2; do "$build"/bench/bench_gemm_gemm --threads=$t; done ;;
    operations) for b in "$build"/bench/bench_*; do case "$b" in *bench_gemm_*|*bench_training_*) ;; *) [[ -x $b && -f $b ]] && "$b" --benchmark_min_time=0.1 ;; esac; done ;;
    training) "$PYTHON" bench/training/compare.py --moelle "$build/bench/bench_training_train_step" ;;
    *) echo "bench/run.sh: what to run must be gemm, operations or training; got $w" >&2; exit 2 ;;
  esac
done
