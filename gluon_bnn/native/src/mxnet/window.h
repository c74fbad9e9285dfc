// Windows over MXNet's images, (rows, channels, [height,] width): attributes of convolutions and pools. A sequence is
// an image of height 1.
#ifndef GLUON_BNN_MXNET_WINDOW_H_
#define GLUON_BNN_MXNET_WINDOW_H_

#include "gemm/conv.h"
#include "gemm/pool.h"
#include "mxnet/operator.h"

namespace gluon_bnn {
namespace mxnet {

// Attributes kernel, strides, padding and, where it is given, dilation, each with a number for each axis of space, of
// which there are one or two.
struct Window {
  Shape kernel, strides, padding, dilation;

  explicit Window(const Attributes& attributes)
      : kernel(tuple_of(attributes, "kernel", 1)),
        strides(tuple_of(attributes, "strides", 1)),
        padding(tuple_of(attributes, "padding", 0)),
        dilation(attributes.has("dilation") ? tuple_of(attributes, "dilation", 1) : Shape(kernel.size(), 1)) {
    if (kernel.size() > 2) refuse("a window has one axis or two, got kernel=", kernel);
    for (const Shape* each : {&strides, &padding, &dilation}) {
      if (each->size() == kernel.size()) continue;
      refuse("strides, padding and dilation must have as many numbers as kernel=", kernel, ", got ", *each);
    }
  }

  size_t axes() const { return kernel.size(); }

  // The window along an axis of space of this size. Strides beyond the padded axis lead to no further window; they are
  // cut there because scratch memory for training grows with the strides.
  WindowAxis along(size_t axis, int64_t size) const {
    const int64_t stride = std::min(strides[axis], size + 2 * padding[axis]);
    return {size, kernel[axis], stride, padding[axis], dilation[axis]};
  }

  // The windows along both axes of an array whose axes of space begin with axis `first`.
  struct Axes {
    WindowAxis vertical, horizontal;
  };
  Axes axes_of(const Tensor& data, int first) const {
    if (axes() == 1) return {{1, 1}, along(0, data.shape[first])};
    return {along(0, data.shape[first]), along(1, data.shape[first + 1])};
  }

  ConvSizes conv(const Tensor& data, int first, int64_t in_channels, int64_t channels) const {
    const auto [down, across] = axes_of(data, first);
    return {data.shape[0], down.size,     across.size, in_channels, channels,      down.kernel,    across.kernel,
            down.stride,   across.stride, down.pad,    across.pad,  down.dilation, across.dilation};
  }

  // A pool of `rows` images of `data`, with as many results as `y` has.
  PoolSizes pool(const Tensor& data, const Tensor& y, int first, int64_t rows, int64_t channels) const {
    const auto [down, across] = axes_of(data, first);
    const int64_t out_height = axes() == 1 ? 1 : y.shape[first], out_width = y.shape[first + (axes() == 1 ? 0 : 1)];
    return {rows,        down.size,     across.size, channels,   down.kernel, across.kernel,
            down.stride, across.stride, down.pad,    across.pad, out_height,  out_width};
  }

  // How many windows there are along an axis, kUnknown where its size is. Those that reach beyond the padding count
  // where `ceil`.
  int64_t outputs(size_t axis, int64_t size, bool ceil, const Shape& data) const {
    if (size == kUnknown) return kUnknown;
    const WindowAxis window = along(axis, size);
    const int64_t left = size + 2 * window.pad - window.extent();
    if (left < 0) {
      refuse("a kernel that covers ", window.extent(), " places does not fit into the ", size + 2 * window.pad,
             " of an axis with its padding, got an array of shape ", data);
    }
    return (ceil ? ceil_div(left, window.stride) : left / window.stride) + 1;
  }

  // Refuses images (rows, channels, places..) that have with their padding more numbers than an array of MXNet. Then
  // neither the taps of a window nor the places of a result are more, and no size that is made of them overflows.
  void expect_countable(const Shape& data) const {
    Shape padded = data;
    for (size_t axis = 0; axis < axes(); ++axis) {
      if (padded[axis + 2] != kUnknown) padded[axis + 2] += 2 * padding[axis];
    }
    if (row_size(padded) <= kMostNumbers) return;
    refuse("an image with its padding must have at most ", kMostNumbers, " numbers, got padding=", padding,
           " for an array of shape ", data);
  }
};

// An image with as many axes of space: a shape of which nothing is known where MXNet has none.
inline Shape image_of(const char* op, const Shape& data, size_t axes) {
  if (data.empty()) return Shape(axes + 2, kUnknown);
  if (data.size() != axes + 2) {
    refuse(op, " takes a batch axis, channels and ", axes, axes == 1 ? " axis" : " axes",
           " of places, got an array of shape ", data);
  }
  expect_some(op, data);
  return data;
}

}  // namespace mxnet
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_WINDOW_H_
