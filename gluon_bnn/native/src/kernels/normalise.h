// The formula of batch norm with a given mean and variance, for inference and for training.
#ifndef GLUON_BNN_KERNELS_NORMALISE_H_
#define GLUON_BNN_KERNELS_NORMALISE_H_

namespace gluon_bnn {

// (x - mean) factor + beta, rounded after each step.
template <typename T>
static inline T normalised(T x, T mean, T factor, T beta) {
  return (x - mean) * factor + beta;
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_NORMALISE_H_
