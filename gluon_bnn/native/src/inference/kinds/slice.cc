// A part of the last axis.
#include <cstring>

#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

class Slice final : public Node {
 public:
  explicit Slice(Parts& parts) {
    const Value x = parts.float_source();
    channels_ = x.channels();
    begin_ = parts.number("begin", 0);
    const int64_t end = parts.number("end", 1);
    if (begin_ >= end || end > channels_) {
      parts.refuse("slice must have begin < end <= %lld, got begin %lld, end %lld", static_cast<Long>(channels_),
                   static_cast<Long>(begin_), static_cast<Long>(end));
    }
    value.shape = parts.shape_of(x, end - begin_);
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    const float* x = static_cast<const float*>(xs[0]) + begin_;
    float* to = static_cast<float*>(y);
    for (int64_t r = 0; r < rows * value.places(); ++r, x += channels_, to += value.channels()) {
      std::memcpy(to, x, value.channels() * sizeof(float));
    }
  }

 private:
  int64_t channels_, begin_;
};

}  // namespace

std::unique_ptr<Node> kinds::slice(Parts& parts) { return std::make_unique<Slice>(parts); }

}  // namespace gluon_bnn
