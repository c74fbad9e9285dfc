// The signs of activations as MXNet sees them: attributes, shapes, types and errors.
//
//   gluon_bnn_sign(data, clip=) -> signs
#include "training/sign.h"

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;

class Sign {
 public:
  explicit Sign(const Attributes& attributes) : clip_(clip_of<double>(attributes, "clip")) {}

  int inputs() const { return 1; }
  int outputs() const { return 1; }

  void infer_type(Types in, Types out) const { out[0] = one_float_type("sign", in); }
  void infer_shape(Shapes* in, Shapes* out) const { (*out)[0] = (*in)[0]; }

  void forward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::sign(in[0].data<T>(), in[0].size(), out[0].data<T>());
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &dsigns = in[0], &data = in[1];
    by_type(data, [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::sign_backward<T>(std::isfinite(clip_), static_cast<T>(clip_), dsigns.data<T>(), data.data<T>(),
                                  data.size(), out[0].data<T>());
    });
  }

 private:
  double clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kSign = describe<Sign>("gluon_bnn_sign");

}  // namespace mxnet
}  // namespace gluon_bnn
