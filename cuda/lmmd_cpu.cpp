// LMMD on the CPU: value and gradient in one pass over pairs of row tiles of one class.
//
// Every round of a tournament pairs each tile of a class with another one, so the pairs of a round share no rows:
// they run in parallel without locks, B z' is added for both tiles of a pair (half of the Gram matrix is never
// computed), and the order of every sum is the same for any number of threads.

#include "lmmd_cpu.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "inputs.h"
#include "levels.h"

#if defined(__clang__)
#define SHUFFLE(A, B, ...) __builtin_shufflevector(A, B, __VA_ARGS__)
#else
#define SHUFFLE(A, B, ...) __builtin_shuffle(A, B, I{__VA_ARGS__})
#endif

namespace fdan_edge {

#if defined(X86_LEVELS)
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512vl,avx2,fma")
#define BYTES 64
namespace v4 {
#include "lmmd_cpu.inl"
}
#undef BYTES
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define BYTES 32
namespace v3 {
#include "lmmd_cpu.inl"
}
#undef BYTES
#pragma GCC pop_options
#endif
#define BYTES 16
namespace baseline {
#include "lmmd_cpu.inl"
}
#undef BYTES

namespace {

// A function or constant of the namespace of the instruction set in use.
#if defined(X86_LEVELS)
#define CHOOSE(...) (level == 2 ? v4::__VA_ARGS__ : level == 1 ? v3::__VA_ARGS__ : baseline::__VA_ARGS__)
#else
#define CHOOSE(...) (baseline::__VA_ARGS__)
#endif

// Memory that is aligned for every vector and not touched before it is used.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count) : bytes_(new char[count * sizeof(T) + 64]) {}
  T* get() const {
    const auto address = reinterpret_cast<uintptr_t>(bytes_.get());
    return reinterpret_cast<T*>(address + (64 - address % 64) % 64);
  }

 private:
  std::unique_ptr<char[]> bytes_;
};

// Small jobs stay on one thread: waking others takes longer.
constexpr int64_t PARALLEL_FLOPS = 50'000'000;

template <class F>
void for_each(int64_t count, bool parallel, const F& run) {
  if (!parallel || count < 2) {
    for (int64_t i = 0; i < count; ++i) run(i);
    return;
  }
  torch::stable::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) run(i);
  });
}

// Rows of one class in the sorted order; soft labels make one class of all rows.
struct Segment {
  int64_t begin, rows;
};

struct Plan {
  std::vector<Segment> segments;
  std::vector<int64_t> source;    // row of [faces; voices] of each sorted row, -1 between classes
  std::vector<double> weights;    // its signed class weight (hard labels)
  std::vector<int64_t> left_out;  // rows of classes that only one side has
  double divisor;
};

// Row labels of [faces; voices], checked.
std::vector<int64_t> labels_of(const Inputs& in) {
  const int64_t *visual = in.y_visual.const_data_ptr<int64_t>(), *acoustic = in.y_acoustic.const_data_ptr<int64_t>();
  std::vector<int64_t> labels(visual, visual + in.n_visual);
  labels.insert(labels.end(), acoustic, acoustic + in.n_acoustic);
  for (int64_t row = 0; row < in.rows(); ++row)
    if (labels[row] < 0 || labels[row] >= in.classes)
      fail("label " + std::to_string(labels[row]) + " of the " + (row < in.n_visual ? "faces" : "voices") +
           " is out of range: " + std::to_string(in.classes) + " classes are 0 to " +
           std::to_string(in.classes - 1));
  return labels;
}

// A counting sort of the rows by class.
Plan plan_hard(const Inputs& in, int64_t panel) {
  std::vector<int64_t> counts[2] = {std::vector<int64_t>(in.classes), std::vector<int64_t>(in.classes)};
  const std::vector<int64_t> labels = labels_of(in);
  for (int64_t row = 0; row < in.rows(); ++row) ++counts[row >= in.n_visual][labels[row]];
  Plan plan;
  std::vector<int64_t> next(in.classes, -1);
  int64_t end = 0;
  for (int64_t c = 0; c < in.classes; ++c) {
    if (!counts[0][c] || !counts[1][c]) continue;
    next[c] = end;
    plan.segments.push_back({end, counts[0][c] + counts[1][c]});
    end += round_up(plan.segments.back().rows, panel);
  }
  plan.source.assign(end, -1);
  plan.weights.assign(end, 0);
  for (int64_t row = 0; row < in.rows(); ++row) {
    const int64_t c = labels[row];
    if (next[c] < 0) {
      plan.left_out.push_back(row);
      continue;
    }
    const bool acoustic = row >= in.n_visual;
    plan.source[next[c]] = row;
    plan.weights[next[c]++] = class_weight(!acoustic, counts[acoustic][c], counts[!acoustic][c]);
  }
  plan.divisor = divisor_of(in.shared_only, plan.segments.size(), in.classes);
  return plan;
}

// All rows in their own order. Writes u of shape (padded rows, ld), signed weights of every class.
template <class T>
Plan plan_soft(const Inputs& in, int64_t panel, std::vector<T>& u) {
  const int64_t ld = round_up(in.classes, panel);
  Plan plan;
  const int64_t padded = round_up(in.rows(), panel);
  plan.segments.push_back({0, in.rows()});
  plan.source.assign(padded, -1);
  plan.weights.assign(padded, 0);
  u.assign(padded * ld, 0);
  const T* labels[2] = {in.y_visual.const_data_ptr<T>(), in.y_acoustic.const_data_ptr<T>()};
  const int64_t rows[2] = {in.n_visual, in.n_acoustic};
  std::vector<double> mass[2] = {std::vector<double>(in.classes), std::vector<double>(in.classes)};
  for (int side = 0; side < 2; ++side)
    for (int64_t i = 0; i < rows[side] * in.classes; ++i) mass[side][i % in.classes] += labels[side][i];
  for (int64_t row = 0; row < in.rows(); ++row) {
    const int side = row >= in.n_visual;
    const T* own = labels[side] + (row - (side ? in.n_visual : 0)) * in.classes;
    plan.source[row] = row;
    for (int64_t c = 0; c < in.classes; ++c)
      u[row * ld + c] = T(own[c] * class_weight(!side, mass[side][c], mass[!side][c]));
  }
  int shared = 0;
  for (int64_t c = 0; c < in.classes; ++c) shared += mass[0][c] > 0 && mass[1][c] > 0;
  plan.divisor = divisor_of(in.shared_only, shared, in.classes);
  return plan;
}

// The pairs of tiles of one round over all classes; round 0 holds the tiles with themselves, later rounds follow
// the circle method: with an even number of tiles the last one stays and the others turn.
void pairs_of_round(const Plan& plan, int64_t round, std::vector<Pair>& pairs) {
  pairs.clear();
  for (const Segment& segment : plan.segments) {
    const int64_t tiles = (segment.rows + TILE - 1) / TILE, even = tiles + tiles % 2;
    const auto add = [&](int64_t a, int64_t b) {
      const auto rows = [&](int64_t tile) { return std::min(TILE, segment.rows - tile * TILE); };
      if (a < tiles && b < tiles) pairs.push_back({segment.begin + a * TILE, rows(a), segment.begin + b * TILE, rows(b)});
    };
    if (!round)
      for (int64_t tile = 0; tile < tiles; ++tile) add(tile, tile);
    else if (round < even) {
      add((round - 1) % (even - 1), even - 1);
      for (int64_t k = 1; k < even / 2; ++k)
        add((round - 1 + k) % (even - 1), (round - 1 + even - 1 - k) % (even - 1));
    }
  }
}

int64_t rounds_of(const Plan& plan) {
  int64_t rounds = 1;
  for (const Segment& segment : plan.segments) {
    const int64_t tiles = (segment.rows + TILE - 1) / TILE;
    rounds = std::max(rounds, tiles + tiles % 2);
  }
  return rounds;
}

// Centre (d,) and scale of the rows.
template <class In>
double centre_of(const Inputs& in, bool parallel, std::vector<double>& centre) {
  constexpr int64_t CHUNK = 512;  // fixed, so that sums do not depend on the number of threads
  const In* sides[2] = {in.z_visual.const_data_ptr<In>(), in.z_acoustic.const_data_ptr<In>()};
  const int64_t rows[2] = {in.n_visual, in.n_acoustic};
  const int64_t chunks[2] = {(rows[0] + CHUNK - 1) / CHUNK, (rows[1] + CHUNK - 1) / CHUNK};
  const Statistics<In> statistics = CHOOSE(statistics<In>);
  centre.resize(in.width);
  for (int64_t k = 0; k < in.width; ++k) centre[k] = double(typename Convert<In>::T(sides[0][k]));
  std::vector<double> sums((chunks[0] + chunks[1]) * in.width), squares(chunks[0] + chunks[1]);
  for_each(chunks[0] + chunks[1], parallel, [&](int64_t chunk) {
    const int side = chunk >= chunks[0];
    const int64_t first = (chunk - (side ? chunks[0] : 0)) * CHUNK;
    statistics(sides[side] + first * in.width, std::min(CHUNK, rows[side] - first), in.width, centre.data(),
               sums.data() + chunk * in.width, &squares[chunk]);
  });
  double square = 0, shift = 0;
  for (const double part : squares) square += part;
  for (int64_t k = 0; k < in.width; ++k) {
    double mean = 0;
    for (int64_t chunk = 0; chunk < chunks[0] + chunks[1]; ++chunk) mean += sums[chunk * in.width + k];
    mean /= in.rows();
    shift += mean * mean;
    centre[k] += mean;
  }
  return scale_of(square, shift, in.rows(), in.kernels, most_scale<typename Convert<In>::T>());
}

template <class In>
class Run {
  using T = typename Convert<In>::T;

 public:
  Run(const Inputs& in, const Outputs& out)
      : in_(in), out_(out), isa_(CHOOSE(ISA<T>)), parallel_(flops() > PARALLEL_FLOPS) {
    plan_ = in.soft ? plan_soft<T>(in, isa_.panel, u_) : plan_hard(in, isa_.panel);
  }

  void operator()() {
    std::vector<double> centre;
    const double scale = centre_of<In>(in_, parallel_, centre);
    T* value = std::get<0>(out_).template mutable_data_ptr<T>();
    if (scale == 0 || plan_.segments.empty() || scale != scale) {
      *value = scale == scale ? T(0) : T(NAN);
      return fill(*value);
    }
    const int64_t padded = plan_.source.size();
    const int64_t width = round_up(in_.width, isa_.panel), ld = stride_of<T>(width);
    const int64_t u_width = round_up(in_.classes, isa_.panel);
    const Buffer<T> z(padded * ld), panels(padded * width), gradients(in_.gradient ? padded * ld : 0);
    std::vector<T> norms(padded), weights(plan_.weights.begin(), plan_.weights.end()), sums(padded),
        u_panels(u_.size());
    rows_ = {{z.get(), panels.get(), width, ld},
             {u_.empty() ? nullptr : u_.data(), u_panels.data(), u_width, u_width},
             norms.data(),
             weights.data(),
             in_.gradient ? gradients.get() : nullptr,
             sums.data()};
    place({centre.begin(), centre.end()}, T(scale));
    *value = T(all_pairs() / plan_.divisor);
    if (in_.gradient) finish(T(gradient_factor(scale, plan_.divisor)));
  }

 private:
  double flops() const { return 6.0 * in_.rows() * in_.rows() * in_.width / (in_.soft ? 1 : in_.classes); }

  const In* source(int64_t row) const {
    return row < in_.n_visual ? in_.z_visual.const_data_ptr<In>() + row * in_.width
                              : in_.z_acoustic.const_data_ptr<In>() + (row - in_.n_visual) * in_.width;
  }

  T* target(int64_t row) const {
    return std::get<1>(out_).template mutable_data_ptr<T>() + row * in_.width;
  }

  void fill(T value) const {
    for (int64_t row = 0; in_.gradient && row < in_.rows(); ++row) std::fill_n(target(row), in_.width, value);
  }

  // Copies, centres and scales the rows into their sorted places.
  void place(const std::vector<T>& centre, T scale) {
    const Place<In, T> place_row = CHOOSE(place<In, T>);
    const int64_t panel = isa_.panel;
    const Matrix<T>&z = rows_.z, &u = rows_.u;
    for_each(plan_.source.size() / panel, parallel_, [&](int64_t p) {
      for (int64_t m = p * panel; m < (p + 1) * panel; ++m) {
        T* row = z.rows + m * z.ld;
        const int64_t from = plan_.source[m], used = from < 0 ? 0 : in_.width;
        std::memset(row + used, 0, (z.ld - used) * sizeof(T));
        if (from >= 0) rows_.norms[m] = place_row(source(from), in_.width, centre.data(), scale, row);
      }
      isa_.pack(z.rows + p * panel * z.ld, z.ld, z.width, z.panels + p * panel * z.width);
      if (u.rows) isa_.pack(u.rows + p * panel * u.ld, u.ld, u.width, u.panels + p * panel * u.width);
      if (rows_.gradients) std::memset(rows_.gradients + p * panel * z.ld, 0, panel * z.ld * sizeof(T));
    });
  }

  double all_pairs() const {
    double value = 0;
    std::vector<Pair> pairs;
    std::vector<double> parts;
    const int64_t rounds = rounds_of(plan_);
    for (int64_t round = 0; round < rounds; ++round) {
      pairs_of_round(plan_, round, pairs);
      parts.assign(pairs.size(), 0);
      for_each(pairs.size(), parallel_, [&](int64_t k) { parts[k] = isa_.pair(rows_, pairs[k], in_.kernels); });
      for (const double part : parts) value += part;
    }
    return value;
  }

  void finish(T factor) const {
    const Finish<T> finish_row = CHOOSE(finish<T>);
    for_each((plan_.source.size() + TILE - 1) / TILE, parallel_, [&](int64_t tile) {
      const int64_t end = std::min<int64_t>((tile + 1) * TILE, plan_.source.size());
      for (int64_t m = tile * TILE; m < end; ++m)
        if (plan_.source[m] >= 0)
          finish_row(rows_.z.rows + m * rows_.z.ld, rows_.gradients + m * rows_.z.ld, rows_.sums[m], factor, in_.width,
                     target(plan_.source[m]));
    });
    for (const int64_t row : plan_.left_out) std::fill_n(target(row), in_.width, T(0));
  }

  const Inputs& in_;
  const Outputs& out_;
  const Isa<T> isa_;
  const bool parallel_;
  std::vector<T> u_;
  Plan plan_;
  Rows<T> rows_{};
};

}  // namespace

Outputs lmmd_cpu(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual, const Tensor& y_acoustic,
                 int64_t classes, bool shared_only, int64_t kernels, double ratio, bool gradient) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  const Outputs out = empty_outputs(in);
  with_type(in.type(), [&](auto* type) { Run<std::remove_pointer_t<decltype(type)>>(in, out)(); });
  return out;
}

// For tests: use instruction sets up to `limit` (0: 16-byte vectors, 1: AVX2, 2: AVX-512); gives the one in use.
int64_t cpu_level(int64_t limit) {
  level = std::min<int64_t>(std::max<int64_t>(limit, 0), highest_level());
  return level;
}

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CPU, m) {
  m.impl("lmmd", TORCH_BOX(&fdan_edge::lmmd_cpu));
  m.impl("lmmd_forward", TORCH_BOX(&fdan_edge::lmmd_cpu));
}

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CompositeExplicitAutograd, m) {
  m.impl("cpu_level", TORCH_BOX(&fdan_edge::cpu_level));
}
