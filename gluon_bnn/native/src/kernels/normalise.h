// The formula of batch norm with a given mean and variance, for inference and for training.
#ifndef GLUON_BNN_KERNELS_NORMALISE_H_
#define GLUON_BNN_KERNELS_NORMALISE_H_

#include <cstdint>

namespace gluon_bnn {

// (x - mean) factor + beta, rounded after each step.
template <typename T>
static inline T normalised(T x, T mean, T factor, T beta) {
  return (x - mean) * factor + beta;
}

// y = normalised(x) for `rows` rows of `size` units. `stride` elements lie between
// the beginnings of two rows. y must not be x.
template <typename T>
static inline void normalise(const T* x, const T* mean, const T* factor, const T* beta, int64_t rows, int64_t size,
                             int64_t stride, T* y) {
  for (int64_t r = 0; r < rows; ++r, x += stride, y += stride) {
    T* __restrict to = y;
    for (int64_t u = 0; u < size; ++u) to[u] = normalised(x[u], mean[u], factor[u], beta[u]);
  }
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_NORMALISE_H_
