// A whole binary layer for training in float32, forward and backward: what sign_scale, a product over +-1 and
// scale_bias compute one after the other, in fewer passes over the weights and with bits for signs. The formulas are
// those of gluon_bnn/reference/binary.py. Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_BINARY_DENSE_H_
#define GLUON_BNN_TRAINING_BINARY_DENSE_H_

#include "gemm/gemm.h"
#include "training/sign_scale.h"

namespace gluon_bnn {

// What the products need of w (units, inputs), in one pass over it: its packed bits, and alpha (units,), which is the
// same number for all units except with kChannel. curvature is read with kLoss only. alpha equals that of sign_scale to
// the bit, because a frozen layer takes it from there.
void binary_dense_weights(const DenseSizes& sizes, Scale scale, const float* w, const float* curvature, uint32_t* bits,
                          float* alpha);

// y = alpha * (x . signs of w) + bias: x (rows, inputs), bias (units,) or null, y (rows, units). Where every x is
// -1 or 1, the product is one of bits; the result is the same. Where `signs` is not null, the signs of x take the place
// of x, and their bits (rows, words) are kept there for the backward pass.
void binary_dense_forward(const DenseSizes& sizes, const uint32_t* bits, const float* alpha, const float* x,
                          const float* bias, uint32_t* signs, float* y);

// dx = (dy alpha) . signs of w; dw by the rule from g = dy^T . x; dbias, if not null, the sums of dy over the rows.
// clip is +infinity where nothing is masked; w is then not read by ste. Where `signs` is not null, it is what the
// forward pass has kept, and dx is 0 where |x| > sign_clip; +infinity masks nothing, NaN included.
void binary_dense_backward(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                           const float* x, const uint32_t* signs, float sign_clip, const float* w, const uint32_t* bits,
                           const float* alpha, float* dx, float* dw, float* dbias);

// The same in parts: ddot = dy alpha and dbias; dx = ddot . signs of w, and 0 where |x| > sign_clip; dw.
void binary_dense_ddot(const DenseSizes& sizes, Scale scale, const float* dy, const float* alpha, float* ddot,
                       float* dbias);
void binary_dense_dx(const DenseSizes& sizes, const float* ddot, const uint32_t* bits, const float* x, float sign_clip,
                     float* dx);
void binary_dense_dw(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* dy,
                     const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_BINARY_DENSE_H_
