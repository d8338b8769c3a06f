#!/usr/bin/env bash
# bench/run.sh [--quick] [gemm|grouped|attention|operations|training|generation ...] -- builds the benchmarks and prints ratios to the yardsticks,
# all from one run.
#
#   gemm        products with packed weights and those of training against oneDNN and Eigen; float and int8 held to AVX2, oneDNN as well
#   grouped     products of experts against dense ones and llama.cpp's mul_mat_id
#   attention   forward, with gradients, decoding, against products, PyTorch and llama.cpp's flash_attn_ext
#   operations  what stands between the products, against memory; decoding beside a busy process; the rest of the domains' benchmarks
#   training    whole steps against PyTorch, the dense twin and a skewed load; Muon's share; memory; the size "demo" only where it is asked for
#   generation  prefill and decoding at DeepSeek-V2-Lite's true shape against llama.cpp; 20 GB of memory, not among what runs unasked
# Before them the machine's own limits are measured (bench/machine); after them bench/report.py puts what has been measured into tables,
# bench/results/NAME.json and NAME.png. NAME is what was asked for, or "all". Contenders take turns, seven rounds, on one and on two threads;
# all of it takes an hour or more on two cores, with --quick (three short rounds) a third of that.
#   MOELLE_LLAMA_PYTHON   an interpreter with llama-cpp-python (and gguf for generation): pip install llama-cpp-python compiles llama.cpp
# Measure on an otherwise idle machine. Results that did not work out are kept in bench/LOG.md.
set -uo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
parts=(gemm grouped attention operations training generation)
quick=() what=()
for argument in "$@"; do
  if [[ $argument == --quick ]]; then quick=(--quick); continue; fi
  [[ " ${parts[*]} " == *" $argument "* ]] || { echo "bench/run.sh: what to run must be one of ${parts[*]}; got $argument" >&2; exit 2; }
  what+=("$argument")
done
name="${what[*]:-all}"
name="${name// /-}"
[[ ${#what[@]} -gt 0 ]] || what=(gemm grouped attention operations training)
set +u
source "$root/scripts/setup.sh" bench || exit 1
set +e -u
cd "$root"
unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE DNNL_MAX_CPU_ISA ONEDNN_MAX_CPU_ISA MOELLE_ISA OMP_NUM_THREADS  # whatever holds anybody back
llama_python="${MOELLE_LLAMA_PYTHON:-$PYTHON}"
build="${MOELLE_BUILD:-$root/build}/bench"
bin="$build/bench"
thread_counts=(1)
[[ $(nproc) -lt 2 ]] || thread_counts+=(2)
cmake -S . -B "$build" -G Ninja -DMOELLE_BENCH=ON -DMOELLE_TESTS=OFF -DMOELLE_EXAMPLES=OFF >/dev/null || exit 1
cmake --build "$build" -j "$(nproc)" >/dev/null || { echo "bench/run.sh: the benchmarks do not build" >&2; exit 1; }
results="$build/results"
mkdir -p "$results"
rm -f "$results"/*  # a report is about one run
failed=0

targets() { printf '%s\n' bench/*/bench_*.cpp | sed -E 's#^bench/(.*)/bench_(.*)\.cpp$#bench_\1_\2#'; }
on_samples() {  # TARGET: does it use bench/samples.hpp? If not, Google Benchmark, which knows other options
  local rest="${1#bench_}"
  grep -q 'Samples samples(' "bench/${rest%%_*}/bench_${rest#*_}.cpp"
}
samples() {  # TARGET [OPTION...]: once per number of threads
  local target="$1" t
  shift
  for t in "${thread_counts[@]}"; do "$bin/$target" --threads="$t" --json="$results/$target.jsonl" "${quick[@]}" "$@" || failed=1; done
}
compare() {  # INTERPRETER SCRIPT TARGET ROWS [OPTION...]: a program and yardsticks in Python in turns
  local python="$1" script="$2" target="$3" rows="$4"
  shift 4
  "$python" "$script" --moelle "$bin/$target" --json "$results/$rows.jsonl" "${quick[@]}" "$@" || failed=1
}
gemm() {
  samples bench_gemm_gemm
  samples bench_gemm_packed --filter='^products/'
  grep -q avx512 /proc/cpuinfo &&
    MOELLE_ISA=avx2 ONEDNN_MAX_CPU_ISA=AVX2 samples bench_gemm_packed --filter='^products, avx2 only/(f32|int8) (512x512|1024x1024|2048x2048|(8|32|128|512)x2816)x'
}
grouped() { compare "$llama_python" bench/peers/compare_llama.py bench_gemm_packed grouped --filter '^experts/' --threads "${thread_counts[@]}"; }
attention() {
  compare "$PYTHON" bench/attention/compare.py bench_attention_attention attention --filter '^attention/|^decoding/(grouped|latent f32)' --threads "${thread_counts[@]}"
  compare "$llama_python" bench/peers/compare_llama.py bench_attention_attention decoding --filter '^decoding/latent bf16' --threads "${thread_counts[@]}"
}
operations() {
  local target
  for target in $(targets | grep -vE '^bench_(gemm|attention|training_train_step|machine|generation)'); do
    if on_samples "$target"; then samples "$target"; else "$bin/$target" --benchmark_min_time=0.1 || failed=1; fi
  done
}
training() {
  local sizes=(pilot)
  [[ $name == all || ${#quick[@]} -gt 0 ]] || sizes+=(demo)
  compare "$PYTHON" bench/training/compare.py bench_training_train_step training --size "${sizes[@]}" --threads "${thread_counts[@]}"
  samples bench_training_train_step --filter='^training with Muon/demo'
}
generation() {
  local repeat=7
  [[ ${#quick[@]} -eq 0 ]] || repeat=3
  "$llama_python" bench/generation/compare.py --moelle "$bin/bench_generation_v2lite" --json "$results/generation.jsonl" --repeat "$repeat" || failed=1
}

grep -m1 'model name' /proc/cpuinfo || true
for t in "${thread_counts[@]}"; do  # more threads than cores have no limit to be compared with
  "$bin/bench_machine_machine" --threads="$t" --json="$results/machine.$t.json" || true
done
for w in "${what[@]}"; do "$w"; done
shopt -s nullglob
rows=("$results"/*.jsonl) machines=("$results"/machine.*.json)
[[ ${#rows[@]} -eq 0 ]] || "$PYTHON" bench/report.py --name "$name" --machine "${machines[@]}" -- "${rows[@]}" || failed=1
exit $failed
