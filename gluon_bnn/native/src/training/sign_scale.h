// sign_scale, forward and backward: weights to signs and scales. Knows nothing of MXNet; the formulas are those of
// gluon_bnn/reference/binary.py.
//
// The results are the same bits for any number of threads: sums go over fixed blocks, and the sums of the blocks are
// added in order. T is float or double. The sign of 0.0, -0.0 and NaN is +1.
#ifndef GLUON_BNN_TRAINING_SIGN_SCALE_H_
#define GLUON_BNN_TRAINING_SIGN_SCALE_H_

#include <cstdint>

#include "training/rules.h"

namespace gluon_bnn {

// What alpha is: 1; the mean of |w| over all weights, or over those of a unit; or sum of l |w| / sum of l, where l is
// the curvature, which is positive.
enum class Scale { kNone, kLayer, kChannel, kLoss };

// alpha from two sums for each of `units` rows, as `magnitudes` of kernels/table.h computes them, added in order. alpha
// holds one number, with kChannel `units` of them.
template <typename T>
void alpha_of(Scale scale, const double* sums, int64_t units, T* alpha);

// signs[i] = w[i] < 0 ? -1 : 1, and alpha. w, signs and, with kLoss, curvature are (units, inputs).
template <typename T>
void sign_scale(Scale scale, const T* w, const T* curvature, int64_t units, int64_t inputs, T* signs, T* alpha);

// dw from dsigns = dL/d signs and dalpha = dL/d alpha, for `groups` groups of n weights that share an alpha. clip is
// +infinity where nothing is masked.
template <typename T>
void sign_scale_backward(Gradient gradient, T clip, const T* dsigns, const T* dalpha, const T* w, const T* alpha,
                         int64_t groups, int64_t n, T* dw);

// signs[i] = +1 with probability (w[i] + 1) / 2, clipped to [0, 1], else -1. The draw depends on seed and i alone.
// Probabilities are multiples of 2^-24; where |w| >= 1 the sign is certain.
template <typename T>
void stochastic_sign(const T* w, int64_t size, uint64_t seed, T* signs);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_SIGN_SCALE_H_
