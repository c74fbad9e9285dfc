// A whole binary layer for training as MXNet sees it, float32. No arithmetic here.
//
//   gluon_bnn_binary_dense(data, weight, [bias], [curvature], units=, scale=, gradient=, clip=, no_bias=, flatten=)
//                                                                                   -> y, weight bits, alpha
//
// The bits (as in gluon_bnn.h) and alpha (units,) are for the backward pass, which then need not read the weights
// again. scale=loss takes a curvature in the shape of the weight; no gradient goes there.
#include <cstdlib>

#include "kernels.h"
#include "layer.h"
#include "mxnet_side.h"

namespace {

using namespace gluon_bnn::mxnet_side;

struct BinaryDense {
  int64_t units = 0;
  bool no_bias = false, flatten = true;
  gluon_bnn::Scale scale = gluon_bnn::Scale::kLayer;
  gluon_bnn::Gradient gradient = gluon_bnn::Gradient::kXnor;
  float clip = std::numeric_limits<float>::infinity();

  bool has_curvature() const { return scale == gluon_bnn::Scale::kLoss; }
};

MXReturnValue parse(const Attributes& attributes, BinaryDense* op) {
  const std::string scale = get(attributes, "scale", "layer"), gradient = get(attributes, "gradient", "xnor");
  const std::string clip = get(attributes, "clip", "None"), units = get(attributes, "units", "nothing");
  if (!parse_scale(scale, &op->scale)) return MX_FAIL;
  if (!parse_gradient(gradient, &op->gradient)) return MX_FAIL;
  if ((scale == "None" || scale == "loss") && gradient != "ste") {
    return fail("scale=", scale, " allows gradient=ste only, got ", gradient);
  }
  char* end = nullptr;
  op->units = std::strtoll(units.c_str(), &end, 10);
  if (*end != '\0' || op->units < 1) return fail("units must be a number above 0, got ", units);
  if (clip != "None") {
    op->clip = std::strtof(clip.c_str(), &end);
    if (clip.empty() || *end != '\0' || !(op->clip > 0)) {
      return fail("clip must be a number above 0 or None, got ", clip);
    }
  }
  if (!parse_flag(attributes, "no_bias", "False", &op->no_bias)) return MX_FAIL;
  return parse_flag(attributes, "flatten", "True", &op->flatten);
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  BinaryDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  *inputs = (op.no_bias ? 2 : 3) + op.has_curvature();
  *outputs = 3;
  return MX_SUCCESS;
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  for (int& dtype : *in) {
    if (dtype != -1 && dtype != mxnet::ext::kFloat32) {
      return fail("binary_dense takes float32, got MXNet type number ", dtype);
    }
    dtype = mxnet::ext::kFloat32;
  }
  (*out)[0] = (*out)[2] = mxnet::ext::kFloat32;
  (*out)[1] = mxnet::ext::kInt32;
  return MX_SUCCESS;
}

unsigned int blocks_of(int64_t size, int64_t block) {
  return static_cast<unsigned int>(gluon_bnn::ceil_div(size, block));
}

MXReturnValue infer_shape(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
  BinaryDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  const Shape& data = (*in)[0];
  if (data.size() < 2) return fail("a binary layer takes at least two axes, got ", data.size());
  const unsigned int width = width_of(data, op.flatten), units = static_cast<unsigned int>(op.units);
  Shape& weight = (*in)[1];
  if (weight.size() == 2 && weight[1] != kUnknown && width != kUnknown && weight[1] != width) {
    return fail("a binary layer of ", weight[1], " inputs takes rows of as many numbers, got ", width);
  }
  if (weight.size() != 2 || weight[1] == kUnknown) weight = {units, width};
  if (weight[0] != units) return fail("the weight of ", units, " units has as many rows, got ", weight[0]);
  if (!op.no_bias) (*in)[2] = one_a_unit((*in)[2], units);
  if (op.has_curvature()) {
    Shape& curvature = in->back();
    if (curvature.size() != 2) curvature = weight;
    if (curvature[1] == kUnknown) curvature[1] = weight[1];
    if (curvature != weight) return fail("the curvature must have the shape of the weights, got another");
  }
  (*out)[0] = with_width(data, op.flatten, op.units);
  const unsigned int words = weight[1] == kUnknown ? kUnknown : blocks_of(weight[1], gluon_bnn::kWord);
  (*out)[1] = {blocks_of(op.units, gluon_bnn::kBlock), words, static_cast<unsigned int>(gluon_bnn::kBlock)};
  (*out)[2] = {units};
  return MX_SUCCESS;
}

gluon_bnn::LayerSizes sizes_of(const MXTensor& data, const MXTensor& weight) {
  return {data.size() / weight.shape[1], weight.shape[0], weight.shape[1]};
}

uint32_t* words(MXTensor* bits) { return reinterpret_cast<uint32_t*>(bits->data<int32_t>()); }

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                      const OpResource&) {
  BinaryDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor &data = (*in)[0], &weight = (*in)[1];
  if (!check_not_empty(data)) return MX_FAIL;
  const gluon_bnn::LayerSizes sizes = sizes_of(data, weight);
  uint32_t* bits = words(&(*out)[1]);
  float* alpha = (*out)[2].data<float>();
  gluon_bnn::layer_weights(sizes, op.scale, weight.data<float>(),
                           op.has_curvature() ? in->back().data<float>() : nullptr, bits, alpha);
  gluon_bnn::layer_forward(sizes, bits, alpha, data.data<float>(), op.no_bias ? nullptr : (*in)[2].data<float>(),
                           (*out)[0].data<float>());
  return MX_SUCCESS;
}

// Inputs: dy and the other outputs' gradients, then the forward inputs, then the outputs.
MXReturnValue backward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                       const OpResource&) {
  BinaryDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor &dy = (*in)[0], &data = (*in)[3], &weight = (*in)[4], &bits = (*in)[in->size() - 2];
  if (!check_not_empty(data)) return MX_FAIL;
  gluon_bnn::layer_backward(sizes_of(data, weight), op.scale, op.gradient, op.clip, dy.data<float>(),
                            data.data<float>(), weight.data<float>(), words(&bits), in->back().data<float>(),
                            (*out)[0].data<float>(), (*out)[1].data<float>(),
                            op.no_bias ? nullptr : (*out)[2].data<float>());
  if (op.has_curvature()) gluon_bnn::set_to_zero(out->back().data<float>(), out->back().size());
  return MX_SUCCESS;
}

}  // namespace

REGISTER_OP(gluon_bnn_binary_dense)
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu")
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape);
