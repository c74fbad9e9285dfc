// The largest of each window of an image, of floats or bits.
#include "inference/kinds/kinds.h"
#include "inference/kinds/window_parts.h"

namespace gluon_bnn {
namespace {

class MaxPool final : public Node {
 public:
  explicit MaxPool(Parts& parts) {
    const Value x = parts.source();
    sizes_ = take_pool(parts, x);
    value = {x.form, {sizes_.out_height, sizes_.out_width, x.channels()}};
    if (x.form == Form::kFloat || !parts.has("falls")) return;
    const int64_t words = ceil_div(x.channels(), kWord), tail = x.channels() % kWord;
    falls_ = reinterpret_cast<const uint32_t*>(parts.integers("falls", {words}));
    if (tail != 0 && falls_[words - 1] >> tail != 0) {
      parts.refuse("falls must be 0 past channel %lld", static_cast<Long>(x.channels() - 1));
    }
  }

  void run(int64_t rows, bool, const void* const* xs, void* y) const override {
    PoolSizes sizes = sizes_;
    sizes.rows = rows;
    if (value.form == Form::kFloat) {
      max_pool(sizes, static_cast<const float*>(xs[0]), static_cast<float*>(y));
    } else {
      max_pool_bits(sizes, static_cast<const uint32_t*>(xs[0]), falls_, static_cast<uint32_t*>(y));
    }
  }

 private:
  PoolSizes sizes_;
  const uint32_t* falls_ = nullptr;
};

}  // namespace

std::unique_ptr<Node> kinds::max_pool(Parts& parts) { return std::make_unique<MaxPool>(parts); }

}  // namespace gluon_bnn
