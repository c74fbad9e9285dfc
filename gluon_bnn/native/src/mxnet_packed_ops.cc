// The operators of a net frozen to bits as MXNet sees them; inference only. No arithmetic here.
//
//   gluon_bnn_pack(data, in_units=, flatten=)                               -> bits
//   gluon_bnn_packed_dense(data, weight_bits, [alpha, bias, [mean, factor, beta]], [threshold], [sums],
//                          units=, in_units=, source=, target=, norm=, flatten=) -> floats or bits
//
// The inputs are those that a layer of kind binary_dense has (gluon_bnn.h), in this order.
#include <cstdlib>

#include "gluon_bnn.h"
#include "mxnet_side.h"
#include "products.h"

namespace {

using namespace gluon_bnn::mxnet_side;
using gluon_bnn::ceil_div;
using gluon_bnn::kBlock;
using gluon_bnn::kWord;

struct PackedDense {
  int64_t units = 0, in_units = 0;
  bool from_float = true, from_01 = false, to_bits = false, norm = false, flatten = true;

  bool threshold() const { return to_bits && !from_float; }
  bool sums() const { return from_01 && !to_bits; }
  size_t inputs() const { return 2 + (threshold() ? 1 : 2 + (norm ? 3 : 0)) + (sums() ? 1 : 0); }
  int64_t width() const { return from_float ? in_units : ceil_div(in_units, kWord); }
};

MXReturnValue parse_size(const Attributes& attributes, const char* key, int64_t* size) {
  const std::string text = get(attributes, key, "nothing");
  char* end = nullptr;
  *size = std::strtoll(text.c_str(), &end, 10);
  if (!text.empty() && *end == '\0' && *size >= 1 && *size <= GLUON_BNN_MOST_INPUTS) return MX_SUCCESS;
  return fail(key, " must be a number from 1 to ", GLUON_BNN_MOST_INPUTS, ", got ", text);
}

MXReturnValue parse(const Attributes& attributes, PackedDense* op) {
  const std::string source = get(attributes, "source", "float"), target = get(attributes, "target", "float");
  if (source != "float" && source != "bits" && source != "bits01") {
    return fail("source must be float, bits or bits01, got ", source);
  }
  if (target != "float" && target != "bits") return fail("target must be float or bits, got ", target);
  op->from_float = source == "float";
  op->from_01 = source == "bits01";
  op->to_bits = target == "bits";
  if (!parse_size(attributes, "units", &op->units) || !parse_size(attributes, "in_units", &op->in_units) ||
      !parse_flag(attributes, "norm", "False", &op->norm) ||
      !parse_flag(attributes, "flatten", "True", &op->flatten)) {
    return MX_FAIL;
  }
  return MX_SUCCESS;
}

MXReturnValue packed_dense_parse(const Attributes& attributes, int* inputs, int* outputs) {
  PackedDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  *inputs = static_cast<int>(op.inputs());
  *outputs = 1;
  return MX_SUCCESS;
}

MXReturnValue packed_dense_type(const Attributes& attributes, std::vector<int>* in, std::vector<int>* out) {
  PackedDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  std::vector<int> wanted = {op.from_float ? mxnet::ext::kFloat32 : mxnet::ext::kInt32, mxnet::ext::kInt32};
  if (!op.threshold()) wanted.resize(wanted.size() + 2 + (op.norm ? 3 : 0), mxnet::ext::kFloat32);
  wanted.resize(op.inputs(), mxnet::ext::kInt32);
  for (size_t i = 0; i < wanted.size(); ++i) {
    if ((*in)[i] != -1 && (*in)[i] != wanted[i]) {
      return fail("input ", i, " of a packed layer must have MXNet type number ", wanted[i], " (0 is float32, 4 "
                  "is int32), got ", (*in)[i]);
    }
    (*in)[i] = wanted[i];
  }
  (*out)[0] = op.to_bits ? mxnet::ext::kInt32 : mxnet::ext::kFloat32;
  return MX_SUCCESS;
}

MXReturnValue packed_dense_shape(const Attributes& attributes, std::vector<Shape>* in,
                                 std::vector<Shape>* out) {
  PackedDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  const Shape& data = (*in)[0];
  if (data.size() < 2) return fail("a packed layer takes at least two axes, got ", data.size());
  const unsigned int width = width_of(data, op.flatten);
  if (width != kUnknown && width != op.width()) {
    return fail("a packed layer of ", op.in_units, " inputs takes rows of ", op.width(),
                op.from_float ? " numbers" : " words", ", got ", width);
  }
  const auto units = static_cast<unsigned int>(op.units);
  (*in)[1] = {static_cast<unsigned int>(ceil_div(op.units, kBlock)),
              static_cast<unsigned int>(ceil_div(op.in_units, kWord)), static_cast<unsigned int>(kBlock)};
  for (size_t i = 2; i < in->size(); ++i) (*in)[i] = {units};
  (*out)[0] = with_width(data, op.flatten, op.to_bits ? ceil_div(op.units, kWord) : op.units);
  return MX_SUCCESS;
}

const uint32_t* words(MXTensor& tensor) { return reinterpret_cast<const uint32_t*>(tensor.data<int32_t>()); }

MXReturnValue packed_dense_forward(const Attributes& attributes, std::vector<MXTensor>* in,
                                   std::vector<MXTensor>* out, const OpResource&) {
  PackedDense op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor &data = (*in)[0], &weights = (*in)[1], &y = (*out)[0];
  if (!check_not_empty(data)) return MX_FAIL;
  const int64_t rows = data.size() / op.width();
  float* floats = op.to_bits ? nullptr : y.data<float>();
  uint32_t* bits = op.to_bits ? reinterpret_cast<uint32_t*>(y.data<int32_t>()) : nullptr;
  if (op.threshold()) {
    gluon_bnn::xnor_dense_bits(words(data), words(weights), (*in)[2].data<int32_t>(), rows, op.units,
                               op.in_units, bits);
    return MX_SUCCESS;
  }
  const auto numbers = [&](size_t i) { return (*in)[i].data<float>(); };
  const gluon_bnn::Affine affine = {numbers(2),
                                    numbers(3),
                                    op.norm ? numbers(4) : nullptr,
                                    op.norm ? numbers(5) : nullptr,
                                    op.norm ? numbers(6) : nullptr,
                                    op.sums() ? in->back().data<int32_t>() : nullptr};
  if (op.from_float) {
    gluon_bnn::binary_dense(data.data<float>(), words(weights), affine, rows, op.units, op.in_units, floats,
                            bits);
  } else {
    gluon_bnn::xnor_dense(words(data), words(weights), affine, rows, op.units, op.in_units, floats);
  }
  return MX_SUCCESS;
}

MXReturnValue parse_pack(const Attributes& attributes, int64_t* in_units, bool* flatten) {
  if (!parse_size(attributes, "in_units", in_units)) return MX_FAIL;
  return parse_flag(attributes, "flatten", "True", flatten);
}

MXReturnValue pack_parse(const Attributes& attributes, int* inputs, int* outputs) {
  int64_t in_units;
  bool flatten;
  *inputs = *outputs = 1;
  return parse_pack(attributes, &in_units, &flatten);
}

MXReturnValue pack_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  if ((*in)[0] != -1 && (*in)[0] != mxnet::ext::kFloat32) {
    return fail("pack takes float32 data, got MXNet type number ", (*in)[0]);
  }
  (*in)[0] = mxnet::ext::kFloat32;
  (*out)[0] = mxnet::ext::kInt32;
  return MX_SUCCESS;
}

MXReturnValue pack_shape(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
  int64_t in_units;
  bool flatten;
  if (!parse_pack(attributes, &in_units, &flatten)) return MX_FAIL;
  const Shape& data = (*in)[0];
  if (data.size() < 2) return fail("pack takes at least two axes, got ", data.size());
  const unsigned int width = width_of(data, flatten);
  if (width != kUnknown && width != in_units) {
    return fail("pack of ", in_units, " inputs takes rows of as many numbers, got ", width);
  }
  (*out)[0] = with_width(data, flatten, ceil_div(in_units, kWord));
  return MX_SUCCESS;
}

MXReturnValue pack_forward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                           const OpResource&) {
  int64_t in_units;
  bool flatten;
  if (!parse_pack(attributes, &in_units, &flatten)) return MX_FAIL;
  MXTensor& data = (*in)[0];
  if (!check_not_empty(data)) return MX_FAIL;
  gluon_bnn::pack_inputs(data.data<float>(), data.size() / in_units, in_units,
                         reinterpret_cast<uint32_t*>((*out)[0].data<int32_t>()));
  return MX_SUCCESS;
}

// MXNet hybridizes only operators that have a backward.
MXReturnValue no_backward(const Attributes&, std::vector<MXTensor>*, std::vector<MXTensor>*,
                          const OpResource&) {
  return fail("a frozen net is for inference and has no gradient: train the net that it was made from");
}

}  // namespace

REGISTER_OP(gluon_bnn_packed_dense)
    .setForward(packed_dense_forward, "cpu")
    .setBackward(no_backward, "cpu")
    .setParseAttrs(packed_dense_parse)
    .setInferType(packed_dense_type)
    .setInferShape(packed_dense_shape);

REGISTER_OP(gluon_bnn_pack)
    .setForward(pack_forward, "cpu")
    .setBackward(no_backward, "cpu")
    .setParseAttrs(pack_parse)
    .setInferType(pack_type)
    .setInferShape(pack_shape);
