// Floats to the bits of their signs, as MXNet sees it: attributes, shapes, types and errors. Inference only.
//
//   gluon_bnn_pack(data, in_units=, flatten=) -> bits
#include "gemm/pack.h"

#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kWord;

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
    gluon_bnn::pack_inputs(in[0].data<float>(), rows_of(in[0], in_units_), in_units_, out[0].data<uint32_t>());
  }

 private:
  int64_t in_units_;
  bool flatten_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPack = describe<Pack>("gluon_bnn_pack");

}  // namespace mxnet
}  // namespace gluon_bnn
