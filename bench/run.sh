#!/usr/bin/env bash
# bench/run.sh [gemm|operations|training|generation ...] -- builds the benchmarks and prints ratios to the yardsticks, all from one run.
#
#   gemm        float products against oneDNN and Eigen     operations   what stands between the products, against memory; the rest of the domains' benchmarks
#   training    whole training steps against PyTorch's best variant, interleaved (bench/training/compare.py)
#   generation  prefill and decoding at DeepSeek-V2-Lite's true shape against llama.cpp; 20 GB of memory, not among what runs unasked
# Before them the machine's own limits are measured (bench/machine); after them bench/report.py puts what the benchmarks on
# bench/samples.hpp have written into tables, bench/results/NAME.json and NAME.png. NAME is what was asked for, or "all".
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
name="${*:-all}"
name="${name// /-}"
[[ ${#what[@]} -gt 0 ]] || what=(gemm operations training)
for w in "${what[@]}"; do
  [[ $w =~ ^(gemm|operations|training|generation)$ ]] || { echo "bench/run.sh: what to run must be gemm, operations, training or generation; got $w" >&2; exit 2; }
done
thread_counts=(1 2)
cmake -S . -B "$build" -G Ninja -DMOELLE_BENCH=ON -DMOELLE_TESTS=OFF -DMOELLE_EXAMPLES=OFF >/dev/null || exit 1
cmake --build "$build" -j "$(nproc)" >/dev/null || { echo "bench/run.sh: the benchmarks do not build" >&2; exit 1; }
results="$build/results"
mkdir -p "$results"
rm -f "$results"/*  # a report is about one run
failed=0

targets() { printf '%s\n' bench/*/bench_*.cpp | sed -E 's#^bench/(.*)/bench_(.*)\.cpp$#bench_\1_\2#'; }
on_samples() {  # TARGET: is it written on bench/samples.hpp? If not, on Google Benchmark, which knows other options
  local rest="${1#bench_}"
  grep -q 'samples\.hpp' "bench/${rest%%_*}/bench_${rest#*_}.cpp"
}
run_bench() {  # TARGET [OPTION...]: once per number of threads if its figures go into the report, else once with these options
  local target="$1" t
  shift
  if on_samples "$target"; then
    for t in "${thread_counts[@]}"; do "$build/bench/$target" --threads="$t" --json="$results/$target.jsonl" || failed=1; done
  else
    "$build/bench/$target" "$@" || failed=1
  fi
}
gemm() {
  local target t
  for target in $(targets | grep '^bench_gemm_'); do
    if on_samples "$target"; then run_bench "$target"; continue; fi
    for t in "${thread_counts[@]}"; do run_bench "$target" --threads="$t"; done
  done
}
operations() {
  local target
  for target in $(targets | grep -vE '^bench_(gemm|training|machine|generation)_'); do run_bench "$target" --benchmark_min_time=0.1; done
}
training() { "$PYTHON" bench/training/compare.py --moelle "$build/bench/bench_training_train_step" --json "$results/training.jsonl" || failed=1; }
generation() { "$PYTHON" bench/generation/compare.py --moelle "$build/bench/bench_generation_v2lite" --json "$results/generation.jsonl" || failed=1; }

grep -m1 'model name' /proc/cpuinfo || true
for t in "${thread_counts[@]}"; do  # more threads than cores have no limit to be compared with
  "$build/bench/bench_machine_machine" --threads="$t" --json="$results/machine.$t.json" || true
done
for w in "${what[@]}"; do "$w"; done
shopt -s nullglob
rows=("$results"/*.jsonl) machines=("$results"/machine.*.json)
[[ ${#rows[@]} -eq 0 ]] || "$PYTHON" bench/report.py --name "$name" --machine "${machines[@]}" -- "${rows[@]}" || failed=1
exit $failed
