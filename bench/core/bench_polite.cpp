// bench/core/bench_polite.cpp -- decoding beside a program that keeps one core busy, against decoding alone.
//
// One token goes through a layer at DeepSeek-V2-Lite's size over and over: norm, gate, experts. With as many threads as cores the machine gives the
// pool less than it asks for; the rate should fall in proportion (two cores for three threads: to two thirds, a half at worst) and not by
// more, as it does where threads spin for each other without giving way.
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#include <moelle/gemm/pack.hpp>
#include <moelle/moe/packed_experts_op.hpp>
#include <moelle/norm/rms_norm_op.hpp>

#include "samples.hpp"

namespace {
using namespace moelle;

constexpr std::int64_t kExperts = 64, kWidth = 2048, kHidden = 1408, kTokens = 40;

// A process that computes without end; stopped but for while somebody is measured.
class Neighbour {
 public:
  Neighbour() : child_(fork()) {
    if (child_ != 0) {
      set(false);
      return;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (std::uint64_t work = 0;; ++work) bench::keep(work);
  }
  ~Neighbour() { kill(child_, SIGKILL); }
  void set(bool running) const { kill(child_, running ? SIGCONT : SIGSTOP); }

 private:
  pid_t child_;
};

Tensor<float> filled(const Shape& shape) {
  const Tensor<float> x = Tensor<float>::empty(shape);
  for (std::int64_t i = 0; i < x.numel(); ++i) x.data()[i] = static_cast<float>(i * 7919 % 1009) / 504.5f - 1;
  return x;
}
gemm::PackedMatrix packed(std::int64_t n, std::int64_t k, bool gated) {
  gemm::PackedMatrix m({.groups = kExperts, .n = n, .k = k, .format = gemm::Format::int4, .gated = gated});
  const Tensor<float> w = filled({n, k});
  for (std::int64_t e = 0; e < kExperts; ++e) gemm::pack_group(m, e, gemm::plain<float>(w.data(), k));
  return m;
}
}  // namespace

int main(int argc, char** argv) {
  const Neighbour neighbour;  // before there are threads
  bench::Samples samples(argc, argv);
  const gemm::PackedMatrix gate_up = packed(2 * kHidden, kWidth, true), down = packed(kWidth, kHidden, false);
  const Tensor<float> x = filled({1, kWidth}), weight = filled({kWidth}), logits = filled({kTokens, kExperts});
  const auto decode = [&] {
    for (std::int64_t t = 0; t < kTokens; ++t) {
      const auto routing = moe::gate(logits.alias({1, kExperts}, {kExperts, 1}, t * kExperts), Tensor<float>(), moe::greedy(6));
      bench::keep(moe::packed_experts(norm::rms_norm(x, weight, 1e-6), routing, gate_up, down).data());
    }
  };
  const auto beside = [&] {
    neighbour.set(true);
    decode();
    neighbour.set(false);
  };
  samples.measure({.section = "polite", .work = "decoding beside a busy process", .target = 0.5, .against = "alone",
                   .contenders = {{"moelle", beside}, {"alone", decode}}});
}
