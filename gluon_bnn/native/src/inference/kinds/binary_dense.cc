// A dense layer with 1-bit weights, over the last axis of floats, pixels or bits.
#include "gemm/gemm.h"
#include "gluon_bnn.h"
#include "inference/kinds/kinds.h"
#include "inference/sign_weights.h"

namespace gluon_bnn {
namespace {

class BinaryDense final : public Node {
 public:
  explicit BinaryDense(Parts& parts) {
    const Value x = parts.source();
    from_ = x.form;
    inputs_ = x.channels();
    pixels_ = x.pixels && x.shape.size() == 1;  // each pixel of an image has a shift of its own
    if (pixels_ && inputs_ > GLUON_BNN_MOST_INPUTS_U8) {
      parts.refuse("at most %lld uint8 inputs are allowed, got %lld", static_cast<Long>(GLUON_BNN_MOST_INPUTS_U8),
                   static_cast<Long>(inputs_));
    }
    units_ = parts.number("units", 1);
    value = {parts.choice("to", kForms).form, parts.shape_of(x, units_)};
    weights_.emplace(parts, from_, value.form, units_, 1, inputs_);
    if (pixels_) epilogue_u8_ = weights_->take_u8(parts, units_);
  }

  bool takes_pixels() const override { return pixels_; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    const DenseSizes sizes = {rows * value.places(), units_, inputs_};
    const auto* words = static_cast<const uint32_t*>(xs[0]);
    const Result result = result_at(y, value.form);
    if (pixels) {
      u8_dense(sizes, static_cast<const uint8_t*>(xs[0]), weights_->bits, epilogue_u8_, result);
    } else if (from_ == Form::kFloat) {
      lut_dense(sizes, static_cast<const float*>(xs[0]), weights_->bits, weights_->epilogue, result);
    } else if (weights_->threshold != nullptr) {
      xnor_dense_bits(sizes, words, weights_->bits, weights_->threshold, result.bits);
    } else {
      xnor_dense(sizes, words, weights_->bits, weights_->epilogue, result.y);
    }
  }

 private:
  Form from_;
  bool pixels_;
  int64_t inputs_, units_;
  std::optional<SignWeights> weights_;
  Epilogue epilogue_u8_;
};

}  // namespace

std::unique_ptr<Node> kinds::binary_dense(Parts& parts) { return std::make_unique<BinaryDense>(parts); }

}  // namespace gluon_bnn
