// The signs of activations, forward and backward. T is float or double. The sign of 0.0, -0.0 and NaN is +1.
#ifndef GLUON_BNN_TRAINING_SIGN_H_
#define GLUON_BNN_TRAINING_SIGN_H_

#include <cstdint>

namespace gluon_bnn {

// y[i] = x[i] < 0 ? -1 : 1.
template <typename T>
void sign(const T* x, int64_t size, T* y);

// dx[i] = |x[i]| <= clip ? dy[i] : 0. Without `masked` dx is dy, also where x is NaN.
template <typename T>
void sign_backward(bool masked, T clip, const T* dy, const T* x, int64_t size, T* dx);

// Whether all of x is -1 or 1.
bool all_signs(const float* x, int64_t size);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_SIGN_H_
