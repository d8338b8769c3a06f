// An operation of your own, with its gradient, checked and used like any other: y = x tanh(softplus(x)), "mish".
#include <cmath>
#include <cstdio>

#include <moelle/autograd.hpp>
#include <moelle/tensor.hpp>

using namespace moelle;

template <class T>
Tensor<T> mish(const Tensor<T>& x) {
  const Tensor<T> in = contiguous(x.detach()), y = Tensor<T>::empty(x.shape());
  for (std::int64_t i = 0; i < y.numel(); ++i) y.data()[i] = in.data()[i] * std::tanh(std::log1p(std::exp(in.data()[i])));
  autograd::record<T>("mish", {x}, {y}, [saved = autograd::Saved<T>(in)](autograd::Backward<T>& b) {
    const Tensor<T> g = b.grad(0), dx = Tensor<T>::empty(g.shape());
    for (std::int64_t i = 0; i < g.numel(); ++i) {
      const T v = saved.get().data()[i], t = std::tanh(std::log1p(std::exp(v))), s = T(1) / (T(1) + std::exp(-v));
      dx.data()[i] = g.data()[i] * (t + v * (T(1) - t * t) * s);
    }
    b.add(0, dx);
  });
  return y;
}

int main() {
  const auto x = Tensor<double>::from({-3, -1, -0.1, 0, 0.1, 1, 3}, {7});
  x.set_requires_grad(true);
  const auto check = autograd::gradcheck1([](const auto& in) { return mish(mul(in[0], in[0])); }, {x});
  std::printf("worst relative error %.1e over %d derivatives\n", check.worst, check.compared);
  return check.ok ? 0 : 1;
}
