// bench/headers/bench_headers.cpp -- the headers with the user's own flags against the kernels picked at run time: the same operations, compiled
// twice. The user should lose nothing: 0.95 is a failure to explain.
#include <cstdio>
#include <string>
#include <vector>

#include <moelle/cpu/dispatch.hpp>

#include <samples.hpp>

#include "operations.hpp"

int main(int argc, char** argv) {
  moelle::bench::Samples samples(argc, argv);
  std::printf("dispatched: %s\n", moelle::cpu::isa_name());
  const auto own = headers_bench::direct(samples.threads()), picked = headers_bench::dispatched(samples.threads());
  for (std::size_t i = 0; i < own.size(); ++i)
    samples.measure({.section = "headers", .work = own[i].name, .flops = own[i].flops, .bytes = own[i].bytes, .target = 0.95, .against = "dispatched",
                     .contenders = {{"headers", own[i].call}, {"dispatched", picked[i].call}}});
}
