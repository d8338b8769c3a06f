// moelle/core/tensor.hpp -- Tensor<T>: a handle on a strided block of elements, with an optional place in a gradient graph.
//
// Copies are handles on the same tensor (as in PyTorch): a change through one is seen through all. The element type is
// static, shape (rank <= 6) and device are dynamic. An undefined tensor (default constructed) stands for "not given".
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>
#include <utility>
#include <vector>

#include <moelle/core/dtype.hpp>
#include <moelle/core/error.hpp>
#include <moelle/core/shape.hpp>
#include <moelle/core/storage.hpp>

namespace moelle {

namespace autograd {
template <class T>
struct Meta;  // gradient, producer, flags: autograd/meta.hpp
}

template <class T>
class Tensor {
 public:
  using value_type = T;

  Tensor() = default;

  // --- creation ---------------------------------------------------------------------------------------------------
  // Uninitialised.
  static Tensor empty(const Shape& shape) {
    const std::int64_t n = moelle::numel(shape);
    const std::int64_t bytes = checked_mul(n, static_cast<std::int64_t>(sizeof(T)));
    return Tensor(std::make_shared<Storage>(static_cast<std::size_t>(bytes)), 0, shape, contiguous_strides(shape));
  }
  static Tensor full(const Shape& shape, T value) {
    Tensor t = empty(shape);
    std::fill_n(t.data(), t.numel(), value);
    return t;
  }
  static Tensor zeros(const Shape& shape) { return full(shape, T()); }
  static Tensor ones(const Shape& shape) { return full(shape, T(1)); }
  static Tensor scalar(T value) { return full({}, value); }
  // begin, begin + step, ... below (above, for a negative step) end.
  static Tensor arange(std::int64_t begin, std::int64_t end, std::int64_t step = 1) {
    MOELLE_REQUIRE("arange", step != 0, str("step must not be 0; got step=", step));
    using Wide = __int128;  // end - begin may exceed 64 bits
    const Wide span = step > 0 ? Wide{end} - begin : Wide{begin} - end, stride = step > 0 ? Wide{step} : -Wide{step};
    const Wide n = span > 0 ? (span - 1) / stride + 1 : 0;
    MOELLE_REQUIRE("arange", n <= INT64_MAX, str("number of elements must fit 64 bits; got begin=", begin, " end=", end, " step=", step));
    Tensor t = empty({static_cast<std::int64_t>(n)});
    for (std::int64_t i = 0; i < t.numel(); ++i) t.data()[i] = static_cast<T>(static_cast<std::int64_t>(
          static_cast<std::uint64_t>(begin) + static_cast<std::uint64_t>(i) * static_cast<std::uint64_t>(step)));  // i * step may wrap, the sum does not
    return t;
  }
  // A copy of `values` in row-major order.
  static Tensor from(const std::vector<T>& values, const Shape& shape) {
    MOELLE_REQUIRE("tensor", moelle::numel(shape) == static_cast<std::int64_t>(values.size()),
                   str("shape must hold as many elements as given; got shape=", shape, " elements=", values.size()));
    Tensor t = empty(shape);
    std::copy(values.begin(), values.end(), t.data());
    return t;
  }
  static Tensor from(const std::vector<T>& values) { return from(values, {static_cast<std::int64_t>(values.size())}); }
  // Somebody else's elements, kept alive by `owner`; strides in elements, of any sign, relative to `data`.
  static Tensor external(T* data, const Shape& shape, const Strides& strides, std::shared_ptr<void> owner,
                         Device device = Device::cpu, bool writable = true) {
    std::int64_t low = 0, high = 0;
    extent(shape, strides, low, high);
    const auto bytes = static_cast<std::size_t>(high - low) * sizeof(T);
    auto storage = std::make_shared<Storage>(data + low, bytes, std::move(owner), device, writable);
    return Tensor(std::move(storage), -low, shape, strides);
  }

  // --- description ------------------------------------------------------------------------------------------------
  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const = delete;  // ask defined()
  const Shape& shape() const { return impl().shape; }
  const Strides& strides() const { return impl().strides; }
  int rank() const { return impl().shape.rank(); }
  std::int64_t size(std::int64_t dim) const { return shape()[normalize_dim("size", dim, rank())]; }
  std::int64_t numel() const { return impl().numel; }
  Device device() const { return impl().storage->device(); }
  static constexpr DType dtype() { return dtype_of<T>; }
  bool is_contiguous() const { return moelle::is_contiguous(impl().shape, impl().strides); }

  // First element. Writing through it is the caller's affair: see bump_version().
  T* data() const { return static_cast<T*>(impl().storage->data()) + impl().offset; }
  std::int64_t offset() const { return impl().offset; }
  const std::shared_ptr<Storage>& storage() const { return impl().storage; }
  // To be called after changing elements in place.
  void bump_version() const { impl().storage->bump_version(); }

  T& at(const Shape& index) const {
    MOELLE_REQUIRE("at", index.rank() == rank(), str("index must have one entry per axis; got index=", index, " shape=", shape()));
    std::int64_t o = 0;
    for (int i = 0; i < rank(); ++i) {
      MOELLE_REQUIRE("at", index[i] >= 0 && index[i] < shape()[i], str("index must lie in the shape; got index=", index, " shape=", shape()));
      o += index[i] * strides()[i];
    }
    return data()[o];
  }
  // The only element.
  T item() const {
    MOELLE_REQUIRE("item", numel() == 1, str("tensor must have one element; got shape=", shape()));
    return *data();
  }
  // All elements in row-major order.
  std::vector<T> to_vector() const {
    std::vector<T> out(static_cast<std::size_t>(numel()));
    std::size_t i = 0;
    each([&](T v) { out[i++] = v; });
    return out;
  }
  // f(element) in row-major order, for any strides.
  template <class F>
  void each(F f) const {
    if (numel() == 0) return;
    each_axis(f, data(), 0);
  }

  // --- views for operation authors (no gradient) --------------------------------------------------------------------
  // Same storage, other shape; `offset` in elements from this tensor's first. Every reachable element must lie inside.
  Tensor alias(const Shape& shape, const Strides& strides, std::int64_t offset = 0) const {
    const std::int64_t n = moelle::numel(shape);
    std::int64_t low = 0, high = 0;
    extent(shape, strides, low, high);
    const std::int64_t first = checked_add(impl().offset, offset);
    const auto have = static_cast<std::int64_t>(impl().storage->bytes() / sizeof(T));
    MOELLE_REQUIRE("alias", n == 0 || (checked_add(first, low) >= 0 && checked_add(first, high) <= have),
                   str("view must lie inside the storage; got shape=", shape, " strides=", strides, " offset=", first, " elements=", have));
    return Tensor(impl().storage, first, shape, strides);
  }
  // Same elements in row-major order under another shape; needs a contiguous tensor.
  Tensor alias(const Shape& shape) const {
    MOELLE_REQUIRE("alias", is_contiguous() && moelle::numel(shape) == numel(),
                   str("tensor must be contiguous and hold as many elements; got shape=", this->shape(), " strides=", strides(), " wanted=", shape));
    return Tensor(impl().storage, impl().offset, shape, contiguous_strides(shape));
  }

  // --- gradients (defined in autograd/meta.hpp; T float or double) ---------------------------------------------------
  bool requires_grad() const;
  const Tensor& set_requires_grad(bool on) const;  // leaves only
  bool is_leaf() const;
  Tensor grad() const;             // undefined if none has arrived
  void set_grad(const Tensor& g) const;
  void zero_grad() const;          // forgets the gradient
  void retain_grad() const;        // keep the gradient of a non-leaf, too
  Tensor detach() const { return defined() ? Tensor(impl().storage, impl().offset, impl().shape, impl().strides) : Tensor(); }
  void backward(const Tensor& grad = Tensor()) const;  // autograd/backward.hpp
  const std::shared_ptr<autograd::Meta<T>>& meta() const { return impl().meta; }
  void set_meta(std::shared_ptr<autograd::Meta<T>> m) const { impl().meta = std::move(m); }

  bool same(const Tensor& other) const { return impl_ == other.impl_; }  // the same handle, not equal elements
  // Makes this handle and all its copies refer to other's elements (load_state_dict, optimisers); keeps the gradient place.
  void set_data(const Tensor& other) const {
    impl().storage = other.impl().storage;
    impl().offset = other.impl().offset;
    impl().shape = other.impl().shape;
    impl().strides = other.impl().strides;
    impl().numel = other.impl().numel;
  }

 private:
  struct Impl {
    std::shared_ptr<Storage> storage;
    std::int64_t offset;
    Shape shape;
    Strides strides;
    std::int64_t numel;
    std::shared_ptr<autograd::Meta<T>> meta;
  };

  Tensor(std::shared_ptr<Storage> storage, std::int64_t offset, const Shape& shape, const Strides& strides)
      : impl_(std::make_shared<Impl>(Impl{std::move(storage), offset, shape, strides, moelle::numel(shape), nullptr})) {}

  Impl& impl() const {
    MOELLE_REQUIRE("tensor", impl_ != nullptr, "tensor must be defined; got an empty handle");
    return *impl_;
  }

  // Offsets [low, high) that shape and strides reach from the first element.
  static void extent(const Shape& shape, const Strides& strides, std::int64_t& low, std::int64_t& high) {
    MOELLE_REQUIRE("tensor", shape.rank() == strides.rank(), str("shape and strides must have one rank; got shape=", shape, " strides=", strides));
    low = high = 0;
    if (moelle::numel(shape) == 0) return;
    for (int i = 0; i < shape.rank(); ++i) {
      const std::int64_t reach = checked_mul(shape[i] - 1, strides[i]);
      (reach < 0 ? low : high) = checked_add(reach < 0 ? low : high, reach);
    }
    high = checked_add(high, 1);
  }
  template <class F>
  void each_axis(F& f, const T* p, int axis) const {
    if (axis == rank()) return f(*p), void();
    for (std::int64_t i = 0; i < shape()[axis]; ++i) each_axis(f, p + i * strides()[axis], axis + 1);
  }

  std::shared_ptr<Impl> impl_;
};

}  // namespace moelle
