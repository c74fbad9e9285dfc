// What training needs of the library, without Python and MXNet: layers forward and backward, max pooling, Adam and
// batch norm on every instruction set of the machine, against loops in double as plain as the formulas. Arrays have
// just the size they need, so that a sanitizer sees every step beyond. Built and run by run.sh.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "training/adam.h"
#include "training/batch_norm.h"
#include "training/binary_conv.h"
#include "training/binary_dense.h"
#include "training/correlation.h"
#include "training/max_pool.h"
#include "training/winograd.h"

namespace {

using gluon_bnn::ConvSizes;
using gluon_bnn::DenseSizes;
using gluon_bnn::Gradient;
using gluon_bnn::Pad;
using gluon_bnn::Scale;
using Floats = std::vector<float>;
using Doubles = std::vector<double>;

const Gradient kSte = gluon_bnn::gradient_of<gluon_bnn::Ste>();
const Gradient kXnor = gluon_bnn::gradient_of<gluon_bnn::Xnor>();
const Gradient kExact = gluon_bnn::gradient_of<gluon_bnn::Exact>();
const Gradient kNotebook = gluon_bnn::gradient_of<gluon_bnn::Notebook>();
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr double kBound = 8;  // in units of float's epsilon times the sum of the magnitudes; 2.9 seen
double most = 0;              // that was seen

Floats reals(int64_t size) {
  Floats values(size);
  for (float& value : values) value = real();
  return values;
}

void within(const Floats& found, const Doubles& expected, const Doubles& magnitude, const std::string& what) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = std::fabs(found[i] - expected[i]), unit = std::numeric_limits<float>::epsilon() * magnitude[i];
    if (error <= kBound * unit) {
      if (error > 0) most = std::max(most, error / unit);
      continue;
    }
    std::ostringstream text;
    text.precision(9);
    text << what << ", number " << i << " is " << found[i] << ", not " << expected[i];
    fail(text.str());
  }
}

// A product and the sum of its terms' magnitudes.
struct Sum {
  double value = 0, size = 0;
  void add(double term) {
    value += term;
    size += std::fabs(term);
  }
};

void compare(const Floats& found, const std::vector<Sum>& sums, const std::string& what) {
  Doubles expected, magnitude;
  for (const Sum& sum : sums) {
    expected.push_back(sum.value);
    magnitude.push_back(sum.size);
  }
  within(found, expected, magnitude, what);
}

// Real inputs, signs as numbers, or numbers whose signs the layer takes.
enum Inputs { kReals, kSigns, kSignsOf };

void check_layer(const DenseSizes& sizes, Scale scale, Gradient gradient, float clip, Inputs inputs, bool has_bias) {
  const int64_t m = sizes.rows, n = sizes.units, k = sizes.inputs;
  Floats x = reals(m * k), w = reals(n * k), l = reals(n * k);
  const Floats bias = reals(n), dy = reals(m * n);
  const float sign_clip = clip;
  x[0] = -1.0f;  // at the clip of signs
  x[m * k / 2] = -0.0f;
  const Floats before = x;
  if (inputs != kReals)
    for (float& v : x) v = v < 0 ? -1.0f : 1.0f;
  for (float& v : l) v = std::fabs(v) + 0.1f;
  w[0] = -0.0f;
  w[n * k / 2] = 1.0f;                                                              // at the clip
  if (scale == Scale::kChannel) std::fill(w.begin() + (n - 1) * k, w.end(), 0.0f);  // a unit without a gradient

  const float* in = (inputs == kSignsOf ? before : x).data();
  std::vector<uint32_t> kept(inputs == kSignsOf ? m * ((k + 31) / 32) : 0);
  uint32_t* signs = inputs == kSignsOf ? kept.data() : nullptr;
  std::vector<uint32_t> bits((n + 15) / 16 * ((k + 31) / 32) * 16);
  Floats alpha(n), y(m * n), dx(m * k), dw(n * k, 7.0f), dbias(n);
  gluon_bnn::binary_dense_weights(sizes, scale, w.data(), scale == Scale::kLoss ? l.data() : nullptr, bits.data(),
                                  alpha.data());
  gluon_bnn::binary_dense_forward(sizes, bits.data(), alpha.data(), in, has_bias ? bias.data() : nullptr, signs,
                                  y.data());
  gluon_bnn::binary_dense_backward(sizes, scale, gradient, clip, dy.data(), in, signs, sign_clip, w.data(), bits.data(),
                                   alpha.data(), dx.data(), dw.data(), has_bias ? dbias.data() : nullptr);

  const auto sign = [&](int64_t i) { return w[i] < 0 ? -1.0 : 1.0; };
  Doubles scales(n, 1.0);
  if (scale != Scale::kNone) {
    Doubles top(n), bottom(n);
    for (int64_t i = 0; i < n * k; ++i) {
      const int64_t group = scale == Scale::kChannel ? i / k : 0;
      const double weight = scale == Scale::kLoss ? l[i] : 1;
      top[group] += weight * std::fabs(w[i]);
      bottom[group] += weight;
    }
    for (int64_t u = 0; u < n; ++u) {
      const int64_t group = scale == Scale::kChannel ? u : 0;
      scales[u] = top[group] / bottom[group];
    }
  }
  std::vector<Sum> ys(m * n), dxs(m * k), gs(n * k), dbs(n), products(n);
  for (int64_t r = 0; r < m; ++r) {
    for (int64_t u = 0; u < n; ++u) {
      if (has_bias) ys[r * n + u].add(bias[u]);
      dbs[u].add(dy[r * n + u]);
      for (int64_t i = 0; i < k; ++i) {
        ys[r * n + u].add(scales[u] * sign(u * k + i) * x[r * k + i]);
        if (inputs != kSignsOf || std::fabs(before[r * k + i]) <= sign_clip)
          dxs[r * k + i].add(dy[r * n + u] * scales[u] * sign(u * k + i));
        gs[u * k + i].add(static_cast<double>(dy[r * n + u]) * x[r * k + i]);
      }
    }
  }
  for (int64_t i = 0; i < n * k; ++i) {
    const int64_t group = scale == Scale::kChannel ? i / k : 0;
    products[group].value += sign(i) * gs[i].value;
    products[group].size += gs[i].size;
  }
  const double group_size = scale == Scale::kChannel ? k : n * k;
  std::vector<Sum> dws(n * k);
  for (int64_t i = 0; i < n * k; ++i) {
    const double a = scales[i / k], passes = std::fabs(w[i]) <= clip;
    const Sum& product = products[scale == Scale::kChannel ? i / k : 0];
    if (a == 0) continue;
    double factor = 0;
    if (gradient == kSte) factor = passes;
    if (gradient == kXnor) factor = 1 / group_size + a * passes;
    if (gradient == kExact) factor = a * passes;
    if (gradient == kNotebook) factor = 1 / group_size + (std::fabs(w[i]) <= 5) * w[i] * a / group_size;
    dws[i] = {factor * gs[i].value, std::fabs(factor) * gs[i].size};
    if (gradient == kNotebook) dws[i].size = gs[i].size * (1 + std::fabs(w[i]) * a) / group_size;
    if (gradient != kExact) continue;
    dws[i].value += sign(i) * product.value / group_size;
    dws[i].size += product.size / group_size;
  }

  std::ostringstream text;
  text << " at " << m << " x " << n << " x " << k << ", scale " << static_cast<int>(scale) << ", gradient "
       << static_cast<int>(gradient) << ", clip " << clip
       << (inputs == kSigns     ? ", signs"
           : inputs == kSignsOf ? ", signs of reals"
                                : "")
       << (has_bias ? ", bias" : "");
  compare(y, ys, "y" + text.str());
  compare(dx, dxs, "dx" + text.str());
  compare(dw, dws, "dw" + text.str());
  if (has_bias) compare(dbias, dbs, "dbias" + text.str());
}

void check_adam(int64_t size) {
  gluon_bnn::AdamStep step;
  if (step.clip_gradient != kInfinity || step.clip_weights != kInfinity) fail("an AdamStep clips by default");
  step.lr = 0.1f, step.beta1 = 0.9f, step.beta2 = 0.99f, step.epsilon = 1e-8f, step.wd = 0.01f;
  step.rescale_grad = 0.5f, step.clip_gradient = 0.7f, step.clip_weights = 1;
  const Floats g = reals(size), w = reals(size), m = reals(size);
  Floats v = reals(size);
  for (float& value : v) value = std::fabs(value);
  for (const bool curved : {false, true}) {
    Floats weight = w, mean = m, var = v, curvature(size);
    gluon_bnn::adam_update(step, g.data(), size, weight.data(), mean.data(), var.data(),
                           curved ? curvature.data() : nullptr);
    Doubles weights(size), means(size), vars(size), curvatures(size), moved_by(size), sizes(size), squares(size);
    for (int64_t i = 0; i < size; ++i) {
      const double beta1 = step.beta1, beta2 = step.beta2, limit = step.clip_gradient;
      const double rescaled = 0.5 * g[i], decay = static_cast<double>(step.wd) * w[i];
      const double d = std::min(limit, std::max(-limit, rescaled + decay));
      const double d_size = std::fabs(rescaled) + std::fabs(decay);
      means[i] = beta1 * m[i] + (1 - beta1) * d;
      vars[i] = beta2 * v[i] + (1 - beta2) * d * d;
      curvatures[i] = std::sqrt(vars[i]) + 1e-8;
      weights[i] = std::min(1.0, std::max(-1.0, w[i] - step.lr * means[i] / (std::sqrt(vars[i]) + step.epsilon)));
      sizes[i] = beta1 * std::fabs(m[i]) + (1 - beta1) * d_size;
      squares[i] = beta2 * v[i] + (1 - beta2) * d_size * d_size;
      moved_by[i] = std::fabs(w[i]) + step.lr * sizes[i] / std::sqrt(vars[i]) * squares[i] / vars[i];
    }
    within(weight, weights, moved_by, "Adam's weight");
    within(mean, means, sizes, "Adam's mean");
    within(var, vars, squares, "Adam's variance");
    Doubles curvature_sizes(size);
    for (int64_t i = 0; i < size; ++i) curvature_sizes[i] = curvatures[i] * squares[i] / vars[i];
    if (curved) within(curvature, curvatures, curvature_sizes, "the curvature");
  }
}

// An image of `places` is `places` rows; the element of unit u in row r, that is in place r % places, is at(r, u).
void check_batch_norm(int64_t m, int64_t n, int64_t places) {
  const auto at_of = [=](int64_t r, int64_t u) { return (r / places * n + u) * places + r % places; };
  const Floats x = reals(m * n), gamma = reals(n), beta = reals(n), dy = reals(m * n);
  Floats running_mean = reals(n), running_var(n, 0.5f), mean(n), inverse(n), y(m * n);
  const Floats old = running_mean;
  gluon_bnn::batch_norm_train(x.data(), gamma.data(), beta.data(), {m / places, n, places}, 1e-3, 0.9,
                              running_mean.data(), running_var.data(), mean.data(), inverse.data(), y.data());
  Floats dx(m * n), dgamma(n), dbeta(n);
  gluon_bnn::batch_norm_train_backward(dy.data(), x.data(), gamma.data(), mean.data(), inverse.data(),
                                       {m / places, n, places}, dx.data(), dgamma.data(), dbeta.data());
  Doubles ys(m * n), dxs(m * n), running(n), y_size(m * n), dx_size(m * n), running_size(n);
  std::vector<Sum> averages(n), dgammas(n), dbetas(n);
  for (int64_t u = 0; u < n; ++u) {
    for (int64_t r = 0; r < m; ++r) averages[u].add(x[at_of(r, u)] / static_cast<double>(m));
    const double average = averages[u].value;
    double var = 0;
    for (int64_t r = 0; r < m; ++r) var += (x[at_of(r, u)] - average) * (x[at_of(r, u)] - average) / m;
    const double scale = 1 / std::sqrt(var + 1e-3), g = std::fabs(gamma[u]);
    const auto normal = [&](int64_t r) { return (x[at_of(r, u)] - average) * scale; };
    const auto normal_size = [&](int64_t r) { return (std::fabs(x[at_of(r, u)]) + averages[u].size) * scale; };
    for (int64_t r = 0; r < m; ++r) {
      dbetas[u].add(dy[at_of(r, u)]);
      dgammas[u].value += dy[at_of(r, u)] * normal(r);
      dgammas[u].size += std::fabs(dy[at_of(r, u)]) * normal_size(r);
    }
    running[u] = 0.9 * old[u] + 0.1 * average;
    running_size[u] = 0.9 * std::fabs(old[u]) + 0.1 * averages[u].size;
    for (int64_t r = 0; r < m; ++r) {
      const int64_t at = at_of(r, u);
      ys[at] = gamma[u] * normal(r) + beta[u];
      y_size[at] = g * normal_size(r) + std::fabs(beta[u]);
      dxs[at] = gamma[u] * scale * (dy[at] - dbetas[u].value / m - normal(r) * dgammas[u].value / m);
      dx_size[at] = g * scale * (std::fabs(dy[at]) + dbetas[u].size / m + normal_size(r) * dgammas[u].size / m);
    }
  }
  compare(dgamma, dgammas, "batch norm's dgamma");
  compare(dbeta, dbetas, "batch norm's dbeta");
  within(y, ys, y_size, "batch norm");
  within(dx, dxs, dx_size, "batch norm's dx");
  within(running_mean, running, running_size, "batch norm's running mean");
}

// A convolution against loops over all windows. Where signs are bits, places outside stand for +1 and are taken away
// again, so that magnitudes have them as 1.
void check_conv(const ConvSizes& s, Pad pad, Scale scale, Gradient gradient, Inputs inputs) {
  const int64_t places = s.places(), image = s.channels * s.height * s.width, taps = s.taps();
  const Floats before = reals(s.rows * image), bias = reals(s.units), dy = reals(s.rows * s.units * places);
  Floats x = before, w = reals(s.units * s.inputs());
  if (w.size() > 1) w[0] = -0.0f;  // alone it would have no gradient
  if (inputs != kReals)
    for (float& v : x) v = v < 0 ? -1.0f : 1.0f;
  const float* in = (inputs == kSignsOf ? before : x).data();
  std::vector<uint32_t> kept(inputs == kSignsOf ? s.rows * s.pixel_words() * s.height * s.width : 0);
  uint32_t* signs = inputs == kSignsOf ? kept.data() : nullptr;
  Floats alpha(s.units), y(dy.size()), dx(x.size(), 7.0f), dw(w.size(), 7.0f), dbias(s.units);
  gluon_bnn::binary_conv_alpha(s, scale, w.data(), nullptr, alpha.data());
  gluon_bnn::binary_conv_forward(s, pad, w.data(), alpha.data(), in, bias.data(), signs, y.data());
  gluon_bnn::binary_conv_backward(s, pad, scale, gradient, kInfinity, dy.data(), in, signs, 1.0f, w.data(),
                                  alpha.data(), dx.data(), dw.data(), dbias.data());
  std::vector<Sum> ys(y.size()), dxs(x.size()), gs(w.size()), dbs(s.units);
  const double outside = pad == Pad::kZero ? 0 : pad == Pad::kPlus ? 1 : -1;
  for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
    const int64_t u = i / places % s.units, row = i / places / s.units;
    const int64_t top = s.vertical().start(i % places / s.out_width());
    const int64_t left = s.horizontal().start(i % s.out_width());
    ys[i].add(bias[u]);
    dbs[u].add(dy[i]);
    for (int64_t k = 0; k < s.inputs(); ++k) {
      const int64_t at_y = top + k % taps / s.kernel_w * s.dilation_h, at_x = left + k % s.kernel_w * s.dilation_w;
      const bool inside = at_y >= 0 && at_y < s.height && at_x >= 0 && at_x < s.width;
      const int64_t from = row * image + (k / taps * s.height + at_y) * s.width + at_x;
      const double value = inside ? x[from] : outside, sign = w[u * s.inputs() + k] < 0 ? -1 : 1;
      ys[i].add(alpha[u] * sign * value);
      gs[u * s.inputs() + k].add(dy[i] * value);
      if (!inside) {
        ys[i].size += alpha[u];
        gs[u * s.inputs() + k].size += std::fabs(dy[i]);
      } else if (inputs != kSignsOf || std::fabs(before[from]) <= 1.0f) {
        dxs[from].add(static_cast<double>(dy[i]) * alpha[u] * sign);
      }
    }
  }
  const bool exact = gradient == kExact;  // the other is ste
  Sum cross;
  for (size_t i = 0; i < w.size() && exact; ++i) {
    cross.value += (w[i] < 0 ? -1 : 1) * gs[i].value / w.size();
    cross.size += gs[i].size / w.size();
  }
  for (size_t i = 0; i < w.size() && exact; ++i) {
    gs[i].value = gs[i].value * alpha[0] + (w[i] < 0 ? -1 : 1) * cross.value;
    gs[i].size = gs[i].size * alpha[0] + cross.size;
  }
  compare(y, ys, "a convolution's y");
  if (inputs == kReals) {  // sums have one order, whatever the lanes are
    ConvSizes last = s;
    last.rows = 1;
    Floats of_last(s.units * places);
    gluon_bnn::binary_conv_forward(last, pad, w.data(), alpha.data(), in + (s.rows - 1) * image, bias.data(), nullptr,
                                   of_last.data());
    if (!std::equal(of_last.begin(), of_last.end(), y.end() - of_last.size())) fail("an image alone has another y");
  }
  compare(dx, dxs, "a convolution's dx");
  compare(dw, gs, "a convolution's dw");
  compare(dbias, dbs, "a convolution's dbias");
}

// `turn` is the place of the sizes in their list, or -1. Of each three neighbours, each then takes another third of the
// cases, in which every value still occurs.
void check_convs(const ConvSizes& sizes, int turn) {
  for (const Inputs inputs : {kReals, kSigns, kSignsOf}) {
    for (const Pad pad : {Pad::kZero, Pad::kPlus, Pad::kMinus}) {
      if (turn >= 0 && (turn + static_cast<int>(inputs) + static_cast<int>(pad)) % 3 != 0) continue;
      check_conv(sizes, pad, Scale::kLayer, kExact, inputs);
      check_conv(sizes, pad, Scale::kNone, kSte, inputs);
    }
  }
}

// g (units, taps, channels), the sums over all windows of products of dy and x.
std::vector<Sum> sums_of_windows(const ConvSizes& s, double outside, const Floats& dy, const Floats& x) {
  const int64_t places = s.places(), image = s.channels * s.height * s.width, inputs = s.inputs();
  std::vector<Sum> gs(s.units * inputs);
  for (int64_t i = 0; i < static_cast<int64_t>(dy.size()); ++i) {
    const int64_t unit = i / places % s.units, row = i / places / s.units;
    const int64_t top = s.vertical().start(i % places / s.out_width());
    const int64_t left = s.horizontal().start(i % s.out_width());
    for (int64_t k = 0; k < inputs; ++k) {
      const int64_t y = top + k / s.channels / s.kernel_w * s.dilation_h;
      const int64_t at = left + k / s.channels % s.kernel_w * s.dilation_w;
      const bool inside = y >= 0 && y < s.height && at >= 0 && at < s.width;
      const double value = inside ? x[row * image + (k % s.channels * s.height + y) * s.width + at] : outside;
      gs[unit * inputs + k].add(dy[i] * value);
    }
  }
  return gs;
}

using FastGradient = bool (*)(const ConvSizes&, float, const float*, const float*, int64_t, float*);

// A way to g that does without windows, also where it does not pay. Numbers that are not finite have to be found.
template <typename Magnitudes>
void check_fast_gradient(FastGradient run, const ConvSizes& s, Pad pad, const char* what, const Magnitudes& adapt) {
  const int64_t image = s.channels * s.height * s.width, stride = s.inputs() + 3;
  Floats x = reals(s.rows * image), dy = reals(s.rows * s.units * s.places()), g(s.units * stride, 7.0f);
  const float outside = pad == Pad::kZero ? 0 : pad == Pad::kPlus ? 1 : -1;
  if (!run(s, outside, dy.data(), x.data(), stride, g.data())) fail(std::string(what) + " is infinite");
  std::vector<Sum> gs = sums_of_windows(s, outside, dy, x);
  adapt(&gs);
  Floats found;
  for (int64_t unit = 0; unit < s.units; ++unit) {
    found.insert(found.end(), &g[unit * stride], &g[unit * stride] + s.inputs());
  }
  compare(found, gs, what);
  for (float* number : {&x[image / 2], &dy[s.places() - 1]}) {
    for (const float wrong : {NAN, kInfinity, -kInfinity}) {
      const float before = std::exchange(*number, wrong);
      if (run(s, outside, dy.data(), x.data(), stride, g.data())) fail(std::string(what) + " loses infinity");
      *number = before;
    }
  }
}

// Winograd's factors are of several places, so that errors of a tap are those of the largest of all nine.
void check_winograd(const ConvSizes& s, Pad pad) {
  check_fast_gradient(gluon_bnn::winograd_gradient, s, pad, "Winograd's g", [&](std::vector<Sum>* gs) {
    const int64_t inputs = s.inputs();
    const auto first = [&](int64_t i) -> double& { return (*gs)[i / inputs * inputs + i % s.channels].size; };
    for (int64_t i = 0; i < static_cast<int64_t>(gs->size()); ++i) first(i) = std::max(first(i), (*gs)[i].size);
    for (int64_t i = 0; i < static_cast<int64_t>(gs->size()); ++i) (*gs)[i].size = first(i);
  });
}

void check_correlation(const ConvSizes& s, Pad pad) {
  check_fast_gradient(gluon_bnn::correlated_gradient, s, pad, "the correlated g", [](std::vector<Sum>*) {});
}

void check_max_pool(const gluon_bnn::PoolSizes& s) {
  const int64_t plane = s.height * s.width, outputs = s.out_height * s.out_width;
  Floats x(s.rows * plane);
  for (float& v : x) v = std::floor(3 * real());        // with ties
  for (size_t i = 3; i < x.size(); i += 7) x[i] = NAN;  // no window has nothing else
  const Floats dy = reals(s.rows * outputs);
  Floats y(dy.size()), dx(x.size(), 7.0f);
  gluon_bnn::max_pool_planes(s, x.data(), y.data());
  gluon_bnn::max_pool_planes_backward(s, dy.data(), x.data(), dx.data());
  Floats most(y.size(), std::numeric_limits<float>::lowest());
  std::vector<Sum> dxs(x.size());
  for (int64_t i = 0; i < static_cast<int64_t>(y.size()); ++i) {
    const int64_t top = s.vertical().start(i % outputs / s.out_width);
    const int64_t left = s.horizontal().start(i % s.out_width);
    int64_t best = -1;
    for (int64_t h = std::max<int64_t>(0, top); h < std::min(s.height, top + s.kernel_h); ++h) {
      for (int64_t v = std::max<int64_t>(0, left); v < std::min(s.width, left + s.kernel_w); ++v) {
        const int64_t at = i / outputs * plane + h * s.width + v;
        if (x[at] > most[i]) {
          most[i] = x[at];
          best = at;
        }
      }
    }
    if (best >= 0) dxs[best].add(dy[i]);
  }
  if (y != most) fail("max pooling differs");
  compare(dx, dxs, "max pooling's dx");
}

void check_layers(const DenseSizes& sizes, int turn) {
  for (const Inputs inputs : {kReals, kSigns, kSignsOf}) {
    for (const float clip : {1.0f, kInfinity}) {
      for (const Scale scale : {Scale::kNone, Scale::kLayer, Scale::kChannel, Scale::kLoss}) {
        const bool any = scale == Scale::kLayer || scale == Scale::kChannel;
        for (const Gradient gradient : {kSte, kXnor, kExact, kNotebook}) {
          if (!any && gradient != kSte) continue;
          if (turn < 0 || turn++ % 3 == 0) check_layer(sizes, scale, gradient, clip, inputs, clip == 1.0f);
        }
      }
    }
  }
}

}  // namespace

// Any argument leaves the largest layers out, for which an emulator takes a minute, and of the others two cases of
// three.
int main(int argc, char**) {
  const bool small = argc > 1;
  const std::string names = on_every_instruction_set([small] {
    int turn = 0;
    for (const DenseSizes& sizes :
         {DenseSizes{1, 1, 1}, {2, 3, 5}, {5, 7, 33}, {3, 17, 64}, {9, 16, 48}, {13, 33, 31}, {3, 33, 270}}) {
      check_layers(sizes, small ? turn++ : -1);
    }
    if (!small) {
      for (const DenseSizes& sizes : {DenseSizes{6, 40, 530}, {100, 13, 97}, {130, 37, 16}, {100, 70, 784}})
        check_layers(sizes, -1);
    }
    for (const ConvSizes& sizes : {ConvSizes{1, 1, 1, 1, 1, 1, 1},
                                   {2, 1, 70, 33, 17, 1, 3, 1, 2, 0, 2, 1, 3},
                                   {3, 6, 7, 1, 18, 5, 5},
                                   {2, 5, 4, 32, 16, 3, 3, 1, 1, 1, 1},
                                   {1, 7, 6, 16, 33, 3, 1, 2, 3, 2, 0, 2, 1},
                                   {1, 2, 2, 35, 3, 3, 3, 1, 1, 3, 3},
                                   // rows of whole vectors, without the places between them
                                   {2, 9, 10, 3, 5, 3, 3},
                                   {1, 8, 36, 5, 3, 3, 5, 1, 1, 1, 0, 2, 1},
                                   {1, 5, 34, 33, 4, 2, 3, 2, 2, 1, 0},
                                   // so few places that images are lanes
                                   {31, 3, 3, 5, 7, 3, 3},
                                   {33, 2, 3, 35, 3, 2, 2},
                                   {70, 4, 4, 2, 33, 3, 3, 2, 2, 1, 1},
                                   {70, 5, 6, 3, 34, 3, 2, 1, 2, 1, 1, 2, 3},
                                   {33, 2, 1, 3, 2, 3, 3, 1, 1, 2, 1},
                                   {1, 3, 50, 2, 5, 1, 2, 1, 1, 0, 0, 1, 49}}) {
      check_convs(sizes, small ? turn++ : -1);
    }
    for (const ConvSizes& sizes : {ConvSizes{1, 3, 3, 1, 1, 3, 3},
                                   {3, 5, 4, 5, 64, 3, 3},
                                   {1, 7, 1, 64, 5, 3, 3, 1, 1, 0, 1},
                                   {3, 2, 3, 67, 1, 3, 3, 1, 1, 2, 1},
                                   {1, 1, 2, 33, 67, 3, 3, 1, 1, 2, 2},
                                   {2, 19, 22, 18, 17, 3, 3, 1, 1, 1, 1}}) {
      for (const Pad pad : {Pad::kZero, Pad::kPlus, Pad::kMinus}) check_winograd(sizes, pad);
    }
    // Several chunks of tiles, and several regions of an image.
    if (!small) check_winograd({2, 45, 47, 33, 17, 3, 3}, Pad::kZero);
    // One row of vectors and several, strides, regions of an image, parts of the images and of the channels.
    for (const ConvSizes& sizes : {ConvSizes{1, 5, 4, 1, 1, 3, 3},
                                   {17, 12, 12, 3, 5, 5, 5},
                                   {5, 8, 9, 2, 6, 3, 2, 1, 1, 2, 1},
                                   {3, 9, 11, 4, 3, 3, 3, 2, 3, 1, 1},
                                   {2, 7, 10, 3, 7, 2, 2, 1, 2, 0, 1, 3, 2},
                                   {2, 1, 1500, 2, 3, 1, 4, 1, 1, 0, 2}}) {
      for (const Pad pad : {Pad::kZero, Pad::kPlus, Pad::kMinus}) check_correlation(sizes, pad);
    }
    if (!small) check_correlation({2, 40, 40, 70, 33, 3, 3, 1, 1, 1, 1}, Pad::kZero);
    check_max_pool({3, 5, 7, 1, 2, 2, 2, 2, 0, 0, 3, 4});
    check_max_pool({3, 5, 19, 1, 2, 2, 2, 2, 0, 0, 2, 9});
    check_max_pool({2, 8, 16, 1, 2, 2, 2, 2, 0, 0, 4, 8});
    check_max_pool({2, 6, 140, 1, 3, 2, 1, 2, 1, 0, 6, 70});
    check_max_pool({2, 9, 8, 1, 3, 3, 3, 3, 2, 2, 4, 4});
    for (int64_t size : {1, 7, 16, 33, 1000, 40000}) check_adam(size);
    for (int64_t units : {1, 5, 16, 33, 300}) check_batch_norm(70, units, 1);
    for (int64_t units : {1, 5, 33}) check_batch_norm(72, units, 36);
  });
  std::printf("ok: %s; %.1f of %.0f units at most\n", names.c_str(), most, kBound);
}
