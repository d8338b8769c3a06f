// tests/support/tolerance.hpp -- the one place where tolerances live, each with the line that derives it.
//
// u is the unit roundoff (2^-24 for float). Bounds of the form gamma(n) = n u / (1 - n u) are those of Higham, "Accuracy and
// Stability of Numerical Algorithms", 2nd edition, chapters 3 and 4; they hold for every order of summation.
#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include <moelle/core/dtype.hpp>

namespace moelle::test {

// Half the distance from 1 to the next number.
template <class T>
inline constexpr double kUnit = static_cast<double>(std::numeric_limits<T>::epsilon()) / 2;
template <>
inline constexpr double kUnit<bfloat16> = 0x1p-8;  // 8 significant bits

// n roundings in a row: (1 + u)^n - 1 <= gamma(n) (Higham, lemma 3.1).
template <class T>
double gamma(std::int64_t n) {
  const double nu = static_cast<double>(n) * kUnit<T>;
  return nu / (1 - nu);
}

// |computed - exact| of a sum of K terms: each term passes through at most K - 1 additions (Higham, eq. 4.4).
template <class T>
double sum_bound(std::int64_t K, double sum_of_magnitudes) {
  return gamma<T>(K) * sum_of_magnitudes;
}
// Of a sum of K products, with or without fused multiply-add: one rounding more per term (Higham, eq. 3.5).
template <class T>
double dot_bound(std::int64_t K, double sum_of_magnitudes) {
  return gamma<T>(K + 1) * sum_of_magnitudes;
}
// Of a result that is correct to `ulps` units in the last place, around `value`; one unit is at most 2u of the value, and
// below the normal range it is the smallest denormal.
template <class T>
double ulp_bound(double ulps, double value) {
  return ulps * std::fmax(2 * kUnit<T> * std::fabs(value), static_cast<double>(std::numeric_limits<T>::denorm_min()));
}

// Analytic against 4-point differences in double, relative: truncation h^4 f^(5)/30 with h = 1e-3 is 3e-14 f^(5), rounding
// 1.5 u |f| / h is 2e-13 |f|; 1e-7 leaves room for functions that bend sharply.
inline constexpr double kGradcheck = 1e-7;

// One operation in float against the same in double, max |difference| / max |value|: K = 64 roundings of random sign grow
// as sqrt(K) u = 5e-7.
inline constexpr double kFloatAgainstDouble = 1e-6;

// |x - y|^2 / (|x|^2 + |y|^2) of a float result against double: independent errors of sqrt(K) u give K u^2 / 2, which is
// 1.5e-11 for K = 8192; gradients pass two products.
inline constexpr double kFloatDiff = 1e-11;
inline constexpr double kFloatGradientDiff = 1e-9;

}  // namespace moelle::test
