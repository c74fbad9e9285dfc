// The operators for training as MXNet sees them: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_sign_scale(weight, [hint], [curvature], [random], scale=, gradient=, clip=, hint=, stochastic=)
//                                                                          -> signs, alpha
//   gluon_bnn_scale_bias(dot, alpha, [bias], no_bias=, alpha_gradient=)    -> alpha * dot + bias
//   gluon_bnn_sign(data, clip=)                                            -> signs
//
// An extension's infer_shape cannot answer "unknown yet". So while a layer does not know its in_units,
// it passes a slice of its input as `hint`, and the shape of the weight is set from that.
// scale=loss takes a curvature in the shape of the weight; stochastic=True takes two numbers from MXNet's own
// generator to draw signs from, or two zeros for the signs of the weights.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "mxnet_side.h"
#include "training.h"

namespace {

using namespace gluon_bnn::mxnet_side;

struct SignScale {
  gluon_bnn::Scale scale = gluon_bnn::Scale::kLayer;
  bool has_hint = false;
  bool flatten = true;
  bool stochastic = false;
  gluon_bnn::Gradient gradient = gluon_bnn::Gradient::kXnor;
  double clip = std::numeric_limits<double>::infinity();

  bool scaled() const { return scale != gluon_bnn::Scale::kNone; }
  bool has_curvature() const { return scale == gluon_bnn::Scale::kLoss; }
};

MXReturnValue parse_clip(const Attributes& attributes, double* clip) {
  const std::string text = get(attributes, "clip", "None");
  *clip = std::numeric_limits<double>::infinity();
  if (text == "None") return MX_SUCCESS;
  char* end = nullptr;
  *clip = std::strtod(text.c_str(), &end);
  if (text.empty() || *end != '\0' || !(*clip > 0)) {
    return fail("clip must be a number above 0 or None, got ", text);
  }
  return MX_SUCCESS;
}

MXReturnValue parse(const Attributes& attributes, SignScale* op) {
  const std::string scale = get(attributes, "scale", "layer");
  const std::string gradient = get(attributes, "gradient", "xnor");
  const std::string hint = get(attributes, "hint", "None");
  if (!parse_scale(scale, &op->scale)) return MX_FAIL;
  if (hint != "None" && hint != "flatten" && hint != "last") {
    return fail("hint must be flatten, last or None, got ", hint);
  }
  op->has_hint = hint != "None";
  op->flatten = hint == "flatten";
  if (!parse_flag(attributes, "stochastic", "False", &op->stochastic)) return MX_FAIL;
  if (!parse_gradient(gradient, &op->gradient)) return MX_FAIL;
  if ((!op->scaled() || op->has_curvature()) && gradient != "ste") {
    return fail("scale=", scale, " allows gradient=ste only, got ", gradient);
  }
  if (op->stochastic && op->scaled()) return fail("stochastic=True allows scale=None only, got ", scale);
  return parse_clip(attributes, &op->clip);
}

MXReturnValue sign_scale_parse(const Attributes& attributes, int* inputs, int* outputs) {
  SignScale op;
  if (!parse(attributes, &op)) return MX_FAIL;
  *inputs = 1 + op.has_hint + op.has_curvature() + op.stochastic;
  *outputs = 2;
  return MX_SUCCESS;
}

MXReturnValue sign_scale_type(const Attributes& attributes, std::vector<int>* in, std::vector<int>* out) {
  SignScale op;
  if (!parse(attributes, &op)) return MX_FAIL;
  const int dtype = (*in)[0];
  if (dtype != -1 && !is_float(dtype)) {
    return fail("sign_scale takes float32 or float64 weights, got MXNet type number ", dtype);
  }
  if (op.has_curvature() || op.stochastic) {
    const int wanted = op.stochastic ? static_cast<int>(mxnet::ext::kFloat32) : dtype;
    if (in->back() != -1 && in->back() != wanted) {
      return fail("the last input of sign_scale must have MXNet type number ", wanted, ", got ", in->back());
    }
    in->back() = wanted;
  }
  (*out)[0] = (*out)[1] = dtype;
  return MX_SUCCESS;
}

MXReturnValue sign_scale_shape(const Attributes& attributes, std::vector<Shape>* in,
                               std::vector<Shape>* out) {
  SignScale op;
  if (!parse(attributes, &op)) return MX_FAIL;
  Shape& weight = (*in)[0];
  if (op.has_hint && weight.size() == 2) {
    const Shape& hint = (*in)[1];
    if (hint.size() < 2) {
      return fail("the input of a binary layer must have a batch axis and at least one more, got ",
                  hint.size(), " axes");
    }
    unsigned int in_units = op.flatten ? 1 : hint.back();
    for (size_t axis = 1; op.flatten && axis < hint.size(); ++axis) in_units *= hint[axis];
    if (weight[1] == kUnknown) weight[1] = in_units;
  }
  if (weight.empty()) return fail("sign_scale takes weights with at least one axis, got none");
  for (unsigned int size : weight) {
    if (size == kUnknown) {
      return fail("sign_scale cannot infer the shape of its weights from its output; "
                  "give the layer its in_units");
    }
  }
  if (op.has_curvature() || op.stochastic) {
    Shape& last = in->back();
    const Shape wanted = op.stochastic ? one_a_unit(last, 2) : weight;
    if (last.empty()) last = wanted;
    for (size_t axis = 0; axis < std::min(last.size(), wanted.size()); ++axis) {
      if (last[axis] == kUnknown) last[axis] = wanted[axis];
    }
    if (last != wanted) {
      return fail(op.stochastic ? "stochastic signs are drawn from an array of 2 numbers, got another shape"
                                : "the curvature must have the shape of the weights, got another");
    }
  }
  (*out)[0] = weight;
  (*out)[1] = {op.scale == gluon_bnn::Scale::kChannel ? weight[0] : 1u};
  return MX_SUCCESS;
}

// The seed in two float32 numbers: 0 where both are 0.0.
uint64_t seed_of(const float* numbers) {
  uint32_t bits[2];
  std::memcpy(bits, numbers, sizeof bits);
  return static_cast<uint64_t>(bits[0]) << 32 | bits[1];
}

MXReturnValue sign_scale_forward(const Attributes& attributes, std::vector<MXTensor>* in,
                                 std::vector<MXTensor>* out, const OpResource&) {
  SignScale op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor &weight = (*in)[0], &signs = (*out)[0], &alpha = (*out)[1];
  const uint64_t seed = op.stochastic ? seed_of(in->back().data<float>()) : 0;
  return by_type(weight, [&](auto zero) {
    using T = decltype(zero);
    if (seed != 0) {
      gluon_bnn::stochastic_sign(weight.data<T>(), weight.size(), seed, signs.data<T>());
      alpha.data<T>()[0] = 1;
      return;
    }
    const int64_t units = weight.shape[0], size = weight.size();
    gluon_bnn::sign_scale(op.scale, weight.data<T>(), op.has_curvature() ? in->back().data<T>() : nullptr, units,
                          units > 0 ? size / units : 0, signs.data<T>(), alpha.data<T>());
  });
}

// Inputs: dsigns, dalpha, then the forward inputs, then the forward outputs.
MXReturnValue sign_scale_backward(const Attributes& attributes, std::vector<MXTensor>* in,
                                  std::vector<MXTensor>* out, const OpResource&) {
  SignScale op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor &dsigns = (*in)[0], &dalpha = (*in)[1], &weight = (*in)[2], &alpha = in->back();
  MXTensor& dweight = (*out)[0];
  for (size_t i = 1; i < out->size(); ++i) {  // nothing goes to a hint, a curvature or random numbers
    by_type((*out)[i], [&](auto zero) {
      gluon_bnn::set_to_zero((*out)[i].data<decltype(zero)>(), (*out)[i].size());
    });
  }
  return by_type(weight, [&](auto zero) {
    using T = decltype(zero);
    gluon_bnn::sign_scale_backward<T>(op.gradient, static_cast<T>(op.clip), dsigns.data<T>(),
                                      dalpha.data<T>(), weight.data<T>(), alpha.data<T>(),
                                      alpha.size(), weight.size() / alpha.size(),
                                      dweight.data<T>());
  });
}

MXReturnValue scale_bias_parse(const Attributes& attributes, int* inputs, int* outputs) {
  for (const char* key : {"no_bias", "alpha_gradient"}) {
    const std::string value = get(attributes, key, "False");
    if (value != "True" && value != "False") {
      return fail(key, " must be True or False, got ", value);
    }
  }
  *inputs = get(attributes, "no_bias", "False") == "True" ? 2 : 3;
  *outputs = 1;
  return MX_SUCCESS;
}

MXReturnValue scale_bias_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  for (int dtype : *in) {
    if (dtype != -1 && (!is_float(dtype) || dtype != (*in)[0])) {
      return fail("scale_bias takes float32 or float64, all alike, got MXNet type numbers ",
                  (*in)[0], " and ", dtype);
    }
  }
  (*out)[0] = (*in)[0];
  return MX_SUCCESS;
}

MXReturnValue scale_bias_shape(const Attributes&, std::vector<Shape>* in, std::vector<Shape>* out) {
  const Shape& dot = (*in)[0];
  const Shape& alpha = (*in)[1];
  if (dot.empty()) return fail("scale_bias takes products with at least one axis, got none");
  if (alpha != one_a_unit(alpha, 1) && alpha != one_a_unit(alpha, dot.back())) {
    return fail("alpha must hold 1 number or one for each of ", dot.back(), " units, got ",
                alpha.empty() ? 0 : alpha.back());
  }
  if (in->size() == 3 && (*in)[2] != one_a_unit((*in)[2], dot.back())) {
    return fail("bias must hold one number for each of ", dot.back(), " units, got ",
                (*in)[2].empty() ? 0 : (*in)[2].back());
  }
  (*out)[0] = dot;
  return MX_SUCCESS;
}

MXReturnValue scale_bias_forward(const Attributes&, std::vector<MXTensor>* in,
                                 std::vector<MXTensor>* out, const OpResource&) {
  MXTensor &dot = (*in)[0], &alpha = (*in)[1], &y = (*out)[0];
  const int64_t units = dot.shape.back();
  return by_type(dot, [&](auto zero) {
    using T = decltype(zero);
    gluon_bnn::scale_bias<T>(dot.data<T>(), alpha.data<T>(), alpha.size() > 1,
                             in->size() == 3 ? (*in)[2].data<T>() : nullptr, dot.size() / units,
                             units, y.data<T>());
  });
}

// Inputs: dy, then the forward inputs, then y.
MXReturnValue scale_bias_backward(const Attributes& attributes, std::vector<MXTensor>* in,
                                  std::vector<MXTensor>* out, const OpResource&) {
  MXTensor &dy = (*in)[0], &dot = (*in)[1], &alpha = (*in)[2];
  const int64_t units = dot.shape.back();
  return by_type(dot, [&](auto zero) {
    using T = decltype(zero);
    gluon_bnn::scale_bias_backward<T>(
        dy.data<T>(), dot.data<T>(), alpha.data<T>(), alpha.size() > 1,
        get(attributes, "alpha_gradient", "False") == "True", dot.size() / units, units,
        (*out)[0].data<T>(), (*out)[1].data<T>(), out->size() == 3 ? (*out)[2].data<T>() : nullptr);
  });
}

MXReturnValue sign_parse(const Attributes& attributes, int* inputs, int* outputs) {
  double clip;
  *inputs = *outputs = 1;
  return parse_clip(attributes, &clip);
}

MXReturnValue sign_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  const int dtype = (*in)[0];
  if (dtype != -1 && !is_float(dtype)) {
    return fail("sign takes float32 or float64 data, got MXNet type number ", dtype);
  }
  (*out)[0] = dtype;
  return MX_SUCCESS;
}

MXReturnValue sign_shape(const Attributes&, std::vector<Shape>* in, std::vector<Shape>* out) {
  (*out)[0] = (*in)[0];
  return MX_SUCCESS;
}

MXReturnValue sign_forward(const Attributes&, std::vector<MXTensor>* in,
                           std::vector<MXTensor>* out, const OpResource&) {
  MXTensor &data = (*in)[0], &signs = (*out)[0];
  return by_type(data, [&](auto zero) {
    using T = decltype(zero);
    gluon_bnn::sign(data.data<T>(), data.size(), signs.data<T>());
  });
}

MXReturnValue sign_backward(const Attributes& attributes, std::vector<MXTensor>* in,
                            std::vector<MXTensor>* out, const OpResource&) {
  double clip;
  if (!parse_clip(attributes, &clip)) return MX_FAIL;
  const bool masked = get(attributes, "clip", "None") != "None";
  MXTensor &dsigns = (*in)[0], &data = (*in)[1], &ddata = (*out)[0];
  return by_type(data, [&](auto zero) {
    using T = decltype(zero);
    gluon_bnn::sign_backward<T>(masked, static_cast<T>(clip), dsigns.data<T>(), data.data<T>(),
                                data.size(), ddata.data<T>());
  });
}

}  // namespace

REGISTER_OP(gluon_bnn_sign_scale)
    .setForward(sign_scale_forward, "cpu")
    .setBackward(sign_scale_backward, "cpu")
    .setParseAttrs(sign_scale_parse)
    .setInferType(sign_scale_type)
    .setInferShape(sign_scale_shape);

REGISTER_OP(gluon_bnn_scale_bias)
    .setForward(scale_bias_forward, "cpu")
    .setBackward(scale_bias_backward, "cpu")
    .setParseAttrs(scale_bias_parse)
    .setInferType(scale_bias_type)
    .setInferShape(scale_bias_shape);

REGISTER_OP(gluon_bnn_sign)
    .setForward(sign_forward, "cpu")
    .setBackward(sign_backward, "cpu")
    .setParseAttrs(sign_parse)
    .setInferType(sign_type)
    .setInferShape(sign_shape);

MXReturnValue initialize(int version) {
  if (version >= 10700) return MX_SUCCESS;
  return fail("gluon_bnn's library needs MXNet 1.7 or newer, found version number ", version);
}
