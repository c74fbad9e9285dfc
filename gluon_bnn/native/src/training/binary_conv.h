// A whole binary convolution for training in float32, forward and backward; of one group, over images (rows, channels,
// height, width), with weights (units, channels, kernel_h, kernel_w) and results (rows, units, out_height, out_width).
// A convolution of one axis has height and kernel_h 1. The formulas are those of gluon_bnn/reference/conv.py.
//
// No array of all windows is made: scratch memory is a few megabytes, and that of the weights. Results do not depend on
// the number of threads.
#ifndef GLUON_BNN_TRAINING_BINARY_CONV_H_
#define GLUON_BNN_TRAINING_BINARY_CONV_H_

#include "gemm/conv.h"
#include "training/sign_scale.h"

namespace gluon_bnn {

// alpha (units,), which is the same number for all units except with kChannel. curvature is read with kLoss only.
void binary_conv_alpha(const ConvSizes& sizes, Scale scale, const float* w, const float* curvature, float* alpha);

// y = alpha * conv(x, signs of w) + bias, where bias may be null. Where every x is -1 or 1, the product is one of bits,
// and the result is the same. Where `signs` is not null, the signs of x take the place of x, and their bits (rows,
// pixel_words, height, width) are kept there for the backward pass.
void binary_conv_forward(const ConvSizes& sizes, Pad pad, const float* w, const float* alpha, const float* x,
                         const float* bias, uint32_t* signs, float* y);

// dx = conv^T(dy alpha, signs of w); dw by the rule from the gradient g to alpha * signs; dbias the sums of dy. Each of
// the three may be null, and is then not computed. clip is +infinity where nothing is masked. Where `signs` is not
// null, it is what the forward pass has kept, and dx is 0 where |x| > sign_clip; +infinity masks nothing, NaN included.
void binary_conv_backward(const ConvSizes& sizes, Pad pad, Scale scale, Gradient gradient, float clip, const float* dy,
                          const float* x, const uint32_t* signs, float sign_clip, const float* w, const float* alpha,
                          float* dx, float* dw, float* dbias);

// In parts: ddot = dy alpha and dbias, if not null; dx = conv^T(ddot, signs of w), and 0 where |x| > sign_clip.
void binary_conv_ddot(const ConvSizes& sizes, const float* dy, const float* alpha, float* ddot, float* dbias);
void binary_conv_dx(const ConvSizes& sizes, const float* ddot, const float* x, float sign_clip, const float* w,
                    float* dx);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_BINARY_CONV_H_
