// What the layers of a frozen net on bits have in common: the forms of what they take and give, and the arrays of a
// node binary_dense or binary_conv2d (gluon_bnn/graph/kinds/), which are inputs in this order:
//
//   weight_bits, [alpha, bias, [mean, factor, beta]], [threshold], [sums]
#ifndef GLUON_BNN_MXNET_PACKED_H_
#define GLUON_BNN_MXNET_PACKED_H_

#include "form.h"
#include "gemm/gemm.h"
#include "mxnet/operator.h"

namespace gluon_bnn {
namespace mxnet {

// An attribute that names one of the first `count` of kForms.
inline Form form_of(const Attributes& attributes, const char* name, int count) {
  Choices choices;
  for (int i = 0; i < count; ++i) choices.emplace_back(kForms[i].name, kForms[i].form);
  return choice_of<Form>(attributes, name, "float", choices);
}

class PackedArrays {
 public:
  explicit PackedArrays(const Attributes& attributes)
      : source(form_of(attributes, "source", 3)),
        target(form_of(attributes, "target", 2)),
        norm_(flag_of(attributes, "norm", "False")) {}

  // How many they are.
  int count() const { return 1 + (has_threshold() ? 1 : floats()) + has_sums(); }

  // The types of the data, which is input 0, of the arrays after it, and of the result.
  void infer_type(const char* op, Types in, Types out) const {
    for (int i = 0; i < in.size(); ++i) {
      const bool is_float = i == 0 ? source == Form::kFloat : i >= 2 && i < 2 + floats();
      expect_type(op, in, i, is_float ? kFloat32 : kInt32);
    }
    out[0] = target == Form::kFloat ? kFloat32 : kInt32;
  }

  // `words` of weights for each of the units.
  void expect_shapes(int64_t units, int64_t words, Shapes* in) const {
    expect_shape("the weights", {ceil_div(units, kBlock), words, kBlock}, &(*in)[1]);
    for (size_t i = 2; i < in->size(); ++i) expect_shape("each parameter of a packed layer", {units}, &(*in)[i]);
  }

  bool has_threshold() const { return target != Form::kFloat && source != Form::kFloat; }
  const uint32_t* weights(const Tensors& in) const { return in[1].data<uint32_t>(); }
  const int32_t* threshold(const Tensors& in) const { return in[2].data<int32_t>(); }

  Epilogue epilogue(const Tensors& in) const {
    const auto numbers = [&](int i) { return in[i].data<float>(); };
    Epilogue epilogue = {numbers(2), numbers(3)};
    if (norm_) {
      epilogue.mean = numbers(4);
      epilogue.factor = numbers(5);
      epilogue.beta = numbers(6);
    }
    if (has_sums()) epilogue.sums = in.back().data<int32_t>();
    return epilogue;
  }

  const Form source, target;

 private:
  int floats() const { return has_threshold() ? 0 : norm_ ? 5 : 2; }
  bool has_sums() const { return source == Form::kBits01 && target == Form::kFloat; }

  bool norm_;
};

}  // namespace mxnet
}  // namespace gluon_bnn

#endif  // GLUON_BNN_MXNET_PACKED_H_
