/* The limits that bench_inference.py measures 1-bit kernels against; roofline.py compiles this file for the machine
 * it runs on (-O3 -march=native -fopenmp) and calls it through ctypes.
 *
 * roofline_xnor: xor + popcount + add on registers alone. It is the inner loop of a matrix product, a tile of
 * ROWS x COLUMNS independent accumulators, with nothing to load or store: acc[i][j] += popcount(x[i] ^ w[j]).
 * KEEP tells the compiler that a register may have changed, so that it computes every step; it costs no
 * instruction. Without popcount instructions, bits are counted in bytes, which is what would be added.
 *
 * roofline_bytes: the same tiles with acc[i][j] += x[i] * w[j], uint8 by int8, added up in 32 bits: one instruction
 * with VNNI. int8 products of any weights end there.
 *
 * roofline_read: the threads read an array with vector loads and add it up.
 */
#include <cstdint>
#include <cstring>

#if defined(__AVX512VPOPCNTDQ__) || defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace {

#if defined(__AVX512VPOPCNTDQ__)
const char* const kName = "avx512vpopcntdq";
typedef __m512i Vector;
#define KEEP(v) asm volatile("" : "+v"(v))
inline Vector count(Vector sum, Vector x, Vector w) {
  return _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)));
}
#elif defined(__AVX512BW__)
const char* const kName = "avx512";
typedef __m512i Vector;
#define KEEP(v) asm volatile("" : "+v"(v))
inline Vector count(Vector sum, Vector x, Vector w) {
  const Vector table = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
  const Vector low = _mm512_set1_epi8(15), bits = _mm512_xor_si512(x, w);
  sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, _mm512_and_si512(bits, low)));
  return _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bits, 4), low)));
}
#elif defined(__AVX2__)
const char* const kName = "avx2";
typedef __m256i Vector;
#define KEEP(v) asm volatile("" : "+x"(v))
inline Vector count(Vector sum, Vector x, Vector w) {
  const Vector table =
      _mm256_setr_epi32(0x02010100, 0x03020201, 0x03020201, 0x04030302, 0x02010100, 0x03020201, 0x03020201, 0x04030302);
  const Vector low = _mm256_set1_epi8(15), bits = _mm256_xor_si256(x, w);
  sum = _mm256_add_epi8(sum, _mm256_shuffle_epi8(table, _mm256_and_si256(bits, low)));
  return _mm256_add_epi8(sum, _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(bits, 4), low)));
}
#elif defined(__ARM_NEON)
const char* const kName = "neon";
typedef uint8x16_t Vector;
#define KEEP(v) asm volatile("" : "+w"(v))
inline Vector count(Vector sum, Vector x, Vector w) { return vaddq_u8(sum, vcntq_u8(veorq_u8(x, w))); }
#else
const char* const kName = "serial";
typedef uint64_t Vector;
#define KEEP(v) asm volatile("" : "+r"(v))
inline Vector count(Vector sum, Vector x, Vector w) {
  uint64_t bits = x ^ w;
  bits -= bits >> 1 & 0x5555555555555555u;
  bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
  return sum + ((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu);
}
#endif

/* sum + x * w, all the products of a vector: uint8 by int8, int8 by int8 on ARM, and one by one without vectors. */
#if defined(__AVX512VNNI__)
inline Vector multiply(Vector sum, Vector x, Vector w) { return _mm512_dpbusd_epi32(sum, x, w); }
#elif defined(__AVX512BW__)
inline Vector multiply(Vector sum, Vector x, Vector w) {
  return _mm512_add_epi32(sum, _mm512_madd_epi16(_mm512_maddubs_epi16(x, w), _mm512_set1_epi16(1)));
}
#elif defined(__AVXVNNI__)
inline Vector multiply(Vector sum, Vector x, Vector w) { return _mm256_dpbusd_avx_epi32(sum, x, w); }
#elif defined(__AVX2__)
inline Vector multiply(Vector sum, Vector x, Vector w) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(x, w), _mm256_set1_epi16(1)));
}
#elif defined(__ARM_NEON)
inline Vector multiply(Vector sum, Vector x, Vector w) {
  const int8x16_t a = vreinterpretq_s8_u8(x), b = vreinterpretq_s8_u8(w);
  const int32x4_t low = vpadalq_s16(vreinterpretq_s32_u8(sum), vmull_s8(vget_low_s8(a), vget_low_s8(b)));
  return vreinterpretq_u8_s32(vpadalq_s16(low, vmull_s8(vget_high_s8(a), vget_high_s8(b))));
}
#else
inline Vector multiply(Vector sum, Vector x, Vector w) { return sum + (x & 255) * w; }
#endif

/* Bits to count; which ones does not matter, but counting zeros alone takes less power. */
const char kBits[] = "Wherever one word differs from another, xor leaves a one; popcount tells how many ones.";

typedef Vector (*Step)(Vector sum, Vector x, Vector w);

template <Step STEP, int ROWS, int COLUMNS>
void tile(int64_t steps, int threads) {
#pragma omp parallel num_threads(threads)
  {
    Vector sum[ROWS * COLUMNS] = {}, x[ROWS], w[COLUMNS];
    for (int r = 0; r < ROWS; ++r) memcpy(&x[r], kBits + r, sizeof(Vector));
    for (int c = 0; c < COLUMNS; ++c) memcpy(&w[c], kBits + 16 + c, sizeof(Vector));
    for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 16
      for (int r = 0; r < ROWS; ++r) KEEP(x[r]);
#pragma GCC unroll 16
      for (int c = 0; c < COLUMNS; ++c) KEEP(w[c]);
#pragma GCC unroll 16
      for (int j = 0; j < ROWS * COLUMNS; ++j) sum[j] = STEP(sum[j], x[j % ROWS], w[j / ROWS]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < ROWS * COLUMNS; ++j) KEEP(sum[j]);
  }
}

struct Tile {
  int accumulators;
  void (*run)(int64_t, int);
};

template <Step STEP>
constexpr Tile kTiles[] = {{6, tile<STEP, 3, 2>},
                           {8, tile<STEP, 4, 2>},
                           {12, tile<STEP, 4, 3>},
                           {12, tile<STEP, 6, 2>},
                           {16, tile<STEP, 4, 4>}};

constexpr int64_t kBytes = sizeof(Vector), kProducts = kBytes > 8 ? kBytes : 1;  // of a vector

}  // namespace

extern "C" {

const char* roofline_name() { return kName; }

int roofline_variants() { return sizeof kTiles<count> / sizeof *kTiles<count>; }

/* Runs a variant on this many threads. Returns the bits that they have counted. */
int64_t roofline_xnor(int variant, int64_t steps, int threads) {
  kTiles<count>[variant].run(steps, threads);
  return threads * steps * kTiles<count>[variant].accumulators * 8 * kBytes;
}

/* As roofline_xnor. Returns the products that they have added up. */
int64_t roofline_bytes(int variant, int64_t steps, int threads) {
  kTiles<multiply>[variant].run(steps, threads);
  return threads * steps * kTiles<multiply>[variant].accumulators * kProducts;
}

/* The sum of an array, by this many threads. */
uint64_t roofline_read(const uint64_t* words, int64_t count, int threads) {
  uint64_t sum = 0;
#pragma omp parallel for simd reduction(+ : sum) num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

}  // extern "C"
