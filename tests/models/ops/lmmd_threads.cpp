// The GPU's blocks as real threads, two blocks at once, for ThreadSanitizer: `make tsan`.
//
// Every result must be that of the emulator, which runs one thread after another. With an argument, every fifth
// barrier is left out, and ThreadSanitizer must complain: else it would see nothing at all.

#include <atomic>
#include <barrier>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <thread>

#include "emulator.h"

namespace fdan_edge {
namespace {

bool leave_out = false;
constexpr int SLOTS = 2;  // blocks that run at once

struct Slot {
  std::barrier<> barrier{device::THREADS};
  bool last = false;
};

class ThreadBlock {
 public:
  ThreadBlock(int index, int count, int thread, Slot& slot)
      : index_(index), count_(count), thread_(thread), slot_(slot) {}
  int index() const { return index_; }
  int count() const { return count_; }

  template <class F>
  void run(F&& run) {
    run(thread_);
  }
  template <class F>
  void each(F&& run) {
    run(thread_);
    if (!leave_out || ++barriers_ % 5) slot_.barrier.arrive_and_wait();
  }

  template <class T>
  class Private {
   public:
    T& operator[](int) { return value_; }

   private:
    T value_{};
  };

  template <class T>
  void copy(int, T* to, const T* from) {
    copies_.start(index_ % 2, to, from);
  }
  void commit(int) { copies_.commit(); }
  template <int BUT>
  void wait(int) {
    copies_.wait(BUT);
  }

  bool last(unsigned* counter, unsigned blocks) {
    slot_.barrier.arrive_and_wait();
    if (thread_ == 0) slot_.last = std::atomic_ref<unsigned>(*counter).fetch_add(1) == blocks - 1;
    slot_.barrier.arrive_and_wait();
    return slot_.last;
  }

  template <class T>
  T fresh(const T* p) const {
    return *p;
  }

 private:
  int index_, count_, thread_, barriers_ = 0;
  Slot& slot_;
  Copies copies_;
};

struct ThreadLauncher {
  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    std::vector<std::thread> threads;
    Slot slots[SLOTS];
    std::vector<typename Kernel::Shared> shared(SLOTS);
    for (int i = 0; i < SLOTS * device::THREADS; ++i)
      threads.emplace_back([&, slot = i / device::THREADS, thread = i % device::THREADS] {
        for (int index = slot; index < blocks; index += SLOTS) {
          ThreadBlock block(index, blocks, thread, slots[slot]);
          Kernel::body(block, shared[slot], job);
          slots[slot].barrier.arrive_and_wait();  // the next block uses the same memory
        }
      });
    for (std::thread& thread : threads) thread.join();
  }
};

struct Problem {
  const char* name;
  int faces, voices, width, classes;
  bool soft;
  bool large;  // in the tiles of large calls
};

// Value and gradients by a launcher.
template <class Launcher>
std::vector<float> results(const Problem& p, const std::vector<float>& z, const std::vector<int64_t>& hard,
                           const std::vector<float>& weights, Launcher&& launcher) {
  const int rows = p.faces + p.voices;
  std::vector<float> out(1 + rows * p.width);
  std::unique_ptr<char[]> memory;
  int64_t report[2] = {NO_REPORT, 0};
  const auto labels = [&](int row) {
    return p.soft ? static_cast<const void*>(&weights[row * p.classes]) : static_cast<const void*>(&hard[row]);
  };
  const Call call{z.data(), &z[p.faces * p.width], labels(0), labels(p.faces), out.data(), out.data() + 1, report,
                  Type::FLOAT, p.faces, p.voices, p.width, p.classes, false, p.soft, false, true,
                  kernels_of(5, 2.0)};
  const auto allocate = [&](int64_t bytes) {
    memory.reset(new char[bytes + 256]);
    return memory.get() + (256 - reinterpret_cast<uintptr_t>(memory.get()) % 256);
  };
  if (p.large)
    device::prepare<device::Big, 5>(launcher, call, allocate);
  else
    device::start(launcher, call, allocate);
  return out;
}

bool check(const Problem& p) {
  std::mt19937 chance(1);
  const int rows = p.faces + p.voices;
  std::vector<float> z(rows * p.width), weights(rows * p.classes);
  std::vector<int64_t> hard(rows);
  for (float& x : z) x = std::normal_distribution<float>()(chance);
  for (float& x : weights) x = std::uniform_real_distribution<float>()(chance);
  for (int64_t& x : hard) x = chance() % std::min(p.classes, 3);
  const std::vector<float> right = results(p, z, hard, weights, HostLauncher{false});
  const bool same = right == results(p, z, hard, weights, ThreadLauncher{});
  std::printf("%s: %s\n", p.name, same ? "the emulator's numbers" : "OTHER NUMBERS than the emulator's");
  return same && right[0] != 0;
}

bool misaligned_copies_are_noticed() {
  alignas(16) float from[8] = {}, to[8];
  try {
    Copies().start(false, to, from + 1);
  } catch (const std::logic_error&) {
    return true;
  }
  std::printf("a copy of 16 bytes from an odd place was let through\n");
  return false;
}

}  // namespace
}  // namespace fdan_edge

int main(int count, char**) {
  using fdan_edge::Problem;
  fdan_edge::leave_out = count > 1;
  bool good = fdan_edge::misaligned_copies_are_noticed();
  for (const Problem& p : {Problem{"few rows", 9, 14, 13, 3, false, false},
                           Problem{"columns shared by blocks, a wide gradient", 33, 32, 260, 1, false, false},
                           Problem{"soft labels", 6, 7, 20, 2, true, false},
                           Problem{"many classes, hence a launch more", 20, 21, 5, 1500, false, false},
                           Problem{"large tiles", 60, 70, 20, 1, false, true}})
    good = fdan_edge::check(p) && good;
  return good ? 0 : 1;
}
