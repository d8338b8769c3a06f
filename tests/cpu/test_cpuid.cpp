// Which instruction sets are found, from what processors of known kinds report.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <moelle/core/error.hpp>
#include <moelle/cpu/cpuid.hpp>
#include <moelle/cpu/dispatch.hpp>

using moelle::cpu::CpuId;

namespace {

// What read_cpuid() gave: emulated by qemu 7.2, and in a virtual machine. The others are these with the features that set them apart.
constexpr CpuId kNehalem{.leaf1_ecx = 0x80982201, .extended_ecx = 0x01};
constexpr CpuId kHaswell{.leaf1_ecx = 0xfed83203, .leaf7_ebx = 0x000003a9, .extended_ecx = 0x21, .saved = 0x7};
constexpr CpuId kZen4{.leaf1_ecx = 0xfffa3203, .leaf7_ebx = 0xf1bf07ab, .leaf7_ecx = 0x00405fc6, .leaf7_1_eax = 0x20, .extended_ecx = 0x004003f3, .saved = 0xe7};

constexpr CpuId with(CpuId c, std::uint32_t CpuId::*field, int bit) {
  c.*field |= std::uint32_t{1} << bit;
  return c;
}
constexpr CpuId without(CpuId c, std::uint32_t CpuId::*field, int bit) {
  c.*field &= ~(std::uint32_t{1} << bit);
  return c;
}
constexpr CpuId saving(CpuId c, std::uint64_t saved) {
  c.saved = saved;
  return c;
}
constexpr CpuId kAlderLake = with(kHaswell, &CpuId::leaf7_1_eax, 4);  // AVX-VNNI
constexpr CpuId kZen5 = with(kZen4, &CpuId::leaf7_1_eax, 4);
constexpr CpuId kCascadeLake = without(without(kZen4, &CpuId::leaf7_1_eax, 5), &CpuId::leaf7_ecx, 1);  // VNNI, neither BF16 nor VBMI
constexpr CpuId kCooperLake = without(kZen4, &CpuId::leaf7_ecx, 1);                                    // VNNI and BF16, no VBMI

std::vector<std::string> found(const CpuId& c) {
  std::vector<std::string> out;
  if (moelle::cpu::has_avx2(c)) out.emplace_back("avx2");
  if (moelle::cpu::has_avx2_vnni(c)) out.emplace_back("avx2_vnni");
  if (moelle::cpu::has_avx512(c)) out.emplace_back("avx512");
  if (moelle::cpu::has_avx512_bf16(c)) out.emplace_back("avx512_bf16");
  return out;
}
using Names = std::vector<std::string>;

}  // namespace

TEST_CASE("every kind of processor has the levels whose features it reports") {
  CHECK(found({}) == Names{});
  CHECK(found(kNehalem) == Names{});
  CHECK(found(kHaswell) == Names{"avx2"});
  CHECK(found(kAlderLake) == Names{"avx2", "avx2_vnni"});
  CHECK(found(kCascadeLake) == Names{"avx2", "avx512"});
  CHECK(found(kCooperLake) == Names{"avx2", "avx512"});
  CHECK(found(kZen4) == Names{"avx2", "avx512", "avx512_bf16"});
  CHECK(found(kZen5) == Names{"avx2", "avx2_vnni", "avx512", "avx512_bf16"});
}

TEST_CASE("registers that the operating system does not save take their instruction sets away") {
  CHECK(found(saving(kZen5, 0x1)) == Names{});
  CHECK(found(saving(kZen5, 0x3)) == Names{});
  CHECK(found(saving(kZen5, 0x7)) == Names{"avx2", "avx2_vnni"});
  for (std::uint64_t part : {0x20u, 0x40u, 0x80u}) CHECK(found(saving(kZen5, 0xe7 & ~part)) == Names{"avx2", "avx2_vnni"});
  CHECK(found(without(kZen5, &CpuId::leaf1_ecx, 27)) == Names{});  // OSXSAVE
}

TEST_CASE("a single feature that a hypervisor hides takes away all levels compiled with it") {
  for (int bit : {0, 9, 12, 13, 19, 20, 22, 23, 28, 29}) CHECK(found(without(kZen5, &CpuId::leaf1_ecx, bit)) == Names{});
  for (int bit : {3, 5, 8}) CHECK(found(without(kZen5, &CpuId::leaf7_ebx, bit)) == Names{});
  for (int bit : {0, 5}) CHECK(found(without(kZen5, &CpuId::extended_ecx, bit)) == Names{});
  for (int bit : {16, 17, 28, 30, 31}) CHECK(found(without(kZen5, &CpuId::leaf7_ebx, bit)) == Names{"avx2", "avx2_vnni"});
  for (int bit : {1, 8, 11}) CHECK(found(without(kZen5, &CpuId::leaf7_ecx, bit)) == Names{"avx2", "avx2_vnni", "avx512"});
  CHECK(found(without(kZen5, &CpuId::leaf7_1_eax, 5)) == Names{"avx2", "avx2_vnni", "avx512"});
  CHECK(found(without(kZen5, &CpuId::leaf7_1_eax, 4)) == found(kZen4));
}

#if defined(__x86_64__)
TEST_CASE("nothing is found here that the compiler's library does not find, and nothing is missed but for a hidden feature") {
  const CpuId here = moelle::cpu::read_cpuid();
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("gfni");
  CHECK((avx2 || !moelle::cpu::has_avx2(here)));
  if (!moelle::cpu::has_avx2(here)) return;
  CHECK(moelle::cpu::has_avx512(here) == avx512);
  CHECK(moelle::cpu::has_avx512_bf16(here) == bf16);
}
#endif

#if defined(MOELLE_COMPILED_KERNELS)
TEST_CASE("the instruction set in use is the best that this processor has and MOELLE_ISA allows, and only those can be chosen") {
  const auto all = moelle::cpu::available_isas();
  const std::string begin = moelle::cpu::isa_name();
  const char *expected = std::getenv("MOELLE_TEST_EXPECTED_ISA"), *cap = std::getenv("MOELLE_ISA");
  if (expected != nullptr) CHECK(begin == expected);  // of emulated processors
  if (cap == nullptr || *cap == '\0') CHECK(begin == all.back());
  CHECK(std::find(all.begin(), all.end(), begin) != all.end());
  for (const std::string& isa : all) {
    moelle::cpu::set_isa(isa);
    CHECK(moelle::cpu::isa_name() == isa);
  }
  for (const char* isa : {"baseline", "avx2", "avx2_vnni", "avx512", "avx512_bf16", "neon", "AVX2", ""}) {
    if (std::find(all.begin(), all.end(), isa) != all.end()) continue;
    CHECK_THROWS_WITH_AS(moelle::cpu::set_isa(isa), doctest::Contains("set_isa: "), moelle::Error);
  }
  moelle::cpu::set_isa(begin);
}
#endif
