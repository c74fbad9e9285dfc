// Max pooling for training as MXNet sees it. No arithmetic here.
//
//   gluon_bnn_max_pool(data, kernel=, strides=, padding=, rounding=) -> y
//
// data (rows, channels, height, width), float32 or float64. rounding, "floor" or "ceil", is that of the number of
// places of y: MXNet's conventions "valid" and "full".
#include "training/max_pool.h"

#include "mxnet/window.h"

namespace {

using namespace gluon_bnn::mxnet;

class MaxPool {
 public:
  explicit MaxPool(const Attributes& attributes)
      : window_(attributes),
        ceil_(choice_of<bool>(attributes, "rounding", "floor", {{"floor", false}, {"ceil", true}})) {
    if (window_.axes() != 2) refuse("kernel, strides and padding of a pool have two numbers, got ", window_.kernel);
    for (int axis = 0; axis < 2; ++axis) {
      if (window_.padding[axis] < window_.kernel[axis]) continue;
      refuse("the padding of a pool must be smaller than its kernel, got ", window_.padding, " and ", window_.kernel);
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
    window_.expect_countable(shape);
    Shape y = shape;
    // As MXNet has it: with "ceil" the last window may lie outside of the image.
    for (int axis = 0; axis < 2; ++axis) y[axis + 2] = window_.outputs(axis, shape[axis + 2], ceil_, shape);
    (*out)[0] = y;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::max_pool_planes<T>(planes(in[0], out[0]), in[0].data<T>(), out[0].data<T>());
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::max_pool_planes_backward<T>(planes(in[1], in[0]), in[0].data<T>(), in[1].data<T>(), out[0].data<T>());
    });
  }

 private:
  gluon_bnn::PoolSizes planes(const Tensor& data, const Tensor& y) const {
    return window_.pool(data, y, 2, data.shape[0] * data.shape[1], 1);
  }

  Window window_;
  bool ceil_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kMaxPool = describe<MaxPool>("gluon_bnn_max_pool");

}  // namespace mxnet
}  // namespace gluon_bnn
