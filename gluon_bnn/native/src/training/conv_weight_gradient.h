// The gradient of a binary convolution's weights, in float32. Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_CONV_WEIGHT_GRADIENT_H_
#define GLUON_BNN_TRAINING_CONV_WEIGHT_GRADIENT_H_

#include "gemm/conv.h"
#include "training/sign_scale.h"

namespace gluon_bnn {

// dw (units, channels, kernel_h, kernel_w) by the rule from dy (rows, units, out_height, out_width) and x (rows,
// channels, height, width). alpha is (units,); clip is +infinity where nothing is masked. Where `signs` is not null,
// the inputs are these bits (rows, pixel_words, height, width), and x is not read.
void conv_weight_gradient(const ConvSizes& sizes, Pad pad, Scale scale, Gradient gradient, float clip, const float* dy,
                          const float* x, const uint32_t* signs, const float* w, const float* alpha, float* dw);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_CONV_WEIGHT_GRADIENT_H_
