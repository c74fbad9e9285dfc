// A convolution with 1-bit weights, of floats, pixels or bits.
#include "gluon_bnn.h"
#include "inference/kinds/kinds.h"
#include "inference/kinds/window_parts.h"
#include "inference/sign_weights.h"

namespace gluon_bnn {
namespace {

constexpr struct {
  const char* name;
  Pad pad;
} kPads[] = {{"zero", Pad::kZero}, {"plus", Pad::kPlus}, {"minus", Pad::kMinus}};

class BinaryConv2D final : public Node {
 public:
  explicit BinaryConv2D(Parts& parts) {
    const Value x = parts.source();
    from_ = x.form;
    sizes_ = take_conv(parts, x);
    pad_ = parts.choice("pad", kPads).pad;
    value = {parts.choice("to", kForms).form, {sizes_.out_height(), sizes_.out_width(), sizes_.units}};
    const bool to_float = value.form == Form::kFloat;
    // Outside of the image the pixels are 0.
    const bool may_take_pixels = x.pixels && (pad_ == Pad::kZero || (sizes_.pad_h == 0 && sizes_.pad_w == 0));
    pixels_ = may_take_pixels && (to_float ? parts.has("alpha_u8") : parts.has("threshold_u8"));
    const int64_t most = pixels_ ? GLUON_BNN_MOST_INPUTS_U8 : kMostElements;
    if (sizes_.inputs() > most) {
      parts.refuse("a window must have at most %lld inputs, got %lld", static_cast<Long>(most),
                   static_cast<Long>(sizes_.inputs()));
    }
    if (from_ == Form::kBits01) {  // 1 and 0 are +1 and -1 to the product
      if (pad_ == Pad::kMinus) parts.refuse("from bits01, 0 and 1, pad must be zero or plus, got minus");
      if (pad_ == Pad::kZero) pad_ = Pad::kMinus;
    }
    const bool of_bits = from_ != Form::kFloat;
    weights_.emplace(parts, from_, value.form, sizes_.units, of_bits ? sizes_.taps() : 1,
                     of_bits ? sizes_.channels : sizes_.inputs());
    if (of_bits) border_.emplace(sizes_, pad_, weights_->bits);
    if (pixels_ && to_float) epilogue_u8_ = weights_->take_u8(parts, sizes_.units);
    if (pixels_ && !to_float) threshold_u8_ = parts.integers("threshold_u8", {sizes_.units});
  }

  bool takes_pixels() const override { return pixels_; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    ConvSizes sizes = sizes_;
    sizes.rows = rows;
    const uint32_t* w = weights_->bits;
    const auto* words = static_cast<const uint32_t*>(xs[0]);
    const auto* bytes = static_cast<const uint8_t*>(xs[0]);
    const Result result = result_at(y, value.form);
    if (pixels && threshold_u8_ != nullptr) {
      u8_conv_bits(sizes, bytes, w, threshold_u8_, result.bits);
    } else if (pixels) {
      u8_conv(sizes, bytes, w, epilogue_u8_, result.y);
    } else if (from_ == Form::kFloat) {
      lut_conv(sizes, pad_, static_cast<const float*>(xs[0]), w, weights_->epilogue, result);
    } else if (weights_->threshold != nullptr) {
      xnor_conv_bits(sizes, *border_, words, w, weights_->threshold, result.bits);
    } else {
      xnor_conv(sizes, *border_, words, w, weights_->epilogue, result.y);
    }
  }

 private:
  Form from_;
  Pad pad_;
  bool pixels_;
  ConvSizes sizes_;
  std::optional<SignWeights> weights_;
  std::optional<Border> border_;
  Epilogue epilogue_u8_;
  const int32_t* threshold_u8_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::binary_conv2d(Parts& parts) { return std::make_unique<BinaryConv2D>(parts); }

}  // namespace gluon_bnn
