// The optimiser's operator as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_adam(weight, grad, mean, var, [curvature], of the next parameter: weight, ...,
//                  lr=, wd=, clip_weights=, curvature=, beta1=, beta2=, epsilon=, rescale_grad=, clip_gradient=)
//       -> the weights after the step
//
// The first four attributes have a value for every parameter, with commas between them, or one for all; lr tells how
// many parameters there are. mean, var and curvature are changed in place, as are the weights with out=weights. It is
// for mx.nd alone.
#include <algorithm>

#include "mxnet_side.h"
#include "optimizer.h"

namespace {

using namespace gluon_bnn::mxnet_side;

// A parameter's step, and the place of its weight among the inputs.
struct Parameter {
  gluon_bnn::AdamStep step;
  bool curvature;
  int first;

  int inputs() const { return curvature ? 5 : 4; }
};

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// A value for each of `parameters` parameters.
MXReturnValue values_of(const Attributes& attributes, const char* key, const char* missing, size_t parameters,
                        std::vector<std::string>* values) {
  *values = split(get(attributes, key, missing));
  if (values->size() == 1) values->resize(parameters, (*values)[0]);
  if (values->size() == parameters) return MX_SUCCESS;
  return fail(key, " must have a value for each of ", parameters, " parameters or one, got ", values->size());
}

MXReturnValue parse(const Attributes& attributes, std::vector<Parameter>* parameters) {
  gluon_bnn::AdamStep step;
  if (!parse_number(attributes, "beta1", false, &step.beta1) ||
      !parse_number(attributes, "beta2", false, &step.beta2) ||
      !parse_number(attributes, "epsilon", false, &step.epsilon) ||
      !parse_number(attributes, "rescale_grad", false, &step.rescale_grad) ||
      !parse_number(attributes, "clip_gradient", true, &step.clip_gradient)) {
    return MX_FAIL;
  }
  const std::vector<std::string> lr = split(get(attributes, "lr", "nothing"));
  std::vector<std::string> wd, clip, curvature;
  if (!values_of(attributes, "wd", "nothing", lr.size(), &wd) ||
      !values_of(attributes, "clip_weights", "None", lr.size(), &clip) ||
      !values_of(attributes, "curvature", "False", lr.size(), &curvature)) {
    return MX_FAIL;
  }
  int first = 0;
  for (size_t i = 0; i < lr.size(); ++i) {
    Parameter parameter = {step, false, first};
    if (!number_of("lr", lr[i], false, &parameter.step.lr) || !number_of("wd", wd[i], false, &parameter.step.wd) ||
        !number_of("clip_weights", clip[i], true, &parameter.step.clip_weights) ||
        !flag_of("curvature", curvature[i], &parameter.curvature)) {
      return MX_FAIL;
    }
    first += parameter.inputs();
    parameters->push_back(parameter);
  }
  return MX_SUCCESS;
}

MXReturnValue adam_parse(const Attributes& attributes, int* inputs, int* outputs) {
  std::vector<Parameter> parameters;
  if (!parse(attributes, &parameters)) return MX_FAIL;
  *inputs = parameters.back().first + parameters.back().inputs();
  *outputs = static_cast<int>(parameters.size());
  return MX_SUCCESS;
}

MXReturnValue adam_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  for (int dtype : *in) {
    if (!is_float(dtype) || dtype != (*in)[0]) {
      return fail("adam takes float32 or float64, all alike, got MXNet type numbers ", (*in)[0], " and ",
                  dtype);
    }
  }
  std::fill(out->begin(), out->end(), (*in)[0]);
  return MX_SUCCESS;
}

MXReturnValue adam_shape(const Attributes& attributes, std::vector<Shape>* in, std::vector<Shape>* out) {
  std::vector<Parameter> parameters;
  if (!parse(attributes, &parameters)) return MX_FAIL;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Shape& weight = (*in)[parameters[i].first];
    for (int k = 1; k < parameters[i].inputs(); ++k) {
      if ((*in)[parameters[i].first + k] != weight) {
        return fail("input ", k, " of adam must have the shape of the weight, got another for parameter ", i);
      }
    }
    (*out)[i] = weight;
  }
  return MX_SUCCESS;
}

MXReturnValue adam_mutate(const Attributes& attributes, std::vector<int>* indices) {
  std::vector<Parameter> parameters;
  if (!parse(attributes, &parameters)) return MX_FAIL;
  for (const Parameter& parameter : parameters) {
    for (int k = 2; k < parameter.inputs(); ++k) indices->push_back(parameter.first + k);
  }
  return MX_SUCCESS;
}

MXReturnValue adam_forward(const Attributes& attributes, std::vector<MXTensor>* in,
                           std::vector<MXTensor>* out, const OpResource&) {
  std::vector<Parameter> parameters;
  if (!parse(attributes, &parameters)) return MX_FAIL;
  return by_type((*in)[0], [&](auto zero) {
    using T = decltype(zero);
    for (size_t i = 0; i < parameters.size(); ++i) {
      MXTensor* of = &(*in)[parameters[i].first];
      const T* from = of[0].data<T>();
      T* to = (*out)[i].data<T>();
      if (to != from) std::copy(from, from + of[0].size(), to);
      gluon_bnn::update(parameters[i].step, of[1].data<T>(), of[0].size(), to, of[2].data<T>(), of[3].data<T>(),
                        parameters[i].curvature ? of[4].data<T>() : nullptr);
    }
  });
}

}  // namespace

REGISTER_OP(gluon_bnn_adam)
    .setForward(adam_forward, "cpu")
    .setParseAttrs(adam_parse)
    .setInferType(adam_type)
    .setInferShape(adam_shape)
    .setMutateInputs(adam_mutate);
