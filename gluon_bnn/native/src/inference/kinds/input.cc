// The input: float32, or uint8 p that stand for x = scale * p + shift.
#include "gemm/elementwise.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Input final : public Node {
 public:
  explicit Input(Parts& parts) {
    parts.sources(0, 0);
    int64_t inputs = 1;
    for (const int64_t size : parts.sizes("shape")) inputs *= size;
    one_scale_ = parts.has("scale", {1});
    scale_ = parts.floats_if_any("scale", {one_scale_ ? 1 : inputs});
    shift_ = parts.floats_if_any("shift", {inputs});
    if ((scale_ == nullptr) != (shift_ == nullptr))
      parts.refuse("scale and shift must be there together or not at all");
    for (int64_t k = 0; scale_ != nullptr && k < (one_scale_ ? 1 : inputs); ++k) {
      if (scale_[k] == 0) parts.refuse("scale must not be 0, got it at %lld", static_cast<Long>(k));
    }
    value = {Form::kFloat, {inputs}, one_scale_ && scale_[0] > 0};
  }

  // Only uint8 inputs need this node to run; the plan passes float inputs on as they are.
  bool takes_pixels() const override { return scale_ != nullptr; }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    scale_pixels(static_cast<const uint8_t*>(xs[0]), scale_, one_scale_, shift_, rows, value.size(),
                 static_cast<float*>(y));
  }

 private:
  bool one_scale_;
  const float *scale_, *shift_;
};

}  // namespace

std::unique_ptr<Node> kinds::input(Parts& parts) { return std::make_unique<Input>(parts); }

}  // namespace gluon_bnn
