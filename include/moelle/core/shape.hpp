// moelle/core/shape.hpp -- sizes and strides of a tensor: up to six 64-bit numbers, arithmetic checked.
#pragma once
#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <ostream>
#include <string>
#include <vector>

#include <moelle/core/error.hpp>

namespace moelle {

inline constexpr int kMaxRank = 6;

// A short list of 64-bit numbers: a shape (all >= 0), strides in elements (any sign), or an index.
class Shape {
 public:
  Shape() = default;
  Shape(std::initializer_list<std::int64_t> v) { assign(v.begin(), v.end()); }
  explicit Shape(const std::vector<std::int64_t>& v) { assign(v.begin(), v.end()); }
  // n copies of v.
  Shape(int n, std::int64_t v) : rank_(n) { std::fill(v_, v_ + n, v); }

  int rank() const { return rank_; }
  std::int64_t operator[](int i) const { return v_[i]; }
  std::int64_t& operator[](int i) { return v_[i]; }
  const std::int64_t* begin() const { return v_; }
  const std::int64_t* end() const { return v_ + rank_; }
  std::int64_t back() const { return v_[rank_ - 1]; }
  std::vector<std::int64_t> vec() const { return {begin(), end()}; }

  void push_back(std::int64_t x) {
    MOELLE_REQUIRE("shape", rank_ < kMaxRank, str("rank must be at most ", kMaxRank, "; got rank=", rank_ + 1));
    v_[rank_++] = x;
  }
  void erase(int i) {
    for (; i + 1 < rank_; ++i) v_[i] = v_[i + 1];
    --rank_;
  }
  void insert(int i, std::int64_t x) {
    push_back(x);
    for (int j = rank_ - 1; j > i; --j) v_[j] = v_[j - 1];
    v_[i] = x;
  }
  friend bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }
  friend std::ostream& operator<<(std::ostream& out, const Shape& s) {
    out << '[';
    for (int i = 0; i < s.rank(); ++i) out << (i != 0 ? ", " : "") << s[i];
    return out << ']';
  }

 private:
  template <class It>
  void assign(It first, It last) {
    MOELLE_REQUIRE("shape", last - first <= kMaxRank, str("rank must be at most ", kMaxRank, "; got rank=", last - first));
    for (; first != last; ++first) v_[rank_++] = *first;
  }
  std::int64_t v_[kMaxRank] = {};
  int rank_ = 0;
};

using Strides = Shape;

// a * b and a + b for sizes; an overflow is an error, never a wrong number.
inline std::int64_t checked_mul(std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  MOELLE_REQUIRE("size", !__builtin_mul_overflow(a, b, &r), str("product must fit 64 bits; got ", a, " * ", b));
  return r;
}
inline std::int64_t checked_add(std::int64_t a, std::int64_t b) {
  std::int64_t r = 0;
  MOELLE_REQUIRE("size", !__builtin_add_overflow(a, b, &r), str("sum must fit 64 bits; got ", a, " + ", b));
  return r;
}

// Number of elements; refuses negative sizes and overflow.
inline std::int64_t numel(const Shape& s) {
  std::int64_t n = 1;
  bool empty = false;
  for (std::int64_t d : s) {
    MOELLE_REQUIRE("shape", d >= 0, str("sizes must not be negative; got shape=", s));
    empty |= d == 0;
  }
  if (empty) return 0;
  for (std::int64_t d : s) n = checked_mul(n, d);
  return n;
}

// Row-major strides.
inline Strides contiguous_strides(const Shape& s) {
  Strides r(s.rank(), 1);
  // Unsigned: [0, 2^40, 2^40] is a legal empty shape whose strides overflow and do not matter.
  for (int i = s.rank() - 2; i >= 0; --i)
    r[i] = static_cast<std::int64_t>(static_cast<std::uint64_t>(r[i + 1]) * static_cast<std::uint64_t>(std::max<std::int64_t>(s[i + 1], 1)));
  return r;
}

inline bool is_contiguous(const Shape& shape, const Strides& strides) {
  if (std::find(shape.begin(), shape.end(), 0) != shape.end()) return true;
  std::int64_t expected = 1;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    if (shape[i] != 1 && strides[i] != expected) return false;
    expected *= shape[i];
  }
  return true;
}

// -1 is the last axis. `op` names the caller in the message.
inline int normalize_dim(const char* op, std::int64_t dim, int rank) {
  MOELLE_REQUIRE(op, dim >= -rank && dim < rank, str("dim must be in [", -rank, ", ", rank, "); got dim=", dim));
  return static_cast<int>(dim < 0 ? dim + rank : dim);
}

// NumPy's rule: align at the last axis; sizes must be equal or 1.
inline Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape r(rank, 1);
  for (int i = 0; i < rank; ++i) {
    const std::int64_t x = i < rank - a.rank() ? 1 : a[i - (rank - a.rank())];
    const std::int64_t y = i < rank - b.rank() ? 1 : b[i - (rank - b.rank())];
    MOELLE_REQUIRE(op, x == y || x == 1 || y == 1, str("shapes must broadcast; got a=", a, " b=", b));
    r[i] = x == 1 ? y : x;
  }
  return r;
}

}  // namespace moelle
