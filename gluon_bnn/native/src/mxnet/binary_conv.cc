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

#include "mxnet/operator.h"

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
        kernel_(sizes_of(attributes, "kernel", 1)),
        strides_(sizes_of(attributes, "strides", 1)),
        padding_(sizes_of(attributes, "padding", 0)),
        dilation_(sizes_of(attributes, "dilation", 1)),
        pad_(choice_of<Pad>(attributes, "pad_value", "0", {{"0", Pad::kZero}, {"1", Pad::kPlus}, {"-1", Pad::kMinus}})),
        clip_(clip_of<float>(attributes, "clip")),
        has_bias_(!flag_of(attributes, "no_bias", "False")),
        sign_(flag_of(attributes, "sign", "False")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {
    if (kernel_.size() > 2) refuse("a binary convolution here has one axis or two, got kernel=", kernel_);
    for (const Shape* each : {&strides_, &padding_, &dilation_}) {
      if (each->size() == kernel_.size()) continue;
      refuse("strides, padding and dilation must have as many numbers as kernel=", kernel_, ", got ", *each);
    }
  }

  int inputs() const { return 2 + has_bias_ + rule_.has_curvature(); }
  int outputs() const { return 2 + sign_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < inputs(); ++i) expect_type("binary_conv", in, i, kFloat32);
    out[0] = out[1] = kFloat32;
    if (sign_) out[2] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    const size_t axes = kernel_.size();
    if (!data.empty() && data.size() != axes + 2) {
      refuse("a binary convolution with kernel=", kernel_, " takes a batch axis, channels and ", axes,
             axes == 1 ? " axis" : " axes", " of places, got an array of shape ", data);
    }
    const Shape unknown(axes + 2, kUnknown);
    const Shape& shape = data.empty() ? unknown : data;
    expect_some("a binary convolution", shape);
    Shape& weight = (*in)[1];
    if (weight.size() == axes + 2 && weight[1] != kUnknown && shape[1] != kUnknown && weight[1] != shape[1]) {
      refuse("a binary convolution of ", weight[1], " channels takes images of as many, got an array of shape ", shape);
    }
    Shape wanted = kernel_;
    wanted.insert(wanted.begin(), {channels_, shape[1]});
    expect_shape("the weight", wanted, &weight);
    if (has_bias_) expect_numbers("the bias", channels_, &(*in)[2]);
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &(*in)[curvature()]);
    Shape y = shape, bits = shape;
    y[1] = channels_;
    bits[1] = shape[1] == kUnknown ? kUnknown : ceil_div(shape[1], kWord);
    for (size_t axis = 0; axis < axes; ++axis) {
      if (shape[axis + 2] == kUnknown) continue;
      const gluon_bnn::WindowAxis along = {shape[axis + 2], kernel_[axis], strides_[axis], padding_[axis],
                                           dilation_[axis]};
      if (along.size + 2 * along.pad < along.extent()) {
        refuse("a kernel that covers ", along.extent(), " places does not fit into the ", along.size + 2 * along.pad,
               " of an axis with its padding, got an array of shape ", shape);
      }
      y[axis + 2] = along.outputs();
    }
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
  // Numbers from `least` on, one for each axis, as Python writes a tuple: (3, 3) or (3,).
  static Shape sizes_of(const Attributes& attributes, const char* name, int64_t least) {
    const std::string_view text = attributes.get(name, "nothing");
    Shape sizes;
    const char *at = text.data(), *end = at + text.size();
    const auto skip = [&](char c) { return at != end && *at == c && ++at; };
    bool valid = skip('(');
    while (valid && !skip(')')) {
      int64_t size = 0;
      const auto [next, error] = std::from_chars(at, end, size);
      valid = error == std::errc() && size >= least && size <= GLUON_BNN_MOST_INPUTS;
      sizes.push_back(size);
      at = next;
      if (!skip(',')) valid = valid && at != end && *at == ')';
      skip(' ');
    }
    if (!valid || at != end || sizes.empty()) {
      refuse(name, " must be a tuple of whole numbers from ", least, " to ", GLUON_BNN_MOST_INPUTS, ", got ", text);
    }
    return sizes;
  }

  ConvSizes sizes_of(const Tensor& data) const {
    const bool flat = kernel_.size() == 1;
    const auto first = [=](const Shape& sizes, int64_t missing) { return flat ? missing : sizes[0]; };
    return {data.shape[0],
            flat ? 1 : data.shape[2],
            data.shape[data.shape.size() - 1],
            data.shape[1],
            channels_,
            first(kernel_, 1),
            kernel_.back(),
            first(strides_, 1),
            strides_.back(),
            first(padding_, 0),
            padding_.back(),
            first(dilation_, 1),
            dilation_.back()};
  }

  int curvature() const { return 2 + has_bias_; }  // its place among the inputs

  ScaleAndRule rule_;
  int64_t channels_;
  Shape kernel_, strides_, padding_, dilation_;
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
