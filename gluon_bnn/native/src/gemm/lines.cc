// Windows are not copied: the lines of the image are laid out once, with what lies around them, and the window of a
// place is a few runs of them. Places in the rows of a dense layer, or in an image whose windows are single pixels,
// meet in lines of four. Images with long lines are cut into stripes, each of which is an image of its own.
#include "gemm/lines.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "gemm/tiles.h"

namespace gluon_bnn {
namespace {

constexpr int64_t kFewRows = 6;        // for less the weights are not worth spreading
constexpr int64_t kSpread = 20480;     // bytes of a tile's weights at a time, which the L1 cache holds
constexpr int64_t kLaid = 128 * 1024;  // bytes of lines at a time, which an L2 cache holds
constexpr int64_t kSummedRows = 128;   // whose sums wait for the next block of weights: 32 KB
constexpr int64_t kMostWidth = 1024;  // places of a line: with 256 bytes of sums for each, what a line takes is bounded

int64_t rounded(int64_t size, int64_t step) { return ceil_div(size, step) * step; }

// kProduct is nanoseconds for an element and a unit, half of what they take: both threads prepare something that one
// thread prepares once, so that a second thread did not pay for the layers of a LeNet, 7 and 10 us.
//
// Bits, whose kernel takes pairs of places: each pixel of a line lies with the one that has its place in the window of
// the next place.
struct Bits {
  using Element = uint32_t;
  using Laid = uint16_t;
  static constexpr int64_t kLaidElement = 8;  // numbers that are laid out for an element
  static constexpr int64_t kPlaces = 2;       // of a row of the kernel
  static constexpr int64_t kStep = 1;         // elements of a run are rounded up to a multiple
  static constexpr int64_t kPiece = kPieceWords;
  static constexpr int64_t kMost = kPieceWords, kSpreadElement = 8 * kTileUnits;
  static constexpr double kProduct = 0.025;

  const Kernels& k;

  void lay(const Element* x, const Element* next, int64_t size, Laid* to) const { k.xnor_pairs(x, next, size, to); }
  void spread(const PackedWeights& weights, int64_t unit, int64_t blocks, int64_t begin, int64_t size,
              uint8_t* to) const {
    k.xnor_spread(weights.at(unit, begin), weights.block_stride(), blocks, size, to);
  }
  template <typename... Arguments>
  void multiply(Arguments... arguments) const {
    k.xnor_lookup(arguments...);
  }
};

struct Pixels {
  using Element = uint8_t;
  using Laid = uint8_t;
  static constexpr int64_t kLaidElement = 1, kPlaces = 1, kStep = kGroup, kPiece = kGroup;
  static constexpr int64_t kMost = kPiecePixels, kSpreadElement = kTileUnits;
  static constexpr double kProduct = 0.2 / kWord;

  const Kernels& k;

  void lay(const Element* x, const Element*, int64_t size, Laid* to) const { std::memcpy(to, x, size); }
  void spread(const PackedWeights& weights, int64_t unit, int64_t blocks, int64_t begin, int64_t size,
              uint8_t* to) const {
    k.u8_spread(weights.at(unit, 0), weights.block_stride(), blocks, begin, size, to);
  }
  template <typename... Arguments>
  void multiply(Arguments... arguments) const {
    k.u8_runs(arguments...);
  }
};

// A part of a window: pieces of it, in the order of the weights.
struct Block {
  int64_t size = 0;  // elements, rounded up
  std::vector<Piece> pieces;
};

template <typename Of>
class Lines {
  using Element = typename Of::Element;
  using Laid = typename Of::Laid;

 public:
  // `pixel` elements make a pixel; `border` may be null. Outside of the image every pixel is fill, ..., fill, last.
  Lines(const ConvSizes& sizes, int64_t pixel, const Border* border, const Element* x, const PackedWeights& weights,
        Element fill, Element last)
      : of_{kernels()}, sizes_(sizes), border_(border), x_(x), weights_(weights), fill_(fill), last_(last) {
    pixel_ = pixel;
    places_ = sizes.rows * sizes.places();
    flat_ = sizes.taps() == 1 && sizes.stride_h == 1 && sizes.stride_w == 1 && sizes.pad_h == 0 && sizes.pad_w == 0;
    stripes_ = flat_ ? 1 : ceil_div(sizes.out_width(), kMostWidth);
    width_ = flat_ ? kStripRows : ceil_div(sizes.out_width(), stripes_);
    lines_ = flat_ ? ceil_div(places_, kStripRows) : sizes.rows * stripes_ * sizes.out_height();
    padded_height_ = sizes.height + 2 * sizes.pad_h;
    padded_width_ = (width_ - 1) * sizes.stride_w + sizes.horizontal().extent();
    next_ = smaller(sizes.stride_w, padded_width_);
    stride_ = (flat_ ? rounded(pixel, Of::kStep) : Of::kPlaces * sizes.stride_w * pixel) * Of::kLaidElement;
    line_ = flat_ ? kStripRows / Of::kPlaces * stride_ : padded_width_ * pixel_ * Of::kLaidElement;
    cut_window();
  }

  void run(const RunSums& run) const {
    const int64_t tile_units = smaller(kTileUnits, rounded(sizes_.units, kWord));
    const int64_t tiles = ceil_div(sizes_.units, tile_units);
    const int threads = threads_for(Of::kProduct * places_ * sizes_.units * sizes_.taps() * pixel_);
    // Threads share the lines, for which each of them spreads all weights, or the units, for which each of them lays
    // out all lines.
    const bool even = tiles % threads == 0 || tiles >= 8 * threads;
    const bool by_units = even ? sizes_.units >= places_ || lines_ % threads != 0 : tiles > lines_;
    const int64_t most = lines_of_chunk(by_units ? lines_ : ceil_div(lines_, threads));
    const int64_t waiting = blocks_.size() == 1 ? 1 : most * ceil_div(width_, kStripRows);  // strips
    const Scratch<Laid> laid(threads, laid_lines(most) * line_ + Of::kStep);
    const Scratch<Element> padded(threads, flat_ ? 0 : (padded_width_ + next_) * pixel_);
    const Scratch<uint8_t> spread(threads, largest_ * Of::kSpreadElement);
    const Scratch<int32_t> sums(threads, waiting * kStripRows * kTileUnits);
    const Scratch<Border::Place> borders(threads, border_ == nullptr ? 0 : most * width_);
    parallel_for<Schedule::kStatic>(threads, threads, [&](int64_t part, int thread) {
      const int64_t parts = threads, begin = by_units ? 0 : lines_ * part / parts;
      const int64_t end = by_units ? lines_ : lines_ * (part + 1) / parts;
      const int64_t tile = by_units ? tiles * part / parts : 0,
                    end_tile = by_units ? tiles * (part + 1) / parts : tiles;
      for (int64_t line = begin; line < end; line += most) {
        const Chunk chunk = {line,         smaller(end, line + most),
                             laid[thread], spread[thread],
                             sums[thread], border_ == nullptr ? nullptr : borders[thread]};
        lay_out(chunk, padded[thread]);
        for (int64_t l = line; chunk.at != nullptr && l < chunk.end; ++l) {
          border_->find(place_of(l), width_of(l), borders[thread] + (l - line) * width_);
        }
        for (int64_t t = tile; t < end_tile; ++t) {
          multiply(chunk, t * tile_units, smaller(tile_units, sizes_.units - t * tile_units), run);
        }
      }
    });
  }

 private:
  // Lines [begin, end) of the result, and the buffers of the thread that computes them.
  struct Chunk {
    int64_t begin, end;
    Laid* laid;
    uint8_t* spread;
    int32_t* sums;
    const Border::Place* at;  // of all places of these lines, null where there is no border
  };

  // A run of taps next to each other is cut into equal pieces of at most kPiece elements, and the pieces are put
  // together as far as kMost and blocks allow.
  void cut_window() {
    const bool together = flat_ || sizes_.dilation_w == 1;
    const int64_t runs = together ? 1 : sizes_.kernel_w, size = together ? sizes_.kernel_w * pixel_ : pixel_;
    const int64_t piece = rounded(ceil_div(size, ceil_div(size, Of::kPiece)), Of::kStep);
    int64_t held = 0, left = sizes_.kernel_h * runs * ceil_div(size, piece);
    for (int64_t i = 0; i < sizes_.kernel_h * runs; ++i) {
      const int64_t at =
          i / runs * sizes_.dilation_h * line_ + i % runs * sizes_.dilation_w * pixel_ * Of::kLaidElement;
      for (int64_t begin = 0; begin < size; begin += piece, --left) {
        const int64_t count = smaller(piece, size - begin), whole = rounded(count, Of::kStep);
        if (blocks_.empty() || (blocks_.back().size + whole) * Of::kSpreadElement > kSpread) {
          blocks_.emplace_back();
          blocks_.back().pieces.reserve(smaller(left, kSpread / (Of::kPiece * Of::kSpreadElement) + 1));
          held = 0;
        } else if (held + whole <= Of::kMost) {
          blocks_.back().pieces.back().is_last = false;
        } else {
          held = 0;
        }
        held += whole;
        blocks_.back().size += whole;
        blocks_.back().pieces.push_back({at + begin * Of::kLaidElement, count, i * size + begin, true});
        largest_ = std::max(largest_, blocks_.back().size);
      }
    }
  }

  // A line of the result: its first place, counted over all rows, and how many places it has. Lines of a stripe follow
  // each other.
  int64_t place_of(int64_t line) const {
    if (flat_) return line * width_;
    const int64_t height = sizes_.out_height(), stripe = line / height;
    return (stripe / stripes_ * height + line % height) * sizes_.out_width() + stripe % stripes_ * width_;
  }
  int64_t width_of(int64_t line) const {
    if (flat_) return smaller(width_, places_ - line * width_);
    return smaller(width_, sizes_.out_width() - line / sizes_.out_height() % stripes_ * width_);
  }

  // How many padded lines, of all stripes, lie under so many lines of the result, and which is the first.
  int64_t laid_lines(int64_t lines) const {
    if (flat_) return lines;
    const int64_t stripes = (lines + sizes_.out_height() - 2) / sizes_.out_height();  // that begin after the first line
    return stripes * padded_height_ + (smaller(lines, sizes_.out_height()) - 1) * sizes_.stride_h +
           sizes_.vertical().extent();
  }
  int64_t first_laid(int64_t line) const {
    if (flat_) return line;
    return line / sizes_.out_height() * padded_height_ + line % sizes_.out_height() * sizes_.stride_h;
  }

  int64_t lines_of_chunk(int64_t lines) const {
    // Lines that are laid out for each, in a stripe and where a stripe has few.
    const int64_t each = flat_ ? 1 : std::max(sizes_.stride_h, padded_height_ / sizes_.out_height());
    const int64_t bytes = line_ * each * static_cast<int64_t>(sizeof(Laid));
    const int64_t most = blocks_.size() == 1 ? lines : smaller(lines, std::max<int64_t>(1, kSummedRows / width_));
    return smaller(most, std::max<int64_t>(1, kLaid / bytes));
  }

  void lay_out(const Chunk& chunk, Element* padded) const {
    if (flat_) {
      Laid* to = chunk.laid;
      const int64_t end = smaller(places_, chunk.end * width_);
      for (int64_t place = chunk.begin * width_; place < end; place += Of::kPlaces, to += stride_) {
        const Element* x = x_ + place * pixel_;
        of_.lay(x, place + 1 < places_ ? x + pixel_ : x, pixel_, to);
      }
      return;
    }
    const int64_t first = first_laid(chunk.begin), last = first_laid(chunk.end - 1) + sizes_.vertical().extent();
    fill(padded, padded_width_ + next_);
    bool is_empty = true;
    for (int64_t line = first; line < last; ++line) {
      const int64_t stripe = line / padded_height_, y = line % padded_height_ - sizes_.pad_h;
      const int64_t left = stripe % stripes_ * width_ * sizes_.stride_w - sizes_.pad_w;  // which column comes first
      const bool is_inside = y >= 0 && y < sizes_.height;
      if (!is_empty && (!is_inside || stripes_ > 1)) {
        fill(padded, padded_width_);
        is_empty = true;
      }
      const int64_t begin = std::clamp<int64_t>(-left, 0, padded_width_);
      const int64_t end = std::clamp(sizes_.width - left, begin, padded_width_);
      if (is_inside && begin < end) {
        const Element* from = x_ + ((stripe / stripes_ * sizes_.height + y) * sizes_.width + left + begin) * pixel_;
        std::memcpy(padded + begin * pixel_, from, (end - begin) * pixel_ * sizeof(Element));
        is_empty = false;
      }
      of_.lay(padded, padded + next_ * pixel_, padded_width_ * pixel_, chunk.laid + (line - first) * line_);
    }
  }

  void fill(Element* to, int64_t pixels) const {
    std::fill(to, to + pixels * pixel_, fill_);
    for (int64_t i = 1; last_ != fill_ && i <= pixels; ++i) to[i * pixel_ - 1] = last_;
  }

  // All places of a chunk by the units of a tile.
  void multiply(const Chunk& chunk, int64_t unit, int64_t units, const RunSums& run) const {
    const int64_t blocks = ceil_div(units, kBlock), first = first_laid(chunk.begin);
    for (const Block& block : blocks_) {
      const bool is_first = &block == &blocks_.front(), is_last = &block == &blocks_.back();
      const int64_t pieces = static_cast<int64_t>(block.pieces.size());
      uint8_t* to = chunk.spread;
      for (const Piece& piece : block.pieces) {
        of_.spread(weights_, unit, blocks, piece.weights, piece.size, to);
        to += rounded(piece.size, Of::kStep) * ceil_div(blocks, 2) * Of::kSpreadElement / 2;
      }
      int32_t* sums = chunk.sums;
      for (int64_t line = chunk.begin; line < chunk.end; ++line) {
        const Laid* from = chunk.laid + (first_laid(line) - first) * line_;
        const int64_t begin_place = place_of(line), width = width_of(line);
        for (int64_t x = 0; x < width; x += kStripRows, from += kStripRows / Of::kPlaces * stride_) {
          const int64_t rows = smaller(kStripRows, width - x), place = begin_place + x;
          const Border::Place* at = chunk.at == nullptr ? nullptr : chunk.at + (line - chunk.begin) * width_ + x;
          const bool begin = is_first && (at == nullptr || !begin_counts(at, rows, unit, blocks, sums));
          of_.multiply(from, stride_, ceil_div(rows, Of::kPlaces), block.pieces.data(), pieces, chunk.spread, blocks,
                       begin, sums);
          if (is_last) give(run, at, place, rows, unit, units, sums);
          if (blocks_.size() > 1) sums += kStripRows * kTileUnits;
        }
      }
    }
  }

  // What the counts of places begin at, if windows of some lie partly outside.
  static bool begin_counts(const Border::Place* at, int64_t rows, int64_t unit, int64_t blocks, int32_t* counts) {
    bool is_at_border = false;
    for (int64_t r = 0; r < rows; ++r) is_at_border |= !at[r].is_inside;
    for (int64_t r = 0; is_at_border && r < rows; ++r) {
      std::memcpy(counts + r * kTileUnits, at[r].begin + unit, blocks * kBlock * sizeof(int32_t));
    }
    return is_at_border;
  }

  // Places whose inputs are as many go together.
  void give(const RunSums& run, const Border::Place* at, int64_t place, int64_t rows, int64_t unit, int64_t units,
            const int32_t* sums) const {
    for (int64_t r = 0, end; r < rows; r = end) {
      end = at == nullptr ? rows : r + 1;
      while (end < rows && at[end].odd == at[r].odd) ++end;
      const int64_t inputs = sizes_.inputs() + (at == nullptr ? 0 : at[r].odd);
      run(place + r, end - r, unit, units, inputs, sums + r * kTileUnits);
    }
  }

  Of of_;
  const ConvSizes& sizes_;
  const Border* border_;
  const Element* x_;
  const PackedWeights weights_;
  Element fill_, last_;
  bool flat_;
  // Of the result: places, stripes of an image, their width, and lines of all of them; of the input, padded: the height
  // and width of a stripe.
  int64_t pixel_, places_, stripes_, width_, lines_, padded_height_, padded_width_;
  int64_t next_;           // pixels from a window to the next, where there is one
  int64_t stride_, line_;  // numbers from one row of the kernel to the next, and of a line
  int64_t largest_ = 0;    // size of a block
  std::vector<Block> blocks_;
};

// A file may have any padding, stride and dilation, so these are not multiplied as integers.
bool is_worth_it(const ConvSizes& sizes) {
  const int64_t lines = std::max(sizes.vertical().extent(), sizes.stride_h), width = sizes.width + 2 * sizes.pad_w;
  const double windows = static_cast<double>(sizes.out_width()) * sizes.taps();
  return sizes.rows * sizes.places() >= kFewRows && static_cast<double>(lines) * width <= 4 * windows;
}

}  // namespace

bool bits_in_lines(const ConvSizes& sizes) { return kernels().xnor_lookup != nullptr && is_worth_it(sizes); }
bool pixels_in_lines(const ConvSizes& sizes) { return kernels().u8_runs != nullptr && is_worth_it(sizes); }

void bits_by_lines(const ConvSizes& sizes, const Border& border, const uint32_t* x, const uint32_t* w,
                   const RunSums& run) {
  const uint32_t all = border.pad() == Pad::kMinus ? ~0u : 0u;
  const int64_t tail = sizes.channels % kWord;
  const PackedWeights weights(w, sizes.words() * kWord);
  const Border* at = border.is_empty() ? nullptr : &border;
  Lines<Bits>(sizes, sizes.pixel_words(), at, x, weights, all, tail == 0 ? all : all & ((1u << tail) - 1)).run(run);
}

void pixels_by_lines(const ConvSizes& sizes, const uint8_t* x, const uint32_t* w, const RunSums& run) {
  Lines<Pixels>(sizes, sizes.channels, nullptr, x, PackedWeights(w, sizes.inputs()), 0, 0).run(run);
}

}  // namespace gluon_bnn
