// The operators of a net frozen to bits as MXNet sees them; inference only. No arithmetic here.
//
//   gluon_bnn_pack(data, in_units=, flatten=)                               -> bits
//   gluon_bnn_packed_dense(data, weight_bits, [alpha, bias, [mean, factor, beta]], [threshold], [sums],
//                          units=, in_units=, source=, target=, norm=, flatten=) -> floats or bits
//
// The inputs are those that a layer of kind binary_dense has (gluon_bnn.h), in this order.
#include "gemm/gemm.h"
#include "gemm/pack.h"
#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kBlock;
using gluon_bnn::kWord;

enum class Form { kFloat, kBits, kBits01 };

uint32_t* words(const Tensor& bits) { return bits.data<uint32_t>(); }

// MXNet hybridizes only operators that have a backward.
class Inference {
 public:
  int outputs() const { return 1; }
  void backward(const Tensors&, const Tensors&) const {
    refuse("a frozen net is for inference and has no gradient: train the net that it was made from");
  }
};

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
      gluon_bnn::xnor_dense_bits(sizes, words(data), words(weights), in[2].data<int32_t>(), words(y));
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
      gluon_bnn::xnor_dense(sizes, words(data), words(weights), epilogue, y.data<float>());
    } else if (target_ == Form::kBits) {
      gluon_bnn::lut_dense(sizes, data.data<float>(), words(weights), epilogue, {nullptr, words(y)});
    } else {
      gluon_bnn::lut_dense(sizes, data.data<float>(), words(weights), epilogue, {y.data<float>()});
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

class Pack : public Inference {
 public:
  explicit Pack(const Attributes& attributes)
      : in_units_(size_of(attributes, "in_units")), flatten_(flag_of(attributes, "flatten", "True")) {}

  int inputs() const { return 1; }

  void infer_type(Types in, Types out) const {
    expect_type("pack", in, 0, kFloat32);
    out[0] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("pack", data);
    const int64_t width = width_of(data, flatten_);
    if (width != kUnknown && width != in_units_) {
      refuse("pack of ", in_units_, " inputs takes rows of as many numbers, got ", width);
    }
    (*out)[0] = with_width(data, flatten_, ceil_div(in_units_, kWord));
  }

  void forward(const Tensors& in, const Tensors& out) const {
    gluon_bnn::pack_inputs(in[0].data<float>(), rows_of(in[0], in_units_), in_units_, words(out[0]));
  }

 private:
  int64_t in_units_;
  bool flatten_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPack = describe<Pack>("gluon_bnn_pack");
const Operator kPackedDense = describe<PackedDense>("gluon_bnn_packed_dense");

}  // namespace mxnet
}  // namespace gluon_bnn
