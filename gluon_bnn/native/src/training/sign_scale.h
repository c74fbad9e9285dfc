// The arithmetic of the training operators: sign_scale, scale_bias and sign, forward and backward.
// Knows nothing of MXNet; the formulas are those of gluon_bnn/reference/binary.py.
//
// Every function gives the same bits for any number of threads: sums go over fixed blocks, and the
// blocks are added in order. T is float or double. NaN counts as +1, and so do 0.0 and -0.0.
#ifndef GLUON_BNN_TRAINING_SIGN_SCALE_H_
#define GLUON_BNN_TRAINING_SIGN_SCALE_H_

#include <cstdint>

namespace gluon_bnn {

enum class Gradient { kSte, kXnor, kExact, kNotebook };

// What alpha is: 1, the mean of |w| over all weights or over those of a unit, or sum of l |w| / sum of l, l the
// curvature, which is positive.
enum class Scale { kNone, kLayer, kChannel, kLoss };

// alpha from the sums of the rows of `units` units, two of each: of l |w| and of l, l = 1 but with kLoss, as
// `magnitudes` of kernels/portable.h adds them. They are added in order. alpha holds one number, with kChannel `units`.
template <typename T>
void alpha_of(Scale scale, const double* sums, int64_t units, T* alpha);

// signs[i] = w[i] < 0 ? -1 : 1, and alpha. w, signs and, with kLoss, curvature are (units, inputs).
template <typename T>
void sign_scale(Scale scale, const T* w, const T* curvature, int64_t units, int64_t inputs, T* signs, T* alpha);

// signs[i] = +1 with probability (w[i] + 1) / 2 held within [0, 1], else -1, by a draw that depends on seed
// and i alone. Probabilities are multiples of 2^-24; |w| >= 1 is certain.
template <typename T>
void stochastic_sign(const T* w, int64_t size, uint64_t seed, T* signs);

// dw from dsigns = dL/d signs and dalpha = dL/d alpha. clip is +infinity where nothing is masked.
template <typename T>
void sign_scale_backward(Gradient gradient, T clip, const T* dsigns, const T* dalpha, const T* w,
                         const T* alpha, int64_t groups, int64_t n, T* dw);

template <typename T>
void set_to_zero(T* x, int64_t size);

// y[i] = x[i] < 0 ? -1 : 1.
template <typename T>
void sign(const T* x, int64_t size, T* y);

// dx[i] = |x[i]| <= clip ? dy[i] : 0; without `masked`, dx = dy also where x is NaN.
template <typename T>
void sign_backward(bool masked, T clip, const T* dy, const T* x, int64_t size, T* dx);

// y = alpha * dot + bias, rounded after each: dot and y are (rows, units), bias holds `units` or is null.
// alpha holds `units`, or 1 without `per_unit`.
template <typename T>
void scale_bias(const T* dot, const T* alpha, bool per_unit, const T* bias, int64_t rows,
                int64_t units, T* y);

// ddot = alpha * dy, dbias = column sums of dy (where not null), dalpha = sums of dy * dot (where
// `wants_dalpha`, else zeros).
template <typename T>
void scale_bias_backward(const T* dy, const T* dot, const T* alpha, bool per_unit, bool wants_dalpha,
                         int64_t rows, int64_t units, T* ddot, T* dalpha, T* dbias);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_SIGN_SCALE_H_
