// The workspace and the sequence of kernels of one call, for any launcher; free of PyTorch.
#pragma once

#include <algorithm>

#include "lmmd_tiles.h"

namespace fdan_edge {
namespace device {

constexpr int ALONE = 256;   // rows up to which every block of Place combines the chunks itself
constexpr int BLOCKS = 264;  // two for each multiprocessor of an H100: with fewer tiles, blocks share their columns
constexpr int MOST_CHUNKS = 128, MOST_PARTS = 8;

// Hands out pieces of one allocation; with no memory it only adds up the sizes.
class Arena {
 public:
  explicit Arena(char* memory) : memory_(memory) {}
  template <class P>
  void take(P*& pointer, int64_t count) {
    pointer = memory_ ? reinterpret_cast<P*>(memory_ + used_) : nullptr;
    used_ += (count * int64_t(sizeof(P)) + 255) / 256 * 256;
  }
  int64_t used() const { return used_; }

 private:
  char* memory_;
  int64_t used_ = 0;
};

template <class T>
void lay_out(Job<T>& job, Arena& arena) {
  const int64_t rows = job.rows(), width = job.width, classes = job.classes, chunks = job.chunks, parts = job.parts;
  const int64_t copies = job.alone ? chunks : 1;
  const bool in_memory = job.gradient && (parts > 1 || width > Small::CHUNK);
  arena.take(job.done, 1 + job.max_tiles);
  arena.take(job.sums, chunks * width);
  arena.take(job.squares, chunks);
  arena.take(job.mass, chunks * classes * 2);
  arena.take(job.wrong, chunks);
  arena.take(job.rank, rows);
  arena.take(job.offsets, chunks * classes * 2);
  arena.take(job.headers, copies);
  arena.take(job.classes_of, copies * classes);
  arena.take(job.centre, copies * width);
  arena.take(job.tiles, job.max_tiles);
  arena.take(job.source, rows);
  arena.take(job.z, rows * job.stride);
  arena.take(job.norms, rows);
  arena.take(job.weights, rows);
  arena.take(job.u, job.soft ? rows * job.u_stride : 0);
  arena.take(job.partial, in_memory ? parts * rows * job.stride : 0);
  arena.take(job.row_sums, parts * rows);
  arena.take(job.values, parts * job.max_tiles);
}

inline int up_to(int64_t n, int64_t step) { return int((n + step - 1) / step * step); }

template <class S>
Job<typename S::Number> job_of(const Call& call) {
  Job<typename S::Number> job{};
  static_cast<Call&>(job) = call;
  const int rows = job.rows();
  job.stride = up_to(call.width, S::DEPTH);
  job.u_stride = up_to(call.classes, S::DEPTH);
  job.alone = rows <= ALONE && call.classes <= 1024;
  const int most = job.alone ? ALONE : std::max(1, std::min(MOST_CHUNKS, (1 << 16) / call.classes));
  job.chunk = up_to((rows + most - 1) / most, AT_ONCE);
  job.chunks = (rows + job.chunk - 1) / job.chunk;
  job.tile_rows = S::ROWS;
  // Every class may leave one tile incomplete, and has two rows or more.
  job.max_tiles = call.soft ? (rows + S::ROWS - 1) / S::ROWS : rows / S::ROWS + std::min(call.classes, rows / 2);
  const int columns = rows / (call.soft ? 1 : call.classes) / S::COLUMNS;
  job.parts = std::max(1, std::min({(BLOCKS + job.max_tiles / 2) / job.max_tiles, columns, MOST_PARTS}));
  return job;
}

// launcher.run<Kernel>(blocks, job), in order: three launches for few rows, else four.
template <class In, class S, int COUNT, class Launcher>
void launch(Launcher& launcher, const Job<typename S::Number>& job) {
  launcher.template run<Survey<In>>(job.chunks, job);
  if (!job.alone) launcher.template run<Combine<In>>(1, job);
  launcher.template run<Place<In>>((job.rows() + AT_ONCE - 1) / AT_ONCE, job);
  launcher.template run<Tiles<S, COUNT>>(job.max_tiles * job.parts, job);
}

// `allocate` gives so many bytes on the device.
template <class S, int COUNT, class Launcher, class Allocate>
void prepare(Launcher& launcher, const Call& call, Allocate&& allocate) {
  Job<typename S::Number> job = job_of<S>(call);
  Arena sizes(nullptr);
  lay_out(job, sizes);
  Arena arena(static_cast<char*>(allocate(sizes.used())));
  lay_out(job, arena);
  if constexpr (COUNT == 0)
    if (call.type == Type::DOUBLE) return launch<double, S, COUNT>(launcher, job);
  if (call.type == Type::HALF) return launch<torch::headeronly::Half, S, COUNT>(launcher, job);
  if (call.type == Type::BFLOAT16) return launch<torch::headeronly::BFloat16, S, COUNT>(launcher, job);
  launch<float, S, COUNT>(launcher, job);
}

template <class Launcher, class Allocate>
void start(Launcher& launcher, const Call& call, Allocate&& allocate) {
  const int rows = call.n_visual + call.n_acoustic;
  const bool usual = call.kernels.count == 5 && call.kernels.doubling() && !call.soft && !call.wide;
  if (!usual) return prepare<Exact, 0>(launcher, call, allocate);
  // Large tiles are bound by arithmetic, but only many of them, of large classes, fill a GPU.
  if (rows >= 4096 && rows / call.classes >= 256) return prepare<Big, 5>(launcher, call, allocate);
  prepare<Small, 5>(launcher, call, allocate);
}

}  // namespace device
}  // namespace fdan_edge
