// Images of bits between convolutions, as MXNet sees them: from floats, and to rows. Inference only.
//
//   gluon_bnn_pack_image(data, channels=)                 (rows, channels, places..) -> (rows, places.., words)
//   gluon_bnn_packed_flatten(data, channels=, in_units=)  (rows, places.., words) -> (rows, words of in_units)
#include "gemm/image.h"
#include "gemm/pack.h"
#include "mxnet/operator.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::kWord;

class PackImage : public Inference {
 public:
  explicit PackImage(const Attributes& attributes) : channels_(size_of(attributes, "channels")) {}

  int inputs() const { return 1; }

  void infer_type(Types in, Types out) const {
    expect_type("pack_image", in, 0, kFloat32);
    out[0] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("pack_image", data);
    if (data[1] != kUnknown && data[1] != channels_) {
      refuse("pack_image of ", channels_, " channels takes images of as many, got an array of shape ", data);
    }
    width_of(data, true);  // must be known to MXNet
    Shape bits = data;
    bits.erase(bits.begin() + 1);
    bits.push_back(ceil_div(channels_, kWord));
    (*out)[0] = bits;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const int64_t rows = in[0].shape[0], places = in[0].size() / (rows * channels_);
    gluon_bnn::pack_image(in[0].data<float>(), rows, channels_, places, out[0].data<uint32_t>());
  }

 private:
  int64_t channels_;
};

class PackedFlatten : public Inference {
 public:
  explicit PackedFlatten(const Attributes& attributes)
      : channels_(size_of(attributes, "channels")), in_units_(size_of(attributes, "in_units")) {
    if (in_units_ % channels_ != 0) {
      refuse("in_units must be a multiple of channels, ", channels_, ", got ", in_units_);
    }
  }

  int inputs() const { return 1; }

  void infer_type(Types in, Types out) const {
    expect_type("packed_flatten", in, 0, kInt32);
    out[0] = kInt32;
  }

  void infer_shape(Shapes* in, Shapes* out) const {
    const Shape& data = (*in)[0];
    expect_rows("packed_flatten", data);
    const int64_t words = ceil_div(channels_, kWord), found = width_of(data, true);
    if (found != kUnknown && (data.back() != words || found != in_units_ / channels_ * words)) {
      refuse("packed_flatten takes images of ", in_units_ / channels_, " places with ", words,
             words == 1 ? " word" : " words", " each, got an array of shape ", data);
    }
    (*out)[0] = {data[0], ceil_div(in_units_, kWord)};
  }

  void forward(const Tensors& in, const Tensors& out) const {
    gluon_bnn::flatten_bits(in[0].data<uint32_t>(), in[0].shape[0], in_units_ / channels_, channels_,
                            out[0].data<uint32_t>());
  }

 private:
  int64_t channels_, in_units_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPackImage = describe<PackImage>("gluon_bnn_pack_image");
const Operator kPackedFlatten = describe<PackedFlatten>("gluon_bnn_packed_flatten");

}  // namespace mxnet
}  // namespace gluon_bnn
