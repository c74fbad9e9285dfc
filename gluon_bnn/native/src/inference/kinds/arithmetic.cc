// One operation of float32 between two values, or between a value and a constant.
#include "gemm/elementwise.h"
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Arithmetic final : public Node {
 public:
  explicit Arithmetic(Parts& parts) {
    const std::vector<Value> taken = parts.float_sources(1, 2);
    if (taken.front().shape != taken.back().shape) parts.refuse("arithmetic takes two values of the same shape");
    value.shape = taken[0].shape;
    run_ = parts.choice("function", arithmetic_functions).run;
    if (taken.size() == 2) return;
    const bool is_number = parts.has("operand", {1});
    operand_ = is_number ? Operand::kNumber : Operand::kRow;
    constant_ = parts.floats("operand", {is_number ? 1 : value.channels()});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    run_(static_cast<const float*>(xs[0]), constant_ != nullptr ? constant_ : static_cast<const float*>(xs[1]),
         operand_, rows * value.places(), value.channels(), static_cast<float*>(y));
  }

 private:
  decltype(ArithmeticFunction::run) run_;
  Operand operand_ = Operand::kRows;
  const float* constant_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::arithmetic(Parts& parts) { return std::make_unique<Arithmetic>(parts); }

}  // namespace gluon_bnn
