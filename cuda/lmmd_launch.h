// The workspace and the sequence of kernels of one call, for any launcher.
#pragma once

#include <algorithm>

#include "inputs.h"
#include "lmmd_tiles.h"

namespace fdan_edge {
namespace device {

constexpr int SMALL = 256;  // rows up to which one block does all that comes before the tiles
constexpr int MOST_STATISTICS_BLOCKS = 128;

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
  const int64_t rows = job.rows(), width = job.width, classes = job.classes, blocks = job.statistics_blocks;
  arena.take(job.header, 1);
  arena.take(job.tiles, job.max_tiles);
  arena.take(job.position, rows);
  arena.take(job.source, rows);
  arena.take(job.class_begin, classes);
  arena.take(job.class_tile, classes);
  arena.take(job.mass, 2 * classes);
  arena.take(job.sums, blocks * width);
  arena.take(job.squares, blocks);
  arena.take(job.centre, width);
  arena.take(job.parts, job.max_tiles);
  arena.take(job.z, rows * width);
  arena.take(job.norms, rows);
  arena.take(job.weights, rows);
  arena.take(job.u, job.soft ? rows * classes : 0);
}

inline Type type_of(ScalarType type) {
  switch (type) {
    case ScalarType::Half: return HALF;
    case ScalarType::BFloat16: return BFLOAT16;
    case ScalarType::Double: return DOUBLE;
    default: return FLOAT;
  }
}

template <class T>
Job<T> job_of(const Inputs& in, const Outputs& out, int64_t* report) {
  if (in.rows() > (1 << 24) || in.width > (1 << 20) || in.classes > (1 << 20))
    fail("more than 2^24 rows, or 2^20 features or classes, do not fit a GPU call");
  Job<T> job{};
  job.z_visual = in.z_visual.const_data_ptr();
  job.z_acoustic = in.z_acoustic.const_data_ptr();
  job.y_visual = in.y_visual.const_data_ptr();
  job.y_acoustic = in.y_acoustic.const_data_ptr();
  job.value = static_cast<T*>(std::get<0>(out).mutable_data_ptr());
  job.gradients = static_cast<T*>(std::get<1>(out).mutable_data_ptr());
  job.report = report;
  job.type = type_of(in.type());
  job.n_visual = int(in.n_visual);
  job.n_acoustic = int(in.n_acoustic);
  job.width = int(in.width);
  job.classes = int(in.classes);
  job.tile_rows = TileShape<T>::ROWS;
  // Every class may leave one tile incomplete.
  job.max_tiles = int(in.rows() / job.tile_rows + (in.soft ? 1 : std::min(in.classes, in.rows())));
  job.statistics_blocks = in.rows() <= SMALL ? 1 : int(std::min<int64_t>(MOST_STATISTICS_BLOCKS, (in.rows() + 31) / 32));
  job.soft = in.soft;
  job.shared_only = in.shared_only;
  job.gradient = in.gradient;
  job.kernels = in.kernels;
  return job;
}

// launcher.run<Kernel>(blocks, job), in order.
template <class T, class Launcher>
void launch_tiles(Launcher& launcher, const Job<T>& job) {
  const int chunks = job.gradient ? (job.width + TileShape<T>::CHUNK - 1) / TileShape<T>::CHUNK : 1;
  const int blocks = job.max_tiles * chunks;
  // Only float has the quick variant: every variant is compiled for every architecture.
  constexpr int QUICK = sizeof(T) == sizeof(float) ? 5 : 0;
  const bool usual = QUICK && job.kernels.count == QUICK && job.kernels.doubling();
  if (job.soft)
    usual ? launcher.template run<Tiles<true, QUICK>>(blocks, job) : launcher.template run<Tiles<true, 0>>(blocks, job);
  else
    usual ? launcher.template run<Tiles<false, QUICK>>(blocks, job)
          : launcher.template run<Tiles<false, 0>>(blocks, job);
}

template <class T, class Launcher>
void launch(Launcher& launcher, const Job<T>& job) {
  if (job.rows() <= SMALL) {
    launcher.template run<Begin>(1, job);
  } else {
    launcher.template run<Plan>(1, job);
    launcher.template run<Statistics>(job.statistics_blocks, job);
    launcher.template run<Prepare>((job.rows() + TEAMS - 1) / TEAMS, job);
  }
  launch_tiles(launcher, job);
}

template <class T, class Launcher>
void call(Launcher& launcher, const Inputs& in, const Outputs& out, int64_t* report) {
  Job<T> job = job_of<T>(in, out, report);
  Arena sizes(nullptr);
  lay_out(job, sizes);
  const int64_t bytes = sizes.used();
  const Tensor memory = torch::stable::new_empty(
      in.z_visual, torch::headeronly::IntHeaderOnlyArrayRef(&bytes, size_t(1)), ScalarType::Byte);
  Arena arena(static_cast<char*>(memory.mutable_data_ptr()));
  lay_out(job, arena);
  launch(launcher, job);
}

}  // namespace device
}  // namespace fdan_edge
