// A dense layer with 1-bit weights, over the last axis of floats, pixels or bits.
#include "gemm/gemm.h"
#include "gemm/pack.h"
#include "gluon_bnn.h"
#include "inference/kinds/kinds.h"

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
      parts.refuse("at most %lld uint8 inputs are allowed, got %lld", static_cast<long long>(GLUON_BNN_MOST_INPUTS_U8),
                   static_cast<long long>(inputs_));
    }
    units_ = parts.number("units", 1);
    value = {parts.choice("to", kForms).form, parts.shape_of(x, units_)};
    const int64_t words = ceil_div(inputs_, kWord);
    const auto* bits = parts.integers("weight_bits", {ceil_div(units_, kBlock), words, kBlock});
    weights_ = reinterpret_cast<const uint32_t*>(bits);
    check_padding(parts);
    if (from_ != Form::kFloat && value.form != Form::kFloat) {
      threshold_ = parts.integers("threshold", {units_});
      return;
    }
    epilogue_.alpha = parts.floats("alpha", {units_});
    epilogue_.bias = parts.floats("bias", {units_});
    epilogue_.mean = parts.floats_if_any("mean", {units_});
    epilogue_.factor = parts.floats_if_any("factor", {units_});
    epilogue_.beta = parts.floats_if_any("beta", {units_});
    if ((epilogue_.mean == nullptr) != (epilogue_.factor == nullptr) ||
        (epilogue_.mean == nullptr) != (epilogue_.beta == nullptr)) {
      parts.refuse("mean, factor and beta must be there together or not at all");
    }
    if (from_ == Form::kBits01) check_sums(parts, epilogue_.sums = parts.integers("sums", {units_}));
    epilogue_u8_ = epilogue_;
    if (pixels_) {
      epilogue_u8_.alpha = parts.floats("alpha_u8", {units_});
      epilogue_u8_.bias = parts.floats("bias_u8", {units_});
    }
  }

  bool takes_pixels() const override { return pixels_; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    const DenseSizes sizes = {rows * value.places(), units_, inputs_};
    const auto* words = static_cast<const uint32_t*>(xs[0]);
    Result result;
    if (value.form == Form::kFloat) {
      result.y = static_cast<float*>(y);
    } else {
      result.bits = static_cast<uint32_t*>(y);
    }
    if (pixels) {
      u8_dense(sizes, static_cast<const uint8_t*>(xs[0]), weights_, epilogue_u8_, result);
    } else if (from_ == Form::kFloat) {
      lut_dense(sizes, static_cast<const float*>(xs[0]), weights_, epilogue_, result);
    } else if (threshold_ != nullptr) {
      xnor_dense_bits(sizes, words, weights_, threshold_, result.bits);
    } else {
      xnor_dense(sizes, words, weights_, epilogue_, result.y);
    }
  }

 private:
  // The products count all bits, so those past the last input and the last unit must be 0.
  void check_padding(const Parts& parts) const {
    const int64_t words = ceil_div(inputs_, kWord), blocks = ceil_div(units_, kBlock);
    uint32_t past_inputs = 0, past_units = 0;
    if (inputs_ % kWord != 0) {
      for (int64_t block = 0; block < blocks; ++block) {
        const uint32_t* last = weights_ + (block * words + words - 1) * kBlock;
        for (int64_t lane = 0; lane < kBlock; ++lane) past_inputs |= last[lane] >> inputs_ % kWord;
      }
    }
    if (units_ % kBlock != 0) {
      const uint32_t* last = weights_ + (blocks - 1) * words * kBlock;
      for (int64_t word = 0; word < words; ++word) {
        for (int64_t lane = units_ % kBlock; lane < kBlock; ++lane) past_units |= last[word * kBlock + lane];
      }
    }
    if (past_inputs != 0) parts.refuse("weight_bits must be 0 past input %lld", static_cast<long long>(inputs_ - 1));
    if (past_units != 0) parts.refuse("weight_bits must be 0 past unit %lld", static_cast<long long>(units_ - 1));
  }

  // `sums` is the sum of each unit's signs.
  void check_sums(const Parts& parts, const int32_t* sums) const {
    const int64_t words = ceil_div(inputs_, kWord);
    for (int64_t unit = 0; unit < units_; ++unit) {
      const uint32_t* bits = weights_ + unit / kBlock * words * kBlock + unit % kBlock;
      int64_t ones = 0;
      for (int64_t word = 0; word < words; ++word) ones += __builtin_popcount(bits[word * kBlock]);
      if (sums[unit] == inputs_ - 2 * ones) continue;
      parts.refuse("sums must be the sums of the signs, %lld for unit %lld, got %d",
                   static_cast<long long>(inputs_ - 2 * ones), static_cast<long long>(unit), sums[unit]);
    }
  }

  Form from_;
  bool pixels_;
  int64_t inputs_, units_;
  const uint32_t* weights_;
  const int32_t* threshold_ = nullptr;
  Epilogue epilogue_, epilogue_u8_;
};

}  // namespace

std::unique_ptr<Node> kinds::binary_dense(Parts& parts) { return std::make_unique<BinaryDense>(parts); }

}  // namespace gluon_bnn
