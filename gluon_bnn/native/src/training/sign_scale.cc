// Compiled for the baseline of the platform: memory bounds these loops, so a wider instruction set would gain nothing.
#include "training/sign_scale.h"

#include <algorithm>
#include <vector>

#include "kernels/portable.h"
#include "parallel.h"

namespace gluon_bnn {
namespace {

// The finaliser of splitmix64 (Steele, Lea, Flood 2014): 64 bits that each depend on all those of x.
uint64_t mixed(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

template <typename Rule, typename T>
void backward(const Terms<T>& terms, T dalpha, const T* dsigns, const T* w, int64_t size, T* dw) {
  const T cross = dalpha * terms.alpha_share;
  for (int64_t i = 0; i < size; ++i) {
    T sum = dsigns[i] * Rule::factor(w[i], terms);
    if constexpr (Rule::kCross) sum += w[i] < 0 ? -cross : cross;
    dw[i] = sum;
  }
}

}  // namespace

template <typename T>
void alpha_of(Scale scale, const double* sums, int64_t units, T* alpha) {
  double magnitude = 0, weight = 0;
  for (int64_t u = 0; u < units; ++u, sums += 2) {
    if (scale == Scale::kChannel) {
      alpha[u] = static_cast<T>(sums[0] / sums[1]);
    } else {
      magnitude += sums[0];
      weight += sums[1];
    }
  }
  if (scale != Scale::kChannel) alpha[0] = scale == Scale::kNone ? T(1) : static_cast<T>(magnitude / weight);
}

template <typename T>
void sign_scale(Scale scale, const T* w, const T* curvature, int64_t units, int64_t inputs, T* signs, T* alpha) {
  std::vector<double> sums(2 * units);
  parallel_for<Schedule::kStatic>(threads_for(kTouch * units * inputs), units, [&](int64_t u, int) {
    const T* row = w + u * inputs;
    for (int64_t k = 0; k < inputs; ++k) signs[u * inputs + k] = row[k] < 0 ? T(-1) : T(1);
    if (scale == Scale::kNone) return;
    magnitudes(row, scale == Scale::kLoss ? curvature + u * inputs : nullptr, inputs, &sums[2 * u]);
  });
  alpha_of(scale, sums.data(), units, alpha);
}

template <typename T>
void sign_scale_backward(Gradient gradient, T clip, const T* dsigns, const T* dalpha, const T* w, const T* alpha,
                         int64_t groups, int64_t n, T* dw) {
  with_rule(gradient, [=](auto rule) {
    for_each_part<Schedule::kStatic>(groups, n, [=](int64_t group, int64_t begin, int64_t end) {
      if (alpha[group] == 0) {  // all weights of the group are zero, for which no gradient is defined
        std::fill(dw + begin, dw + end, T(0));
        return;
      }
      const Terms<T> terms = Terms<T>::of_dsigns(alpha[group], static_cast<T>(n), clip);
      backward<decltype(rule)>(terms, dalpha[group], dsigns + begin, w + begin, end - begin, dw + begin);
    });
  });
}

// A number drawn uniformly from -1, -1 + 2^-23, ..., 1 - 2^-23 is at least -w with the wanted probability: 0 for w = -1
// and 1 for w = 1. The comparison is exact, whereas w + u would be rounded. With NaN it is false, so the sign is +1, as
// everywhere.
template <typename T>
void stochastic_sign(const T* w, int64_t size, uint64_t seed, T* signs) {
  const uint64_t start = mixed(seed);
  for_each_part<Schedule::kStatic>(1, size, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const uint64_t bits = mixed(start + static_cast<uint64_t>(i) * 0x9E3779B97F4A7C15u) >> 40;
      const T uniform = static_cast<T>(static_cast<int32_t>(bits) - (1 << 23)) * T(1.0 / (1 << 23));
      signs[i] = uniform < -w[i] ? T(-1) : T(1);
    }
  });
}

#define GLUON_BNN_INSTANTIATE(T)                                                                                   \
  template void alpha_of<T>(Scale, const double*, int64_t, T*);                                                    \
  template void sign_scale<T>(Scale, const T*, const T*, int64_t, int64_t, T*, T*);                                \
  template void sign_scale_backward<T>(Gradient, T, const T*, const T*, const T*, const T*, int64_t, int64_t, T*); \
  template void stochastic_sign<T>(const T*, int64_t, uint64_t, T*);
GLUON_BNN_INSTANTIATE(float)
GLUON_BNN_INSTANTIATE(double)
#undef GLUON_BNN_INSTANTIATE

}  // namespace gluon_bnn
