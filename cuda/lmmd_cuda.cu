// The launches on a GPU: the current stream of the features' device, no synchronisation, every launch checked.

#define USE_CUDA  // declares the current stream in the stable ABI
#include <cuda_runtime.h>

#include "lmmd_op.h"

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>

namespace fdan_edge {
namespace {

class DeviceBlock {
 public:
  __device__ int index() const { return blockIdx.x; }
  __device__ int count() const { return gridDim.x; }

  // The compiler must not see that it is the same number every time: it would compute addresses before the loops, and
  // keep them in registers that the sums need.
  template <class F>
  __device__ __forceinline__ void run(F&& run) {
    int thread = threadIdx.x;
    asm volatile("" : "+r"(thread));
    __builtin_assume(thread >= 0 && thread < device::THREADS);
    run(thread);
  }
  template <class F>
  __device__ __forceinline__ void each(F&& f) {
    run(f);
    __syncthreads();
  }

  template <class T>
  class Private {
   public:
    __device__ __forceinline__ T& operator[](int) { return value_; }

   private:
    T value_;
  };

  // From sm_80 on without a register, and beside the arithmetic.
  template <class T>
  __device__ __forceinline__ void copy(int, T* to, const T* from) {
#if __CUDA_ARCH__ >= 800
    const unsigned address = __cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(from) : "memory");
#else
    device::write(to, device::read<16 / sizeof(T)>(from));
#endif
  }
  __device__ __forceinline__ void commit(int) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  template <int BUT>
  __device__ __forceinline__ void wait(int) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(BUT) : "memory");
#endif
  }

  __device__ bool last(unsigned* counter, unsigned blocks) const {
    __shared__ bool is_last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) is_last = atomicAdd(counter, 1u) == blocks - 1;
    __syncthreads();
    __threadfence();
    return is_last;
  }

  template <class T>
  __device__ __forceinline__ T fresh(const T* p) const {
    return __ldcg(p);
  }
};

// Two blocks of the large tiles share a multiprocessor, at 128 registers a thread; Turing's memory has room for one.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
#define BLOCKS_OF(KERNEL) 1
#else
#define BLOCKS_OF(KERNEL) (std::is_same_v<KERNEL, device::Tiles<device::Big, 5>> ? 2 : 1)
#endif

template <class Kernel, class T>
__global__ void __launch_bounds__(device::THREADS, BLOCKS_OF(Kernel)) entry(const device::Job<T> job) {
  __shared__ typename Kernel::Shared shared;
  DeviceBlock block;
  Kernel::body(block, shared, job);
}

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess)
    throw std::runtime_error(std::string("lmmd: ") + what + ": " + cudaGetErrorString(error));
}

struct DeviceLauncher {
  cudaStream_t stream;

  template <class Kernel, class T>
  void run(int blocks, const device::Job<T>& job) {
    entry<Kernel, T><<<blocks, device::THREADS, 0, stream>>>(job);
    check(cudaGetLastError(), "a kernel could not be launched");
  }
};

// Memory of the host that kernels write a label out of range to, and the number of classes. Looking at it costs no
// synchronisation; the error comes with the first call after the kernel has run (replays of a graph are no calls), and
// the wrong call's own value is NaN.
int64_t* report_of() {
  static int64_t* const report = [] {
    // An allocation would end a graph capture that is under way in this thread.
    cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
    check(cudaThreadExchangeStreamCaptureMode(&mode), "the capture mode could not be set");
    void* memory = nullptr;
    const cudaError_t error = cudaHostAlloc(&memory, 2 * sizeof(int64_t), cudaHostAllocMapped | cudaHostAllocPortable);
    check(cudaThreadExchangeStreamCaptureMode(&mode), "the capture mode could not be set back");
    check(error, "no pinned memory");
    *static_cast<int64_t*>(memory) = NO_REPORT;
    return static_cast<int64_t*>(memory);
  }();
  return report;
}

void raise_reported() {
  volatile int64_t* memory = report_of();
  const int64_t report[2] = {memory[0], memory[1]};
  if (report[0] == NO_REPORT) return;
  memory[0] = NO_REPORT;
  fail(wrong_label(report, " of an earlier call (its value was NaN)"));
}

}  // namespace

Outputs lmmd_cuda(const Tensor& z_visual, const Tensor& z_acoustic, const Tensor& y_visual, const Tensor& y_acoustic,
                  int64_t classes, bool shared_only, int64_t kernels, double ratio, bool gradient) {
  const Inputs in =
      checked(z_visual, z_acoustic, y_visual, y_acoustic, classes, shared_only, kernels, ratio, gradient);
  const int index = in.z_visual.get_device_index();
  for (const Tensor* t : {&in.z_acoustic, &in.y_visual, &in.y_acoustic})
    if (t->get_device_index() != index || !t->is_cuda()) fail("features and labels must be on one device");
  const torch::stable::accelerator::DeviceGuard guard(index);
  raise_reported();
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(index, &stream));
  DeviceLauncher launcher{static_cast<cudaStream_t>(stream)};
  return lmmd_by(launcher, in, report_of());
}

}  // namespace fdan_edge

STABLE_TORCH_LIBRARY_IMPL(fdan_edge, CUDA, m) {
  m.impl("lmmd", TORCH_BOX(&fdan_edge::lmmd_cuda));
  m.impl("lmmd_forward", TORCH_BOX(&fdan_edge::lmmd_cuda));
}
