// Batch norm over one axis: x, y and their gradients are (rows, units, places), everything else (units,). Where units
// are the last axis there is one place; of an image the places are its pixels. Knows nothing of MXNet; the formulas are
// those of gluon_bnn/reference/dense.py. T is float or double.
//
// A unit's sums go over its elements in one order, so every function gives the same bits for any number of threads.
#ifndef GLUON_BNN_TRAINING_BATCH_NORM_H_
#define GLUON_BNN_TRAINING_BATCH_NORM_H_

#include <cstdint>

namespace gluon_bnn {

struct BatchNormSizes {
  int64_t rows, units, places;
};

// y = (x - mean) inverse gamma + beta with the mean and 1 / sqrt(var + eps) of the batch, which are kept for the
// backward pass; running = momentum running + (1 - momentum) batch's, for mean and (biased) var.
template <typename T>
void batch_norm_train(const T* x, const T* gamma, const T* beta, const BatchNormSizes& sizes, double eps,
                      double momentum, T* running_mean, T* running_var, T* mean, T* inverse, T* y);

// y = (x - mean) (gamma / sqrt(var + eps)) + beta, rounded after each step, as MXNet does.
template <typename T>
void batch_norm_infer(const T* x, const T* gamma, const T* beta, const T* mean, const T* var,
                      const BatchNormSizes& sizes, double eps, T* y);

// Through the mean and variance of the batch.
template <typename T>
void batch_norm_train_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* inverse,
                               const BatchNormSizes& sizes, T* dx, T* dgamma, T* dbeta);

// With a mean and variance that do not depend on x.
template <typename T>
void batch_norm_infer_backward(const T* dy, const T* x, const T* gamma, const T* mean, const T* var,
                               const BatchNormSizes& sizes, double eps, T* dx, T* dgamma, T* dbeta);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_BATCH_NORM_H_
