// Values one after the other on the last axis.
#include <cstring>

#include "inference/kinds/kinds.h"

namespace gluon_bnn {
namespace {

// Of a row: else a small file could double a value's size from each concat to the next.
constexpr int64_t kMostConcatenated = INT64_C(1) << 24;

class Concat final : public Node {
 public:
  explicit Concat(Parts& parts) {
    for (const Value& x : parts.float_sources(2, kMostSources)) {
      Shape shape = x.shape;
      if (!channels_.empty()) {
        shape.back() = value.channels();
        if (shape != value.shape) parts.refuse("concat takes values that differ in the last axis only");
        shape.back() += x.channels();
      }
      value.shape = shape;
      channels_.push_back(x.channels());
    }
    if (value.size() > kMostConcatenated) {
      parts.refuse("concat gives at most %lld elements, got %lld", static_cast<Long>(kMostConcatenated),
                   static_cast<Long>(value.size()));
    }
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    float* begin = static_cast<float*>(y);
    for (size_t i = 0; i < channels_.size(); begin += channels_[i++]) {
      const float* x = static_cast<const float*>(xs[i]);
      for (int64_t r = 0; r < rows * value.places(); ++r) {
        std::memcpy(begin + r * value.channels(), x + r * channels_[i], channels_[i] * sizeof(float));
      }
    }
  }

 private:
  std::vector<int64_t> channels_;
};

}  // namespace

std::unique_ptr<Node> kinds::concat(Parts& parts) { return std::make_unique<Concat>(parts); }

}  // namespace gluon_bnn
