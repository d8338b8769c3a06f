// Picks the kernel tables of one instruction set, once; compiled with baseline flags only.
#include <moelle/activation/kernels.hpp>
#include <moelle/attention/kernels.hpp>
#include <moelle/core/error.hpp>
#include <moelle/cpu/dispatch.hpp>
#include <moelle/gemm/kernels.hpp>
#include <moelle/gemm/packed_kernels.hpp>
#include <moelle/loss/kernels.hpp>
#include <moelle/moe/kernels.hpp>
#include <moelle/norm/kernels.hpp>
#include <moelle/rope/kernels.hpp>
#include <moelle/training/kernels.hpp>

#include <atomic>
#include <cstdlib>

namespace moelle::cpu {
namespace {

struct Isa {
  const char* name;
  bool (*supported)();
};

#if defined(__x86_64__)
// libgcc and compiler-rt look at the registers that the operating system saves, not at CPUID alone.
bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
}
bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_avx512_bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi"); }

constexpr Isa kIsas[] = {{"baseline", [] { return true; }}, {"avx2", has_avx2}, {"avx512", has_avx512}, {"avx512_bf16", has_avx512_bf16}};
#define MOELLE_ISA_TABLE(domain, table) {&domain::baseline::table, &domain::avx2::table, &domain::avx512::table, &domain::avx512_bf16::table}
#define MOELLE_DECLARE(domain, table, Type)                 \
  namespace domain::baseline { extern const Type table; } \
  namespace domain::avx2 { extern const Type table; }     \
  namespace domain::avx512 { extern const Type table; }   \
  namespace domain::avx512_bf16 { extern const Type table; }
#else
constexpr Isa kIsas[] = {{"neon", [] { return true; }}};
#define MOELLE_ISA_TABLE(domain, table) {&domain::neon::table}
#define MOELLE_DECLARE(domain, table, Type) \
  namespace domain::neon { extern const Type table; }
#endif

constexpr int kIsaCount = static_cast<int>(std::size(kIsas));

std::string names(bool only_supported) {
  std::string out;
  for (const Isa& isa : kIsas)
    if (!only_supported || isa.supported()) out += (out.empty() ? "" : ", ") + std::string(isa.name);
  return out;
}

int find(const char* op, const std::string& name) {
  for (int i = 0; i < kIsaCount; ++i) {
    if (name != kIsas[i].name) continue;
    MOELLE_REQUIRE(op, kIsas[i].supported(), str("this CPU must have the instruction set; got ", name, ", it has: ", names(true)));
    return i;
  }
  detail::fail(op, str("must be one of ", names(false), "; got ", op, "=", name));
}

int initial() {
  if (const char* name = std::getenv("MOELLE_ISA"); name != nullptr && *name != '\0') return find("MOELLE_ISA", name);
  int best = 0;
  for (int i = 0; i < kIsaCount; ++i)
    if (kIsas[i].supported()) best = i;
  return best;
}

std::atomic<int>& chosen() {
  static std::atomic<int> index{initial()};
  return index;
}

}  // namespace

const char* isa_name() { return kIsas[chosen().load(std::memory_order_relaxed)].name; }

std::vector<std::string> available_isas() {
  std::vector<std::string> out;
  for (const Isa& isa : kIsas)
    if (isa.supported()) out.emplace_back(isa.name);
  return out;
}

void set_isa(const std::string& name) { chosen().store(find("set_isa", name)); }

namespace {
int index() { return chosen().load(std::memory_order_relaxed); }
}  // namespace

}  // namespace moelle::cpu

#define MOELLE_DISPATCH_TYPE(domain, T, table)                              \
  MOELLE_DECLARE(domain, table, Kernels<T>)                 \
  namespace domain {                                                        \
  template <>                                                               \
  const Kernels<T>& kernels<T>() {                                          \
    static constexpr const Kernels<T>* kTables[] = MOELLE_ISA_TABLE(domain, table); \
    return *kTables[cpu::index()];                                          \
  }                                                                         \
  }
#define MOELLE_DISPATCH(domain)                  \
  MOELLE_DISPATCH_TYPE(domain, float, kFloat)    \
  MOELLE_DISPATCH_TYPE(domain, double, kDouble)

namespace moelle {
MOELLE_DISPATCH(activation)
MOELLE_DISPATCH(attention)
MOELLE_DISPATCH(gemm)
MOELLE_DECLARE(gemm, kPacked, PackedKernels)
MOELLE_DECLARE(gemm, kRounded, RoundedKernels)
namespace gemm {
const PackedKernels& packed_kernels() {
  static constexpr const PackedKernels* kTables[] = MOELLE_ISA_TABLE(gemm, kPacked);
  return *kTables[cpu::index()];
}
const RoundedKernels& rounded_kernels() {
  static constexpr const RoundedKernels* kTables[] = MOELLE_ISA_TABLE(gemm, kRounded);
  return *kTables[cpu::index()];
}
}  // namespace gemm
MOELLE_DISPATCH(loss)
MOELLE_DISPATCH(moe)
MOELLE_DISPATCH(norm)
MOELLE_DISPATCH(rope)
MOELLE_DISPATCH(training)
}  // namespace moelle
