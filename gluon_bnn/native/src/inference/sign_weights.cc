#include "inference/sign_weights.h"

namespace gluon_bnn {
namespace {

// The products count all bits, so those past the last input of a run and past the last unit must be 0.
void check_unused_bits(const Parts& parts, const uint32_t* bits, int64_t units, int64_t runs, int64_t size) {
  const int64_t run_words = ceil_div(size, kWord), words = runs * run_words, blocks = ceil_div(units, kBlock);
  uint32_t past_inputs = 0, past_units = 0;
  if (size % kWord != 0) {
    for (int64_t run = 1; run <= blocks * runs; ++run) {
      const uint32_t* last = bits + (run * run_words - 1) * kBlock;
      for (int64_t lane = 0; lane < kBlock; ++lane) past_inputs |= last[lane] >> size % kWord;
    }
  }
  if (units % kBlock != 0) {
    const uint32_t* last = bits + (blocks - 1) * words * kBlock;
    for (int64_t word = 0; word < words; ++word) {
      for (int64_t lane = units % kBlock; lane < kBlock; ++lane) past_units |= last[word * kBlock + lane];
    }
  }
  if (past_inputs != 0) parts.refuse("weight_bits must be 0 past input %lld", static_cast<Long>(size - 1));
  if (past_units != 0) parts.refuse("weight_bits must be 0 past unit %lld", static_cast<Long>(units - 1));
}

// `sums` is the sum of each unit's signs.
void check_sums(const Parts& parts, const uint32_t* bits, const int32_t* sums, int64_t units, int64_t inputs,
                int64_t words) {
  for (int64_t unit = 0; unit < units; ++unit) {
    const uint32_t* own = bits + unit / kBlock * words * kBlock + unit % kBlock;
    int64_t ones = 0;
    for (int64_t word = 0; word < words; ++word) ones += __builtin_popcount(own[word * kBlock]);
    if (sums[unit] == inputs - 2 * ones) continue;
    parts.refuse("sums must be the sums of the signs, %lld for unit %lld, got %d", static_cast<Long>(inputs - 2 * ones),
                 static_cast<Long>(unit), sums[unit]);
  }
}

}  // namespace

SignWeights::SignWeights(Parts& parts, Form from, Form to, int64_t units, int64_t runs, int64_t size) {
  const int64_t words = runs * ceil_div(size, kWord);
  const int32_t* array = parts.integers("weight_bits", {ceil_div(units, kBlock), words, kBlock});
  bits = reinterpret_cast<const uint32_t*>(array);
  check_unused_bits(parts, bits, units, runs, size);
  if (from != Form::kFloat && to != Form::kFloat) {
    threshold = parts.integers("threshold", {units});
    return;
  }
  epilogue.alpha = parts.floats("alpha", {units});
  epilogue.bias = parts.floats("bias", {units});
  epilogue.mean = parts.floats_if_any("mean", {units});
  epilogue.factor = parts.floats_if_any("factor", {units});
  epilogue.beta = parts.floats_if_any("beta", {units});
  if ((epilogue.mean == nullptr) != (epilogue.factor == nullptr) ||
      (epilogue.mean == nullptr) != (epilogue.beta == nullptr)) {
    parts.refuse("mean, factor and beta must be there together or not at all");
  }
  if (from != Form::kBits01) return;
  epilogue.sums = parts.integers("sums", {units});
  check_sums(parts, bits, epilogue.sums, units, runs * size, words);
}

Epilogue SignWeights::take_u8(Parts& parts, int64_t units) const {
  Epilogue result = epilogue;
  result.alpha = parts.floats("alpha_u8", {units});
  result.bias = parts.floats("bias_u8", {units});
  return result;
}

}  // namespace gluon_bnn
