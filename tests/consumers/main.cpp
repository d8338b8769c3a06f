#include <cstdio>

#include "use.hpp"

#ifdef MOELLE_TEST_TWO_UNITS
double from_other_unit();
#else
static double from_other_unit() { return use_moelle(); }
#endif

int main() {
  const double here = use_moelle(), there = from_other_unit();
  std::printf("%g %g\n", here, there);
  return here == 61.0 && there == 61.0 ? 0 : 1;
}
