// What follows a product over signs: y = alpha * dot + bias, forward and backward. T is float or double.
// The results are the same bits for any number of threads.
#ifndef GLUON_BNN_TRAINING_SCALE_BIAS_H_
#define GLUON_BNN_TRAINING_SCALE_BIAS_H_

#include <cstdint>

namespace gluon_bnn {

// Rounded after the product and after the sum. dot and y are (rows, units), bias is (units,) or null. alpha holds
// `units` numbers, or one without `per_unit`.
template <typename T>
void scale_bias(const T* dot, const T* alpha, bool per_unit, const T* bias, int64_t rows, int64_t units, T* y);

// ddot = alpha * dy; dbias, if not null, the sums of dy over the rows; dalpha the sums of dy * dot with `wants_dalpha`,
// else zeros.
template <typename T>
void scale_bias_backward(const T* dy, const T* dot, const T* alpha, bool per_unit, bool wants_dalpha, int64_t rows,
                         int64_t units, T* ddot, T* dalpha, T* dbias);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_SCALE_BIAS_H_
