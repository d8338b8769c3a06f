// moelle/cpu/cpuid.hpp -- which instruction sets an x86 processor has, and its operating system lets programs use.
//
// Intel's manual (SDM volume 2, CPUID; volume 1, 13.2 and 14.3): a feature counts only if XGETBV says that its registers are saved when
// another program runs. Each level asks for every feature that its kernels are compiled with (cmake/MoelleKernels.cmake), because
// hypervisors hide single ones.
#pragma once
#include <cstdint>
#include <initializer_list>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace moelle::cpu {

// Registers in which CPUID reports features, and XCR0.
struct CpuId {
  std::uint32_t leaf1_ecx = 0, leaf7_ebx = 0, leaf7_ecx = 0, leaf7_1_eax = 0, extended_ecx = 0;
  std::uint64_t saved = 0;

  friend constexpr bool operator==(const CpuId&, const CpuId&) = default;
};

namespace detail {
constexpr std::uint32_t bits(std::initializer_list<int> positions) {
  std::uint32_t mask = 0;
  for (int p : positions) mask |= std::uint32_t{1} << p;
  return mask;
}
constexpr bool has_all(const CpuId& c, const CpuId& wanted) {
  return (c.leaf1_ecx & wanted.leaf1_ecx) == wanted.leaf1_ecx && (c.leaf7_ebx & wanted.leaf7_ebx) == wanted.leaf7_ebx &&
         (c.leaf7_ecx & wanted.leaf7_ecx) == wanted.leaf7_ecx && (c.leaf7_1_eax & wanted.leaf7_1_eax) == wanted.leaf7_1_eax &&
         (c.extended_ecx & wanted.extended_ecx) == wanted.extended_ecx && (c.saved & wanted.saved) == wanted.saved;
}

// x86-64-v3: SSE3, SSSE3, FMA, CX16, SSE4.1, SSE4.2, MOVBE, POPCNT, OSXSAVE, AVX, F16C; BMI1, AVX2, BMI2; LAHF, LZCNT; XMM and YMM.
inline constexpr CpuId kAvx2{.leaf1_ecx = bits({0, 9, 12, 13, 19, 20, 22, 23, 27, 28, 29}), .leaf7_ebx = bits({3, 5, 8}), .extended_ecx = bits({0, 5}), .saved = bits({1, 2})};
inline constexpr CpuId kAvxVnni{.leaf7_1_eax = bits({4})};
// x86-64-v4: AVX-512 F, DQ, CD, BW, VL; masks, both halves of the ZMM registers.
inline constexpr CpuId kAvx512{.leaf7_ebx = bits({16, 17, 28, 30, 31}), .saved = bits({5, 6, 7})};
// VBMI, GFNI and VNNI; BF16.
inline constexpr CpuId kAvx512Bf16{.leaf7_ecx = bits({1, 8, 11}), .leaf7_1_eax = bits({5})};
}  // namespace detail

constexpr bool has_avx2(const CpuId& c) { return detail::has_all(c, detail::kAvx2); }
constexpr bool has_avx2_vnni(const CpuId& c) { return has_avx2(c) && detail::has_all(c, detail::kAvxVnni); }
constexpr bool has_avx512(const CpuId& c) { return has_avx2(c) && detail::has_all(c, detail::kAvx512); }
constexpr bool has_avx512_bf16(const CpuId& c) { return has_avx512(c) && detail::has_all(c, detail::kAvx512Bf16); }

#if defined(__x86_64__)
inline CpuId read_cpuid() {
  CpuId c;
  unsigned a = 0, b = 0, ecx = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &ecx, &d)) c.leaf1_ecx = ecx;
  if (__get_cpuid(0x80000001u, &a, &b, &ecx, &d)) c.extended_ecx = ecx;
  if (__get_cpuid_count(7, 0, &a, &b, &ecx, &d)) {
    c.leaf7_ebx = b, c.leaf7_ecx = ecx;
    if (a >= 1 && __get_cpuid_count(7, 1, &a, &b, &ecx, &d)) c.leaf7_1_eax = a;
  }
  if ((c.leaf1_ecx & detail::bits({27})) != 0) {  // else XGETBV is no instruction
    std::uint32_t low = 0, high = 0;
    __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    c.saved = std::uint64_t{high} << 32 | low;
  }
  return c;
}
#endif

}  // namespace moelle::cpu
