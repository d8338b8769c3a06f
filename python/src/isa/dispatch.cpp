// Picks the kernel tables of one instruction set, once; compiled with baseline flags only.
#include <moelle/activation/kernels.hpp>
#include <moelle/attention/kernels.hpp>
#include <moelle/core/error.hpp>
#include <moelle/cpu/cpuid.hpp>
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

#if defined(__x86_64__)
struct Isa {
  const char* name;
  bool (*in)(const CpuId&);
};
constexpr Isa kIsas[] = {{"baseline", [](const CpuId&) { return true; }}, {"avx2", has_avx2}, {"avx2_vnni", has_avx2_vnni}, {"avx512", has_avx512}, {"avx512_bf16", has_avx512_bf16}};
bool supported(const Isa& isa) {
  static const CpuId cpu = read_cpuid();
  return isa.in(cpu);
}
// Of avx2_vnni there are only the products that use its instruction; what else it takes is avx2's.
#define MOELLE_ISA_TABLE_OF(domain, table, vnni) {&domain::baseline::table, &domain::avx2::table, &domain::vnni::table, &domain::avx512::table, &domain::avx512_bf16::table}
#define MOELLE_ISA_TABLE(domain, table) MOELLE_ISA_TABLE_OF(domain, table, avx2)
#define MOELLE_ISA_TABLE_VNNI(domain, table) MOELLE_ISA_TABLE_OF(domain, table, avx2_vnni)
#define MOELLE_DECLARE(domain, table, Type)                 \
  namespace domain::baseline { extern const Type table; } \
  namespace domain::avx2 { extern const Type table; }     \
  namespace domain::avx2_vnni { extern const Type table; } \
  namespace domain::avx512 { extern const Type table; }   \
  namespace domain::avx512_bf16 { extern const Type table; }
#else
struct Isa {
  const char* name;
};
constexpr Isa kIsas[] = {{"neon"}};
bool supported(const Isa&) { return true; }
#define MOELLE_ISA_TABLE(domain, table) {&domain::neon::table}
#define MOELLE_ISA_TABLE_VNNI(domain, table) MOELLE_ISA_TABLE(domain, table)
#define MOELLE_DECLARE(domain, table, Type) \
  namespace domain::neon { extern const Type table; }
#endif

constexpr int kIsaCount = static_cast<int>(std::size(kIsas));

std::string names(bool only_supported) {
  std::string out;
  for (const Isa& isa : kIsas)
    if (!only_supported || supported(isa)) out += (out.empty() ? "" : ", ") + std::string(isa.name);
  return out;
}

int find(const char* op, const std::string& name) {
  for (int i = 0; i < kIsaCount; ++i)
    if (name == kIsas[i].name) return i;
  moelle::detail::fail(op, str("must be one of ", names(false), "; got ", op, "=", name));
}

// The best that this CPU has and MOELLE_ISA allows.
int initial() {
  const char* cap = std::getenv("MOELLE_ISA");
  int best = cap != nullptr && *cap != '\0' ? find("MOELLE_ISA", cap) : kIsaCount - 1;
  while (!supported(kIsas[best])) --best;
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
    if (supported(isa)) out.emplace_back(isa.name);
  return out;
}

void set_isa(const std::string& name) {
  const int i = find("set_isa", name);
  MOELLE_REQUIRE("set_isa", supported(kIsas[i]), str("this CPU must have the instruction set; got ", name, ", it has: ", names(true)));
  chosen().store(i);
}

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
  static constexpr const PackedKernels* kTables[] = MOELLE_ISA_TABLE_VNNI(gemm, kPacked);
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
