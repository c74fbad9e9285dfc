// The signs of floats, or of pixels, as bits.
#include "gemm/pack.h"

#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Pack final : public Node {
 public:
  explicit Pack(Parts& parts) {
    const Value x = parts.float_source();
    value = {parts.choice("to", kForms).form, x.shape};
    if (value.form == Form::kFloat) parts.refuse("to must be bits or bits01, got float");
    if (x.pixels) threshold_ = parts.integers("threshold_u8", {x.size()});
  }

  bool takes_pixels() const override { return threshold_ != nullptr; }

  void run(int64_t rows, bool pixels, const void* const* xs, void* y) const override {
    uint32_t* bits = static_cast<uint32_t*>(y);
    if (pixels) {
      pack_inputs_u8(static_cast<const uint8_t*>(xs[0]), threshold_, value.places(), rows * value.places(),
                     value.channels(), bits);
    } else {
      pack_inputs(static_cast<const float*>(xs[0]), rows * value.places(), value.channels(), bits);
    }
  }

 private:
  const int32_t* threshold_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::pack(Parts& parts) { return std::make_unique<Pack>(parts); }

}  // namespace gluon_bnn
