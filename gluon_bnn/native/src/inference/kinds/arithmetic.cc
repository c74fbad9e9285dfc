// One operation of float32 between two values, or between a value and a constant.
#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

// y = x op z over rows of `size` elements; z is one number for all, a row for all, or as many rows as x.
using Loop = void (*)(const float* x, const float* z, int64_t rows, int64_t size, bool one, bool same_row, float* y);

template <typename Operation>
void loop(const float* x, const float* z, int64_t rows, int64_t size, bool one, bool same_row, float* y) {
  const Operation operation;
  for (int64_t r = 0; r < rows; ++r, x += size, y += size) {
    if (one) {
      const float number = z[0];
      for (int64_t i = 0; i < size; ++i) y[i] = operation(x[i], number);
    } else {
      for (int64_t i = 0; i < size; ++i) y[i] = operation(x[i], z[i]);
      if (!same_row) z += size;
    }
  }
}

struct Add {
  float operator()(float a, float b) const { return a + b; }
};
struct Subtract {
  float operator()(float a, float b) const { return a - b; }
};
struct Multiply {
  float operator()(float a, float b) const { return a * b; }
};
struct Divide {
  float operator()(float a, float b) const { return a / b; }
};
// As in MXNet, these give NaN where either number is NaN, and the second of two equal ones, which matters for 0.0 and
// -0.0.
struct Maximum {
  float operator()(float a, float b) const { return a > b || a != a ? a : b; }
};
struct Minimum {
  float operator()(float a, float b) const { return a < b || a != a ? a : b; }
};

struct Function {
  const char* name;
  Loop run;
};
constexpr Function kFunctions[] = {{"add", loop<Add>},       {"subtract", loop<Subtract>}, {"multiply", loop<Multiply>},
                                   {"divide", loop<Divide>}, {"maximum", loop<Maximum>},   {"minimum", loop<Minimum>}};

class Arithmetic final : public Node {
 public:
  explicit Arithmetic(Parts& parts) {
    const std::vector<Value> taken = parts.float_sources(1, 2);
    if (taken.front().shape != taken.back().shape) parts.refuse("arithmetic takes two values of the same shape");
    value.shape = taken[0].shape;
    run_ = parts.choice("function", kFunctions).run;
    if (taken.size() == 2) return;
    one_ = parts.has("operand", {1});
    operand_ = parts.floats("operand", {one_ ? 1 : value.channels()});
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    run_(static_cast<const float*>(xs[0]), operand_ != nullptr ? operand_ : static_cast<const float*>(xs[1]),
         rows * value.places(), value.channels(), one_, operand_ != nullptr, static_cast<float*>(y));
  }

 private:
  Loop run_;
  bool one_ = false;
  const float* operand_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::arithmetic(Parts& parts) { return std::make_unique<Arithmetic>(parts); }

}  // namespace gluon_bnn
