// The loss of the papers on binary nets as MXNet sees it, with its arithmetic, which is short.
//
//   gluon_bnn_squared_hinge(outputs, labels) -> the loss of each row
//
// outputs (rows, classes), float32 or float64; labels (rows,) or (rows, 1) of any type but bfloat16, whole numbers from
// 0 to classes - 1.
#include <cmath>

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;

double half_to_double(uint16_t half) {
  const int exponent = half >> 10 & 31, fraction = half & 1023;
  const double size = exponent == 31 ? (fraction ? NAN : INFINITY)
                      : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                     : std::ldexp(fraction, -24);
  return half & 0x8000 ? -size : size;
}

double number_at(const Tensor& tensor, int64_t i) {
  switch (tensor.type) {
    case kFloat32:
      return tensor.data<float>()[i];
    case kFloat64:
      return tensor.data<double>()[i];
    case kFloat16:
      return half_to_double(tensor.data<uint16_t>()[i]);
    case kInt8:
      return tensor.data<int8_t>()[i];
    case kInt32:
      return tensor.data<int32_t>()[i];
    case kInt64:
      return static_cast<double>(tensor.data<int64_t>()[i]);
    case kUint8:
    case kBool:
      return tensor.data<uint8_t>()[i];
    default:
      refuse("squared_hinge cannot read labels of ", name_of(tensor.type));
  }
}

class SquaredHinge {
 public:
  explicit SquaredHinge(const Attributes&) {}

  int inputs() const { return 2; }
  int outputs() const { return 1; }

  void infer_type(Types in, Types out) const {
    out[0] = one_float_type("squared_hinge", {in.begin(), 1});
    if (in[1] == kAnyType) in[1] = kFloat32;
    if (in[1] == kBfloat16) refuse("squared_hinge takes labels of any type but bfloat16");
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& outputs = (*in)[0];
    if (outputs.size() != 2) refuse("squared_hinge takes outputs (rows, classes), got an array of shape ", outputs);
    Shape& labels = (*in)[1];
    expect_shape("the labels", labels.size() == 2 ? Shape{outputs[0], 1} : Shape{outputs[0]}, &labels);
    (*out)[0] = {outputs[0]};
  }

  // The mean over classes of max(0, 1 - t x)^2, t = 1 for the label and -1 for the others.
  void forward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      for_each_row<T>(in[0], in[1], [&](int64_t row, const T* x, int64_t label) {
        double sum = 0;
        for (int64_t j = 0; j < in[0].shape[1]; ++j) {
          const T hinge = hinge_of(x[j], j == label);
          sum += static_cast<double>(hinge) * hinge;
        }
        out[0].data<T>()[row] = static_cast<T>(sum / in[0].shape[1]);
      });
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    by_type(in[1], [&](auto zero) {
      using T = decltype(zero);
      const int64_t classes = in[1].shape[1];
      for_each_row<T>(in[1], in[2], [&](int64_t row, const T* x, int64_t label) {
        const T share = in[0].data<T>()[row] / static_cast<T>(classes);
        T* dx = out[0].data<T>() + row * classes;
        for (int64_t j = 0; j < classes; ++j) {
          const T slope = 2 * hinge_of(x[j], j == label) * share;
          dx[j] = j == label ? -slope : slope;
        }
      });
    });
    set_to_zero(out[1]);
  }

 private:
  // NaN stays NaN.
  template <typename T>
  static T hinge_of(T x, bool is_label) {
    const T margin = is_label ? 1 - x : 1 + x;
    return margin < 0 ? 0 : margin;
  }

  // Calls run(row, the row of x, its label).
  template <typename T, typename Run>
  static void for_each_row(const Tensor& x, const Tensor& labels, const Run& run) {
    const int64_t rows = x.shape[0], classes = x.shape[1];
    for (int64_t row = 0; row < rows; ++row) {
      const double label = number_at(labels, row);
      if (!(label >= 0 && label < classes && label == std::floor(label))) {
        refuse("labels must be whole numbers from 0 to ", classes - 1, ", got ", label, " for row ", row);
      }
      run(row, x.data<T>() + row * classes, static_cast<int64_t>(label));
    }
  }
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kSquaredHinge = describe<SquaredHinge>("gluon_bnn_squared_hinge");

}  // namespace mxnet
}  // namespace gluon_bnn
