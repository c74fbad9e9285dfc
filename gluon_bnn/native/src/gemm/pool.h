// Pools of images with the channels innermost. Places outside of the image are ignored; every window has places inside.
#ifndef GLUON_BNN_GEMM_POOL_H_
#define GLUON_BNN_GEMM_POOL_H_

#include "gemm/window.h"

namespace gluon_bnn {

struct PoolSizes {
  int64_t rows, height, width, channels, kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
  int64_t out_height, out_width;  // the last windows may reach beyond the padding

  WindowAxis vertical() const { return {height, kernel_h, stride_h, pad_h}; }
  WindowAxis horizontal() const { return {width, kernel_w, stride_w, pad_w}; }
  bool reaches_beyond_padding() const {
    return out_height > vertical().outputs() || out_width > horizontal().outputs();
  }
};

// y (rows, out_height, out_width, channels): the largest number, the first of equal ones. As in MXNet's pooling, NaN is
// ignored and nothing is below -FLT_MAX.
void max_pool(const PoolSizes& sizes, const float* x, float* y);

// The same for bits (rows, height, width, ceil(channels / 32)), where 1 is the smaller number. The minimum for channels
// whose bit is 1 in `falls` (ceil(channels / 32),); null stands for zeros.
void max_pool_bits(const PoolSizes& sizes, const uint32_t* x, const uint32_t* falls, uint32_t* y);

// The sum of the places inside, row by row, divided by their number, or by that of the places in the padded image. As
// in MXNet's pooling, each number is divided before it is added where windows reach beyond the padding.
void average_pool(const PoolSizes& sizes, bool count_padding, const float* x, float* y);

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_POOL_H_
