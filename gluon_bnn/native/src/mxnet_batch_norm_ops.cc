// Batch norm for training as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_batch_norm(data, gamma, beta, running_mean, running_var, training, eps=, momentum=)
//                                                                 -> y, the batch's mean and 1 / sqrt(var + eps)
//
// MXNet does not tell an extension whether it trains: `training`, one number, does, 0 for no. Then, the running
// averages are changed in place; otherwise they are used, and the last two outputs are zeros.
#include "batch_norm.h"

#include "mxnet_side.h"

namespace {

using namespace gluon_bnn::mxnet_side;

struct BatchNorm {
  double eps = 0, momentum = 0;
};

MXReturnValue parse(const Attributes& attributes, BatchNorm* op) {
  if (!parse_number(attributes, "eps", false, &op->eps)) return MX_FAIL;
  return parse_number(attributes, "momentum", false, &op->momentum);
}

MXReturnValue parse_attributes(const Attributes& attributes, int* inputs, int* outputs) {
  BatchNorm op;
  *inputs = 6;
  *outputs = 3;
  return parse(attributes, &op);
}

MXReturnValue infer_type(const Attributes&, std::vector<int>* in, std::vector<int>* out) {
  const int dtype = (*in)[0];
  if (dtype != -1 && !is_float(dtype)) {
    return fail("batch_norm takes float32 or float64, got MXNet type number ", dtype);
  }
  for (size_t i = 1; i < 5; ++i) {
    if ((*in)[i] == -1) (*in)[i] = dtype;
    if ((*in)[i] != dtype) {
      return fail("the parameters of batch_norm must have the type of its data, MXNet type number ", dtype, ", got ",
                  (*in)[i]);
    }
  }
  if ((*in)[5] == -1) (*in)[5] = mxnet::ext::kFloat32;
  if ((*in)[5] != mxnet::ext::kFloat32) return fail("training must be a float32 number");
  (*out)[0] = (*out)[1] = (*out)[2] = dtype;
  return MX_SUCCESS;
}

MXReturnValue infer_shape(const Attributes&, std::vector<Shape>* in, std::vector<Shape>* out) {
  const Shape& data = (*in)[0];
  if (data.size() < 2) return fail("batch_norm takes at least two axes, got ", data.size());
  const unsigned int units = data.back();
  for (size_t i = 1; i < 5; ++i) {
    Shape& parameter = (*in)[i];
    const Shape wanted = one_a_unit(parameter, units);
    if (parameter.empty() || parameter.back() == kUnknown) parameter = wanted;
    if (parameter != wanted) {
      return fail("batch_norm of ", parameter.back(), " units takes rows of as many numbers, got ", units);
    }
  }
  (*in)[5] = one_a_unit((*in)[5], 1);
  (*out)[0] = data;
  (*out)[1] = (*out)[2] = {units};
  return MX_SUCCESS;
}

bool is_training(MXTensor& training) { return training.data<float>()[0] != 0; }

MXReturnValue forward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                      const OpResource&) {
  BatchNorm op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor& data = (*in)[0];
  if (!check_not_empty(data)) return MX_FAIL;
  const int64_t units = data.shape.back(), rows = data.size() / units;
  return by_type(data, [&](auto zero) {
    using T = decltype(zero);
    const T *x = data.data<T>(), *gamma = (*in)[1].data<T>(), *beta = (*in)[2].data<T>();
    T *running_mean = (*in)[3].data<T>(), *running_var = (*in)[4].data<T>(), *y = (*out)[0].data<T>();
    T *mean = (*out)[1].data<T>(), *inverse = (*out)[2].data<T>();
    if (is_training((*in)[5])) {
      gluon_bnn::batch_norm_train<T>(x, gamma, beta, rows, units, op.eps, op.momentum, running_mean, running_var, mean,
                                     inverse, y);
    } else {
      gluon_bnn::batch_norm_infer<T>(x, gamma, beta, running_mean, running_var, rows, units, op.eps, y);
      gluon_bnn::set_to_zero(mean, units);
      gluon_bnn::set_to_zero(inverse, units);
    }
  });
}

// Inputs: dy and the other outputs' gradients, then the forward inputs, then the outputs.
MXReturnValue backward(const Attributes& attributes, std::vector<MXTensor>* in, std::vector<MXTensor>* out,
                       const OpResource&) {
  BatchNorm op;
  if (!parse(attributes, &op)) return MX_FAIL;
  MXTensor& data = (*in)[3];
  if (!check_not_empty(data)) return MX_FAIL;
  const int64_t units = data.shape.back(), rows = data.size() / units;
  return by_type(data, [&](auto zero) {
    using T = decltype(zero);
    const T *dy = (*in)[0].data<T>(), *x = data.data<T>(), *gamma = (*in)[4].data<T>();
    T *dx = (*out)[0].data<T>(), *dgamma = (*out)[1].data<T>(), *dbeta = (*out)[2].data<T>();
    if (is_training((*in)[8])) {
      gluon_bnn::batch_norm_train_backward<T>(dy, x, gamma, (*in)[10].data<T>(), (*in)[11].data<T>(), rows, units, dx,
                                              dgamma, dbeta);
    } else {
      gluon_bnn::batch_norm_infer_backward<T>(dy, x, gamma, (*in)[6].data<T>(), (*in)[7].data<T>(), rows, units,
                                              op.eps, dx, dgamma, dbeta);
    }
    gluon_bnn::set_to_zero((*out)[3].data<T>(), units);
    gluon_bnn::set_to_zero((*out)[4].data<T>(), units);
    gluon_bnn::set_to_zero((*out)[5].data<float>(), 1);
  });
}

MXReturnValue mutate(const Attributes&, std::vector<int>* indices) {
  *indices = {3, 4};
  return MX_SUCCESS;
}

}  // namespace

REGISTER_OP(gluon_bnn_batch_norm)
    .setForward(forward, "cpu")
    .setBackward(backward, "cpu")
    .setParseAttrs(parse_attributes)
    .setInferType(infer_type)
    .setInferShape(infer_shape)
    .setMutateInputs(mutate);
