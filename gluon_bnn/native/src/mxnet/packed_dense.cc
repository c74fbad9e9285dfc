// A binary layer that is frozen to bits, as MXNet sees it: attributes, shapes, types and errors. Inference only.
//
//   gluon_bnn_packed_dense(data, weight_bits, [alpha, bias, [mean, factor, beta]], [threshold], [sums],
//                          units=, in_units=, source=, target=, norm=, flatten=) -> floats or bits
//
// The inputs are the arrays of a node binary_dense (gluon_bnn/graph/kinds/binary_dense.py), in this order.
#include "gemm/gemm.h"
#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kBlock;
using gluon_bnn::kWord;

enum class Form { kFloat, kBits, kBits01 };

class PackedDense : public Inference {
 public:
  explicit PackedDense(const Attributes& attributes)
      : source_(choice_of<Form>(attributes, "source", "float",
                                {{"float", Form::kFloat}, {"bits", Form::kBits}, {"bits01", Form::kBits01}})),
        target_(choice_of<Form>(attributes, "target", "float", {{"float", Form::kFloat}, {"bits", Form::kBits}})),
        units_(size_of(attributes, "units")),
        in_units_(size_of(attributes, "in_units")),
        norm_(flag_of(attributes, "norm", "False")),
        flatten_(flag_of(attributes, "flatten", "True")) {}

  int inputs() const { return 2 + (threshold() ? 1 : 2 + (norm_ ? 3 : 0)) + (sums() ? 1 : 0); }

  void infer_type(Types in, Types out) const {
    const int floats = threshold() ? 0 : 2 + (norm_ ? 3 : 0);  // from the third on
    for (int i = 0; i < in.size(); ++i) {
      const bool is_float = i == 0 ? source_ == Form::kFloat : i >= 2 && i < 2 + floats;
      expect_type("packed_dense", in, i, is_float ? kFloat32 : kInt32);
    }
    out[0] = target_ == Form::kBits ? kInt32 : kFloat32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("a packed layer", data);
    const int64_t found = width_of(data, flatten_);
    if (found != kUnknown && found != width()) {
      refuse("a packed layer of ", in_units_, " inputs takes rows of ", width(),
             source_ == Form::kFloat ? " numbers" : " words", ", got ", found);
    }
    expect_shape("the weights", {ceil_div(units_, kBlock), ceil_div(in_units_, kWord), kBlock}, &(*in)[1]);
    for (size_t i = 2; i < in->size(); ++i) expect_shape("each parameter of a packed layer", {units_}, &(*in)[i]);
    (*out)[0] = with_width(data, flatten_, target_ == Form::kBits ? ceil_div(units_, kWord) : units_);
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &weights = in[1], &y = out[0];
    const gluon_bnn::DenseSizes sizes = {rows_of(data, width()), units_, in_units_};
    const auto numbers = [&](int i) { return in[i].data<float>(); };
    if (threshold()) {
      gluon_bnn::xnor_dense_bits(sizes, data.data<uint32_t>(), weights.data<uint32_t>(), in[2].data<int32_t>(),
                                 y.data<uint32_t>());
      return;
    }
    gluon_bnn::Epilogue epilogue = {numbers(2), numbers(3)};
    if (norm_) {
      epilogue.mean = numbers(4);
      epilogue.factor = numbers(5);
      epilogue.beta = numbers(6);
    }
    if (sums()) epilogue.sums = in.back().data<int32_t>();
    if (source_ != Form::kFloat) {
      gluon_bnn::xnor_dense(sizes, data.data<uint32_t>(), weights.data<uint32_t>(), epilogue, y.data<float>());
    } else if (target_ == Form::kBits) {
      gluon_bnn::lut_dense(sizes, data.data<float>(), weights.data<uint32_t>(), epilogue,
                           {nullptr, y.data<uint32_t>()});
    } else {
      gluon_bnn::lut_dense(sizes, data.data<float>(), weights.data<uint32_t>(), epilogue, {y.data<float>()});
    }
  }

 private:
  bool threshold() const { return target_ == Form::kBits && source_ != Form::kFloat; }
  bool sums() const { return source_ == Form::kBits01 && target_ == Form::kFloat; }
  int64_t width() const { return source_ == Form::kFloat ? in_units_ : ceil_div(in_units_, kWord); }

  Form source_, target_;
  int64_t units_, in_units_;
  bool norm_, flatten_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPackedDense = describe<PackedDense>("gluon_bnn_packed_dense");

}  // namespace mxnet
}  // namespace gluon_bnn
