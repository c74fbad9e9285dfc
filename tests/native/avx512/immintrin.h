// The intrinsics of AVX-512 that the kernels use, lane by lane in plain C++. run.sh has the compiler find this file
// before its own header, so that the kernels run on every processor. A sanitizer then sees just the bytes that a mask
// selects, and an aligned access of an address that is not aligned stops the program. A kernel with an intrinsic that
// is not here does not compile: write it from Intel's description of the operation.
#ifndef GLUON_BNN_TESTS_AVX512_IMMINTRIN_H_
#define GLUON_BNN_TESTS_AVX512_IMMINTRIN_H_

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

typedef float __m512 __attribute__((vector_size(64)));
typedef long long __m512i __attribute__((vector_size(64)));
typedef long long __m128i __attribute__((vector_size(16)));
typedef uint16_t __mmask16;

enum { _CMP_LT_OQ = 17 };

namespace {

// A register of lanes of type T, of which run(i) is the i-th.
template <typename T, typename Register = std::conditional_t<std::is_same_v<T, float>, __m512, __m512i>, typename Run>
Register lanes(const Run& run) {
  T values[sizeof(Register) / sizeof(T)];
  for (int i = 0; i < static_cast<int>(sizeof(Register) / sizeof(T)); ++i) values[i] = static_cast<T>(run(i));
  Register to;
  std::memcpy(&to, values, sizeof(to));
  return to;
}

// The i-th lane of type T.
template <typename T, typename Register>
T at(const Register& from, int i) {
  T value;
  std::memcpy(&value, reinterpret_cast<const char*>(&from) + i * sizeof(T), sizeof(T));
  return value;
}

// The i-th number in memory, which need not be aligned.
template <typename T>
T in(const void* memory, int i) {
  T value;
  std::memcpy(&value, static_cast<const char*>(memory) + i * sizeof(T), sizeof(T));
  return value;
}

bool selects(__mmask16 mask, int i) { return mask >> i & 1; }

template <typename Test>
__mmask16 where(__mmask16 mask, const Test& test) {
  int found = 0;
  for (int i = 0; i < 16; ++i) found |= (selects(mask, i) && test(i)) << i;
  return static_cast<__mmask16>(found);
}

void must(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "AVX-512, emulated: %s\n", what);
  std::abort();
}

void must_be_aligned(const void* memory) {
  must(reinterpret_cast<uintptr_t>(memory) % 64 == 0, "an aligned access to an address that is no multiple of 64");
}

int saturated(int value) { return value > INT16_MAX ? INT16_MAX : value < INT16_MIN ? INT16_MIN : value; }

// Defines an intrinsic: `expression` is lane i of type T of its result; A(T) and B(T) are lane i of its parameters a
// and b.
#define GLUON_BNN_LANES(T, name, expression, ...)                        \
  [[maybe_unused]] auto name(__VA_ARGS__) {                              \
    return lanes<T>([&]([[maybe_unused]] int i) { return expression; }); \
  }

#define A(T) at<T>(a, i)
#define B(T) at<T>(b, i)

// ---- Memory ----

GLUON_BNN_LANES(int32_t, _mm512_loadu_si512, in<int32_t>(from, i), const void* from)
GLUON_BNN_LANES(float, _mm512_loadu_ps, in<float>(from, i), const void* from)
GLUON_BNN_LANES(int32_t, _mm512_maskz_loadu_epi32, selects(k, i) ? in<int32_t>(from, i) : 0, __mmask16 k,
                const void* from)
GLUON_BNN_LANES(float, _mm512_maskz_loadu_ps, selects(k, i) ? in<float>(from, i) : 0, __mmask16 k, const void* from)

[[maybe_unused]] __m128i _mm_maskz_loadu_epi8(__mmask16 k, const void* from) {
  return lanes<uint8_t, __m128i>([=](int i) { return selects(k, i) ? in<uint8_t>(from, i) : 0; });
}

[[maybe_unused]] __m512i _mm512_load_si512(const void* from) {
  must_be_aligned(from);
  return _mm512_loadu_si512(from);
}

[[maybe_unused]] void _mm512_storeu_si512(void* to, __m512i a) { std::memcpy(to, &a, sizeof(a)); }
[[maybe_unused]] void _mm512_storeu_ps(void* to, __m512 a) { std::memcpy(to, &a, sizeof(a)); }

[[maybe_unused]] void _mm512_stream_ps(void* to, __m512 a) {
  must_be_aligned(to);
  _mm512_storeu_ps(to, a);
}

[[maybe_unused]] void _mm512_mask_storeu_ps(float* to, __mmask16 k, __m512 a) {
  for (int i = 0; i < 16; ++i) {
    if (selects(k, i)) std::memcpy(to + i, reinterpret_cast<const float*>(&a) + i, sizeof(float));
  }
}

// ---- The same in all lanes, and lanes moved about ----

GLUON_BNN_LANES(float, _mm512_setzero_ps, 0)
GLUON_BNN_LANES(int32_t, _mm512_setzero_si512, 0)
GLUON_BNN_LANES(float, _mm512_set1_ps, x, float x)
GLUON_BNN_LANES(int8_t, _mm512_set1_epi8, x, int8_t x)
GLUON_BNN_LANES(int16_t, _mm512_set1_epi16, x, int16_t x)
GLUON_BNN_LANES(int32_t, _mm512_set1_epi32, x, int32_t x)
GLUON_BNN_LANES(int8_t, _mm512_broadcast_i32x4, at<int8_t>(a, i % 16), __m128i a)
GLUON_BNN_LANES(float, _mm512_mask_mov_ps, selects(k, i) ? A(float) : at<float>(from, i), __m512 from, __mmask16 k,
                __m512 a)
GLUON_BNN_LANES(int32_t, _mm512_permutexvar_epi32, at<int32_t>(b, A(uint32_t) % 16), __m512i a, __m512i b)
GLUON_BNN_LANES(float, _mm512_permutexvar_ps, at<float>(b, A(uint32_t) % 16), __m512i a, __m512 b)
GLUON_BNN_LANES(int8_t, _mm512_shuffle_epi8, B(int8_t) < 0 ? 0 : at<int8_t>(a, i / 16 * 16 + B(int8_t) % 16), __m512i a,
                __m512i b)
GLUON_BNN_LANES(int32_t, _mm512_cvtepu8_epi32, A(uint8_t), __m128i a)
GLUON_BNN_LANES(float, _mm512_cvtepi32_ps, A(int32_t), __m512i a)

template <typename... Bytes>
__m128i _mm_setr_epi8(Bytes... bytes) {
  const int all[16] = {bytes...};
  return lanes<int8_t, __m128i>([&](int i) { return all[i]; });
}

// ---- Bits, shifts and comparisons ----

GLUON_BNN_LANES(uint32_t, _mm512_and_si512, A(uint32_t) & B(uint32_t), __m512i a, __m512i b)
GLUON_BNN_LANES(uint32_t, _mm512_xor_si512, A(uint32_t) ^ B(uint32_t), __m512i a, __m512i b)
GLUON_BNN_LANES(uint32_t, _mm512_popcnt_epi32, __builtin_popcount(A(uint32_t)), __m512i a)
GLUON_BNN_LANES(uint32_t, _mm512_slli_epi32, n > 31 ? 0 : A(uint32_t) << n, __m512i a, unsigned n)
GLUON_BNN_LANES(uint32_t, _mm512_srli_epi32, n > 31 ? 0 : A(uint32_t) >> n, __m512i a, unsigned n)
GLUON_BNN_LANES(int32_t, _mm512_srai_epi32, A(int32_t) >> (n > 31 ? 31 : n), __m512i a, unsigned n)
GLUON_BNN_LANES(uint16_t, _mm512_srli_epi16, n > 15 ? 0 : A(uint16_t) >> n, __m512i a, unsigned n)

[[maybe_unused]] __m512 _mm512_xor_ps(__m512 a, __m512 b) {
  const __m512i bits = lanes<uint32_t>([&](int i) { return A(uint32_t) ^ B(uint32_t); });
  return lanes<float>([&](int i) { return at<float>(bits, i); });
}

[[maybe_unused]] __mmask16 _mm512_mask_cmplt_epi32_mask(__mmask16 k, __m512i a, __m512i b) {
  return where(k, [&](int i) { return A(int32_t) < B(int32_t); });
}

[[maybe_unused]] __mmask16 _mm512_mask_cmp_ps_mask(__mmask16 k, __m512 a, __m512 b, int how) {
  must(how == _CMP_LT_OQ, "a comparison other than <");
  return where(k, [&](int i) { return A(float) < B(float); });
}

// ---- Integers, which wrap around ----

GLUON_BNN_LANES(uint8_t, _mm512_add_epi8, A(uint8_t) + B(uint8_t), __m512i a, __m512i b)
GLUON_BNN_LANES(uint32_t, _mm512_add_epi32, A(uint32_t) + B(uint32_t), __m512i a, __m512i b)
GLUON_BNN_LANES(uint32_t, _mm512_sub_epi32, A(uint32_t) - B(uint32_t), __m512i a, __m512i b)
GLUON_BNN_LANES(uint16_t, _mm512_mulhi_epu16, (uint32_t{A(uint16_t)} * B(uint16_t)) >> 16, __m512i a, __m512i b)

// The sum of `count` neighbours' products from the first of lane i.
template <typename Left, typename Right>
int products(__m512i a, __m512i b, int i, int count) {
  int sum = 0;
  for (int j = i * count; j < (i + 1) * count; ++j) sum += at<Left>(a, j) * at<Right>(b, j);
  return sum;
}

GLUON_BNN_LANES(int16_t, _mm512_maddubs_epi16, (saturated(products<uint8_t, int8_t>(a, b, i, 2))), __m512i a, __m512i b)
GLUON_BNN_LANES(int32_t, _mm512_madd_epi16, (products<int16_t, int16_t>(a, b, i, 2)), __m512i a, __m512i b)
GLUON_BNN_LANES(uint32_t, _mm512_dpbusd_epi32, (at<uint32_t>(from, i) + products<uint8_t, int8_t>(a, b, i, 4)),
                __m512i from, __m512i a, __m512i b)

// ---- Floats ----

GLUON_BNN_LANES(float, _mm512_add_ps, A(float) + B(float), __m512 a, __m512 b)
GLUON_BNN_LANES(float, _mm512_sub_ps, A(float) - B(float), __m512 a, __m512 b)
GLUON_BNN_LANES(float, _mm512_mul_ps, A(float) * B(float), __m512 a, __m512 b)
GLUON_BNN_LANES(float, _mm512_fmadd_ps, std::fma(A(float), B(float), at<float>(c, i)), __m512 a, __m512 b, __m512 c)

#undef A
#undef B
#undef GLUON_BNN_LANES

}  // namespace

#endif  // GLUON_BNN_TESTS_AVX512_IMMINTRIN_H_
