// The kernels of the CUDA implementation, all but the tiles' (lmmd_tiles.h), as functions of a thread block.
//
// A block is a class with
//     int index(), count();                      which block of how many
//     each(f);                                   f(thread) for every thread, then a barrier
//     Private<T>                                 a T of every thread: value[thread]
//     bool last(counter, blocks)                 whether the other blocks have all come here before this one
//     T fresh(p)                                 reads what other blocks wrote in the same launch
// so the same code runs on a GPU (lmmd_cuda.cu), and in tests on the CPU, one block and one thread after another
// (lmmd_emulated.cpp).
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <cstring>

#include "lmmd.h"

#if defined(__CUDACC__)
#define LMMD_FN __device__ __forceinline__
#define LMMD_UNROLL _Pragma("unroll")
#else
#define LMMD_FN inline
#define LMMD_UNROLL
#endif

namespace fdan_edge {
namespace device {

constexpr int THREADS = 256;
constexpr int TEAM = 32;  // threads that work on one row or one class together
constexpr int TEAMS = THREADS / TEAM;

constexpr int64_t NO_REPORT = INT64_MIN;  // no label out of range has been seen

enum Type : int { HALF, BFLOAT16, FLOAT, DOUBLE };

// 16 bytes, which a thread reads and writes at once.
template <class T>
struct alignas(16) Wide {
  static constexpr int COUNT = 16 / sizeof(T);
  T at[COUNT];
};

template <class T>
LMMD_FN Wide<T> load_wide(const T* p) {
#if defined(__CUDACC__)
  return *reinterpret_cast<const Wide<T>*>(p);
#else
  Wide<T> wide;
  std::memcpy(&wide, p, sizeof wide);
  return wide;
#endif
}

// What the first kernels find out for the later ones.
struct Header {
  unsigned statistics_done, tiles_done;  // blocks that have finished
  int tiles;                             // row tiles in use
  int wrong_label;                       // whether there is one
  double divisor, scale;
};

// Rows `row` ... of one class, which has the sorted rows begin ... end.
struct Tile {
  int row, begin, end;
};

// Inputs, outputs and workspace of one call; sums are kept in T.
template <class T>
struct Job {
  const void *z_visual, *z_acoustic;
  const void *y_visual, *y_acoustic;  // int64 labels, or soft labels in T
  T *value, *gradients;  // one number, and (rows, width)
  int64_t* report;  // memory of the host that gets a label out of range
  Type type;
  int n_visual, n_acoustic, width, classes, tile_rows, max_tiles, statistics_blocks;
  bool soft, shared_only, gradient;
  Kernels kernels;

  Header* header;
  Tile* tiles;       // (max_tiles,)
  int* position;     // (rows,): sorted place of a row, -1 for one that has no part in the sum
  int* source;       // (rows,): the row at a sorted place
  int* class_begin;  // (classes,): first sorted row, -1 for a class that one side lacks
  int* class_tile;   // (classes,): first tile
  double* mass;      // (classes, 2): rows, or sums of soft labels, of the faces and of the voices
  double* sums;      // (statistics_blocks, width)
  double* squares;   // (statistics_blocks,)
  double* centre;    // (width,)
  double* parts;     // (max_tiles,): what each tile adds to the value
  T *z, *norms, *weights, *u;  // (rows, width) z', (rows,), (rows,), (rows, classes) for soft labels

  LMMD_HD int rows() const { return n_visual + n_acoustic; }
  LMMD_HD int64_t label(int row) const {
    return row < n_visual ? static_cast<const int64_t*>(y_visual)[row]
                          : static_cast<const int64_t*>(y_acoustic)[row - n_visual];
  }
  LMMD_HD T soft_label(int row, int c) const {
    return row < n_visual ? static_cast<const T*>(y_visual)[int64_t(row) * classes + c]
                          : static_cast<const T*>(y_acoustic)[int64_t(row - n_visual) * classes + c];
  }
  LMMD_HD double feature(int row, int column) const {
    const void* z = row < n_visual ? z_visual : z_acoustic;
    const int64_t i = int64_t(row < n_visual ? row : row - n_visual) * width + column;
    switch (type) {
      case HALF: return float(static_cast<const torch::headeronly::Half*>(z)[i]);
      case BFLOAT16: return float(static_cast<const torch::headeronly::BFloat16*>(z)[i]);
      case FLOAT: return static_cast<const float*>(z)[i];
      default: return static_cast<const double*>(z)[i];
    }
  }
  LMMD_HD T* gradient_of(int row) const { return gradients + int64_t(row) * width; }
};

// The shared memory of a kernel: Kernel::Shared, or Kernel::SharedOf<T> where it depends on the type.
template <class Kernel, class T>
auto shared_memory_of(int) -> typename Kernel::template SharedOf<T>;
template <class Kernel, class T>
auto shared_memory_of(long) -> typename Kernel::Shared;
template <class Kernel, class T>
using SharedMemory = decltype(shared_memory_of<Kernel, T>(0));

// Rows first ... end of team member `lane`, in order.
struct Share {
  int first, end;
  LMMD_HD Share(int rows, int lane) {
    const int each = (rows + TEAM - 1) / TEAM;
    first = lane * each < rows ? lane * each : rows;
    end = first + each < rows ? first + each : rows;
  }
};

// One block: sorts the rows by class (stable, hence deterministic), and lists the tiles.
struct Plan {
  struct Shared {
    double mass[THREADS][2];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    block.each([&](int thread) {
      if (thread == 0) *job.header = Header{};
    });
    count(block, shared, job);
    block.each([&](int thread) {
      if (thread == 0) lay_out(job);
    });
    job.soft ? keep_order(block, job) : sort(block, shared, job);
  }

  // mass[c] = rows, or weight, of class c on both sides: a team for each class.
  template <class Block, class T>
  LMMD_FN static void count(Block& block, Shared& shared, const Job<T>& job) {
    for (int base = 0; base < job.classes; base += TEAMS) {
      block.each([&](int thread) { share_of(job, base + thread / TEAM, thread % TEAM, shared.mass[thread]); });
      block.each([&](int thread) {
        const int c = base + thread / TEAM, side = thread % TEAM;
        if (c >= job.classes || side >= 2) return;
        double mass = 0;
        for (int lane = 0; lane < TEAM; ++lane) mass += shared.mass[thread / TEAM * TEAM + lane][side];
        job.mass[2 * c + side] = mass;
      });
    }
  }

  template <class T>
  LMMD_FN static void share_of(const Job<T>& job, int c, int lane, double (&mass)[2]) {
    mass[0] = mass[1] = 0;
    if (c >= job.classes) return;
    const Share share(job.rows(), lane);
    for (int row = share.first; row < share.end; ++row)
      mass[row >= job.n_visual] += job.soft ? double(job.soft_label(row, c)) : double(job.label(row) == c);
  }

  template <class T>
  LMMD_FN static void lay_out(const Job<T>& job) {
    int row = 0, tile = 0, shared = 0;
    for (int c = 0; c < job.classes; ++c) {
      const double visual = job.mass[2 * c], acoustic = job.mass[2 * c + 1];
      const bool both = visual > 0 && acoustic > 0;
      job.class_begin[c] = both ? row : -1;
      job.class_tile[c] = tile;
      shared += both;
      if (!both || job.soft) continue;
      const int rows = int(visual + acoustic);
      row += rows;
      tile += (rows + job.tile_rows - 1) / job.tile_rows;
    }
    job.header->tiles = job.soft ? (job.rows() + job.tile_rows - 1) / job.tile_rows : tile;
    job.header->divisor = divisor_of(job.shared_only, shared, job.classes);
  }

  template <class Block, class T>
  LMMD_FN static void keep_order(Block& block, const Job<T>& job) {
    block.each([&](int thread) {
      for (int row = thread; row < job.rows(); row += THREADS) job.position[row] = job.source[row] = row;
      for (int tile = thread; tile < job.header->tiles; tile += THREADS)
        job.tiles[tile] = {tile * job.tile_rows, 0, job.rows()};
    });
  }

  template <class Block, class T>
  LMMD_FN static void sort(Block& block, Shared& shared, const Job<T>& job) {
    block.each([&](int thread) {
      for (int row = thread; row < job.rows(); row += THREADS) {
        const int64_t label = job.label(row);
        if (label >= 0 && label < job.classes) continue;
        job.position[row] = -1;
        job.header->wrong_label = 1;
        *job.report = label;
      }
    });
    for (int base = 0; base < job.classes; base += TEAMS) {
      block.each([&](int thread) { share_of(job, base + thread / TEAM, thread % TEAM, shared.mass[thread]); });
      block.each([&](int thread) { sort_class(shared, job, base + thread / TEAM, thread); });
    }
  }

  template <class T>
  LMMD_FN static void sort_class(const Shared& shared, const Job<T>& job, int c, int thread) {
    if (c >= job.classes) return;
    const int lane = thread % TEAM, begin = job.class_begin[c];
    const double visual = job.mass[2 * c], acoustic = job.mass[2 * c + 1];
    int place = begin;
    for (int i = 0; i < lane; ++i) {
      const double(&mass)[2] = shared.mass[thread - lane + i];
      place += int(mass[0] + mass[1]);
    }
    const Share share(job.rows(), lane);
    for (int row = share.first; row < share.end; ++row) {
      if (job.label(row) != c) continue;
      job.position[row] = begin < 0 ? -1 : place;
      if (begin < 0) continue;
      const bool is_visual = row < job.n_visual;
      job.source[place] = row;
      job.weights[place++] =
          T(class_weight(is_visual, is_visual ? visual : acoustic, is_visual ? acoustic : visual));
    }
    if (begin < 0) return;
    const int end = begin + int(visual + acoustic);
    for (int tile = lane; begin + tile * job.tile_rows < end; tile += TEAM)
      job.tiles[job.class_tile[c] + tile] = {begin + tile * job.tile_rows, begin, end};
  }
};

// Adds the threads' numbers in a fixed order; the sum is in values[0] afterwards.
template <class Block>
LMMD_FN void add_up(Block& block, double* values) {
  for (int half = THREADS / 2; half > 0; half /= 2)
    block.each([&](int thread) {
      if (thread < half) values[thread] += values[thread + half];
    });
}

// A few blocks: the centre and the scale of all rows; the last one to finish puts the parts together.
struct Statistics {
  struct Shared {
    double values[THREADS];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    const int each = (job.rows() + job.statistics_blocks - 1) / job.statistics_blocks;
    const int first = block.index() * each, end = first + each < job.rows() ? first + each : job.rows();
    block.each([&](int thread) {
      double squares = 0;
      for (int column = thread; column < job.width; column += THREADS) {
        const double origin = job.feature(0, column);
        double sum = 0;
        for (int row = first; row < end; ++row) {
          const double x = job.feature(row, column) - origin;
          sum += x;
          squares += x * x;
        }
        job.sums[int64_t(block.index()) * job.width + column] = sum;
      }
      shared.values[thread] = squares;
    });
    add_up(block, shared.values);
    block.each([&](int thread) {
      if (thread == 0) job.squares[block.index()] = shared.values[0];
    });
    if (block.last(&job.header->statistics_done, job.statistics_blocks)) put_together(block, shared, job);
  }

  template <class Block, class T>
  LMMD_FN static void put_together(Block& block, Shared& shared, const Job<T>& job) {
    block.each([&](int thread) {
      double shift = 0;
      for (int column = thread; column < job.width; column += THREADS) {
        double mean = 0;
        for (int b = 0; b < job.statistics_blocks; ++b) mean += block.fresh(&job.sums[int64_t(b) * job.width + column]);
        mean /= job.rows();
        shift += mean * mean;
        job.centre[column] = job.feature(0, column) + mean;
      }
      shared.values[thread] = shift;
    });
    add_up(block, shared.values);
    block.each([&](int thread) {
      if (thread) return;
      double squares = 0;
      for (int b = 0; b < job.statistics_blocks; ++b) squares += block.fresh(&job.squares[b]);
      job.header->scale = scale_of(squares, shared.values[0], job.rows(), job.kernels, most_scale<T>());
    });
  }
};

// A team for each row: its scaled copy at its sorted place, its norm, and zeros for a row without a part.
struct Prepare {
  struct Shared {
    double squares[THREADS];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    rows_from(block, shared, job, block.index() * TEAMS);
  }

  template <class Block, class T>
  LMMD_FN static void rows_from(Block& block, Shared& shared, const Job<T>& job, int first) {
    block.each([&](int thread) {
      const int row = first + thread / TEAM, lane = thread % TEAM;
      shared.squares[thread] = row < job.rows() ? copy(job, row, lane) : 0;
    });
    block.each([&](int thread) {
      const int row = first + thread / TEAM;
      if (thread % TEAM || row >= job.rows() || job.position[row] < 0) return;
      double norm = 0;
      for (int lane = 0; lane < TEAM; ++lane) norm += shared.squares[thread + lane];
      job.norms[job.position[row]] = T(norm);
    });
  }

  template <class T>
  LMMD_FN static double copy(const Job<T>& job, int row, int lane) {
    const int place = job.position[row];
    const T scale = T(job.header->scale);
    double squares = 0;
    for (int column = lane; column < job.width; column += TEAM) {
      if (place < 0) {
        if (job.gradient) job.gradient_of(row)[column] = job.header->wrong_label ? T(NAN) : T(0);
        continue;
      }
      // Rounding the centre moves all rows alike, which changes no distance.
      const T x = (T(job.feature(row, column)) - T(job.centre[column])) * scale;
      job.z[int64_t(place) * job.width + column] = x;
      squares += double(x) * x;
    }
    for (int c = lane; job.soft && c < job.classes; c += TEAM) {
      const bool visual = row < job.n_visual;
      const double own = job.mass[2 * c + !visual], other = job.mass[2 * c + visual];
      job.u[int64_t(row) * job.classes + c] = T(job.soft_label(row, c) * class_weight(visual, own, other));
    }
    return squares;
  }
};

// Small calls: all of the above in one launch of one block.
struct Begin {
  union Shared {
    Plan::Shared plan;
    Statistics::Shared statistics;
    Prepare::Shared prepare;
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    Plan::body(block, shared.plan, job);
    Statistics::body(block, shared.statistics, job);
    for (int row = 0; row < job.rows(); row += TEAMS) Prepare::rows_from(block, shared.prepare, job, row);
  }
};

}  // namespace device
}  // namespace fdan_edge
