// The optimiser's operator as MXNet sees it: attributes, shapes, types and errors. No arithmetic here.
//
//   gluon_bnn_adam(weight, grad, mean, var, [curvature], of the next parameter: weight, ...,
//                  parameters=, lr=, wd=, clip_weights=, curvature=, beta1=, beta2=, epsilon=, rescale_grad=,
//                  clip_gradient=)
//       -> the weights after the step
//
// `parameters` is their number, and the four attributes after it have a value for every parameter, with commas between
// them, or one for all. Without it there are as many parameters as values of lr. mean, var and curvature are changed in
// place, as are the weights with out=weights. It is for mx.nd alone.
#include "training/adam.h"

#include <algorithm>

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;

constexpr int64_t kMostParameters = 1 << 20;  // more arrays than a call of MXNet takes

// A parameter's step, and the place of its weight among the inputs.
struct Parameter {
  gluon_bnn::AdamStep step;
  bool curvature;
  int first;

  int inputs() const { return curvature ? 5 : 4; }
};

std::vector<std::string_view> split(std::string_view text) {
  std::vector<std::string_view> parts;
  for (size_t comma; (comma = text.find(',')) != std::string_view::npos; text.remove_prefix(comma + 1)) {
    parts.push_back(text.substr(0, comma));
  }
  parts.push_back(text);
  return parts;
}

// A value for each of `parameters` parameters.
std::vector<std::string_view> values_of(const Attributes& attributes, const char* name, const char* missing,
                                        int64_t parameters) {
  std::vector<std::string_view> values = split(attributes.get(name, missing));
  if (values.size() == 1) values.resize(parameters, values[0]);
  if (static_cast<int64_t>(values.size()) != parameters) {
    refuse(name, " must have a value for each of ", parameters, " parameters or one, got ",
           static_cast<int64_t>(values.size()));
  }
  return values;
}

class Adam {
 public:
  explicit Adam(const Attributes& attributes) {
    gluon_bnn::AdamStep step;
    step.beta1 = number_of<float>(attributes, "beta1");
    step.beta2 = number_of<float>(attributes, "beta2");
    step.epsilon = number_of<float>(attributes, "epsilon");
    step.rescale_grad = number_of<float>(attributes, "rescale_grad");
    step.clip_gradient = clip_of<float>(attributes, "clip_gradient");
    std::vector<std::string_view> lr = split(attributes.get("lr", "nothing"));
    int64_t parameters = lr.size();
    if (!attributes.get("parameters", "").empty()) {
      parameters = size_of(attributes, "parameters");
      if (parameters > kMostParameters) refuse("parameters must be at most ", kMostParameters, ", got ", parameters);
      lr = values_of(attributes, "lr", "nothing", parameters);
    }
    const std::vector<std::string_view> wd = values_of(attributes, "wd", "nothing", parameters);
    const std::vector<std::string_view> clip = values_of(attributes, "clip_weights", "None", parameters);
    const std::vector<std::string_view> curvature = values_of(attributes, "curvature", "False", parameters);
    parameters_.reserve(parameters);
    for (int64_t i = 0; i < parameters; ++i) {
      step.lr = number_of<float>("lr", lr[i]);
      step.wd = number_of<float>("wd", wd[i]);
      step.clip_weights = clip_of<float>("clip_weights", clip[i]);
      parameters_.push_back({step, flag_of("curvature", curvature[i]), inputs()});
    }
  }

  int inputs() const { return parameters_.empty() ? 0 : parameters_.back().first + parameters_.back().inputs(); }
  int outputs() const { return static_cast<int>(parameters_.size()); }

  std::vector<int> mutated() const {
    std::vector<int> indices;
    for (const Parameter& parameter : parameters_) {
      for (int k = 2; k < parameter.inputs(); ++k) indices.push_back(parameter.first + k);
    }
    return indices;
  }

  void infer_type(Types in, Types out) const {
    const int type = one_float_type("adam", in);
    for (int& each : out) each = type;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    for (size_t i = 0; i < parameters_.size(); ++i) {
      Shape* of = &(*in)[parameters_[i].first];
      for (int k = 1; k < parameters_[i].inputs(); ++k) {
        if (of[k] == of[0]) continue;
        refuse("input ", k, " of adam must have the shape of the weight, ", of[0], ", got ", of[k], " for parameter ",
               i);
      }
      (*out)[i] = of[0];
    }
  }

  void forward(const Tensors& in, const Tensors& out) const {
    by_type(in[0], [&](auto zero) {
      using T = decltype(zero);
      for (size_t i = 0; i < parameters_.size(); ++i) {
        const Tensor* of = &in[parameters_[i].first];
        const T* from = of[0].data<T>();
        T* to = out[i].data<T>();
        if (to != from) std::copy(from, from + of[0].size(), to);
        gluon_bnn::adam_update(parameters_[i].step, of[1].data<T>(), of[0].size(), to, of[2].data<T>(), of[3].data<T>(),
                               parameters_[i].curvature ? of[4].data<T>() : nullptr);
      }
    });
  }

 private:
  std::vector<Parameter> parameters_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kAdam = describe<Adam>("gluon_bnn_adam");

}  // namespace mxnet
}  // namespace gluon_bnn
