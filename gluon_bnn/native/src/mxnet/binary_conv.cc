// A whole binary convolution of one or two axes for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_conv(data, weight, [bias], [curvature], [ddot, w], channels=, kernel=, strides=, padding=,
//                         dilation=, pad_value=, scale=, gradient=, clip=, no_bias=, sign=, sign_clip=, apart=)
//                                                                              -> y, alpha, [input bits]
//
// data (rows, in_channels, [height,] width), weight (channels, in_channels, *kernel). alpha (channels,) is for the
// backward pass. scale=loss takes a curvature in the shape of the weight; no gradient goes there. With sign=True the
// layer works on the signs of its data, as if gluon_bnn_sign(data, clip=sign_clip) came before it, but the signs are
// written as bits only, which are kept for the backward pass.
//
//   gluon_bnn_conv_data_gradient(data, channels=, kernel=, strides=, padding=, dilation=, sign_clip=) -> ddot, w
//
// With apart=True the gradient of the data has this operator of its own, for the reasons and in the way of
// binary_dense.cc. The layer writes ddot, the gradient of its product, and its weights as the gradients of this
// operator's outputs; sign_clip is given where the layer has sign=True:
//
//   gluon_bnn_binary_conv(BlockGrad(data), weight, *gluon_bnn_conv_data_gradient(data), apart=True)
#include "training/binary_conv.h"

#include <cstring>

#include "mxnet/window.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::ConvSizes;
using gluon_bnn::kWord;
using gluon_bnn::Pad;

// The attributes that say what is convolved, and the shapes that follow from them.
class Geometry {
 public:
  explicit Geometry(const Attributes& attributes) : channels_(size_of(attributes, "channels")), window_(attributes) {}

  int64_t channels() const { return channels_; }

  // A shape that has the right number of axes, from that of the data.
  Shape images(const Shape& data) const { return image_of("a binary convolution", data, window_.axes()); }

  void expect_weight(const Shape& images, Shape* weight) const {
    if (weight->size() == images.size() && (*weight)[1] != kUnknown && images[1] != kUnknown &&
        (*weight)[1] != images[1]) {
      refuse("a binary convolution of ", (*weight)[1], " channels takes images of as many, got an array of shape ",
             images);
    }
    Shape wanted = window_.kernel;
    wanted.insert(wanted.begin(), {channels_, images[1]});
    expect_shape("the weight", wanted, weight);
  }

  Shape outputs(const Shape& images) const {
    window_.expect_countable(images);
    Shape y = images;
    y[1] = channels_;
    for (size_t axis = 0; axis < window_.axes(); ++axis) {
      y[axis + 2] = window_.outputs(axis, images[axis + 2], false, images);
    }
    width_of(y, true);  // MXNet must be able to count its numbers
    return y;
  }

  ConvSizes sizes_of(const Tensor& data) const { return window_.conv(data, 2, data.shape[1], channels_); }

 private:
  int64_t channels_;
  Window window_;
};

class BinaryConv {
 public:
  explicit BinaryConv(const Attributes& attributes)
      : geometry_(attributes),
        rule_(attributes),
        pad_(choice_of<Pad>(attributes, "pad_value", "0", {{"0", Pad::kZero}, {"1", Pad::kPlus}, {"-1", Pad::kMinus}})),
        clip_(clip_of<float>(attributes, "clip")),
        has_bias_(!flag_of(attributes, "no_bias", "False")),
        sign_(flag_of(attributes, "sign", "False")),
        apart_(flag_of(attributes, "apart", "False")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return carrier() + 2 * apart_; }
  int outputs() const { return 2 + sign_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < inputs(); ++i) expect_type("binary_conv", in, i, kFloat32);
    out[0] = out[1] = kFloat32;
    if (sign_) out[2] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape images = geometry_.images((*in)[0]);
    Shape& weight = (*in)[1];
    geometry_.expect_weight(images, &weight);
    if (has_bias_) expect_numbers("the bias", geometry_.channels(), &(*in)[2]);
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &(*in)[curvature()]);
    (*out)[0] = geometry_.outputs(images);
    (*out)[1] = {geometry_.channels()};
    if (apart_) {
      expect_shape("a carrier", (*out)[0], &(*in)[carrier()]);
      expect_shape("a carrier", weight, &(*in)[carrier() + 1]);
    }
    if (!sign_) return;
    (*out)[2] = images;
    if (images[1] != kUnknown) (*out)[2][1] = ceil_div(images[1], kWord);
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weight = in[1];
    const ConvSizes sizes = geometry_.sizes_of(data);
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
    const ConvSizes sizes = geometry_.sizes_of(data);
    float* dbias = has_bias_ ? out[2].data<float>() : nullptr;
    if (apart_) {
      gluon_bnn::binary_conv_ddot(sizes, dy.data<float>(), alpha.data<float>(), out[carrier()].data<float>(), dbias);
      dbias = nullptr;  // it is done
      std::memcpy(out.back().address, weight.address, weight.size() * sizeof(float));
    }
    gluon_bnn::binary_conv_backward(sizes, pad_, rule_.scale, rule_.gradient, clip_, dy.data<float>(),
                                    data.data<float>(), sign_ ? in[first_output + 2].data<uint32_t>() : nullptr,
                                    sign_clip_, weight.data<float>(), alpha.data<float>(),
                                    apart_ ? nullptr : out[0].data<float>(), out[1].data<float>(), dbias);
    if (rule_.has_curvature()) set_to_zero(out[curvature()]);
  }

 private:
  // Places among the inputs.
  int curvature() const { return 2 + has_bias_; }
  int carrier() const { return curvature() + rule_.has_curvature(); }

  Geometry geometry_;
  ScaleAndRule rule_;
  Pad pad_;
  float clip_;
  bool has_bias_, sign_, apart_;
  float sign_clip_;
};

class ConvDataGradient {
 public:
  explicit ConvDataGradient(const Attributes& attributes)
      : geometry_(attributes), sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return 1; }
  int outputs() const { return 2; }

  void infer_type(Types in, Types out) const {
    expect_type("conv_data_gradient", in, 0, kFloat32);
    out[0] = out[1] = kFloat32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape images = geometry_.images((*in)[0]);
    (*out)[0] = geometry_.outputs(images);
    (*out)[1] = {};
    geometry_.expect_weight(images, &(*out)[1]);
  }

  void forward(const Tensors&, const Tensors&) const {}

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &ddot = in[0], &weight = in[1], &data = in[2];
    gluon_bnn::binary_conv_dx(geometry_.sizes_of(data), ddot.data<float>(), data.data<float>(), sign_clip_,
                              weight.data<float>(), out[0].data<float>());
  }

 private:
  Geometry geometry_;
  float sign_clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBinaryConv = describe<BinaryConv>("gluon_bnn_binary_conv");
const Operator kConvDataGradient = describe<ConvDataGradient>("gluon_bnn_conv_data_gradient");

}  // namespace mxnet
}  // namespace gluon_bnn
