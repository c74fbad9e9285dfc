// Max pooling for training as MXNet sees it. No arithmetic here.
//
//   gluon_bnn_max_pool(data, kernel=, strides=, padding=, rounding=) -> y
//
// data (rows, channels, height, width), float32 or float64. rounding, "floor" or "ceil", is that of the number of
// places of y: MXNet's conventions "valid" and "full".
#include "training/max_pool.h"

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::PoolSizes;

class MaxPool {
 public:
  explicit MaxPool(const Attributes& attributes)
      : kernel_(tuple_of(attributes, "kernel", 1)),
        strides_(tuple_of(attributes, "strides", 1)),
        padding_(tuple_of(attributes, "padding", 0)),
        ceil_(choice_of<bool>(attributes, "rounding", "floor", {{"floor", false}, {"ceil", true}})) {
    for (const Shape* each : {&kernel_, &strides_, &padding_}) {
      if (each->size() != 2) refuse("kernel, strides and padding of a pool have two numbers, got ", *each);
    }
    for (int axis = 0; axis < 2; ++axis) {
      if (padding_[axis] < kernel_[axis]) continue;
      refuse("the padding of a pool must be smaller than its kernel, got ", padding_, " and ", kernel_);
    }
  }

  int inputs() const { return 1; }
  int outputs() const { return 1; }

  void infer_type(Types in, Types out) const { out[0] = one_float_type("max_pool", in); }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    const Shape shape = data.empty() ? Shape(4, kUnknown) : data;
    if (shape.size() != 4) refuse("max_pool takes (rows, channels, height, width), got an array of shape ", shape);
    expect_some("max_pool", shape);
    Shape y = shape;
    for (int axis = 0; axis < 2; ++axis) {
      if (shape[axis + 2] != kUnknown) y[axis + 2] = outputs_along(axis, shape);
    }
    (*out)[0] = y;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::max_pool_planes<T>(sizes_of_planes(in[0]), in[0].data<T>(), out[0].data<T>());
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::max_pool_planes_backward<T>(sizes_of_planes(in[1]), in[0].data<T>(), in[1].data<T>(),
                                             out[0].data<T>());
    });
  }

 private:
  // As MXNet has it: with "ceil" the last window may lie outside of the image.
  int64_t outputs_along(int axis, const Shape& shape) const {
    const int64_t size = shape[axis + 2], left = size + 2 * padding_[axis] - kernel_[axis];
    if (left < 0) {
      refuse("a pool of ", kernel_[axis], " places does not fit into an axis of ", size, " with a padding of ",
             padding_[axis], ", got an array of shape ", shape);
    }
    return (ceil_ ? gluon_bnn::ceil_div(left, strides_[axis]) : left / strides_[axis]) + 1;
  }

  PoolSizes sizes_of_planes(const Tensor& data) const {
    const Shape shape(data.shape.begin(), data.shape.end());
    PoolSizes sizes = {};
    sizes.rows = shape[0] * shape[1];
    sizes.height = shape[2];
    sizes.width = shape[3];
    sizes.channels = 1;
    sizes.kernel_h = kernel_[0];
    sizes.kernel_w = kernel_[1];
    sizes.stride_h = strides_[0];
    sizes.stride_w = strides_[1];
    sizes.pad_h = padding_[0];
    sizes.pad_w = padding_[1];
    sizes.out_height = outputs_along(0, shape);
    sizes.out_width = outputs_along(1, shape);
    return sizes;
  }

  Shape kernel_, strides_, padding_;
  bool ceil_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kMaxPool = describe<MaxPool>("gluon_bnn_max_pool");

}  // namespace mxnet
}  // namespace gluon_bnn
