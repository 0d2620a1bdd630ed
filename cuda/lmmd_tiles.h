// The kernel that does the work: blocks for every tile of rows, against all rows of their class.
//
// For each tile of columns: inner products of the rows (registers), the kernels and their slopes (registers, then
// shared memory), and slopes times rows (registers). Neither the Gram matrix nor the kernel matrix is ever in
// global memory, no two blocks write the same numbers, and every sum has a fixed order.
#pragma once

#include "lmmd_device.h"

namespace fdan_edge {
namespace device {

LMMD_HD float exp2_of(float x) { return exp2f(x); }
LMMD_HD double exp2_of(double x) { return exp2(x); }

#include "kernel_sum.inl"

template <class T, int ROWS_, int COLUMNS_, int DEPTH_, int STAGES_>
struct Shape {
  using Number = T;
  static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_;
  static constexpr int DEPTH = DEPTH_;    // columns of z' in a step of the inner products
  static constexpr int STEP = 4;          // rows in a step of slopes times rows
  static constexpr int STAGES = STAGES_;  // buffers: so many steps less one are on their way
  static constexpr int CHUNK = 256;       // columns of the gradient in registers
  static constexpr int WIDE = 16 / sizeof(T);
  // Inner products of 4 columns at once: with more, the compiler reads so far ahead that sums leave their registers.
  static constexpr int UNROLL = ROWS == 64 ? 1 : DEPTH / WIDE;
  static constexpr int M = ROWS / 16, N = COLUMNS / 16;       // products of a thread: 16 x 16 threads
  static constexpr int GM = ROWS / TEAMS, GN = CHUNK / TEAM;  // gradient of a thread: 8 x 32 threads
};
using Big = Shape<float, 64, 64, 32, 2>;
using Small = Shape<float, 32, 32, 32, 4>;
using Exact = Shape<double, 32, 32, 16, 4>;  // also for float features with soft labels or other kernels

// Runs use(thread, step, buffer) for every step, with stage(thread, step, buffer) of later steps under way.
template <int STAGES, class Block, class Stage, class Use>
LMMD_FN void pipeline(Block& block, int steps, Stage&& stage, Use&& use) {
  block.run([&](int thread) {
    LMMD_UNROLL
    for (int step = 0; step < STAGES - 1; ++step) {
      if (step < steps) stage(thread, step, step);
      block.commit(thread);
    }
  });
  int buffer = 0;
  for (int step = 0; step < steps; ++step) {
    // Behind this barrier the step's numbers are there, and nobody reads those of the step before any more.
    block.each([&](int thread) { block.template wait<STAGES - 2>(thread); });
    block.run([&](int thread) {
      if (step + STAGES - 1 < steps) stage(thread, step + STAGES - 1, buffer ? buffer - 1 : STAGES - 1);
      block.commit(thread);
      use(thread, step, buffer);
    });
    buffer = buffer + 1 == STAGES ? 0 : buffer + 1;
  }
  block.each([](int) {});
}

// COUNT > 0: so many kernels with bandwidths in ratio 2.
template <class S, int COUNT>
struct Tiles {
  using T = typename S::Number;
  static constexpr int M = S::M, N = S::N, GM = S::GM, GN = S::GN, WIDE = S::WIDE;

  static constexpr int SLICES = THREADS / S::ROWS;  // threads that add up a row of B

  struct Shared {
    union {
      // Rows are an odd number of 16 bytes apart, so that neighbours read and write different banks.
      alignas(16) T gram[S::STAGES][S::ROWS + S::COLUMNS][S::DEPTH + WIDE];
      struct {
        alignas(16) T products[S::COLUMNS][S::ROWS + WIDE];  // B transposed
        alignas(16) T rows[S::STAGES][S::STEP][S::CHUNK];
      };
    };
    double values[THREADS];  // what each thread adds to the value
    T row_sums[THREADS];     // and to the sum of its row of B
    Tile tile;               // these three are here, since registers are short
  };

  struct Products {
    T at[M][N];
  };
  struct Gradient {
    T at[GM][GN];
  };

  // Where the numbers of a thread are in the tile, and those of its gradient.
  LMMD_FN static int row_of(int thread, int m) { return thread / 16 * M + m; }
  LMMD_FN static int column_of(int thread, int n) { return thread % 16 + 16 * n; }
  LMMD_FN static int gradient_row_of(int thread, int m) { return thread / TEAM * GM + m; }
  LMMD_FN static int gradient_column_of(int thread, int n) { return (n / WIDE * TEAM + thread % TEAM) * WIDE + n % WIDE; }

  template <class Block>
  LMMD_FN static void body(Block& block, Shared& shared, const Job<T>& job) {
    const int index = block.index() % job.max_tiles, part = block.index() / job.max_tiles;
    const bool used = index < job.headers[0].tiles;
    block.each([&](int thread) {
      shared.values[thread] = shared.row_sums[thread] = 0;
      if (thread == 0) shared.tile = used ? job.tiles[index] : Tile{0, 0, 0};
    });
    const Tile& tile = shared.tile;
    const int parts = smaller(job.parts, (tile.end - tile.begin + S::COLUMNS - 1) / S::COLUMNS);
    if (part < parts) columns(block, shared, job, tile, index, part, parts);
    block.each([](int) {});
    add_up(block, shared.values);
    block.run([&](int thread) {
      if (thread == 0) job.values[block.index()] = shared.values[0];
    });
    if (block.last(&job.done[0], block.count())) put_together(block, shared, job);
  }

  // Every so many tiles of columns; the last block of a tile adds the blocks' parts, in their order.
  template <class Block>
  LMMD_FN static void columns(Block& block, Shared& shared, const Job<T>& job, const Tile& tile, int index, int part,
                              int parts) {
    const bool wide = job.width > S::CHUNK;  // the gradient of all columns does not fit into registers
    typename Block::template Private<Products> products, weights;
    typename Block::template Private<Gradient> gradient;
    block.run([&](int thread) { gradient[thread] = {}; });
    const int first = tile.begin + part * S::COLUMNS;
    for (int column = first; column < tile.end; column += parts * S::COLUMNS) {
      gram(block, shared, job.z, job.stride, tile, column, products);
      if (COUNT == 0 && job.soft) gram(block, shared, job.u, job.u_stride, tile, column, weights);
      block.each([&](int thread) {
        shared.values[thread] += weigh(job, tile, column, thread, products[thread], weights[thread]);
        keep(shared, thread, products[thread]);
      });
      block.run([&](int thread) { shared.row_sums[thread] += row_sum(shared, thread); });
      for (int chunk = 0; job.gradient && chunk < job.width; chunk += S::CHUNK) {
        block.run([&](int thread) {
          if (!wide) return;
          gradient[thread] = {};
          if (column > first) add_partial(block, job, tile, chunk, part, thread, gradient[thread]);
        });
        spread(block, shared, job, tile, column, chunk, gradient);
        block.run([&](int thread) {
          if (wide) keep_partial(job, tile, chunk, part, thread, gradient[thread]);
        });
      }
    }
    if (!job.gradient) return;
    block.run([&](int thread) {
      if (!wide && parts > 1) keep_partial(job, tile, 0, part, thread, gradient[thread]);
    });
    keep_row_sums(block, shared, job, tile, part);
    if (parts > 1 && !block.last(&job.done[1 + index], parts)) return;
    block.run([&](int thread) {
      for (int chunk = 0; chunk < job.width; chunk += S::CHUNK) {
        if (wide || parts > 1) {
          gradient[thread] = {};
          for (int p = 0; p < parts; ++p) add_partial(block, job, tile, chunk, p, thread, gradient[thread]);
        }
        finish(block, job, tile, chunk, parts, thread, gradient[thread]);
      }
    });
  }

  // Inner products of the tile's rows and of the rows from `column` on. Rows beyond the class are its last one again.
  template <class Block, class Fragment>
  LMMD_FN static void gram(Block& block, Shared& shared, const T* z, int stride, const Tile& tile, int column,
                           Fragment& products) {
    const int own = tile.row, end = tile.end;  // copies: shared memory would be read in every step
    constexpr int PIECES = S::DEPTH / WIDE, EACH = THREADS / PIECES;
    static_assert(PIECES == 8, "eight threads write a row of shared memory, all banks at once");
    block.run([&](int thread) { products[thread] = {}; });
    pipeline<S::STAGES>(
        block, stride / S::DEPTH,
        [&](int thread, int step, int buffer) {
          const int m = thread / PIECES, piece = thread % PIECES;
          LMMD_UNROLL
          for (int i = 0; i < S::ROWS + S::COLUMNS; i += EACH) {
            const int row = smaller((i < S::ROWS ? own : column - S::ROWS) + i + m, end - 1);
            block.copy(thread, &shared.gram[buffer][i + m][piece * WIDE],
                       z + WIDE * int64_t(row * (stride / WIDE) + step * PIECES + piece));
          }
        },
        [&](int thread, int, int buffer) { multiply(shared.gram[buffer], thread, products[thread]); });
  }

  LMMD_FN static void multiply(const T (&z)[S::ROWS + S::COLUMNS][S::DEPTH + WIDE], int thread, Products& products) {
    LMMD_UNROLL_BY(S::UNROLL)
    for (int k = 0; k < S::DEPTH; k += WIDE) {
      Pack<T, WIDE> a[M];
      LMMD_UNROLL
      for (int m = 0; m < M; ++m) a[m] = read<WIDE>(&z[row_of(thread, m)][k]);
      LMMD_UNROLL
      for (int n = 0; n < N; ++n) {
        const Pack<T, WIDE> b = read<WIDE>(&z[S::ROWS + column_of(thread, n)][k]);
        LMMD_UNROLL
        for (int i = 0; i < WIDE; ++i)
          LMMD_UNROLL
          for (int m = 0; m < M; ++m) products.at[m][n] += a[m].at[i] * b.at[i];
      }
    }
  }

  // Turns a thread's inner products into B = weight * slope, and gives its sum of weight * k. Rows beyond the class
  // have weight 0.
  LMMD_FN static T weigh(const Job<T>& job, const Tile& tile, int column, int thread, Products& products,
                         const Products& weights) {
    const bool soft = COUNT == 0 && job.soft;
    const int first = tile.row, end = tile.end;
    T value = 0;
    LMMD_UNROLL
    for (int n = 0; n < N; ++n) {
      const int j = column + column_of(thread, n), other = smaller(j, end - 1);
      const T norm = job.norms[other], weight = j >= end ? T(0) : soft ? T(1) : job.weights[other];
      LMMD_UNROLL
      for (int m = 0; m < M; ++m) {
        const int i = first + row_of(thread, m), row = smaller(i, end - 1);
        const T distance = i == j ? T(0) : job.norms[row] + norm - 2 * products.at[m][n];  // exactly 0 to itself
        T k, slope;
        kernel_sum<COUNT, T>(distance < 0 ? T(0) : distance, job.kernels, k, slope);
        const T both = i >= end ? T(0) : soft ? weight * weights.at[m][n] : job.weights[row] * weight;
        value += both * k;
        // A row does not pull at itself; its own large term would only cost digits.
        products.at[m][n] = i == j ? T(0) : both * slope;
      }
    }
    return value;
  }

  LMMD_FN static void keep(Shared& shared, int thread, const Products& products) {
    LMMD_UNROLL
    for (int n = 0; n < N; ++n) {
      Pack<T, M> column;
      LMMD_UNROLL
      for (int m = 0; m < M; ++m) column.at[m] = products.at[m][n];
      write<M>(&shared.products[column_of(thread, n)][row_of(thread, 0)], column);
    }
  }

  // A thread's part of its row of B.
  LMMD_FN static T row_sum(const Shared& shared, int thread) {
    constexpr int EACH = S::COLUMNS / SLICES;
    T sum = 0;
    LMMD_UNROLL
    for (int n = 0; n < EACH; ++n) sum += shared.products[thread / S::ROWS * EACH + n][thread % S::ROWS];
    return sum;
  }

  // gradient += B z' for the columns `chunk` ... of z'; columns beyond its width are its last ones again.
  template <class Block, class Fragment>
  LMMD_FN static void spread(Block& block, Shared& shared, const Job<T>& job, const Tile& tile, int column, int chunk,
                             Fragment& gradient) {
    constexpr int PIECES = S::CHUNK / WIDE;
    const int end = tile.end, rows = smaller(end - column, S::COLUMNS);
    pipeline<S::STAGES>(
        block, (rows + S::STEP - 1) / S::STEP,
        [&](int thread, int step, int buffer) {
          LMMD_UNROLL
          for (int i = 0; i < S::STEP * PIECES / THREADS; ++i) {
            const int n = (i * THREADS + thread) / PIECES, k = thread % PIECES * WIDE;
            const int row = smaller(column + step * S::STEP + n, end - 1);
            block.copy(thread, &shared.rows[buffer][n][k],
                       job.z + int64_t(row) * job.stride + smaller(chunk + k, job.stride - WIDE));
          }
        },
        [&](int thread, int step, int buffer) {
          LMMD_UNROLL
          for (int i = 0; i < S::STEP; ++i) {
            const Pack<T, GM> b = read<GM>(&shared.products[step * S::STEP + i][gradient_row_of(thread, 0)]);
            LMMD_UNROLL
            for (int n = 0; n < GN; n += WIDE) {
              const Pack<T, WIDE> z = read<WIDE>(&shared.rows[buffer][i][gradient_column_of(thread, n)]);
              LMMD_UNROLL
              for (int j = 0; j < WIDE; ++j)
                LMMD_UNROLL
                for (int m = 0; m < GM; ++m) gradient[thread].at[m][n + j] += b.at[m] * z.at[j];
            }
          }
        });
  }

  // Where the partial gradients of a thread are, WIDE numbers at a time: run(partial, column of the fragment, row).
  template <class F>
  LMMD_FN static void each_piece(const Job<T>& job, const Tile& tile, int chunk, int thread, F&& run) {
    LMMD_UNROLL
    for (int m = 0; m < GM; ++m)
      LMMD_UNROLL
      for (int n = 0; n < GN; n += WIDE) {
        const int row = tile.row + gradient_row_of(thread, m), column = chunk + gradient_column_of(thread, n);
        if (row < tile.end && column < job.stride) run(m, n, row, column);
      }
  }

  template <class Block>
  LMMD_FN static void add_partial(Block& block, const Job<T>& job, const Tile& tile, int chunk, int part, int thread,
                                  Gradient& gradient) {
    each_piece(job, tile, chunk, thread, [&](int m, int n, int row, int column) {
      const T* from = job.partial + (int64_t(part) * job.rows() + row) * job.stride + column;
      LMMD_UNROLL
      for (int i = 0; i < WIDE; ++i) gradient.at[m][n + i] += block.fresh(from + i);
    });
  }

  LMMD_FN static void keep_partial(const Job<T>& job, const Tile& tile, int chunk, int part, int thread,
                                   const Gradient& gradient) {
    each_piece(job, tile, chunk, thread, [&](int m, int n, int row, int column) {
      Pack<T, WIDE> piece;
      LMMD_UNROLL
      for (int i = 0; i < WIDE; ++i) piece.at[i] = gradient.at[m][n + i];
      write<WIDE>(job.partial + (int64_t(part) * job.rows() + row) * job.stride + column, piece);
    });
  }

  template <class Block>
  LMMD_FN static void keep_row_sums(Block& block, Shared& shared, const Job<T>& job, const Tile& tile, int part) {
    block.each([&](int thread) {
      if (thread >= S::ROWS || tile.row + thread >= tile.end) return;
      T sum = 0;
      for (int i = 0; i < SLICES; ++i) sum += shared.row_sums[i * S::ROWS + thread];
      job.row_sums[int64_t(part) * job.rows() + tile.row + thread] = sum;
    });
  }

  template <class Block>
  LMMD_FN static void finish(Block& block, const Job<T>& job, const Tile& tile, int chunk, int parts, int thread,
                             const Gradient& gradient) {
    const Header& header = job.headers[0];
    const T factor = T(gradient_factor(header.scale, header.divisor));
    each_piece(job, tile, chunk, thread, [&](int m, int n, int row, int column) {
      T sum = 0;
      for (int part = 0; part < parts; ++part) sum += block.fresh(&job.row_sums[int64_t(part) * job.rows() + row]);
      const Pack<T, WIDE> own = read<WIDE>(job.z + int64_t(row) * job.stride + column);
      LMMD_UNROLL
      for (int i = 0; i < WIDE; ++i)
        if (column + i < job.width)
          job.put(job.gradients, int64_t(job.source[row]) * job.width + column + i,
                  header.wrong_label ? T(NAN) : factor * (own.at[i] * sum - gradient.at[m][n + i]));
    });
  }

  template <class Block>
  LMMD_FN static void put_together(Block& block, Shared& shared, const Job<T>& job) {
    block.each([&](int thread) {
      double value = 0;
      for (int i = thread; i < block.count(); i += THREADS) value += block.fresh(&job.values[i]);
      shared.values[thread] = value;
    });
    add_up(block, shared.values);
    block.run([&](int thread) {
      if (thread) return;
      const Header& header = job.headers[0];
      // Equal rows: exactly 0, which rounded weights do not sum to. Rows that are not finite: NaN.
      const double value = header.scale == 0 ? 0 : shared.values[0] / header.divisor;
      job.put(job.value, 0, header.wrong_label || header.scale != header.scale ? T(NAN) : T(value));
    });
  }
};

}  // namespace device
}  // namespace fdan_edge
