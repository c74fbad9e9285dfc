// A convolution with float weights.
#include "inference/kinds/kinds.h"
#include "inference/kinds/window_parts.h"

namespace gluon_bnn {
namespace {

class Conv2D final : public Node {
 public:
  explicit Conv2D(Parts& parts) {
    const Value x = parts.float_source();
    sizes_ = take_conv(parts, x);
    groups_ = parts.number("groups", 1);
    if (sizes_.channels % groups_ != 0 || sizes_.units % groups_ != 0) {
      parts.refuse("groups must divide the channels, got %lld groups of %lld to %lld channels",
                   static_cast<Long>(groups_), static_cast<Long>(sizes_.channels), static_cast<Long>(sizes_.units));
    }
    value.shape = {sizes_.out_height(), sizes_.out_width(), sizes_.units};
    weight_ = parts.floats("weight", {sizes_.taps() * (sizes_.channels / groups_), sizes_.units});
    bias_ = parts.floats_if_any("bias", {sizes_.units});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    ConvSizes sizes = sizes_;
    sizes.rows = rows;
    conv(sizes, groups_, static_cast<const float*>(xs[0]), weight_, bias_, static_cast<float*>(y));
  }

 private:
  ConvSizes sizes_;
  int64_t groups_;
  const float *weight_, *bias_;
};

}  // namespace

std::unique_ptr<Node> kinds::conv2d(Parts& parts) { return std::make_unique<Conv2D>(parts); }

}  // namespace gluon_bnn
