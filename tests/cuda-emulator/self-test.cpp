// Shows that the emulated GPU finds what it says: small programs, each with one fault, that must end with a message; and others
// without, that must not.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

extern "C" {
unsigned cuInit(unsigned);
unsigned cuDevicePrimaryCtxRetain(void **, int);
unsigned cuCtxSetCurrent(void *);
unsigned cuStreamCreate(void **, unsigned);
unsigned cuStreamSynchronize(void *);
unsigned cuStreamWaitEvent(void *, void *, unsigned);
unsigned cuEventCreate(void **, unsigned);
unsigned cuEventRecord(void *, void *);
unsigned cuMemAllocAsync(std::uint64_t *, std::size_t, void *);
unsigned cuMemFreeAsync(std::uint64_t, void *);
unsigned cuMemHostAlloc(void **, std::size_t, unsigned);
unsigned cuMemsetD8Async(std::uint64_t, unsigned char, std::size_t, void *);
unsigned cuMemcpyHtoDAsync_v2(std::uint64_t, const void *, std::size_t, void *);
unsigned cuMemcpyDtoHAsync_v2(void *, std::uint64_t, std::size_t, void *);
unsigned cuModuleLoadData(void **, const void *);
unsigned cuModuleGetFunction(void **, void *, const char *);
unsigned cuLaunchKernel(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **, void **);
unsigned nvrtcCreateProgram(void **, const char *, const char *, int, const char *const *, const char *const *);
unsigned nvrtcCompileProgram(void *, int, const char *const *);
unsigned nvrtcGetCUBINSize(void *, std::size_t *);
unsigned nvrtcGetCUBIN(void *, char *);
unsigned nvrtcGetPTXSize(void *, std::size_t *);
unsigned nvrtcGetPTX(void *, char *);
unsigned cublasCreate_v2(void **);
}

namespace {

void expect(bool holds, const char *what) {
    if (!holds) {
        std::fprintf(stderr, "expected: %s\n", what);
        _exit(3);
    }
}
#define EXPECT(condition) expect(condition, #condition)

const char *const SOURCE = R"(
extern "C" __global__ void set(float *values, unsigned count) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] = i;
}
extern "C" __global__ void set_at(float *values, long long at) { if (threadIdx.x == 0 && blockIdx.x == 0) values[at] = 1.0f; }
extern "C" __global__ void sum(const float *values, float *result, unsigned count) {
    float sum = 0.0f;
    for (unsigned i = 0; i < count; i++) sum += values[i];
    if (threadIdx.x == 0 && blockIdx.x == 0) *result = sum;
}
extern "C" __global__ void all_to_one(float *values) { values[0] = threadIdx.x; }
extern "C" __global__ void blocks_to_one(float *values) { if (threadIdx.x == 0) values[0] = blockIdx.x; }
extern "C" __global__ void atomic_to_one(float *values) { atomicAdd(values, 1.0f); }
extern "C" __global__ void mixed_to_one(float *values) {
    if (threadIdx.x == 0) values[0] = 1.0f; else atomicAdd(values, 1.0f);
}
extern "C" __global__ void reverse(float *values, unsigned barrier) {
    __shared__ float shared[64];
    shared[threadIdx.x] = 0.0f;
    __syncthreads();
    shared[threadIdx.x] = values[threadIdx.x];
    if (barrier) __syncthreads();
    values[threadIdx.x] = shared[63 - threadIdx.x];
}
extern "C" __global__ void shared_unwritten(float *values) {
    __shared__ float shared[64];
    if (threadIdx.x > 0) shared[threadIdx.x] = 1.0f;
    __syncthreads();
    values[threadIdx.x] = shared[threadIdx.x];
}
extern "C" __global__ void shared_beyond(float *values, unsigned at) {
    __shared__ float shared[64];
    __shared__ float other[64];
    float *p = values ? shared : other;
    other[threadIdx.x] = 0.0f;
    p[threadIdx.x + at] = 1.0f;
    __syncthreads();
    values[threadIdx.x] = shared[threadIdx.x] + other[threadIdx.x];
}
extern "C" __global__ void misaligned(char *values) { if (threadIdx.x == 0) *(float *)(values + 2) = 1.0f; }
extern "C" __global__ void bytes(unsigned char *values) { values[threadIdx.x] = threadIdx.x; }
extern "C" __global__ void warp_sum(float *values) {
    float value = values[threadIdx.x];
    for (int by = 16; by > 0; by /= 2) value += __shfl_down_sync(0xFFFFFFFF, value, by);
    if (threadIdx.x % 32 == 0) values[threadIdx.x] = value;
}
)";

std::string compiled(const char *architecture, bool ptx) {
    void *program = nullptr;
    const std::string option = std::string("--gpu-architecture=") + architecture;
    const char *const options[] = {option.c_str()};
    EXPECT(nvrtcCreateProgram(&program, SOURCE, "self-test", 0, nullptr, nullptr) == 0);
    EXPECT(nvrtcCompileProgram(program, 1, options) == 0);
    std::size_t size = 0;
    EXPECT((ptx ? nvrtcGetPTXSize : nvrtcGetCUBINSize)(program, &size) == 0);
    std::string code(size, ' ');
    EXPECT((ptx ? nvrtcGetPTX : nvrtcGetCUBIN)(program, code.data()) == 0);
    return code;
}

struct Gpu {
    void *module = nullptr;

    Gpu() {
        void *context = nullptr;
        EXPECT(cuInit(0) == 0);
        EXPECT(cuDevicePrimaryCtxRetain(&context, 0) == 0);
        EXPECT(cuCtxSetCurrent(context) == 0);
        EXPECT(cuModuleLoadData(&module, compiled("sm_90", false).c_str()) == 0);
    }
    std::uint64_t allocate(std::size_t bytes, void *stream = nullptr) {
        std::uint64_t pointer = 0;
        EXPECT(cuMemAllocAsync(&pointer, bytes, stream) == 0);
        return pointer;
    }
    std::uint64_t zeros(std::size_t bytes) {
        const std::uint64_t pointer = allocate(bytes);
        EXPECT(cuMemsetD8Async(pointer, 0, bytes, nullptr) == 0);
        return pointer;
    }
    void *stream() {
        void *stream = nullptr;
        EXPECT(cuStreamCreate(&stream, 1) == 0);
        return stream;
    }
    template <typename... Arguments> void launch(const char *name, unsigned blocks, unsigned threads, void *stream, Arguments... arguments) {
        void *function = nullptr, *parameters[] = {&arguments...};
        EXPECT(cuModuleGetFunction(&function, module, name) == 0);
        EXPECT(cuLaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, stream, parameters, nullptr) == 0);
    }
    void order(void *first, void *second) {
        void *event = nullptr;
        EXPECT(cuEventCreate(&event, 2) == 0 && cuEventRecord(event, first) == 0 && cuStreamWaitEvent(second, event, 0) == 0);
    }
    std::vector<float> read(std::uint64_t pointer, std::size_t count) {
        std::vector<float> values(count);
        EXPECT(cuMemcpyDtoHAsync_v2(values.data(), pointer, 4 * count, nullptr) == 0);
        return values;
    }
    void finish() { EXPECT(cuStreamSynchronize(nullptr) == 0); }
};

int failed = 0;

// Runs in a process of its own. What it prints must contain the message, and it must be stopped; without a message, it must end well.
void test(const char *name, const char *message, const std::function<void()> &work, std::vector<std::pair<const char *, const char *>> settings = {}) {
    int ends[2];
    if (pipe(ends) != 0)
        std::exit(2);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        for (auto [variable, value] : settings)
            setenv(variable, value, 1);
        work();
        _exit(0);
    }
    close(ends[1]);
    std::string output;
    char buffer[4096];
    for (ssize_t count; (count = ::read(ends[0], buffer, sizeof buffer)) > 0;)
        output.append(buffer, std::size_t(count));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    const bool as_expected = message ? WIFSIGNALED(status) && output.find(message) != std::string::npos : status == 0;
    std::printf("%s: %s\n", as_expected ? "ok" : "FAILED", name);
    if (!as_expected) {
        std::printf("  status %d, expected \"%s\", found: %s\n", status, message ? message : "no message", output.c_str());
        failed++;
    }
}

void at(Gpu &gpu, std::uint64_t pointer, long long index) {
    gpu.launch("set_at", 1, 32, nullptr, pointer, index);
    gpu.finish();
}

} // namespace

int main() {
    setenv("CUDA_EMULATOR_CHECK", "1", 1);
    test("correct kernels", nullptr, [] {
        Gpu gpu;
        const auto values = gpu.allocate(4 * 1000), result = gpu.allocate(4);
        gpu.launch("set", 8, 128, nullptr, values, 1000u);
        gpu.launch("sum", 2, 2, nullptr, values, result, 1000u);
        gpu.launch("reverse", 1, 64, nullptr, values, 1u);
        gpu.launch("atomic_to_one", 4, 64, nullptr, result);
        gpu.launch("bytes", 1, 64, nullptr, gpu.allocate(64));
        EXPECT(gpu.read(result, 1)[0] == 499500.0f + 256.0f);
        EXPECT(gpu.read(values, 64)[63] == 0.0f);
        gpu.launch("warp_sum", 1, 64, nullptr, values);
        EXPECT(gpu.read(values, 64)[0] == 63 * 32 - 31 * 16.0f);
    });
    test("a write just behind an allocation", "0 bytes behind an allocation of 40 bytes", [] { Gpu gpu; at(gpu, gpu.allocate(40), 10); });
    test("a write just before an allocation", "before an allocation", [] { Gpu gpu; at(gpu, gpu.allocate(40), -1); });
    test("a write far behind an allocation", "kernel set_at", [] { Gpu gpu; at(gpu, gpu.allocate(40), 1 << 28); });
    test("a write through a null pointer", "a null pointer", [] { Gpu gpu; at(gpu, 0, 0); });
    test("a write to memory of the host", "no memory of the GPU", [] { Gpu gpu; float host[1]; at(gpu, std::uint64_t(host), 0); });
    test("a write after the memory was freed", "a freed allocation", [] {
        Gpu gpu;
        const auto values = gpu.allocate(40);
        EXPECT(cuMemFreeAsync(values, nullptr) == 0);
        at(gpu, values, 0);
    });
    for (const char *checked : {"1", ""})
        test(*checked ? "a write far outside" : "a write far outside, unchecked", "kernel set_at", [&] {
            if (!*checked)
                unsetenv("CUDA_EMULATOR_CHECK");
            Gpu gpu;
            at(gpu, gpu.allocate(40), 100000);
        });
    test("a read of what nothing was written to", "nothing was written there", [] {
        Gpu gpu;
        gpu.launch("sum", 1, 1, nullptr, gpu.allocate(40), gpu.allocate(4), 10u);
        gpu.finish();
    });
    test("a read of shared memory that nothing was written to", "shared variable", [] {
        Gpu gpu;
        gpu.launch("shared_unwritten", 1, 64, nullptr, gpu.allocate(256));
        gpu.finish();
    });
    test("a write behind a shared variable", "outside of every shared variable", [] {
        Gpu gpu;
        gpu.launch("shared_beyond", 1, 64, nullptr, gpu.allocate(256), 1u);
        gpu.finish();
    });
    test("a write at an odd address", "no multiple", [] { Gpu gpu; gpu.launch("misaligned", 1, 1, nullptr, gpu.allocate(40)); gpu.finish(); });
    test("a race between threads", "a race", [] { Gpu gpu; gpu.launch("all_to_one", 1, 2, nullptr, gpu.allocate(4)); gpu.finish(); });
    test("a race between blocks", "a race", [] { Gpu gpu; gpu.launch("blocks_to_one", 2, 1, nullptr, gpu.allocate(4)); gpu.finish(); });
    test("a race with an atomic operation", "a race", [] { Gpu gpu; gpu.launch("mixed_to_one", 1, 2, nullptr, gpu.zeros(4)); gpu.finish(); });
    test("a missing barrier", "a race", [] { Gpu gpu; gpu.launch("reverse", 1, 64, nullptr, gpu.zeros(256), 0u); gpu.finish(); });
    for (const bool ordered : {true, false}) {
        for (const char *seed : {"1", "2", "3"})
            test(ordered ? "streams with an event between" : "streams without an event between", ordered ? nullptr : "a", [&] {
                Gpu gpu;
                void *first = gpu.stream(), *second = gpu.stream();
                const auto values = gpu.allocate(400, first), result = gpu.allocate(4, second);
                gpu.launch("set", 1, 100, first, values, 100u);
                if (ordered)
                    gpu.order(first, second);
                gpu.launch("sum", 1, 1, second, values, result, 100u);
                EXPECT(cuStreamSynchronize(second) == 0 && cuStreamSynchronize(first) == 0);
            }, {{"CUDA_EMULATOR_SEED", seed}});
        test(ordered ? "memory freed behind an event" : "memory freed while another stream uses it", ordered ? nullptr : "free", [&] {
            Gpu gpu;
            void *first = gpu.stream(), *second = gpu.stream();
            const auto values = gpu.allocate(400, first);
            gpu.launch("set", 1, 100, first, values, 100u);
            if (ordered)
                gpu.order(first, second);
            EXPECT(cuMemFreeAsync(values, second) == 0);
            EXPECT(cuStreamSynchronize(second) == 0 && cuStreamSynchronize(first) == 0);
        });
    }
    test("pinned memory that is changed too early arrives changed", nullptr, [] {
        Gpu gpu;
        bool changed = false;
        for (int turn = 0; turn < 50 && !changed; turn++) {
            float *host = nullptr;
            EXPECT(cuMemHostAlloc(reinterpret_cast<void **>(&host), 4, 0) == 0);
            *host = 1.0f;
            const auto value = gpu.allocate(4);
            EXPECT(cuMemcpyHtoDAsync_v2(value, host, 4, nullptr) == 0);
            *host = 2.0f;
            changed = gpu.read(value, 1)[0] == 2.0f;
        }
        EXPECT(changed);
    });
    test("calls without a context, and of handles that there are not", nullptr, [] {
        std::uint64_t pointer = 0;
        void *handle = nullptr;
        EXPECT(cuInit(0) == 0);
        EXPECT(cuMemAllocAsync(&pointer, 4, nullptr) == 201);
        EXPECT(cublasCreate_v2(&handle) == 1);
        Gpu gpu;
        char other;
        EXPECT(cuStreamSynchronize(&other) == 400 && cuEventRecord(&other, nullptr) == 400);
        EXPECT(cuMemFreeAsync(gpu.allocate(4) + 4, nullptr) == 1);
    });
    test("no memory at the third allocation", nullptr, [] {
        Gpu gpu;
        gpu.allocate(4), gpu.allocate(4);
        std::uint64_t pointer = 0;
        EXPECT(cuMemAllocAsync(&pointer, 4, nullptr) == 2);
        EXPECT(cuMemAllocAsync(&pointer, 4, nullptr) == 0);
    }, {{"CUDA_EMULATOR_FAIL_ALLOCATION", "3"}});
    test("a call that fails for good", nullptr, [] {
        std::uint64_t pointer = 0;
        EXPECT(cuInit(0) == 0);
        EXPECT(cuInit(0) == 719 && cuInit(0) == 719 && cuMemAllocAsync(&pointer, 4, nullptr) == 719);
    }, {{"CUDA_EMULATOR_FAIL", "2:719"}});
    test("code for other GPUs, and newer PTX than the driver", nullptr, [] {
        Gpu gpu;
        void *module = nullptr;
        EXPECT(cuModuleLoadData(&module, compiled("sm_80", false).c_str()) == 209);
        EXPECT(cuModuleLoadData(&module, compiled("compute_80", true).c_str()) == 222);
    }, {{"CUDA_EMULATOR_NVRTC", "12090"}, {"CUDA_EMULATOR_DRIVER", "12080"}});
    test("PTX of the driver's version", nullptr, [] {
        Gpu gpu;
        void *module = nullptr;
        EXPECT(cuModuleLoadData(&module, compiled("compute_80", true).c_str()) == 0);
    }, {{"CUDA_EMULATOR_NVRTC", "12080"}, {"CUDA_EMULATOR_DRIVER", "12080"}});
    std::printf(failed ? "%d self-tests of the emulator failed\n" : "the emulator finds what it says\n", failed);
    return failed ? 1 : 0;
}
