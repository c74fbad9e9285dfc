// A binary layer that is frozen to bits, as MXNet sees it: attributes, shapes, types and errors. Inference only.
//
//   gluon_bnn_packed_dense(data, arrays.., units=, in_units=, source=, target=, norm=, flatten=) -> floats or bits
//
// The arrays are those of packed.h.
#include "gemm/gemm.h"
#include "mxnet/packed.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::Form;
using gluon_bnn::kWord;

class PackedDense : public Inference {
 public:
  explicit PackedDense(const Attributes& attributes)
      : arrays_(attributes),
        units_(size_of(attributes, "units")),
        in_units_(size_of(attributes, "in_units")),
        flatten_(flag_of(attributes, "flatten", "True")) {}

  int inputs() const { return 1 + arrays_.count(); }

  void infer_type(Types in, Types out) const { arrays_.infer_type("packed_dense", in, out); }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("a packed layer", data);
    const int64_t found = width_of(data, flatten_);
    if (found != kUnknown && found != width()) {
      refuse("a packed layer of ", in_units_, " inputs takes rows of ", width(),
             arrays_.source == Form::kFloat ? " numbers" : " words", ", got ", found);
    }
    arrays_.expect_shapes(units_, ceil_div(in_units_, kWord), in);
    (*out)[0] = with_width(data, flatten_, arrays_.target == Form::kFloat ? units_ : ceil_div(units_, kWord));
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const Tensor &data = in[0], &y = out[0];
    const gluon_bnn::DenseSizes sizes = {rows_of(data, width()), units_, in_units_};
    const uint32_t* weights = arrays_.weights(in);
    if (arrays_.has_threshold()) {
      gluon_bnn::xnor_dense_bits(sizes, data.data<uint32_t>(), weights, arrays_.threshold(in), y.data<uint32_t>());
      return;
    }
    const gluon_bnn::Epilogue epilogue = arrays_.epilogue(in);
    if (arrays_.source != Form::kFloat) {
      gluon_bnn::xnor_dense(sizes, data.data<uint32_t>(), weights, epilogue, y.data<float>());
    } else if (arrays_.target == Form::kFloat) {
      gluon_bnn::lut_dense(sizes, data.data<float>(), weights, epilogue, {y.data<float>()});
    } else {
      gluon_bnn::lut_dense(sizes, data.data<float>(), weights, epilogue, {nullptr, y.data<uint32_t>()});
    }
  }

 private:
  int64_t width() const { return arrays_.source == Form::kFloat ? in_units_ : ceil_div(in_units_, kWord); }

  PackedArrays arrays_;
  int64_t units_, in_units_;
  bool flatten_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPackedDense = describe<PackedDense>("gluon_bnn_packed_dense");

}  // namespace mxnet
}  // namespace gluon_bnn
