// A binary convolution of one or two axes that is frozen to bits, as MXNet sees it: attributes, shapes, types and
// errors. Inference only.
//
//   gluon_bnn_packed_conv(data, arrays.., channels=, in_channels=, kernel=, strides=, padding=, dilation=, pad=,
//                         source=, target=, norm=) -> floats or bits
//
// Floats are (rows, channels, [height,] width), bits (rows, [height,] width, words of channels). The arrays are those
// of packed.h.
#include "gemm/image.h"
#include "mxnet/packed.h"
#include "mxnet/window.h"

namespace {

using namespace gluon_bnn::mxnet;
using gluon_bnn::ceil_div;
using gluon_bnn::ConvSizes;
using gluon_bnn::Form;
using gluon_bnn::kWord;
using gluon_bnn::Pad;
using gluon_bnn::Scratch;

class PackedConv : public Inference {
 public:
  explicit PackedConv(const Attributes& attributes)
      : arrays_(attributes),
        window_(attributes),
        channels_(size_of(attributes, "channels")),
        in_channels_(size_of(attributes, "in_channels")),
        pad_(choice_of<Pad>(attributes, "pad", "zero",
                            {{"zero", Pad::kZero}, {"plus", Pad::kPlus}, {"minus", Pad::kMinus}})) {
    if (arrays_.source == Form::kBits01) {  // 1 and 0 are +1 and -1 to the product
      if (pad_ == Pad::kMinus) refuse("from bits01, 0 and 1, pad must be zero or plus, got minus");
      if (pad_ == Pad::kZero) pad_ = Pad::kMinus;
    }
    int64_t inputs = in_channels_;
    for (int64_t size : window_.kernel) {
      if (inputs > GLUON_BNN_MOST_INPUTS / size) {
        refuse("a window must have at most ", GLUON_BNN_MOST_INPUTS, " inputs, got kernel=", window_.kernel, " of ",
               in_channels_, " channels");
      }
      inputs *= size;
    }
  }

  int inputs() const { return 1 + arrays_.count(); }

  void infer_type(Types in, Types out) const { arrays_.infer_type("packed_conv", in, out); }

  void infer_shape(Shapes* in, Shapes* out) const {
    const size_t axes = window_.axes();
    const Shape data = image_of(kName, (*in)[0], axes);
    const int64_t found = of_bits() ? data.back() : data[1];
    const int64_t wanted = of_bits() ? ceil_div(in_channels_, kWord) : in_channels_;
    if (found != kUnknown && found != wanted) {
      refuse(kName, " of ", in_channels_, " channels takes images of ",
             of_bits() ? std::to_string(wanted) + " words" : "as many", ", got an array of shape ", data);
    }
    int64_t taps = 1;
    for (int64_t size : window_.kernel) taps *= size;
    const int64_t words = of_bits() ? taps * wanted : ceil_div(taps * in_channels_, kWord);
    arrays_.expect_shapes(channels_, words, in);
    Shape y = {data[0]};
    if (to_float()) y.push_back(channels_);
    for (size_t axis = 0; axis < axes; ++axis) {
      y.push_back(window_.outputs(axis, data[first_place() + axis], false, data));
    }
    if (!to_float()) y.push_back(ceil_div(channels_, kWord));
    width_of(y, true);  // must be known to MXNet
    (*out)[0] = y;
  }

  void forward(const Tensors& in, const Tensors& out) const {
    const ConvSizes sizes = window_.conv(in[0], static_cast<int>(first_place()), in_channels_, channels_);
    const uint32_t* weights = arrays_.weights(in);
    // Floats with the channels innermost, as the kernels take and give them.
    const int64_t places = sizes.height * sizes.width, size = sizes.rows * sizes.places() * sizes.units;
    const Scratch<float> x(1, of_bits() ? 0 : sizes.rows * places * sizes.channels), y(1, to_float() ? size : 0);
    if (!of_bits()) gluon_bnn::channels_last(in[0].data<float>(), sizes.rows, sizes.channels, places, x[0]);
    const gluon_bnn::Result result = {to_float() ? y[0] : nullptr, to_float() ? nullptr : out[0].data<uint32_t>()};
    if (!of_bits()) {
      gluon_bnn::lut_conv(sizes, pad_, x[0], weights, arrays_.epilogue(in), result);
    } else {
      const gluon_bnn::Border border(sizes, pad_, weights);
      const uint32_t* bits = in[0].data<uint32_t>();
      if (to_float()) {
        gluon_bnn::xnor_conv(sizes, border, bits, weights, arrays_.epilogue(in), result.y);
      } else {
        gluon_bnn::xnor_conv_bits(sizes, border, bits, weights, arrays_.threshold(in), result.bits);
      }
    }
    if (to_float()) {
      gluon_bnn::channels_first(y[0], sizes.rows, sizes.units, sizes.places(), out[0].data<float>());
    }
  }

 private:
  static constexpr const char* kName = "a packed convolution";

  bool of_bits() const { return arrays_.source != Form::kFloat; }
  bool to_float() const { return arrays_.target == Form::kFloat; }
  size_t first_place() const { return of_bits() ? 1 : 2; }

  PackedArrays arrays_;
  Window window_;
  int64_t channels_, in_channels_;
  Pad pad_;
};

}  // namespace

namespace gluon_bnn {
namespace mxnet {

const Operator kPackedConv = describe<PackedConv>("gluon_bnn_packed_conv");

}  // namespace mxnet
}  // namespace gluon_bnn
