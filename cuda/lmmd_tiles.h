// The kernel that does the work: a block for every tile of rows, against all rows of their class.
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

template <class T>
struct TileShape {
  static constexpr int ROWS = sizeof(T) == 4 ? 64 : 32;
  static constexpr int COLUMNS = 2 * ROWS;
  static constexpr int CHUNK = 256;  // columns of the gradient that a block computes; wider features take more blocks
};

template <bool SOFT, int COUNT>
struct Tiles {
  template <class T>
  struct Sizes {
    static constexpr int ROWS = TileShape<T>::ROWS, COLUMNS = TileShape<T>::COLUMNS, CHUNK = TileShape<T>::CHUNK;
    static constexpr int DEPTH = 16;                            // columns of z' per step of the inner products
    static constexpr int STEP = 8;                              // rows per step of slopes times rows
    static constexpr int M = ROWS / 16, N = COLUMNS / 16;       // products of a thread: 16 x 16 threads
    static constexpr int GM = ROWS / TEAMS, GN = CHUNK / TEAM;  // gradient of a thread: 8 x 32 threads
    static constexpr int PAD = 16 / sizeof(T);                  // keeps 16-byte accesses aligned
  };

  template <class T>
  struct SharedOf {
    using S = Sizes<T>;
    alignas(16) T products[S::COLUMNS][S::ROWS + S::PAD];  // B transposed
    union {
      struct {
        alignas(16) T a[S::DEPTH][S::ROWS + S::PAD];
        alignas(16) T b[S::DEPTH][S::COLUMNS + S::PAD];
      } gram;
      alignas(16) T rows[S::STEP][S::CHUNK];
      double values[THREADS];
      T sums[S::ROWS][16];
    };
  };

  template <class T>
  struct Products {
    T at[Sizes<T>::M][Sizes<T>::N];
  };
  template <class T>
  struct Gradient {
    T at[Sizes<T>::GM][Sizes<T>::GN];
  };
  template <class T>
  struct RowSums {
    T at[Sizes<T>::M];
  };

  // Row and column of a thread's product: columns in two groups, so that 16 bytes are read at a time.
  template <class T>
  LMMD_FN static int row_of(int thread, int m) {
    return thread / 16 * Sizes<T>::M + m;
  }
  template <class T>
  LMMD_FN static int column_of(int thread, int n) {
    constexpr int HALF = Sizes<T>::N / 2;
    return n / HALF * (Sizes<T>::COLUMNS / 2) + thread % 16 * HALF + n % HALF;
  }
  template <class T>
  LMMD_FN static int chunk_column_of(int thread, int n) {
    constexpr int HALF = Sizes<T>::GN / 2;
    return n / HALF * (Sizes<T>::CHUNK / 2) + thread % TEAM * HALF + n % HALF;
  }

  template <class Block, class T>
  LMMD_FN static void body(Block& block, SharedOf<T>& shared, const Job<T>& job) {
    const int index = block.index() % job.max_tiles, chunk = block.index() / job.max_tiles * TileShape<T>::CHUNK;
    if (index < job.header->tiles) tile(block, shared, job, index, chunk);
    if (block.last(&job.header->tiles_done, block.count())) put_together(block, shared, job);
  }

  template <class Block, class T>
  LMMD_FN static void tile(Block& block, SharedOf<T>& shared, const Job<T>& job, int index, int chunk) {
    const Tile tile = job.tiles[index];
    typename Block::template Private<Products<T>> products, weights;
    typename Block::template Private<Gradient<T>> gradient;
    typename Block::template Private<RowSums<T>> sums;
    typename Block::template Private<double> value;
    block.each([&](int thread) {
      gradient[thread] = {};
      sums[thread] = {};
      value[thread] = 0;
    });
    for (int column = tile.begin; column < tile.end; column += Sizes<T>::COLUMNS) {
      gram(block, shared, job.z, job.width, tile, column, products);
      if (SOFT) gram(block, shared, job.u, job.classes, tile, column, weights);
      block.each([&](int thread) {
        value[thread] += weigh(job, tile, column, thread, products[thread], weights[thread], sums[thread]);
        if (job.gradient) keep(shared, thread, products[thread]);
      });
      if (job.gradient) spread(block, shared, job, tile, column, chunk, gradient);
    }
    if (chunk == 0) add_values(block, shared, job, index, value);
    if (job.gradient) write(block, shared, job, tile, chunk, sums, gradient);
  }

  // Inner products of the tile's rows and of the rows from `column` on, both of shape (., width).
  template <class Block, class T, class Fragment>
  LMMD_FN static void gram(Block& block, SharedOf<T>& shared, const T* z, int width, const Tile& tile, int column,
                           Fragment& products) {
    using S = Sizes<T>;
    block.each([&](int thread) { products[thread] = {}; });
    for (int first = 0; first < width; first += S::DEPTH) {
      block.each([&](int thread) {
        stage<T, S::ROWS>(shared.gram.a, z, width, tile.row, tile.end, first, thread);
        stage<T, S::COLUMNS>(shared.gram.b, z, width, column, tile.end, first, thread);
      });
      block.each([&](int thread) {
        LMMD_UNROLL
        for (int k = 0; k < S::DEPTH; ++k) {
          T a[S::M], b[S::N];
          LMMD_UNROLL
          for (int m = 0; m < S::M; ++m) a[m] = shared.gram.a[k][row_of<T>(thread, m)];
          LMMD_UNROLL
          for (int n = 0; n < S::N; ++n) b[n] = shared.gram.b[k][column_of<T>(thread, n)];
          LMMD_UNROLL
          for (int m = 0; m < S::M; ++m)
            LMMD_UNROLL
            for (int n = 0; n < S::N; ++n) products[thread].at[m][n] += a[m] * b[n];
        }
      });
    }
  }

  // Columns k ... of a row, zeros beyond its end or where there is no row.
  template <class T>
  LMMD_FN static Wide<T> piece(const T* z, int width, int row, int end, int k) {
    const T* from = z + int64_t(row) * width + k;
    if (row < end && k + Wide<T>::COUNT <= width && width % Wide<T>::COUNT == 0) return load_wide(from);
    Wide<T> wide;
    LMMD_UNROLL
    for (int j = 0; j < Wide<T>::COUNT; ++j) wide.at[j] = row < end && k + j < width ? from[j] : T(0);
    return wide;
  }

  // DEPTH columns of ROWS rows, transposed.
  template <class T, int ROWS, int LD>
  LMMD_FN static void stage(T (&out)[Sizes<T>::DEPTH][LD], const T* z, int width, int first_row, int end,
                            int first_column, int thread) {
    constexpr int WIDE = Wide<T>::COUNT, PIECES = Sizes<T>::DEPTH / WIDE;  // neighbours read one row's sectors
    LMMD_UNROLL
    for (int i = thread; i < ROWS * PIECES; i += THREADS) {
      const int m = i / PIECES, k = i % PIECES * WIDE;
      const Wide<T> read = piece(z, width, first_row + m, end, first_column + k);
      LMMD_UNROLL
      for (int j = 0; j < WIDE; ++j) out[k + j][m] = read.at[j];
    }
  }

  // Turns a thread's inner products into B = weight * slope; gives its sum of weight * k.
  template <class T>
  LMMD_FN static double weigh(const Job<T>& job, const Tile& tile, int column, int thread, Products<T>& products,
                              const Products<T>& weights, RowSums<T>& sums) {
    T value = 0;
    LMMD_UNROLL
    for (int n = 0; n < Sizes<T>::N; ++n) {
      const int j = column + column_of<T>(thread, n);
      const bool inside = j < tile.end;
      const T norm = inside ? job.norms[j] : T(0), weight = !SOFT && inside ? job.weights[j] : T(0);
      LMMD_UNROLL
      for (int m = 0; m < Sizes<T>::M; ++m) {
        const int i = tile.row + row_of<T>(thread, m);
        T& product = products.at[m][n];
        if (!inside || i >= tile.end) {
          product = 0;
          continue;
        }
        const T distance = i == j ? T(0) : job.norms[i] + norm - 2 * product;  // exactly 0 to itself
        T k, slope;
        kernel_sum<COUNT, T>(distance < 0 ? T(0) : distance, job.kernels, k, slope);
        const T both = SOFT ? weights.at[m][n] : job.weights[i] * weight;
        value += both * k;
        // A row does not pull at itself; its own large term would only cost digits.
        product = i == j ? T(0) : both * slope;
        sums.at[m] += product;
      }
    }
    return value;
  }

  template <class T>
  LMMD_FN static void keep(SharedOf<T>& shared, int thread, const Products<T>& products) {
    LMMD_UNROLL
    for (int n = 0; n < Sizes<T>::N; ++n)
      LMMD_UNROLL
      for (int m = 0; m < Sizes<T>::M; ++m)
        shared.products[column_of<T>(thread, n)][row_of<T>(thread, m)] = products.at[m][n];
  }

  // gradient += B z' for the columns `chunk` ... of z'.
  template <class Block, class T, class Fragment>
  LMMD_FN static void spread(Block& block, SharedOf<T>& shared, const Job<T>& job, const Tile& tile, int column,
                             int chunk, Fragment& gradient) {
    using S = Sizes<T>;
    constexpr int WIDE = Wide<T>::COUNT, PIECES = S::CHUNK / WIDE;
    const int rows = tile.end - column < S::COLUMNS ? tile.end - column : S::COLUMNS;
    for (int first = 0; first < rows; first += S::STEP) {
      block.each([&](int thread) {
        LMMD_UNROLL
        for (int i = thread; i < S::STEP * PIECES; i += THREADS) {
          const int n = i / PIECES, k = i % PIECES * WIDE;
          const Wide<T> read = piece(job.z, job.width, column + first + n, tile.end, chunk + k);
          LMMD_UNROLL
          for (int j = 0; j < WIDE; ++j) shared.rows[n][k + j] = read.at[j];
        }
      });
      block.each([&](int thread) {
        LMMD_UNROLL
        for (int step = 0; step < S::STEP; ++step) {
          T a[S::GM], b[S::GN];
          LMMD_UNROLL
          for (int m = 0; m < S::GM; ++m) a[m] = shared.products[first + step][thread / TEAM * S::GM + m];
          LMMD_UNROLL
          for (int n = 0; n < S::GN; ++n) b[n] = shared.rows[step][chunk_column_of<T>(thread, n)];
          LMMD_UNROLL
          for (int m = 0; m < S::GM; ++m)
            LMMD_UNROLL
            for (int n = 0; n < S::GN; ++n) gradient[thread].at[m][n] += a[m] * b[n];
        }
      });
    }
  }

  template <class Block, class T, class Values>
  LMMD_FN static void add_values(Block& block, SharedOf<T>& shared, const Job<T>& job, int index, Values& value) {
    block.each([&](int thread) { shared.values[thread] = value[thread]; });
    add_up(block, shared.values);
    block.each([&](int thread) {
      if (thread == 0) job.parts[index] = shared.values[0];
    });
  }

  template <class Block, class T, class Sums, class Fragment>
  LMMD_FN static void write(Block& block, SharedOf<T>& shared, const Job<T>& job, const Tile& tile, int chunk,
                            Sums& sums, Fragment& gradient) {
    using S = Sizes<T>;
    block.each([&](int thread) {
      for (int m = 0; m < S::M; ++m) shared.sums[row_of<T>(thread, m)][thread % 16] = sums[thread].at[m];
    });
    const T factor = T(gradient_factor(job.header->scale, job.header->divisor));
    block.each([&](int thread) {
      LMMD_UNROLL
      for (int m = 0; m < S::GM; ++m) {
        const int local = thread / TEAM * S::GM + m, row = tile.row + local;
        if (row >= tile.end) continue;
        T sum = 0;
        for (int i = 0; i < 16; ++i) sum += shared.sums[local][i];
        T* out = job.gradient_of(job.source[row]);
        LMMD_UNROLL
        for (int n = 0; n < S::GN; ++n) {
          const int k = chunk + chunk_column_of<T>(thread, n);
          if (k >= job.width) continue;
          const T own = job.z[int64_t(row) * job.width + k];
          out[k] = job.header->wrong_label ? T(NAN) : factor * (own * sum - gradient[thread].at[m][n]);
        }
      }
    });
  }

  template <class Block, class T>
  LMMD_FN static void put_together(Block& block, SharedOf<T>& shared, const Job<T>& job) {
    block.each([&](int thread) {
      double value = 0;
      for (int tile = thread; tile < job.header->tiles; tile += THREADS) value += block.fresh(&job.parts[tile]);
      shared.values[thread] = value;
    });
    add_up(block, shared.values);
    block.each([&](int thread) {
      if (thread) return;
      const double scale = job.header->scale;
      // Equal rows: exactly 0, which rounded weights do not sum to. Rows that are not finite: NaN.
      const double value = scale == 0 ? 0 : shared.values[0] / job.header->divisor;
      *job.value = job.header->wrong_label || scale != scale ? T(NAN) : T(value);
    });
  }
};

}  // namespace device
}  // namespace fdan_edge
