// A whole binary layer for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_dense(data, weight, [bias], [curvature], units=, scale=, gradient=, clip=, no_bias=, flatten=)
//                                                                                   -> y, weight bits, alpha
//
// The bits (as in gluon_bnn.h) and alpha (units,) are for the backward pass, which then need not read the weights
// again. scale=loss takes a curvature in the shape of the weight; no gradient goes there.
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
        flatten_(flag_of(attributes, "flatten", "True")) {}

  int inputs() const { return 2 + has_bias_ + rule_.has_curvature(); }
  int outputs() const { return 3; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < in.size(); ++i) expect_type("binary_dense", in, i, kFloat32);
    out[0] = out[2] = kFloat32;
    out[1] = kInt32;
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
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weight = in[1];
    const gluon_bnn::DenseSizes sizes = sizes_of(data, weight);
    float* alpha = out[2].data<float>();
    gluon_bnn::binary_dense_weights(sizes, rule_.scale, weight.data<float>(),
                                    rule_.has_curvature() ? in.back().data<float>() : nullptr, out[1].data<uint32_t>(),
                                    alpha);
    gluon_bnn::binary_dense_forward(sizes, out[1].data<uint32_t>(), alpha, data.data<float>(),
                                    has_bias_ ? in[2].data<float>() : nullptr, out[0].data<float>());
  }

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &dy = in[0], &data = in[3], &weight = in[4], &bits = in[in.size() - 2], &alpha = in.back();
    gluon_bnn::binary_dense_backward(sizes_of(data, weight), rule_.scale, rule_.gradient, clip_, dy.data<float>(),
                                     data.data<float>(), weight.data<float>(), bits.data<uint32_t>(),
                                     alpha.data<float>(), out[0].data<float>(), out[1].data<float>(),
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
  bool has_bias_, flatten_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBinaryDense = describe<BinaryDense>("gluon_bnn_binary_dense");

}  // namespace mxnet
}  // namespace gluon_bnn
