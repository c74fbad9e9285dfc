// A whole binary convolution of one or two axes for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_conv(data, weight, [bias], [curvature], channels=, kernel=, strides=, padding=, dilation=,
//                         pad_value=, scale=, gradient=, clip=, no_bias=, sign=, sign_clip=)
//                                                                              -> y, alpha, [input bits]
//
// data (rows, in_channels, [height,] width), weight (channels, in_channels, *kernel). alpha (channels,) is for the
// backward pass. scale=loss takes a curvature in the shape of the weight; no gradient goes there. With sign=True the
// layer works on the signs of its data, as if gluon_bnn_sign(data, clip=sign_clip) came before it, but the signs are
// written as bits only, which are kept for the backward pass.
#include "training/binary_conv.h"

#include "mxnet/window.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::ConvSizes;
using gluon_bnn::kWord;
using gluon_bnn::Pad;

class BinaryConv {
 public:
  explicit BinaryConv(const Attributes& attributes)
      : rule_(attributes),
        channels_(size_of(attributes, "channels")),
        window_(attributes),
        pad_(choice_of<Pad>(attributes, "pad_value", "0", {{"0", Pad::kZero}, {"1", Pad::kPlus}, {"-1", Pad::kMinus}})),
        clip_(clip_of<float>(attributes, "clip")),
        has_bias_(!flag_of(attributes, "no_bias", "False")),
        sign_(flag_of(attributes, "sign", "False")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return 2 + has_bias_ + rule_.has_curvature(); }
  int outputs() const { return 2 + sign_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < inputs(); ++i) expect_type("binary_conv", in, i, kFloat32);
    out[0] = out[1] = kFloat32;
    if (sign_) out[2] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const size_t axes = window_.axes();
    const Shape shape = image_of("a binary convolution", (*in)[0], axes);
    Shape& weight = (*in)[1];
    if (weight.size() == axes + 2 && weight[1] != kUnknown && shape[1] != kUnknown && weight[1] != shape[1]) {
      refuse("a binary convolution of ", weight[1], " channels takes images of as many, got an array of shape ", shape);
    }
    Shape wanted = window_.kernel;
    wanted.insert(wanted.begin(), {channels_, shape[1]});
    expect_shape("the weight", wanted, &weight);
    if (has_bias_) expect_numbers("the bias", channels_, &(*in)[2]);
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &(*in)[curvature()]);
    Shape y = shape, bits = shape;
    y[1] = channels_;
    bits[1] = shape[1] == kUnknown ? kUnknown : ceil_div(shape[1], kWord);
    for (size_t axis = 0; axis < axes; ++axis) y[axis + 2] = window_.outputs(axis, shape[axis + 2], false, shape);
    (*out)[0] = y;
    width_of(y, true);  // must be known to MXNet
    (*out)[1] = {channels_};
    if (sign_) (*out)[2] = bits;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weight = in[1];
    const ConvSizes sizes = sizes_of(data);
    float* alpha = out[1].data<float>();
    gluon_bnn::binary_conv_alpha(sizes, rule_.scale, weight.data<float>(),
                                 rule_.has_curvature() ? in[curvature()].data<float>() : nullptr, alpha);
    gluon_bnn::binary_conv_forward(sizes, pad_, weight.data<float>(), alpha, data.data<float>(),
                                   has_bias_ ? in[2].data<float>() : nullptr, sign_ ? out[2].data<uint32_t>() : nullptr,
                                   out[0].data<float>());
  }

  void backward(const Tensors& in, const Tensors& out) const {
    // Gradients of the outputs, the inputs, the outputs.
    const int first_input = outputs(), first_output = first_input + inputs();
    const Tensor &dy = in[0], &data = in[first_input], &weight = in[first_input + 1], &alpha = in[first_output + 1];
    gluon_bnn::binary_conv_backward(sizes_of(data), pad_, rule_.scale, rule_.gradient, clip_, dy.data<float>(),
                                    data.data<float>(), sign_ ? in[first_output + 2].data<uint32_t>() : nullptr,
                                    sign_clip_, weight.data<float>(), alpha.data<float>(), out[0].data<float>(),
                                    out[1].data<float>(), has_bias_ ? out[2].data<float>() : nullptr);
    if (rule_.has_curvature()) set_to_zero(out[curvature()]);
  }

 private:
  ConvSizes sizes_of(const Tensor& data) const { return window_.conv(data, 2, data.shape[1], channels_); }

  int curvature() const { return 2 + has_bias_; }  // its place among the inputs

  ScaleAndRule rule_;
  int64_t channels_;
  Window window_;
  Pad pad_;
  float clip_;
  bool has_bias_, sign_;
  float sign_clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBinaryConv = describe<BinaryConv>("gluon_bnn_binary_conv");

}  // namespace mxnet
}  // namespace gluon_bnn
