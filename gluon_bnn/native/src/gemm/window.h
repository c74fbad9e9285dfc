// Windows along one axis of an image, for convolutions and pools.
#ifndef GLUON_BNN_GEMM_WINDOW_H_
#define GLUON_BNN_GEMM_WINDOW_H_

#include <algorithm>

#include "kernels/table.h"

namespace gluon_bnn {

// The taps of a window that lie inside of the image: from `begin` to before `end`.
struct Taps {
  int64_t begin, end;

  int64_t size() const { return end - begin; }
};

struct WindowAxis {
  int64_t size, kernel, stride = 1, pad = 0, dilation = 1;

  // How many places a window covers, with those between its taps.
  int64_t extent() const { return (kernel - 1) * dilation + 1; }
  // The number of windows that lie in the padded image.
  int64_t outputs() const { return (size + 2 * pad - extent()) / stride + 1; }
  // Where the first tap of an output lies; below 0 before the image.
  int64_t start(int64_t output) const { return output * stride - pad; }

  Taps taps(int64_t output) const {
    const int64_t before = std::max<int64_t>(0, -start(output)), left = std::max<int64_t>(0, size - start(output));
    const int64_t end = smaller(kernel, ceil_div(left, dilation));
    return {smaller(end, ceil_div(before, dilation)), end};
  }
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_WINDOW_H_
