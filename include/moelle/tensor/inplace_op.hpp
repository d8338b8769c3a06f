// moelle/tensor/inplace_op.hpp -- changes to the elements of a tensor, for optimisers and data. No gradient.
//
// Refused: read-only storage; views that repeat elements; and, while gradients are recorded, tensors that require one (wrap
// the call in autograd::NoGrad). Every change is counted in the storage, so that a backward that needs the old values fails
// instead of using the new ones.
#pragma once
#include <cstdint>

#include <moelle/tensor/elementwise_op.hpp>

namespace moelle {

namespace detail {

template <class T>
void check_writable(const char* op, const Tensor<T>& x) {
  MOELLE_REQUIRE(op, x.storage()->writable(), str("tensor must not be read-only; got shape=", x.shape()));
  MOELLE_REQUIRE(op, !(autograd::is_enabled() && x.requires_grad()),
                 str("a tensor that requires a gradient must only be changed under NoGrad; got shape=", x.shape()));
  for (int d = 0; d < x.rank(); ++d)
    MOELLE_REQUIRE(op, x.strides()[d] != 0 || x.shape()[d] <= 1, str("tensor must not repeat elements; got shape=", x.shape(), " strides=", x.strides()));
}

// `from`, safe to be read while `to` is written: a copy if the two share storage in different places.
template <class T>
Tensor<T> apart(const char* op, const Tensor<T>& from, const Tensor<T>& to) {
  MOELLE_REQUIRE(op, from.rank() <= to.rank() && broadcast_shapes(op, from.shape(), to.shape()) == to.shape(),
                 str("values must broadcast to the tensor; got tensor=", to.shape(), " values=", from.shape()));
  const bool shared = from.storage() == to.storage();
  const bool same_place = shared && from.data() == to.data() && from.shape() == to.shape() && from.strides() == to.strides();
  if (!shared || same_place) return from.detach();
  const Tensor<T> copy = Tensor<T>::empty(from.shape());
  copy_elements(from, copy);
  return copy;
}

}  // namespace detail

template <class T, Scalar S>
const Tensor<T>& fill_(const Tensor<T>& x, S value) {
  detail::check_writable("fill_", x);
  detail::fill_elements(x, static_cast<T>(detail::scalar_as<T>(value)));
  x.bump_version();
  return x;
}
template <class T>
const Tensor<T>& zero_(const Tensor<T>& x) {
  return fill_(x, 0);
}

// x = values, which broadcast.
template <class T>
const Tensor<T>& copy_(const Tensor<T>& x, const Tensor<T>& values) {
  detail::check_writable("copy_", x);
  const Tensor<T> from = detail::apart("copy_", values, x);
  if (from.data() != x.data() || from.strides() != x.strides()) detail::copy_elements(from, x);
  x.bump_version();
  return x;
}

// x += alpha * y, product and sum rounded separately.
template <class T, Scalar S = int>
const Tensor<T>& add_(const Tensor<T>& x, const Tensor<T>& y, S alpha = 1) {
  detail::check_writable("add_", x);
  const auto by = detail::scalar_as<T>(alpha);
  const auto sum = detail::widened<T>([by](auto a, auto b) { return detail::Plus()(a, detail::Times()(b, by)); });
  detail::update(x, [sum](T a, T b) { return static_cast<T>(sum(a, b)); }, detail::apart("add_", y, x));
  x.bump_version();
  return x;
}

template <class T, Scalar S>
const Tensor<T>& mul_(const Tensor<T>& x, S value) {
  detail::check_writable("mul_", x);
  const auto by = detail::scalar_as<T>(value);
  const auto product = detail::widened<T>([by](auto a) { return detail::Times()(a, by); });
  detail::update(x, [product](T a, T) { return static_cast<T>(product(a)); }, x);
  x.bump_version();
  return x;
}

}  // namespace moelle
