// Windows along one axis of an image, for convolutions and pools.
#ifndef GLUON_BNN_GEMM_WINDOW_H_
#define GLUON_BNN_GEMM_WINDOW_H_

#include <algorithm>

#include "kernels/table.h"

namespace gluon_bnn {

// From `begin` to before `end`.
struct Range {
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

  // The outputs whose taps all lie inside.
  Range whole() const {
    const int64_t begin = smaller(outputs(), ceil_div(pad, stride));
    const int64_t end = size + pad < extent() ? 0 : smaller(outputs(), (size + pad - extent()) / stride + 1);
    return {begin, std::max(begin, end)};
  }

  // The taps of an output that lie inside of the image.
  Range taps(int64_t output) const {
    if (start(output) >= 0 && start(output) + extent() <= size) return {0, kernel};  // no division: these are most
    const int64_t before = std::max<int64_t>(0, -start(output)), left = std::max<int64_t>(0, size - start(output));
    const int64_t end = smaller(kernel, ceil_div(left, dilation));
    return {smaller(end, ceil_div(before, dilation)), end};
  }
};

}  // namespace gluon_bnn

#endif  // GLUON_BNN_GEMM_WINDOW_H_
