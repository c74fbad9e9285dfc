// Applies a gradient rule to g, the gradient to a layer's binary weights, where that is computed part by part and never
// stored as a whole.
#ifndef GLUON_BNN_TRAINING_RULE_ON_TILES_H_
#define GLUON_BNN_TRAINING_RULE_ON_TILES_H_

#include <algorithm>
#include <cstring>
#include <vector>

#include "gemm/gemm.h"
#include "kernels/portable.h"
#include "parallel.h"
#include "training/sign_scale.h"

namespace gluon_bnn {
namespace {

// A part of dw.
struct Part {
  int64_t unit, units, input, inputs;
};

// dw of a part of a row. g and dw do not overlap.
template <typename Rule>
void apply_to_row(const Terms<float>& terms, const float* g, const float* w, int64_t size, float* __restrict dw) {
  for (int64_t k = 0; k < size; ++k) dw[k] = g[k] * Rule::factor(w[k], terms);
}

// Applies the gradient rule to tiles of g.
class RuleOnTiles {
 public:
  RuleOnTiles(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, const float* w, const float* alpha,
              float* dw)
      : sizes_(sizes), per_unit_(scale == Scale::kChannel), clip_(clip), w_(w), alpha_(alpha), dw_(dw) {
    n_ = static_cast<float>(per_unit_ ? sizes.inputs : sizes.units * sizes.inputs);
    with_rule(gradient, [&](auto rule) {
      apply_ = &RuleOnTiles::apply_rule<decltype(rule)>;
      copies_ = !rule.kUsesAlpha && std::isinf(clip);
      if (rule.kCross) products_.resize(sizes.units);
    });
  }

  // dw of a part from its g, which has `stride` numbers per row.
  void apply(const Part& part, const float* g, int64_t stride) { (this->*apply_)(part, g, stride); }

  // Where the product may write g because dw = g there; null where the rule has to be applied.
  float* direct(const Part& part) const {
    const float* alpha = alpha_ + part.unit;
    return copies_ && std::count(alpha, alpha + part.units, 0.0f) == 0 ? dw_ + offset(part) : nullptr;
  }

  // Prefetches what the rule reads and writes, so that the loads overlap with computing g. GCC leaves calls out of
  // functions that only prefetch, as it sees no effect in them; hence always_inline.
  [[gnu::always_inline]] inline void prefetch(const Part& part) const {
    constexpr int64_t kLineFloats = kLine / sizeof(float);
    const float* w = w_ + offset(part);
    float* dw = dw_ + offset(part);
    for (int64_t u = 0; u < part.units; ++u, w += sizes_.inputs, dw += sizes_.inputs) {
      for (int64_t k = 0; k < part.inputs; k += kLineFloats) {
        __builtin_prefetch(dw + k, 1);
        if (!copies_) __builtin_prefetch(w + k);
      }
    }
  }

  // Adds s/n sum_j g_j s_j, whose sum is known only after all parts.
  void add_cross() const {
    if (products_.empty()) return;
    double all = 0;
    for (double product : products_) all += product;
    const int threads = threads_for(kTouch * sizes_.units * sizes_.inputs);
    parallel_for<Schedule::kStatic>(threads, sizes_.units, [&](int64_t unit, int) {
      if (alpha_[unit] == 0) return;
      const float share = static_cast<float>((per_unit_ ? products_[unit] : all) / n_);
      const float* w = w_ + unit * sizes_.inputs;
      float* __restrict dw = dw_ + unit * sizes_.inputs;
      for (int64_t k = 0; k < sizes_.inputs; ++k) dw[k] += w[k] < 0 ? -share : share;
    });
  }

 private:
  int64_t offset(const Part& part) const { return part.unit * sizes_.inputs + part.input; }

  template <typename Rule>
  void apply_rule(const Part& part, const float* g, int64_t stride) {
    const float* w = w_ + offset(part);
    float* dw = dw_ + offset(part);
    for (int64_t u = 0; u < part.units; ++u, g += stride, w += sizes_.inputs, dw += sizes_.inputs) {
      const float alpha = alpha_[part.unit + u];
      if (alpha == 0) {  // all weights of the group are zero, for which no gradient is defined
        std::fill(dw, dw + part.inputs, 0.0f);
      } else if (copies_) {
        std::memcpy(dw, g, part.inputs * sizeof(float));
      } else {
        apply_to_row<Rule>(Terms<float>::of_g(alpha, n_, clip_), g, w, part.inputs, dw);
        if constexpr (Rule::kCross) {  // one thread has all parts of a unit, in order
          products_[part.unit + u] += add_up(part.inputs, [=](int64_t k) { return w[k] < 0 ? -g[k] : g[k]; });
        }
      }
    }
  }

  DenseSizes sizes_;
  bool per_unit_, copies_;
  float clip_, n_;  // n_ weights share an alpha
  const float *w_, *alpha_;
  float* dw_;
  std::vector<double> products_;  // sum_j g_j s_j of each unit, where the rule needs it
  void (RuleOnTiles::*apply_)(const Part&, const float*, int64_t);
};

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_RULE_ON_TILES_H_
