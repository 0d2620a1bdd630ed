// The GPU's kernels that come before the tiles (lmmd_tiles.h), as functions of a block of threads.
//
// A block is a class with
//     int index(), count();          which block of how many
//     run(f), each(f);               f(thread) for every thread; each() ends with a barrier
//     Private<T>                     a T of every thread: value[thread]
//     copy(thread, to, from);        starts a copy of 16 bytes into shared memory,
//     commit(thread);                ends a group of copies,
//     wait<N>(thread);               waits for all groups of this thread but the last N
//     bool last(counter, blocks)     whether `blocks` - 1 others have come here before this one
//     T fresh(p)                     reads what other blocks wrote in the same launch
// so the same code runs on a GPU (lmmd_cuda.cu) and on the CPU, for tests (emulator.h).
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "lmmd.h"

#if defined(__CUDACC__)
#define LMMD_FN __device__ __forceinline__
#define LMMD_PRAGMA(X) _Pragma(#X)
#define LMMD_UNROLL LMMD_PRAGMA(unroll)
#define LMMD_UNROLL_BY(N) LMMD_PRAGMA(unroll(N))
#else
#define LMMD_FN inline
#define LMMD_UNROLL
#define LMMD_UNROLL_BY(N)
#endif

namespace fdan_edge {
namespace device {

constexpr int THREADS = 256;
constexpr int TEAM = 32;  // threads that add up one row together
constexpr int TEAMS = THREADS / TEAM;
constexpr int AT_ONCE = TEAMS;  // rows that a thread loads before it uses the first one: latency is paid once

LMMD_HD int smaller(int a, int b) { return a < b ? a : b; }
template <class T, class In>
LMMD_HD T number(In x) {
  return T(float(x));
}
template <>
LMMD_HD double number<double, double>(double x) {
  return x;
}

// N numbers that are read and written at once. Where they are not aligned, a GPU stops, and so does the emulator.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};

inline void check_alignment(const void* p, size_t to) {
  if (reinterpret_cast<uintptr_t>(p) % to) throw std::logic_error("lmmd: memory that is not aligned");
}

template <int N, class T>
LMMD_FN Pack<T, N> read(const T* p) {
#if defined(__CUDACC__)
  return *reinterpret_cast<const Pack<T, N>*>(p);
#else
  check_alignment(p, alignof(Pack<T, N>));
  Pack<T, N> pack;
  std::memcpy(&pack, p, sizeof pack);
  return pack;
#endif
}

template <int N, class T>
LMMD_FN void write(T* p, const Pack<T, N>& pack) {
#if defined(__CUDACC__)
  *reinterpret_cast<Pack<T, N>*>(p) = pack;
#else
  check_alignment(p, alignof(Pack<T, N>));
  std::memcpy(p, &pack, sizeof pack);
#endif
}

struct Header {
  double scale, divisor;
  int tiles;  // in use
  bool wrong_label;
};

// Sorted rows `begin` ... of a class that both sides have (else -1), its first tile, and the weights of a face and of
// a voice. Soft labels make one class of all rows; there, the weights are factors of the labels.
struct Class {
  int begin, rows, tile;
  double weight[2];
};

// Sorted rows `row` ..., which meet the rows begin ... end of their class.
struct Tile {
  int row, begin, end;
};

// Inputs, outputs and workspace of one call; the tiles compute in T.
template <class T>
struct Job : Call {
  int stride;        // of rows of z: the width up to whole steps, filled with zeros, so that no step is an exception
  int u_stride;      // the same for soft labels
  int chunk, chunks;  // rows of a chunk, and how many: a block of Survey takes one
  bool alone;        // few rows: every block of Place combines the chunks itself, which saves a launch
  int tile_rows, max_tiles, parts;  // parts: blocks that share the columns of a tile

  unsigned* done;    // (1 + max_tiles,): blocks that have finished, in all and of each tile
  double* sums;      // (chunks, width)
  double* squares;   // (chunks,)
  double* mass;      // (chunks, classes, 2): rows, or sums of soft labels, of faces and voices
  int64_t* wrong;    // (chunks,): a label out of range
  int* rank;         // (rows,): rows before it in its chunk, of the same class and side
  int* offsets;      // (chunks, classes, 2): the same for whole chunks before it
  Header* headers;   // a copy for every block of Place that combines, else one; so are the next two
  Class* classes_of;  // (copies, classes)
  double* centre;    // (copies, width)
  Tile* tiles;       // (max_tiles,)
  int* source;       // (rows,): the row at a sorted place
  T *z, *norms, *weights, *u;  // (rows, stride) z', (rows,), (rows,), (rows, u_stride)
  T *partial, *row_sums;       // (parts, rows, stride) B z', (parts, rows) B 1
  double* values;              // (max_tiles, parts): what each block adds to the value

  LMMD_HD int rows() const { return n_visual + n_acoustic; }
  LMMD_HD bool acoustic(int row) const { return row >= n_visual; }
  template <class In>
  LMMD_HD const In* features(int row) const {
    return acoustic(row) ? static_cast<const In*>(z_acoustic) + int64_t(row - n_visual) * width
                         : static_cast<const In*>(z_visual) + int64_t(row) * width;
  }
  LMMD_HD int64_t label(int row) const {
    return acoustic(row) ? static_cast<const int64_t*>(y_acoustic)[row - n_visual]
                         : static_cast<const int64_t*>(y_visual)[row];
  }
  // 2 * class + side, -1 for a label out of range.
  LMMD_HD int key(int row) const {
    const int64_t own = label(row);
    return own >= 0 && own < classes ? 2 * int(own) + acoustic(row) : -1;
  }
  LMMD_HD double soft_label(int row, int c) const {
    const void* labels = acoustic(row) ? y_acoustic : y_visual;
    const int64_t i = int64_t(acoustic(row) ? row - n_visual : row) * classes + c;
    return wide ? static_cast<const double*>(labels)[i] : static_cast<const float*>(labels)[i];
  }
  // Outputs have the type of the caller's sums, which is not T where float features are computed in double.
  LMMD_HD void put(void* to, int64_t i, T x) const {
    if (sizeof(T) == sizeof(double) && wide)
      static_cast<double*>(to)[i] = x;
    else
      static_cast<float*>(to)[i] = float(x);
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

// A block for each chunk of rows: sums for centre and scale, and how many rows there are of each class and side.
template <class In>
struct Survey {
  struct Shared {
    double values[THREADS];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    const int chunk = block.index(), first = chunk * job.chunk, end = smaller(first + job.chunk, job.rows());
    block.each([&](int thread) {
      for (int i = chunk * THREADS + thread; i <= job.max_tiles; i += job.chunks * THREADS) job.done[i] = 0;
      for (int key = thread; key < 2 * job.classes; key += THREADS)
        job.mass[int64_t(chunk) * 2 * job.classes + key] = job.soft ? soft_mass(job, first, end, key) : 0;
      if (thread == 0) job.wrong[chunk] = NO_REPORT;
      shared.values[thread] = columns(job, chunk, first, end, thread);
    });
    block.run([&](int thread) {
      for (int row = first + thread; !job.soft && row < end; row += THREADS) count(job, chunk, first, end, row);
    });
    add_up(block, shared.values);
    block.run([&](int thread) {
      if (thread == 0) job.squares[chunk] = shared.values[0];
    });
  }

  // Sums of a thread's columns relative to the first row's; gives the sum of their squares.
  template <class T>
  LMMD_FN static double columns(const Job<T>& job, int chunk, int first, int end, int thread) {
    double squares = 0;
    for (int column = thread; column < job.width; column += THREADS) {
      const double origin = number<double>(job.template features<In>(0)[column]);
      double sum = 0;
      for (int row = first; row < end; row += AT_ONCE) {
        In x[AT_ONCE];
        LMMD_UNROLL
        for (int i = 0; i < AT_ONCE; ++i) x[i] = job.template features<In>(smaller(row + i, end - 1))[column];
        LMMD_UNROLL
        for (int i = 0; i < AT_ONCE; ++i) {
          const double away = row + i < end ? number<double>(x[i]) - origin : 0;
          sum += away;
          squares += away * away;
        }
      }
      job.sums[int64_t(chunk) * job.width + column] = sum;
    }
    return squares;
  }

  // The last row of its kind in a chunk knows how many there are.
  template <class T>
  LMMD_FN static void count(const Job<T>& job, int chunk, int first, int end, int row) {
    const int key = job.key(row);
    int before = 0, after = 0;
    for (int other = first; other < end; ++other) {
      const bool same = job.key(other) == key;
      before += same && other < row;
      after += same && other > row;
    }
    job.rank[row] = before;
    if (key < 0 && !before) job.wrong[chunk] = job.label(row);
    if (key >= 0 && !after) job.mass[int64_t(chunk) * 2 * job.classes + key] = before + 1;
  }

  template <class T>
  LMMD_FN static double soft_mass(const Job<T>& job, int first, int end, int key) {
    double mass = 0;
    for (int row = first; row < end; ++row)
      if (job.acoustic(row) == key % 2) mass += job.soft_label(row, key / 2);
    return mass;
  }
};

// One block: puts the chunks together into the centre, the scale, and the place of each class.
template <class In>
struct Combine {
  struct Shared {
    double shift[THREADS], squares[THREADS];
    int rows[THREADS], tiles[THREADS], classes[THREADS];
    int64_t wrong[THREADS];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    into(block, shared, job, 0, -1);
  }

  // Into a copy of the results; offsets for one chunk, or for all (-1).
  template <class Block, class T>
  LMMD_FN static void into(Block& block, Shared& shared, const Job<T>& job, int copy, int chunk) {
    Class* classes = job.classes_of + int64_t(copy) * job.classes;
    const int each = (job.classes + THREADS - 1) / THREADS;
    block.each([&](int thread) {
      const int first = smaller(thread * each, job.classes), end = smaller(first + each, job.classes);
      shared.shift[thread] = centre(job, copy, thread);
      shared.squares[thread] = thread < job.chunks ? job.squares[thread] : 0;
      shared.wrong[thread] = thread < job.chunks ? job.wrong[thread] : NO_REPORT;
      shared.rows[thread] = shared.tiles[thread] = shared.classes[thread] = 0;
      for (int c = first; c < end; ++c) {
        classes[c] = class_of(job, c, chunk);
        shared.classes[thread] += classes[c].begin == 0;
        shared.rows[thread] += classes[c].rows;
        shared.tiles[thread] += classes[c].tile;
      }
    });
    add_up(block, shared.shift);
    add_up(block, shared.squares);
    block.each([&](int thread) {
      const int first = smaller(thread * each, job.classes), end = smaller(first + each, job.classes);
      int row = 0, tile = 0;
      for (int i = 0; i < thread && i * each < job.classes; ++i) {
        row += shared.rows[i];
        tile += shared.tiles[i];
      }
      for (int c = first; c < end && !job.soft; ++c) {
        if (classes[c].begin < 0) continue;
        const int tiles = classes[c].tile;
        classes[c].begin = row;
        classes[c].tile = tile;
        row += classes[c].rows;
        tile += tiles;
      }
      if (thread == 0) finish(shared, job, job.headers[copy]);
    });
  }

  template <class T>
  LMMD_FN static double centre(const Job<T>& job, int copy, int thread) {
    double shift = 0;
    for (int column = thread; column < job.width; column += THREADS) {
      double mean = 0;
      LMMD_UNROLL_BY(8)
      for (int chunk = 0; chunk < job.chunks; ++chunk) mean += job.sums[int64_t(chunk) * job.width + column];
      mean /= job.rows();
      shift += mean * mean;
      job.centre[int64_t(copy) * job.width + column] = number<double>(job.template features<In>(0)[column]) + mean;
    }
    return shift;
  }

  // A class with the number of its tiles for the first one.
  template <class T>
  LMMD_FN static Class class_of(const Job<T>& job, int c, int only) {
    double mass[2] = {0, 0};
    for (int side = 0; side < 2; ++side)
      LMMD_UNROLL_BY(8)
      for (int chunk = 0; chunk < job.chunks; ++chunk) {
        const int64_t i = (int64_t(chunk) * job.classes + c) * 2 + side;
        if (!job.soft && (only < 0 || only == chunk)) job.offsets[i] = int(mass[0] + mass[1]);
        mass[side] += job.mass[i];
      }
    Class out{-1, 0, 0, {class_weight(true, mass[0], mass[1]), class_weight(false, mass[1], mass[0])}};
    if (mass[0] > 0 && mass[1] > 0) {
      out.begin = 0;
      out.rows = job.soft ? 0 : int(mass[0] + mass[1]);
      out.tile = (out.rows + job.tile_rows - 1) / job.tile_rows;
    }
    return out;
  }

  template <class T>
  LMMD_FN static void finish(const Shared& shared, const Job<T>& job, Header& header) {
    int tiles = 0, both = 0;
    int64_t wrong = NO_REPORT;
    const int used = smaller(THREADS, job.classes > job.chunks ? job.classes : job.chunks);
    for (int i = 0; i < used; ++i) {
      tiles += shared.tiles[i];
      both += shared.classes[i];
      if (shared.wrong[i] != NO_REPORT) wrong = shared.wrong[i];
    }
    header.scale = scale_of(shared.squares[0], shared.shift[0], job.rows(), job.kernels, most_scale<T>());
    header.divisor = divisor_of(job.shared_only, both, job.classes);
    header.tiles = job.soft ? (job.rows() + job.tile_rows - 1) / job.tile_rows : tiles;
    header.wrong_label = wrong != NO_REPORT;
    if (!header.wrong_label) return;
    job.report[0] = wrong;
    job.report[1] = job.classes;
  }
};

// A block for every few rows: their scaled copies at their sorted places, norms, and zeros for rows without a part.
template <class In>
struct Place {
  struct Shared {
    typename Combine<In>::Shared combine;
    int place[AT_ONCE];
    double squares[AT_ONCE][THREADS], parts[THREADS];
  };

  template <class Block, class T>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    const int first = block.index() * AT_ONCE, chunk = first / job.chunk, copy = job.alone ? block.index() : 0;
    if (job.alone) Combine<In>::into(block, shared.combine, job, copy, chunk);
    block.each([&](int thread) {
      const int row = first + thread;
      if (thread < AT_ONCE) shared.place[thread] = row < job.rows() ? place_of(job, copy, chunk, row) : -1;
    });
    block.each([&](int thread) {
      double squares[AT_ONCE] = {};
      for (int column = thread; column < job.stride; column += THREADS)
        copy_column(job, shared, copy, first, column, squares);
      LMMD_UNROLL
      for (int i = 0; i < AT_ONCE; ++i) shared.squares[i][thread] = squares[i];
      for (int c = thread; job.soft && c < job.u_stride; c += THREADS) copy_labels(job, copy, first, c);
    });
    block.each([&](int thread) {
      double part = 0;
      LMMD_UNROLL
      for (int i = thread % TEAM; i < THREADS; i += TEAM) part += shared.squares[thread / TEAM][i];
      shared.parts[thread] = part;
    });
    block.run([&](int thread) {
      if (thread >= AT_ONCE || shared.place[thread] < 0) return;
      double norm = 0;
      for (int lane = 0; lane < TEAM; ++lane) norm += shared.parts[thread * TEAM + lane];
      job.norms[shared.place[thread]] = T(norm);
    });
  }

  template <class T>
  LMMD_FN static int place_of(const Job<T>& job, int copy, int chunk, int row) {
    Class own{0, job.rows(), 0, {0, 0}};
    int place = row;
    if (!job.soft) {
      const int key = job.key(row);
      if (key < 0) return -1;
      own = job.classes_of[int64_t(copy) * job.classes + key / 2];
      if (own.begin < 0) return -1;
      place = own.begin + job.offsets[int64_t(chunk) * 2 * job.classes + key] + job.rank[row];
      job.weights[place] = T(own.weight[key % 2]);
    }
    job.source[place] = row;
    const int tile = (place - own.begin) / job.tile_rows;
    if ((place - own.begin) % job.tile_rows == 0) job.tiles[own.tile + tile] = {place, own.begin, own.begin + own.rows};
    return place;
  }

  // Columns beyond the width become zeros. Rounding the centre moves all rows alike, which changes no distance.
  template <class T>
  LMMD_FN static void copy_column(const Job<T>& job, const Shared& shared, int copy, int first, int column,
                                  double (&squares)[AT_ONCE]) {
    const int from = smaller(column, job.width - 1);
    In x[AT_ONCE];
    LMMD_UNROLL
    for (int i = 0; i < AT_ONCE; ++i) x[i] = job.template features<In>(smaller(first + i, job.rows() - 1))[from];
    const Header& header = job.headers[copy];
    const T centre = T(job.centre[int64_t(copy) * job.width + from]), scale = T(header.scale);
    LMMD_UNROLL
    for (int i = 0; i < AT_ONCE; ++i) {
      const int place = shared.place[i];
      const T z = column < job.width ? (number<T>(x[i]) - centre) * scale : T(0);
      if (place >= 0) {
        job.z[int64_t(place) * job.stride + column] = z;
        squares[i] += double(z) * z;
      } else if (job.gradient && column < job.width && first + i < job.rows()) {
        job.put(job.gradients, int64_t(first + i) * job.width + column, header.wrong_label ? T(NAN) : T(0));
      }
    }
  }

  template <class T>
  LMMD_FN static void copy_labels(const Job<T>& job, int copy, int first, int c) {
    for (int row = first; row < smaller(first + AT_ONCE, job.rows()); ++row) {
      const double(&weight)[2] = job.classes_of[int64_t(copy) * job.classes + smaller(c, job.classes - 1)].weight;
      job.u[int64_t(row) * job.u_stride + c] =
          c < job.classes ? T(job.soft_label(row, c) * weight[job.acoustic(row)]) : T(0);
    }
  }
};

}  // namespace device
}  // namespace fdan_edge
