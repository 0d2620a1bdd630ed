// The GPU's blocks on the CPU, one block and one thread after another; free of PyTorch.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "lmmd_launch.h"

namespace fdan_edge {

// Copies of 16 bytes that a thread has started. A GPU may carry them out at once, or only where they are waited for;
// both are right, so `late` must change no bit.
class Copies {
 public:
  template <class T>
  void start(bool late, T* to, const T* from) {
    device::check_alignment(to, 16);
    device::check_alignment(from, 16);
    late ? pending_.push_back({group_, to, from}) : void(std::memcpy(to, from, 16));
  }
  void commit() { ++group_; }
  void wait(int but) {
    for (; !pending_.empty() && pending_.front().group < group_ - but; pending_.pop_front())
      std::memcpy(pending_.front().to, pending_.front().from, 16);
  }

 private:
  struct Copy {
    int group;
    void* to;
    const void* from;
  };
  std::deque<Copy> pending_;
  int group_ = 0;
};

// Backwards, the last block and the last thread come first, and copies come late: numbers that one thread reads while
// another one writes them, without a barrier in between, come out differently.
class HostBlock {
 public:
  HostBlock(int index, int count, bool backwards)
      : index_(index), count_(count), backwards_(backwards), copies_(device::THREADS) {}
  int index() const { return index_; }
  int count() const { return count_; }

  template <class F>
  void run(F&& run) {
    for (int i = 0; i < device::THREADS; ++i) run(backwards_ ? device::THREADS - 1 - i : i);
  }
  template <class F>
  void each(F&& f) {
    run(f);
  }

  template <class T>
  class Private {
   public:
    Private() : values_(device::THREADS) {}
    T& operator[](int thread) { return values_[thread]; }

   private:
    std::vector<T> values_;
  };

  template <class T>
  void copy(int thread, T* to, const T* from) {
    copies_[thread].start(backwards_, to, from);
  }
  void commit(int thread) { copies_[thread].commit(); }
  template <int BUT>
  void wait(int thread) {
    copies_[thread].wait(BUT);
  }

  bool last(unsigned* counter, unsigned blocks) const { return ++*counter == blocks; }

  template <class T>
  T fresh(const T* p) const {
    return *p;
  }

 private:
  int index_, count_;
  bool backwards_;
  std::vector<Copies> copies_;
};

struct HostLauncher {
  bool backwards;
  int launches = 0;

  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    ++launches;
    const auto shared = std::make_unique<typename Kernel::Shared>();
    for (int i = 0; i < blocks; ++i) {
      HostBlock block(backwards ? blocks - 1 - i : i, blocks, backwards);
      Kernel::body(block, *shared, job);
    }
  }
};

}  // namespace fdan_edge
