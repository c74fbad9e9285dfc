// Windows over MXNet's images, (rows, channels, [height,] width): attributes of convolutions and pools. A sequence is
// an image of height 1.
#ifndef GLUON_BNN_MXNET_WINDOW_H_
#define GLUON_BNN_MXNET_WINDOW_H_

#include "gemm/conv.h"
#include "mxnet/operator.h"

namespace gluon_bnn {
namespace mxnet {

// Attributes kernel, strides, padding and dilation, each with a number for each axis of space, of which there are one
// or two.
struct Window {
  Shape kernel, strides, padding, dilation;

  explicit Window(const Attributes& attributes)
      : kernel(tuple_of(attributes, "kernel", 1)),
        strides(tuple_of(attributes, "strides", 1)),
        padding(tuple_of(attributes, "padding", 0)),
        dilation(tuple_of(attributes, "dilation", 1)) {
    if (kernel.size() > 2) refuse("a window has one axis or two, got kernel=", kernel);
    for (const Shape* each : {&strides, &padding, &dilation}) {
      if (each->size() == kernel.size()) continue;
      refuse("strides, padding and dilation must have as many numbers as kernel=", kernel, ", got ", *each);
    }
  }

  size_t axes() const { return kernel.size(); }

  // The window along an axis of space of this size.
  WindowAxis along(size_t axis, int64_t size) const {
    return {size, kernel[axis], strides[axis], padding[axis], dilation[axis]};
  }

  // The vertical number of one of these, or what a sequence has in its place.
  static int64_t vertical(const Shape& sizes, int64_t missing) { return sizes.size() == 1 ? missing : sizes[0]; }

  // The convolution of an array whose axes of space begin with axis `first`.
  ConvSizes conv(const Tensor& data, int first, int64_t in_channels, int64_t channels) const {
    const bool flat = axes() == 1;
    return {data.shape[0],
            flat ? 1 : data.shape[first],
            data.shape[first + !flat],
            in_channels,
            channels,
            vertical(kernel, 1),
            kernel.back(),
            vertical(strides, 1),
            strides.back(),
            vertical(padding, 0),
            padding.back(),
            vertical(dilation, 1),
            dilation.back()};
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
