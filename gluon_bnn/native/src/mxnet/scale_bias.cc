// What follows the product of a binary layer, as MXNet sees it: attributes, shapes, types and errors.
//
//   gluon_bnn_scale_bias(dot, alpha, [bias], no_bias=, alpha_gradient=) -> alpha * dot + bias
#include "training/scale_bias.h"

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;

class ScaleBias {
 public:
  explicit ScaleBias(const Attributes& attributes)
      : has_bias_(!flag_of(attributes, "no_bias", "False")),
        alpha_gradient_(flag_of(attributes, "alpha_gradient", "False")) {}

  int inputs() const { return has_bias_ ? 3 : 2; }
  int outputs() const { return 1; }

  void infer_type(Types in, Types out) const { out[0] = one_float_type("scale_bias", in); }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape &dot = (*in)[0], &alpha = (*in)[1];
    if (dot.empty()) refuse("scale_bias takes products with at least one axis, got none");
    expect_some("scale_bias", dot);
    const bool one = !alpha.empty() && alpha.back() == 1;
    expect_numbers("alpha, of one number or one for each unit,", one ? 1 : dot.back(), &(*in)[1]);
    if (has_bias_) expect_numbers("the bias", dot.back(), &(*in)[2]);
    (*out)[0] = dot;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &dot = in[0], &alpha = in[1];
    const int64_t units = dot.shape.back(), rows = rows_of(dot, units);
    by_type(dot, [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::scale_bias<T>(dot.data<T>(), alpha.data<T>(), alpha.size() > 1, has_bias_ ? in[2].data<T>() : nullptr,
                               rows, units, out[0].data<T>());
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &dy = in[0], &dot = in[1], &alpha = in[2];
    const int64_t units = dot.shape.back(), rows = rows_of(dot, units);
    by_type(dot, [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::scale_bias_backward<T>(dy.data<T>(), dot.data<T>(), alpha.data<T>(), alpha.size() > 1, alpha_gradient_,
                                        rows, units, out[0].data<T>(), out[1].data<T>(),
                                        has_bias_ ? out[2].data<T>() : nullptr);
    });
  }

 private:
  bool has_bias_, alpha_gradient_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kScaleBias = describe<ScaleBias>("gluon_bnn_scale_bias");

}  // namespace mxnet
}  // namespace gluon_bnn
