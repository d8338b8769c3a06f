// moelle/core/view.hpp -- what a kernel sees: a pointer with sizes and strides, owning nothing.
#pragma once
#include <cstdint>

#include <moelle/core/config.hpp>

namespace moelle {

template <class T, int Rank>
struct View {
  T* data = nullptr;
  std::int64_t size[Rank] = {};
  std::int64_t stride[Rank] = {};

  template <class... I>
  MOELLE_INLINE T& operator()(I... i) const {
    static_assert(sizeof...(I) == Rank);
    std::int64_t at = 0;
    int d = 0;
    ((at += static_cast<std::int64_t>(i) * stride[d++]), ...);
    return data[at];
  }
};

}  // namespace moelle
