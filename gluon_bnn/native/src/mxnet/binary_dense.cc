// A whole binary layer for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_dense(data, weight, [bias], [curvature], [ddot, bits], units=, scale=, gradient=, clip=, no_bias=,
//                          flatten=, sign=, sign_clip=, apart=)   -> y, weight bits, alpha, [input bits]
//
// The bits (as in gluon_bnn.h) and alpha (units,) are for the backward pass, which then need not read the weights
// again. scale=loss takes a curvature in the shape of the weight; no gradient goes there. With sign=True the layer
// works on the signs of its data, as if gluon_bnn_sign(data, clip=sign_clip) came before it, but the signs are written
// as bits only, which are kept for the backward pass.
//
//   gluon_bnn_data_gradient(data, units=, flatten=, sign_clip=) -> ddot, bits
//
// MXNet does not tell an extension which gradients are needed, but it leaves out operators whose gradients are not. So
// with apart=True the gradient of the data has an operator of its own, whose outputs hold nothing in the forward pass.
// In the backward pass the layer writes ddot, the gradient of its product, and the bits of its weights as the gradients
// of these outputs, and no gradient of its data; the other operator computes that from the two, with sign_clip where
// the layer has sign=True:
//
//   gluon_bnn_binary_dense(BlockGrad(data), weight, *gluon_bnn_data_gradient(data), apart=True)
#include "training/binary_dense.h"

#include <cstring>

#include "kernels/table.h"
#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kBlock;
using gluon_bnn::kWord;

Shape shape_of_bits(int64_t units, int64_t inputs) {
  return {ceil_div(units, kBlock), inputs == kUnknown ? kUnknown : ceil_div(inputs, kWord), kBlock};
}

class BinaryDense {
 public:
  explicit BinaryDense(const Attributes& attributes)
      : rule_(attributes),
        units_(size_of(attributes, "units")),
        clip_(clip_of<float>(attributes, "clip")),
        has_bias_(!flag_of(attributes, "no_bias", "False")),
        flatten_(flag_of(attributes, "flatten", "True")),
        sign_(flag_of(attributes, "sign", "False")),
        apart_(flag_of(attributes, "apart", "False")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return first_carrier() + 2 * apart_; }
  int outputs() const { return 3 + sign_; }

  void infer_type(Types in, Types out) const {
    for (int i = 0; i < first_carrier() + apart_; ++i) expect_type("binary_dense", in, i, kFloat32);
    if (apart_) expect_type("binary_dense", in, first_carrier() + 1, kInt32);
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
    if (rule_.has_curvature()) expect_shape("the curvature, as the weights,", weight, &(*in)[curvature()]);
    (*out)[0] = with_width(data, flatten_, units_);
    (*out)[1] = shape_of_bits(units_, weight[1]);
    (*out)[2] = {units_};
    for (int i = 0; i < 2 * apart_; ++i) expect_shape("a carrier", (*out)[i], &(*in)[first_carrier() + i]);
    if (sign_) (*out)[3] = with_width(data, flatten_, width == kUnknown ? kUnknown : ceil_div(width, kWord));
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weight = in[1];
    const gluon_bnn::DenseSizes sizes = sizes_of(data, weight);
    float* alpha = out[2].data<float>();
    gluon_bnn::binary_dense_weights(sizes, rule_.scale, weight.data<float>(),
                                    rule_.has_curvature() ? in[curvature()].data<float>() : nullptr,
                                    out[1].data<uint32_t>(), alpha);
    gluon_bnn::binary_dense_forward(sizes, out[1].data<uint32_t>(), alpha, data.data<float>(),
                                    has_bias_ ? in[2].data<float>() : nullptr,
                                    sign_ ? out[3].data<uint32_t>() : nullptr, out[0].data<float>());
  }

  void backward(const Tensors& in, const Tensors& out) const {
    // Gradients of the outputs, the inputs, the outputs.
    const int first_input = outputs(), first_output = first_input + inputs();
    const Tensor &dy = in[0], &data = in[first_input], &weight = in[first_input + 1];
    const Tensor &bits = in[first_output + 1], &alpha = in[first_output + 2];
    const gluon_bnn::DenseSizes sizes = sizes_of(data, weight);
    const uint32_t* signs = sign_ ? in[first_output + 3].data<uint32_t>() : nullptr;
    float* dbias = has_bias_ ? out[2].data<float>() : nullptr;
    if (apart_) {
      gluon_bnn::binary_dense_ddot(sizes, rule_.scale, dy.data<float>(), alpha.data<float>(),
                                   out[first_carrier()].data<float>(), dbias);
      std::memcpy(out.back().address, bits.address, bits.size() * sizeof(uint32_t));
      gluon_bnn::binary_dense_dw(sizes, rule_.scale, rule_.gradient, clip_, dy.data<float>(), data.data<float>(), signs,
                                 weight.data<float>(), alpha.data<float>(), out[1].data<float>());
    } else {
      gluon_bnn::binary_dense_backward(sizes, rule_.scale, rule_.gradient, clip_, dy.data<float>(), data.data<float>(),
                                       signs, sign_clip_, weight.data<float>(), bits.data<uint32_t>(),
                                       alpha.data<float>(), out[0].data<float>(), out[1].data<float>(), dbias);
    }
    if (rule_.has_curvature()) set_to_zero(out[curvature()]);
  }

 private:
  static gluon_bnn::DenseSizes sizes_of(const Tensor& data, const Tensor& weight) {
    return {rows_of(data, weight.shape[1]), weight.shape[0], weight.shape[1]};
  }

  // Places among the inputs.
  int curvature() const { return 2 + has_bias_; }
  int first_carrier() const { return curvature() + rule_.has_curvature(); }

  ScaleAndRule rule_;
  int64_t units_;
  float clip_;
  bool has_bias_, flatten_, sign_, apart_;
  float sign_clip_;
};

class DataGradient {
 public:
  explicit DataGradient(const Attributes& attributes)
      : units_(size_of(attributes, "units")),
        flatten_(flag_of(attributes, "flatten", "True")),
        sign_clip_(clip_of<float>(attributes, "sign_clip")) {}

  int inputs() const { return 1; }
  int outputs() const { return 2; }

  void infer_type(Types in, Types out) const {
    expect_type("data_gradient", in, 0, kFloat32);
    out[0] = kFloat32;
    out[1] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("a binary layer", data);
    (*out)[0] = with_width(data, flatten_, units_);
    (*out)[1] = shape_of_bits(units_, width_of(data, flatten_));
  }

  void forward(const Tensors&, const Tensors&) const {}

  void backward(const Tensors& in, const Tensors& out) const {
    const Tensor &ddot = in[0], &bits = in[1], &data = in[2];
    const int64_t rows = ddot.size() / units_;
    gluon_bnn::binary_dense_dx({rows, units_, data.size() / rows}, ddot.data<float>(), bits.data<uint32_t>(),
                               data.data<float>(), sign_clip_, out[0].data<float>());
  }

 private:
  int64_t units_;
  bool flatten_;
  float sign_clip_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kBinaryDense = describe<BinaryDense>("gluon_bnn_binary_dense");
const Operator kDataGradient = describe<DataGradient>("gluon_bnn_data_gradient");

}  // namespace mxnet
}  // namespace gluon_bnn
