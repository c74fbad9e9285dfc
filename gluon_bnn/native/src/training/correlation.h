// The weight gradient of convolutions with real inputs by sums along the places of images, without any window.
// Results do not depend on the number of threads.
#ifndef GLUON_BNN_TRAINING_CORRELATION_H_
#define GLUON_BNN_TRAINING_CORRELATION_H_

#include "gemm/conv.h"

namespace gluon_bnn {

// Whether correlated_gradient takes less time than products of windows: not where images have few places.
bool correlation_pays(const ConvSizes& sizes);

// g (units, stride), in the order tap, channel, from dy (rows, units, out_height, out_width) and x (rows, channels,
// height, width), with `pad` outside. False if any of it is infinite or NaN. Then g is of no use: such numbers reach
// weights that they should not.
bool correlated_gradient(const ConvSizes& sizes, float pad, const float* dy, const float* x, int64_t stride, float* g);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_CORRELATION_H_
