// The gradient rules: what reaches a weight w, given g = dL/d(alpha s) for its sign s. Each rule is one functor here,
// which sign_scale and the binary layers use. The formulas are those of gluon_bnn/reference/binary.py, where n weights
// share alpha, and m is 1 where |w| <= clip, else 0:
//
//   ste       dw = g m
//   xnor      dw = g (1/n + alpha m)
//   exact     dw = g alpha m + s/n sum_j g_j s_j
//   notebook  dw = g (1/n + 1[|w| <= 5] w alpha/n)
//
// To add a rule: write its functor and append it to Rules. Its name is then known to the operators.
#ifndef GLUON_BNN_TRAINING_RULES_H_
#define GLUON_BNN_TRAINING_RULES_H_

#include <cmath>
#include <tuple>
#include <type_traits>

namespace gluon_bnn {

// The terms that a factor of the gradient is made of. A binary layer has g itself. sign_scale has dL/ds = alpha g in
// its place (and dL/dalpha = sum_j g_j s_j), so that every term is divided by alpha:
//
//                        one        share        alpha    alpha_share
//   factor of g          1          1/n          alpha    alpha/n
//   factor of dL/ds      1/alpha    1/(n alpha)  1        1/n
template <typename T>
struct Terms {
  T one, share, alpha, alpha_share, clip;
  bool masked;  // without a clip every weight passes, NaN too

  static Terms of_g(T alpha, T n, T clip) { return {T(1), T(1) / n, alpha, alpha / n, clip, std::isfinite(clip)}; }

  static Terms of_dsigns(T alpha, T n, T clip) {
    const T inverse = T(1) / alpha, share = T(1) / n;
    return {inverse, inverse * share, T(1), share, clip, std::isfinite(clip)};
  }

  // m. It is computed without a branch, which the processor could not predict.
  bool passes(T w) const { return !masked | (std::fabs(w) <= clip); }
};

// A rule has
//   kName       its name in the attributes of operators
//   kUsesAlpha  false where the factor of g is m, whatever alpha is: the rule then goes with every scale
//   kCross      whether s/n sum_j g_j s_j is added to the gradient
//   factor      what g is multiplied with
struct Ste {
  static constexpr const char* kName = "ste";
  static constexpr bool kUsesAlpha = false, kCross = false;
  template <typename T>
  static T factor(T w, const Terms<T>& terms) {
    return terms.one * (terms.passes(w) ? T(1) : T(0));
  }
};

struct Xnor {
  static constexpr const char* kName = "xnor";
  static constexpr bool kUsesAlpha = true, kCross = false;
  template <typename T>
  static T factor(T w, const Terms<T>& terms) {
    return terms.share + (terms.passes(w) ? terms.alpha : T(0));
  }
};

struct Exact {
  static constexpr const char* kName = "exact";
  static constexpr bool kUsesAlpha = true, kCross = true;
  template <typename T>
  static T factor(T w, const Terms<T>& terms) {
    return terms.passes(w) ? terms.alpha : T(0);
  }
};

struct Notebook {
  static constexpr const char* kName = "notebook";
  static constexpr bool kUsesAlpha = true, kCross = false;
  template <typename T>
  static T factor(T w, const Terms<T>& terms) {
    return terms.share + (std::fabs(w) <= T(5) ? w * terms.alpha_share : T(0));
  }
};

using Rules = std::tuple<Ste, Xnor, Exact, Notebook>;

// A rule that is chosen at run time: its place in Rules.
enum class Gradient : int {};

// Calls run(rule, gradient) for all rules in turn.
template <typename Run>
void for_each_rule(const Run& run) {
  int place = 0;
  std::apply([&](auto... rule) { (run(rule, Gradient(place++)), ...); }, Rules());
}

// Calls run(rule) for the one that `gradient` chooses.
template <typename Run>
void with_rule(Gradient gradient, const Run& run) {
  for_each_rule([&](auto rule, Gradient each) {
    if (each == gradient) run(rule);
  });
}

template <typename Rule>
Gradient gradient_of() {
  Gradient found = {};
  for_each_rule([&](auto rule, Gradient each) {
    if (std::is_same_v<decltype(rule), Rule>) found = each;
  });
  return found;
}

}  // namespace gluon_bnn

#endif  // GLUON_BNN_TRAINING_RULES_H_
