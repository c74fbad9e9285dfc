// Activations, element by element; those with a slope have one number, or one for each channel.
#include "gemm/activations.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Activation final : public Node {
 public:
  explicit Activation(Parts& parts) {
    value.shape = parts.float_source().shape;
    const ActivationFunction& function = parts.choice("function", activation_functions);
    run_ = function.run;
    if (function.slope == Slope::kNone) return;
    slope_ = parts.floats("slope", {function.slope == Slope::kLayer ? 1 : value.channels()});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    run_(static_cast<const float*>(xs[0]), slope_, rows * value.places(), value.channels(), static_cast<float*>(y));
  }

 private:
  decltype(ActivationFunction::run) run_;
  const float* slope_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::activation(Parts& parts) { return std::make_unique<Activation>(parts); }

}  // namespace gluon_bnn
