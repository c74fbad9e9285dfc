/* The two limits that bench_inference.py measures 1-bit kernels against; roofline.py compiles this file for the machine
 * it runs on (-O3 -march=native -fopenmp) and calls it through ctypes.
 *
 * roofline_xnor: xor + popcount + add on registers alone. It is the inner loop of a matrix product, a tile of
 * ROWS x COLUMNS independent accumulators, with nothing to load or store: acc[i][j] += popcount(x[i] ^ w[j]).
 * KEEP tells the compiler that a register may have changed, so that it computes every step; it costs no
 * instruction. Without popcount instructions, bits are counted in bytes, which is what would be added.
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
inline Vector step(Vector sum, Vector x, Vector w) {
  return _mm512_add_epi32(sum, _mm512_popcnt_epi32(_mm512_xor_si512(x, w)));
}
#elif defined(__AVX512BW__)
const char* const kName = "avx512";
typedef __m512i Vector;
#define KEEP(v) asm volatile("" : "+v"(v))
inline Vector step(Vector sum, Vector x, Vector w) {
  const Vector table = _mm512_set4_epi32(0x04030302, 0x03020201, 0x03020201, 0x02010100);
  const Vector low = _mm512_set1_epi8(15), bits = _mm512_xor_si512(x, w);
  sum = _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, _mm512_and_si512(bits, low)));
  return _mm512_add_epi8(sum, _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(bits, 4), low)));
}
#elif defined(__AVX2__)
const char* const kName = "avx2";
typedef __m256i Vector;
#define KEEP(v) asm volatile("" : "+x"(v))
inline Vector step(Vector sum, Vector x, Vector w) {
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
inline Vector step(Vector sum, Vector x, Vector w) { return vaddq_u8(sum, vcntq_u8(veorq_u8(x, w))); }
#else
const char* const kName = "serial";
typedef uint64_t Vector;
#define KEEP(v) asm volatile("" : "+r"(v))
inline Vector step(Vector sum, Vector x, Vector w) {
  uint64_t bits = x ^ w;
  bits -= bits >> 1 & 0x5555555555555555u;
  bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
  return sum + ((bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu);
}
#endif

/* Bits to count; which ones does not matter, but counting zeros alone takes less power. */
const char kBits[] = "Wherever one word differs from another, xor leaves a one; popcount tells how many ones.";

template <int ROWS, int COLUMNS>
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
      for (int j = 0; j < ROWS * COLUMNS; ++j) sum[j] = step(sum[j], x[j % ROWS], w[j / ROWS]);
    }
#pragma GCC unroll 16
    for (int j = 0; j < ROWS * COLUMNS; ++j) KEEP(sum[j]);
  }
}

const struct {
  int accumulators;
  void (*run)(int64_t, int);
} kTiles[] = {{6, tile<3, 2>}, {8, tile<4, 2>}, {12, tile<4, 3>}, {12, tile<6, 2>}, {16, tile<4, 4>}};

}  // namespace

extern "C" {

const char* roofline_name() { return kName; }

int roofline_variants() { return sizeof kTiles / sizeof *kTiles; }

/* Runs a variant on this many threads. Returns the bits that they have counted. */
int64_t roofline_xnor(int variant, int64_t steps, int threads) {
  kTiles[variant].run(steps, threads);
  return threads * steps * kTiles[variant].accumulators * 8 * static_cast<int64_t>(sizeof(Vector));
}

/* The sum of an array, by this many threads. */
uint64_t roofline_read(const uint64_t* words, int64_t count, int threads) {
  uint64_t sum = 0;
#pragma omp parallel for simd reduction(+ : sum) num_threads(threads) schedule(static) if (threads > 1)
  for (int64_t i = 0; i < count; ++i) sum += words[i];
  return sum;
}

}  // extern "C"
