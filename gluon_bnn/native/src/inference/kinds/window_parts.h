// The attributes of windows over an image, which convolutions and pools have: reads and checks them.
#ifndef GLUON_BNN_INFERENCE_KINDS_WINDOW_PARTS_H_
#define GLUON_BNN_INFERENCE_KINDS_WINDOW_PARTS_H_

#include "gemm/conv.h"
#include "gemm/pool.h"
#include "inference/kind.h"

namespace gluon_bnn {

// Of a convolution of `x`, from `channels` to `dilation`; `rows` is set for each run.
ConvSizes take_conv(Parts& parts, const Value& x);

// Of a pool of `x`, from `kernel` to `rounding`.
PoolSizes take_pool(Parts& parts, const Value& x);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_INFERENCE_KINDS_WINDOW_PARTS_H_
