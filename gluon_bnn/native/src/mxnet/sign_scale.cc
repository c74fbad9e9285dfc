// Weights to signs and scales, as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_sign_scale(weight, [hint], [curvature], [random], scale=, gradient=, clip=, hint=, groups=, stochastic=)
//       -> signs, alpha
//
// An extension's infer_shape cannot answer "unknown yet". So while a layer does not know how many inputs it has, it
// passes a slice of its input as `hint`, and the shape of the weight is set from that: by all axes but the first
// (flatten) or the last one (last) in a dense layer, and by the channels of each of the groups in a convolution
// (channels). scale=loss takes a curvature in the shape of the weight. stochastic=True takes two numbers from MXNet's
// own generator, which seed the drawing of signs; two zeros stand for the signs of the weights.
#include "training/sign_scale.h"

#include <cstring>

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::Scale;

enum class Hint { kNone, kFlatten, kLast, kChannels };

// The seed in two float32 numbers: 0 where both are 0.0.
uint64_t seed_of(const float* numbers) {
  uint32_t bits[2];
  std::memcpy(bits, numbers, sizeof bits);
  return static_cast<uint64_t>(bits[0]) << 32 | bits[1];
}

class SignScale {
 public:
  explicit SignScale(const Attributes& attributes)
      : rule_(attributes),
        hint_(choice_of<Hint>(attributes, "hint", "None",
                              {{"flatten", Hint::kFlatten},
                               {"last", Hint::kLast},
                               {"channels", Hint::kChannels},
                               {"None", Hint::kNone}})),
        groups_(size_of(attributes, "groups", "1")),
        stochastic_(flag_of(attributes, "stochastic", "False")),
        clip_(clip_of<double>(attributes, "clip")) {
    if (stochastic_ && rule_.scale != Scale::kNone) {
      refuse("stochastic=True allows scale=None only, got ", attributes.get("scale", "layer"));
    }
  }

  int inputs() const { return 1 + has_hint() + rule_.has_curvature() + stochastic_; }
  int outputs() const { return 2; }

  void infer_type(Types in, Types out) const {
    if (stochastic_) expect_type("sign_scale", in, in.size() - 1, kFloat32);
    // A hint may have any type.
    int weight_and_curvature[] = {in[0], rule_.has_curvature() ? in.back() : kAnyType};
    const int type = one_float_type("sign_scale", {weight_and_curvature, 2});
    in[0] = out[0] = out[1] = type;
    if (rule_.has_curvature()) in.back() = type;
    if (has_hint() && in[1] == kAnyType) in[1] = type;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    Shape& weight = (*in)[0];
    if (has_hint()) {
      expect_rows("a binary layer", (*in)[1]);
      if (weight.size() >= 2 && weight[1] == kUnknown) weight[1] = inputs_of((*in)[1]);
    }
    if (weight.empty()) refuse("sign_scale takes weights with at least one axis, got none");
    for (int64_t size : weight) {
      if (size == kUnknown) {
        refuse("sign_scale cannot infer the shape of its weights, ", weight,
               ", from its output; give the layer its "
               "in_units or in_channels");
      }
      if (size == 0) refuse("sign_scale takes at least one weight, got an array of shape ", weight);
    }
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &in->back());
    if (stochastic_) expect_numbers("the numbers that stochastic signs are drawn from", 2, &in->back());
    (*out)[0] = weight;
    (*out)[1] = {rule_.scale == Scale::kChannel ? weight[0] : 1};
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &weight = in[0], &signs = out[0], &alpha = out[1];
    const uint64_t seed = stochastic_ ? seed_of(in.back().data<float>()) : 0;
    by_type(weight, [&](auto zero) {
      using T = decltype(zero);
      if (seed != 0) {
        gluon_bnn::stochastic_sign(weight.data<T>(), weight.size(), seed, signs.data<T>());
        alpha.data<T>()[0] = 1;
        return;
      }
      const int64_t units = weight.shape[0];
      gluon_bnn::sign_scale(rule_.scale, weight.data<T>(), rule_.has_curvature() ? in.back().data<T>() : nullptr, units,
                            weight.size() / units, signs.data<T>(), alpha.data<T>());
    });
  }

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &dsigns = in[0], &dalpha = in[1], &weight = in[2], &alpha = in.back();
    for (size_t i = 1; i < out.size(); ++i) set_to_zero(out[i]);  // a hint, a curvature, random numbers
    by_type(weight, [&](auto zero) {
      using T = decltype(zero);
      gluon_bnn::sign_scale_backward<T>(rule_.gradient, static_cast<T>(clip_), dsigns.data<T>(), dalpha.data<T>(),
                                        weight.data<T>(), alpha.data<T>(), alpha.size(), weight.size() / alpha.size(),
                                        out[0].data<T>());
    });
  }

 private:
  bool has_hint() const { return hint_ != Hint::kNone; }

  // How many inputs a unit of the layer has that takes `data`: of a convolution, in one place of its kernel.
  int64_t inputs_of(const Shape& data) const {
    if (hint_ != Hint::kChannels) return width_of(data, hint_ == Hint::kFlatten);
    if (data[1] == kUnknown) return kUnknown;
    if (data[1] % groups_ != 0) {
      refuse("a convolution of ", groups_, " groups takes channels that they divide, got an array of shape ", data);
    }
    return data[1] / groups_;
  }

  ScaleAndRule rule_;
  Hint hint_;
  int64_t groups_;
  bool stochastic_;
  double clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kSignScale = describe<SignScale>("gluon_bnn_sign_scale");

}  // namespace mxnet
}  // namespace gluon_bnn
