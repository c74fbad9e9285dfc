// A whole binary layer for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_dense(data, weight, [bias], [curvature], units=, scale=, gradient=, clip=, no_bias=, flatten=,
//                          sign=, sign_clip=)                     -> y, weight bits, alpha, [input bits]
//
// The bits (as in gluon_bnn.h) and alpha (units,) are for the backward pass, which then need not read the weights
// again. scale=loss takes a curvature in the shape of the weight; no gradient goes there. With sign=True the layer
// works on the signs of its data, as gluon_bnn_sign(data, clip=sign_clip) before it would make them, and no number is
// written for a sign: their bits are kept for the backward pass.
#include "training/binary_dense.h"

#include "kernels/table.h"
#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kBlock;
using gluon_bnn::kWord;

class BinaryDense {
 public:
  explicit BinaryDense(const Attributes& attributes)
      : rule_(attributes),
        units_(size_of(attributes, "units")),
        clip_(clip_of<float>(attributes, "clip")),
        has_bias_(!flag_of(attributes, "no_bias", "False")),
        flatten_(flag_of(attributes, "flatten", "True")),
        sign_(flag_of(attributes, "sign", "False")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return 2 + has_bias_ + rule_.has_curvature(); }
  int outputs() const { return 3 + sign_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < in.size(); ++i) expect_type("binary_dense", in, i, kFloat32);
    out[0] = out[2] = kFloat32;
    out[1] = kInt32;
    if (sign_) out[3] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("a binary layer", data);
    const int64_t width = width_of(data, flatten_);
    Shape& weight = (*in)[1];
    if (weight.size() == 2 && weight[1] != kUnknown && width != kUnknown && weight[1] != width) {
      refuse("a binary layer of ", weight[1], " inputs takes rows of as many numbers, got ", width);
    }
    expect_shape("the weight", {units_, width}, &weight);
    if (has_bias_) expect_numbers("the bias", units_, &(*in)[2]);
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &in->back());
    (*out)[0] = with_width(data, flatten_, units_);
    (*out)[1] = {ceil_div(units_, kBlock), weight[1] == kUnknown ? kUnknown : ceil_div(weight[1], kWord), kBlock};
    (*out)[2] = {units_};
    if (sign_) (*out)[3] = with_width(data, flatten_, width == kUnknown ? kUnknown : ceil_div(width, kWord));
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weight = in[1];
    const gluon_bnn::DenseSizes sizes = sizes_of(data, weight);
    float* alpha = out[2].data<float>();
    gluon_bnn::binary_dense_weights(sizes, rule_.scale, weight.data<float>(),
                                    rule_.has_curvature() ? in.back().data<float>() : nullptr, out[1].data<uint32_t>(),
                                    alpha);
    gluon_bnn::binary_dense_forward(sizes, out[1].data<uint32_t>(), alpha, data.data<float>(),
                                    has_bias_ ? in[2].data<float>() : nullptr,
                                    sign_ ? out[3].data<uint32_t>() : nullptr, out[0].data<float>());
  }

  void backward(const Tensors& in, const Tensors& out) const {
    // Gradients of the outputs, the inputs, the outputs.
    const int first_input = outputs(), first_output = first_input + inputs();
    const Tensor &dy = in[0], &data = in[first_input], &weight = in[first_input + 1];
    const Tensor &bits = in[first_output + 1], &alpha = in[first_output + 2];
    gluon_bnn::binary_dense_backward(sizes_of(data, weight), rule_.scale, rule_.gradient, clip_, dy.data<float>(),
                                     data.data<float>(), sign_ ? in[first_output + 3].data<uint32_t>() : nullptr,
                                     sign_clip_, weight.data<float>(), bits.data<uint32_t>(), alpha.data<float>(),
                                     out[0].data<float>(), out[1].data<float>(),
                                     has_bias_ ? out[2].data<float>() : nullptr);
    if (rule_.has_curvature()) set_to_zero(out.back());
  }

 private:
  static gluon_bnn::DenseSizes sizes_of(const Tensor& data, const Tensor& weight) {
    return {rows_of(data, weight.shape[1]), weight.shape[0], weight.shape[1]};
  }

  ScaleAndRule rule_;
  int64_t units_;
  float clip_;
  bool has_bias_, flatten_, sign_;
  float sign_clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBinaryDense = describe<BinaryDense>("gluon_bnn_binary_dense");

}  // namespace mxnet
}  // namespace gluon_bnn
