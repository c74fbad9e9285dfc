// The kernels of AVX2 for lines of an image, and other products of many rows. Only avx2.cc includes this file.
//
// Bits: without an instruction that counts them, xor and popcount take eight instructions for 256 products. But how
// many of four weights differ from four inputs is one lookup for 32 units, in a table of 16 bytes that the inputs
// choose; and if a byte of it holds the counts of two rows, one in each half, three lookups can be added before they
// have to be taken apart. That takes half as long.
//
// uint8: the weights are bytes, made once for many rows, and sums stay in 16 bits for as long as they fit.
#ifndef GLUON_BNN_KERNELS_AVX2_LINES_H_
#define GLUON_BNN_KERNELS_AVX2_LINES_H_

#include <immintrin.h>

#include "kernels/tile_dispatch.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kVectorUnits = 32;  // a byte each
constexpr int64_t kNibbles = 8;       // of a word: the lower ones of its four bytes, then the upper ones

// Entry [a + 16 b][n]: how many bits of n differ from a, and 16 times how many differ from b.
struct PairTables {
  alignas(64) uint8_t entries[256][16];

  constexpr PairTables() : entries() {
    for (int pair = 0; pair < 256; ++pair) {
      for (int n = 0; n < 16; ++n) {
        const int a = (pair & 15) ^ n, b = (pair >> 4) ^ n;
        const int first = (a & 1) + (a >> 1 & 1) + (a >> 2 & 1) + (a >> 3);
        const int second = (b & 1) + (b >> 1 & 1) + (b >> 2 & 1) + (b >> 3);
        entries[pair][n] = static_cast<uint8_t>(first + 16 * second);
      }
    }
  }
};
constexpr PairTables kPairTables;

// Two halves of a vector, from addresses of their own.
inline __m256i load_halves(const uint32_t* low, const uint32_t* high) {
  const __m256i first = _mm256_castsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)));
  return _mm256_inserti128_si256(first, _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)), 1);
}

inline void xnor_pairs(const uint32_t* x, const uint32_t* next, int64_t words, uint16_t* pairs) {
  constexpr int64_t kStep = 8;
  int64_t word = 0;
  for (; word + kStep <= words; word += kStep, pairs += kStep * kNibbles) {
    const __m256i low = _mm256_set1_epi8(15), high = _mm256_set1_epi8(static_cast<char>(0xf0));
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + word));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(next + word));
    const __m256i lower = _mm256_or_si256(_mm256_and_si256(a, low), _mm256_and_si256(_mm256_slli_epi16(b, 4), high));
    const __m256i upper = _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(a, 4), low), _mm256_and_si256(b, high));
    // Words 0 1 4 5, and 2 3 6 7, of eight bytes each.
    const __m256i halves[2] = {_mm256_unpacklo_epi32(lower, upper), _mm256_unpackhi_epi32(lower, upper)};
    for (int i = 0; i < 4; ++i) {
      const __m128i two = i < 2 ? _mm256_castsi256_si128(halves[i]) : _mm256_extracti128_si256(halves[i - 2], 1);
      const __m256i offsets = _mm256_slli_epi16(_mm256_cvtepu8_epi16(two), 4);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs + 2 * i * kNibbles), offsets);
    }
  }
  for (; word < words; ++word) {
    for (int64_t n = 0; n < kNibbles; ++n) {
      const int64_t shift = 8 * (n & 3) + 4 * (n >> 2);
      *pairs++ = static_cast<uint16_t>((x[word] >> shift & 15) << 4 | (next[word] >> shift & 15) << 8);
    }
  }
}

// Vectors of 32 units: bytes 2 u and 2 u + 1 are of units u and 16 + u, the two halves of lane u of 16 bits. Those of a
// word's nibble lie together.
inline void xnor_spread(const uint32_t* w, int64_t block_stride, int64_t blocks, int64_t words, uint8_t* spread) {
  const int64_t vectors = ceil_div(blocks, 2), step = kNibbles * vectors * kVectorUnits;
  const __m256i by_byte =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
  const __m256i low = _mm256_set1_epi8(15);
  for (int64_t v = 0; v < vectors; ++v, spread += kVectorUnits) {
    const uint32_t* block = w + 2 * v * block_stride;
    const uint32_t* next = 2 * v + 1 < blocks ? block + block_stride : block;  // units that are not there may be any
    for (int64_t word = 0; word < words; ++word, block += kBlock, next += kBlock) {
      // Of units 0-3 and 8-11, and of units 4-7 and 12-15.
      const __m256i a = _mm256_shuffle_epi8(load_halves(block, block + 8), by_byte);
      const __m256i b = _mm256_shuffle_epi8(load_halves(next, next + 8), by_byte);
      const __m256i c = _mm256_shuffle_epi8(load_halves(block + 4, block + 12), by_byte);
      const __m256i d = _mm256_shuffle_epi8(load_halves(next + 4, next + 12), by_byte);
      const __m256i left[2] = {_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)};
      const __m256i right[2] = {_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d)};
      uint8_t* to = spread + word * step;
      for (int byte = 0; byte < 4; ++byte) {
        const __m256i l = left[byte / 2], r = right[byte / 2];
        const __m256i bytes = byte % 2 == 0 ? _mm256_unpacklo_epi64(l, r) : _mm256_unpackhi_epi64(l, r);
        const auto store_nibble = [=](int nibble, __m256i value) {
          _mm256_store_si256(reinterpret_cast<__m256i*>(to + nibble * vectors * kVectorUnits), value);
        };
        store_nibble(byte, _mm256_and_si256(bytes, low));
        store_nibble(4 + byte, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
      }
    }
  }
}

// Counts of kPairs pairs of rows and kVectors vectors of units. Up to three lookups are added in a byte, which then
// has at most 12 in each half. The first row's halves are added up in bytes, `first`. The second row's are shifted down
// in lanes of 16 bits, where the upper byte's lower half comes along: `second` is, modulo 2^16,
//   sum of even bytes' upper halves + 2^4 sum of odd bytes' lower halves + 2^8 sum of odd bytes' upper halves,
// whose second term is known from `first`. A byte holds the sums of kPieceWords words.
template <int kPairs, int kVectors>
class PairCounts {
 public:
  PairCounts() { clear(); }

  // Adds those of `words` words. The barrier is for GCC, which would add in another order and run out of registers.
  [[gnu::always_inline]] void add(const uint16_t* pairs, int64_t stride, const uint8_t* spread, int64_t words) {
#pragma GCC unroll 1
    for (int64_t word = 0; word < words; ++word, pairs += kNibbles, spread += kNibbles * kVectors * kVectorUnits) {
      add_nibbles<0, 3>(pairs, stride, spread);
      add_nibbles<3, 6>(pairs, stride, spread);
      add_nibbles<6, 8>(pairs, stride, spread);
    }
  }

  // Adds the sums to lanes of 16 bits, sums[row][vector][half], where they are not the first, and begins again.
  [[gnu::always_inline]] void move_to(uint16_t (&sums)[2 * kPairs][kVectors][2][kBlock], bool first) {
    const __m256i byte = _mm256_set1_epi16(255);
    for (int p = 0; p < kPairs; ++p) {
      for (int v = 0; v < kVectors; ++v) {
        const __m256i odd = _mm256_srli_epi16(first_[p][v], 8);
        const __m256i second = _mm256_sub_epi16(second_[p][v], _mm256_slli_epi16(odd, 4));
        const auto to = [&](uint16_t* at, __m256i value) {
          auto* lanes = reinterpret_cast<__m256i*>(at);
          _mm256_store_si256(lanes, first ? value : _mm256_add_epi16(_mm256_load_si256(lanes), value));
        };
        to(sums[2 * p][v][0], _mm256_and_si256(first_[p][v], byte));
        to(sums[2 * p][v][1], odd);
        to(sums[2 * p + 1][v][0], _mm256_and_si256(second, byte));
        to(sums[2 * p + 1][v][1], _mm256_srli_epi16(second, 8));
      }
    }
    clear();
  }

 private:
  void clear() {
    for (int p = 0; p < kPairs; ++p) {
      for (int v = 0; v < kVectors; ++v) first_[p][v] = second_[p][v] = _mm256_setzero_si256();
    }
  }

  template <int kBegin, int kEnd>
  [[gnu::always_inline]] void add_nibbles(const uint16_t* pairs, int64_t stride, const uint8_t* spread) {
    const char* tables = reinterpret_cast<const char*>(kPairTables.entries);
#pragma GCC unroll 2
    for (int p = 0; p < kPairs; ++p) {
      __m256i sum[kVectors];
#pragma GCC unroll 3
      for (int n = kBegin; n < kEnd; ++n) {
        const char* entry = tables + pairs[p * stride + n];
        const __m256i table = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(entry)));
#pragma GCC unroll 2
        for (int v = 0; v < kVectors; ++v) {
          const uint8_t* from = spread + (n * kVectors + v) * kVectorUnits;
          const __m256i found = _mm256_shuffle_epi8(table, _mm256_load_si256(reinterpret_cast<const __m256i*>(from)));
          sum[v] = n == kBegin ? found : _mm256_add_epi8(sum[v], found);
        }
      }
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) {
        first_[p][v] = _mm256_add_epi8(first_[p][v], _mm256_and_si256(sum[v], _mm256_set1_epi8(15)));
        second_[p][v] = _mm256_add_epi16(second_[p][v], _mm256_srli_epi16(sum[v], 4));
        asm volatile("" : "+x"(first_[p][v]), "+x"(second_[p][v]));
      }
    }
  }

  __m256i first_[kPairs][kVectors], second_[kPairs][kVectors];
};

template <int kPairs, int kVectors>
void lookup_tile(const uint16_t* pairs, int64_t stride, const Piece* pieces, int64_t count, const uint8_t* spread,
                 bool begin, int32_t* counts) {
  alignas(32) uint16_t sums[2 * kPairs][kVectors][2][kBlock];
  PairCounts<kPairs, kVectors> bytes;
  bool first = true;
  for (const Piece* piece = pieces; piece < pieces + count; ++piece) {
    bytes.add(pairs + piece->offset, stride, spread, piece->size);
    spread += piece->size * kNibbles * kVectors * kVectorUnits;
    if (!piece->is_last) continue;
    bytes.move_to(sums, first);
    first = false;
  }
  for (int r = 0; r < 2 * kPairs; ++r) {
    const uint16_t* from = sums[r][0][0];
    int32_t* to = counts + r * kTileUnits;
    for (int64_t u = 0; u < kVectors * kVectorUnits; u += 8) {
      auto* lanes = reinterpret_cast<__m256i*>(to + u);
      const __m256i sum = _mm256_cvtepu16_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(from + u)));
      _mm256_storeu_si256(lanes, begin ? sum : _mm256_add_epi32(_mm256_loadu_si256(lanes), sum));
    }
  }
}

inline void xnor_lookup(const uint16_t* pairs, int64_t stride, int64_t count, const Piece* pieces, int64_t piece_count,
                        const uint8_t* spread, int64_t blocks, bool begin, int32_t* counts) {
  by_shape<2, 2>(count, ceil_div(blocks, 2),
                 [&](auto p, auto v) { lookup_tile<p, v>(pairs, stride, pieces, piece_count, spread, begin, counts); });
}

inline void u8_spread(const uint32_t* w, int64_t block_stride, int64_t blocks, int64_t begin, int64_t size,
                      uint8_t* spread) {
  const __m256i bit = _mm256_set1_epi32(0x08040201), one = _mm256_set1_epi8(1);
  const __m256i four = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12));
  const int64_t all = (blocks + 1) / 2 * 2;
  for (int64_t g = 0; g < size; g += kGroup) {
    const int64_t word = (begin + g) / kWord, shift = (begin + g) % kWord, left = smaller(kGroup, size - g);
    const __m256i is_there = _mm256_set1_epi32(left == kGroup ? -1 : (1 << 8 * left) - 1);
    const __m128i down = _mm_cvtsi32_si128(static_cast<int>(shift)),
                  up = _mm_cvtsi32_si128(static_cast<int>(kWord - shift));
    for (int64_t vector = 0; vector < 2 * all; ++vector, spread += 32) {
      const uint32_t* from = w + smaller(vector / 2, blocks - 1) * block_stride + word * kBlock + vector % 2 * 8;
      __m256i v = _mm256_srl_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)), down);
      if (shift + left > kWord) {
        const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + kBlock));
        v = _mm256_or_si256(v, _mm256_sll_epi32(next, up));
      }
      const __m256i minus = _mm256_cmpeq_epi8(_mm256_and_si256(_mm256_shuffle_epi8(v, four), bit), bit);
      const __m256i signs = _mm256_and_si256(_mm256_or_si256(minus, one), is_there);
      _mm256_store_si256(reinterpret_cast<__m256i*>(spread), signs);
    }
  }
}

template <int R>
void u8_runs_tile(const uint8_t* x, int64_t stride, const Piece* pieces, int64_t count, const uint8_t* spread,
                  int64_t step, bool begin, int32_t* sums) {
  __m256i acc[R][2];
  for (auto& row : acc) row[0] = row[1] = _mm256_setzero_si256();
  for (const Piece* piece = pieces; piece < pieces + count; ++piece) {
    const uint8_t* from = x + piece->offset;
    const __m256i left = _mm256_load_si256(reinterpret_cast<const __m256i*>(spread));
    const __m256i right = _mm256_load_si256(reinterpret_cast<const __m256i*>(spread + 32));
    spread += step;
    for (int r = 0; r < R; ++r) {
      int32_t group;
      __builtin_memcpy(&group, from + r * stride, kGroup);
      const __m256i four = _mm256_set1_epi32(group);
      acc[r][0] = _mm256_add_epi16(acc[r][0], _mm256_maddubs_epi16(four, left));
      acc[r][1] = _mm256_add_epi16(acc[r][1], _mm256_maddubs_epi16(four, right));
    }
    if (!piece->is_last) continue;
    for (int r = 0; r < R; ++r) {
      for (int half = 0; half < 2; ++half) {
        auto* to = reinterpret_cast<__m256i*>(sums + r * kTileUnits + half * 8);
        const __m256i sum = _mm256_madd_epi16(acc[r][half], _mm256_set1_epi16(1));
        _mm256_storeu_si256(to, begin ? sum : _mm256_add_epi32(_mm256_loadu_si256(to), sum));
        acc[r][half] = _mm256_setzero_si256();
      }
    }
    begin = false;
  }
}

inline void u8_runs(const uint8_t* x, int64_t stride, int64_t rows, const Piece* pieces, int64_t piece_count,
                    const uint8_t* spread, int64_t blocks, bool begin, int32_t* sums) {
  for (int64_t b = 0; b < blocks; ++b) {
    by_shape<4, 1>(rows, 1, [&](auto r, auto) {
      u8_runs_tile<r>(x, stride, pieces, piece_count, spread + b * 64, (blocks + 1) / 2 * 128, begin,
                      sums + b * kBlock);
    });
  }
}

}  // namespace
}  // namespace gluon_bnn

#endif  // GLUON_BNN_KERNELS_AVX2_LINES_H_
