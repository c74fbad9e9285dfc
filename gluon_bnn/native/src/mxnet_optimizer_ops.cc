// The optimiser's operator as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_adam(weight, grad, mean, var, [curvature], lr=, beta1=, beta2=, epsilon=, wd=, rescale_grad=,
//                  clip_gradient=, clip_weights=, curvature=) -> the weight after the step
//
// mean, var and curvature are changed in place, as is the weight with out=weight. It is for mx.nd alone.
#include <algorithm>

#include "mxnet_side.h"
#include "optimizer.h"

namespace {

using namespace gluon_bnn::mxnet_side;

MXReturnValue parse(const Attributes& attributes, gluon_bnn::AdamStep* step) {
  if (!parse_number(attributes, "lr", false, &step->lr) ||
      !parse_number(attributes, "beta1", false, &step->beta1) ||
      !parse_number(attributes, "beta2", false, &step->beta2) ||
      !parse_number(attributes, "epsilon", false, &step->epsilon) ||
      !parse_number(attributes, "wd", false, &step->wd) ||
      !parse_number(attributes, "rescale_grad", false, &step->rescale_grad) ||
      !parse_number(attributes, "clip_gradient", true, &step->clip_gradient) ||
      !parse_number(attributes, "clip_weights", true, &step->clip_weights)) {
    return MX_FAIL;
  }
  return MX_SUCCESS;
}

MXReturnValue adam_parse(const Attributes& attributes, int* inputs, int* outputs) {
  gluon_bnn::AdamStep step;
  bool curvature = false;
  if (!parse_flag(attributes, "curvature", "False", &curvature)) return MX_FAIL;
  *inputs = curvature ? 5 : 4;
  *outputs = 1;
  return parse(attributes, &step);
}

MXReturnValue adam_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  for (int dtype : *in) {
    if (!is_float(dtype) || dtype != (*in)[0]) {
      return fail("adam takes float32 or float64, all alike, got MXNet type numbers ", (*in)[0], " and ",
                  dtype);
    }
  }
  (*out)[0] = (*in)[0];
  return MX_SUCCESS;
}

MXReturnValue adam_shape(const Attributes&, std::vector<Shape>* in, std::vector<Shape>* out) {
  for (size_t i = 1; i < in->size(); ++i) {
    if ((*in)[i] != (*in)[0]) {
      return fail("input ", i, " of adam must have the shape of the weight, got another");
    }
  }
  (*out)[0] = (*in)[0];
  return MX_SUCCESS;
}

MXReturnValue adam_mutate(const Attributes& attributes, std::vector<int>* indices) {
  *indices = {2, 3};
  if (get(attributes, "curvature", "False") == "True") indices->push_back(4);
  return MX_SUCCESS;
}

MXReturnValue adam_forward(const Attributes& attributes, std::vector<MXTensor>* in,
                           std::vector<MXTensor>* out, const OpResource&) {
  gluon_bnn::AdamStep step;
  if (!parse(attributes, &step)) return MX_FAIL;
  MXTensor &weight = (*in)[0], &updated = (*out)[0];
  return by_type(weight, [&](auto zero) {
    using T = decltype(zero);
    const T* from = weight.data<T>();
    T* to = updated.data<T>();
    if (to != from) std::copy(from, from + weight.size(), to);
    gluon_bnn::update(step, (*in)[1].data<T>(), weight.size(), to, (*in)[2].data<T>(), (*in)[3].data<T>(),
                      in->size() == 5 ? (*in)[4].data<T>() : nullptr);
  });
}

}  // namespace

REGISTER_OP(gluon_bnn_adam)
    .setForward(adam_forward, "cpu")
    .setParseAttrs(adam_parse)
    .setInferType(adam_type)
    .setInferShape(adam_shape)
    .setMutateInputs(adam_mutate);
