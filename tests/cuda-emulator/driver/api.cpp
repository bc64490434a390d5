// The functions of libcuda.so.1 that the trainer calls.
//
// CUDA_EMULATOR_DEVICES     number of GPUs, at most 16 [1]
// CUDA_EMULATOR_DRIVER      version of CUDA that the driver knows [13000]
// CUDA_EMULATOR_CAPABILITY  compute capability of the GPUs [90]
// CUDA_EMULATOR_LAUNCHES    file to which each kernel that is launched is written once, with the sizes of its parameters

#include "driver.h"

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <set>

namespace {

std::size_t device_count() { return std::min<std::size_t>(setting("CUDA_EMULATOR_DEVICES", 1), 16); }
std::size_t device_capability() { return setting("CUDA_EMULATOR_CAPABILITY", 90); }

bool initialised = false;
// A context for each GPU, whose address is all there is of it.
char primary_contexts[16], memory_pool;
std::size_t retained = 0;
thread_local void *current_context = nullptr;

// Copies from the host that is not locked: of more bytes, the host waits until the GPU has come so far.
const std::size_t UNAWAITED = 64 << 10;

// A call: everything is locked as long as it lasts.
#define CALL(name)                                                                                                     \
    std::lock_guard lock(everything);                                                                                  \
    if (const unsigned code = emulated_call(name, EMULATED_DRIVER))                                                    \
        return code;                                                                                                   \
    if (!initialised)                                                                                                  \
        return NOT_INITIALIZED;
#define CALL_IN_CONTEXT(name)                                                                                          \
    CALL(name)                                                                                                         \
    if (!current_context || !retained)                                                                                 \
        return INVALID_CONTEXT;

void log_launch(const Kernel &kernel) {
    static const char *const path = std::getenv("CUDA_EMULATOR_LAUNCHES");
    static std::set<std::string> logged;
    if (!path || !logged.insert(kernel.name).second)
        return;
    std::ofstream file(path, std::ios::app);
    file << kernel.name;
    for (std::size_t size : kernel.sizes)
        file << ' ' << size;
    file << '\n';
}

unsigned set_bytes(Pointer pointer, unsigned char value, std::size_t bytes, Stream &stream) {
    if (!inside(pointer, bytes))
        return INVALID_VALUE;
    enqueue(stream, [=] {
        access_range(pointer, bytes, true);
        std::memset(reinterpret_cast<void *>(pointer), value, bytes);
    });
    return SUCCESS;
}

unsigned to_device(Pointer target, const void *source, std::size_t bytes, Stream &stream) {
    if (!inside(target, bytes))
        return INVALID_VALUE;
    counters.host_to_device += bytes;
    // Locked memory is read when the GPU comes to it; of other memory the driver makes a copy of its own.
    if (is_locked(source, bytes)) {
        enqueue(stream, [=] {
            access_range(target, bytes, true);
            std::memcpy(reinterpret_cast<void *>(target), source, bytes);
        });
        return SUCCESS;
    }
    const auto *first = static_cast<const char *>(source);
    auto copy = std::make_shared<std::vector<char>>(first, first + bytes);
    enqueue(stream, [=] {
        access_range(target, bytes, true);
        std::memcpy(reinterpret_cast<void *>(target), copy->data(), bytes);
    });
    if (bytes > UNAWAITED) {
        counters.waits++;
        synchronize(stream);
    }
    return SUCCESS;
}

unsigned to_host(void *target, Pointer source, std::size_t bytes, Stream &stream) {
    if (!inside(source, bytes))
        return INVALID_VALUE;
    counters.device_to_host += bytes;
    const bool waits = !is_locked(target, bytes);
    // Who reads it too early finds NaN.
    if (!waits)
        std::memset(target, 0xFF, bytes);
    enqueue(stream, [=] {
        access_range(source, bytes, false);
        std::memcpy(target, reinterpret_cast<void *>(source), bytes);
    });
    if (waits) {
        counters.waits++;
        synchronize(stream);
    }
    return SUCCESS;
}

unsigned within_device(Pointer target, Pointer source, std::size_t bytes, Stream &stream) {
    if (!inside(target, bytes) || !inside(source, bytes))
        return INVALID_VALUE;
    counters.device_to_device += bytes;
    enqueue(stream, [=] {
        if (!bytes)
            return;
        copy_written(target, source, bytes);
        std::memmove(reinterpret_cast<void *>(target), reinterpret_cast<void *>(source), bytes);
    });
    return SUCCESS;
}

Stream &default_stream() { return *stream_of(nullptr); }

} // namespace

bool emulated_enqueue(void *handle, std::function<void()> work) {
    std::lock_guard lock(everything);
    Stream *stream = stream_of(handle);
    if (!stream)
        return false;
    enqueue(*stream, std::move(work));
    return true;
}

void emulated_access(Pointer pointer, std::size_t bytes, bool write) { access_range(pointer, bytes, write); }

bool emulated_inside(Pointer pointer, std::size_t bytes) {
    std::lock_guard lock(everything);
    return inside(pointer, bytes);
}

bool emulated_context() { return current_context && retained; }

unsigned emulated_capability() { return unsigned(device_capability()); }

extern "C" {

unsigned cuInit(unsigned flags) {
    std::lock_guard lock(everything);
    if (const unsigned code = emulated_call("cuInit", EMULATED_DRIVER))
        return code;
    if (flags)
        return INVALID_VALUE;
    initialised = device_count() > 0;
    return initialised ? SUCCESS : NO_DEVICE;
}

unsigned cuDriverGetVersion(int *version) {
    if (const unsigned code = emulated_call("cuDriverGetVersion", EMULATED_DRIVER))
        return code;
    return *version = int(setting("CUDA_EMULATOR_DRIVER", 13000)), SUCCESS;
}

unsigned cuDeviceGetCount(int *count) {
    CALL("cuDeviceGetCount")
    return *count = int(device_count()), SUCCESS;
}

unsigned cuDeviceGet(int *device, int ordinal) {
    CALL("cuDeviceGet")
    if (ordinal < 0 || std::size_t(ordinal) >= device_count())
        return INVALID_DEVICE;
    return *device = ordinal, SUCCESS;
}

unsigned cuDeviceGetName(char *name, int bytes, int) {
    CALL("cuDeviceGetName")
    return std::snprintf(name, std::size_t(bytes), "Emulated GPU"), SUCCESS;
}

unsigned cuDeviceGetPCIBusId(char *text, int bytes, int device) {
    CALL("cuDeviceGetPCIBusId")
    return std::snprintf(text, std::size_t(bytes), "0000:%02x:00.0", unsigned(device) + 1), SUCCESS;
}

unsigned cuDeviceGetAttribute(int *value, unsigned attribute, int) {
    CALL("cuDeviceGetAttribute")
    // Processors, compute capability, memory pools.
    switch (attribute) {
    case 16: *value = 4; break;
    case 75: *value = int(device_capability() / 10); break;
    case 76: *value = int(device_capability() % 10); break;
    case 115: *value = 1; break;
    default: *value = 0;
    }
    return SUCCESS;
}

unsigned cuDeviceTotalMem_v2(std::size_t *bytes, int) {
    CALL("cuDeviceTotalMem_v2")
    return *bytes = setting("CUDA_EMULATOR_MEMORY", std::size_t(16) << 30), SUCCESS;
}

unsigned cuGetErrorName(unsigned code, const char **text) {
    static const std::map<unsigned, const char *> names = {
        {0, "CUDA_SUCCESS"},
        {1, "CUDA_ERROR_INVALID_VALUE"},
        {2, "CUDA_ERROR_OUT_OF_MEMORY"},
        {3, "CUDA_ERROR_NOT_INITIALIZED"},
        {100, "CUDA_ERROR_NO_DEVICE"},
        {101, "CUDA_ERROR_INVALID_DEVICE"},
        {200, "CUDA_ERROR_INVALID_IMAGE"},
        {201, "CUDA_ERROR_INVALID_CONTEXT"},
        {209, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
        {214, "CUDA_ERROR_ECC_UNCORRECTABLE"},
        {222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {400, "CUDA_ERROR_INVALID_HANDLE"},
        {500, "CUDA_ERROR_NOT_FOUND"},
        {600, "CUDA_ERROR_NOT_READY"},
        {700, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {702, "CUDA_ERROR_LAUNCH_TIMEOUT"},
        {716, "CUDA_ERROR_MISALIGNED_ADDRESS"},
        {719, "CUDA_ERROR_LAUNCH_FAILED"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };
    auto found = names.find(code);
    return found == names.end() ? INVALID_VALUE : (*text = found->second, SUCCESS);
}

// The real NVRTC asks for the driver's tables, and does without where there are none.
unsigned cuGetExportTable(const void **table, const void *) { return *table = nullptr, NOT_FOUND; }

unsigned cuDevicePrimaryCtxRetain(void **context, int device) {
    CALL("cuDevicePrimaryCtxRetain")
    if (device < 0 || std::size_t(device) >= device_count())
        return INVALID_DEVICE;
    return retained++, *context = &primary_contexts[device], SUCCESS;
}
unsigned cuDevicePrimaryCtxRelease_v2(int) {
    CALL("cuDevicePrimaryCtxRelease_v2")
    if (!retained)
        return INVALID_CONTEXT;
    return retained--, SUCCESS;
}
unsigned cuCtxSetCurrent(void *context) {
    CALL("cuCtxSetCurrent")
    const auto *device = static_cast<char *>(context);
    if (context && (device < primary_contexts || device >= std::end(primary_contexts)))
        return INVALID_CONTEXT;
    return current_context = context, SUCCESS;
}
unsigned cuCtxGetDevice(int *device) {
    CALL("cuCtxGetDevice")
    if (!current_context)
        return INVALID_CONTEXT;
    return *device = int(static_cast<char *>(current_context) - primary_contexts), SUCCESS;
}
unsigned cuCtxGetCurrent(void **context) {
    CALL("cuCtxGetCurrent")
    return *context = current_context, SUCCESS;
}
unsigned cuCtxSynchronize() {
    CALL_IN_CONTEXT("cuCtxSynchronize")
    counters.waits++;
    return synchronize_all(), SUCCESS;
}
unsigned cuDeviceGetDefaultMemPool(void **pool, int) {
    CALL("cuDeviceGetDefaultMemPool")
    return *pool = &memory_pool, SUCCESS;
}
unsigned cuMemPoolSetAttribute(void *pool, unsigned, void *) {
    CALL("cuMemPoolSetAttribute")
    return pool == &memory_pool ? SUCCESS : INVALID_VALUE;
}

unsigned cuEventCreate(void **event, unsigned flags) {
    CALL_IN_CONTEXT("cuEventCreate")
    return create_event(event, flags);
}
unsigned cuEventRecord(void *event, void *stream) {
    CALL_IN_CONTEXT("cuEventRecord")
    return record_event(event, stream);
}
unsigned cuEventSynchronize(void *event) {
    CALL_IN_CONTEXT("cuEventSynchronize")
    counters.waits++;
    return synchronize_event(event);
}
unsigned cuEventQuery(void *event) {
    CALL_IN_CONTEXT("cuEventQuery")
    return query_event(event);
}
unsigned cuEventElapsedTime(float *milliseconds, void *start, void *end) {
    CALL_IN_CONTEXT("cuEventElapsedTime")
    return elapsed_time(milliseconds, start, end);
}
unsigned cuEventElapsedTime_v2(float *milliseconds, void *start, void *end) {
    CALL_IN_CONTEXT("cuEventElapsedTime_v2")
    return elapsed_time(milliseconds, start, end);
}
unsigned cuEventDestroy_v2(void *event) {
    CALL_IN_CONTEXT("cuEventDestroy_v2")
    return destroy_event(event);
}
unsigned cuStreamCreate(void **stream, unsigned flags) {
    CALL_IN_CONTEXT("cuStreamCreate")
    return create_stream(stream, flags);
}
unsigned cuStreamSynchronize(void *handle) {
    CALL_IN_CONTEXT("cuStreamSynchronize")
    Stream *stream = stream_of(handle);
    if (!stream)
        return INVALID_HANDLE;
    counters.waits++;
    return synchronize(*stream), SUCCESS;
}
unsigned cuStreamQuery(void *handle) {
    CALL_IN_CONTEXT("cuStreamQuery")
    Stream *stream = stream_of(handle);
    return stream ? query_stream(*stream) : INVALID_HANDLE;
}
unsigned cuStreamWaitEvent(void *stream, void *event, unsigned) {
    CALL_IN_CONTEXT("cuStreamWaitEvent")
    return wait_event(stream, event);
}
unsigned cuStreamDestroy_v2(void *stream) {
    CALL_IN_CONTEXT("cuStreamDestroy_v2")
    return destroy_stream(stream);
}

unsigned cuMemGetInfo_v2(std::size_t *free, std::size_t *total) {
    CALL_IN_CONTEXT("cuMemGetInfo_v2")
    *total = setting("CUDA_EMULATOR_MEMORY", std::size_t(16) << 30);
    *free = *total > counters.memory_in_use ? *total - counters.memory_in_use : 0;
    return SUCCESS;
}
unsigned cuMemAlloc_v2(Pointer *pointer, std::size_t bytes) {
    CALL_IN_CONTEXT("cuMemAlloc_v2")
    return allocate(pointer, bytes, 0);
}
unsigned cuMemAllocAsync(Pointer *pointer, std::size_t bytes, void *handle) {
    CALL_IN_CONTEXT("cuMemAllocAsync")
    Stream *stream = stream_of(handle);
    if (!stream)
        return INVALID_HANDLE;
    return allocate(pointer, bytes, enqueue(*stream, [] {}));
}
unsigned cuMemFree_v2(Pointer pointer) {
    CALL_IN_CONTEXT("cuMemFree_v2")
    if (!pointer)
        return SUCCESS;
    if (const unsigned code = release(pointer))
        return code;
    synchronize_all();
    enqueue(default_stream(), [pointer] { forget(pointer); });
    synchronize(default_stream());
    return SUCCESS;
}
unsigned cuMemFreeAsync(Pointer pointer, void *handle) {
    CALL_IN_CONTEXT("cuMemFreeAsync")
    Stream *stream = stream_of(handle);
    if (!stream)
        return INVALID_HANDLE;
    if (!pointer)
        return SUCCESS;
    if (const unsigned code = release(pointer))
        return code;
    enqueue(*stream, [pointer] { forget(pointer); });
    return SUCCESS;
}
unsigned cuMemHostAlloc(void **memory, std::size_t bytes, unsigned) {
    CALL_IN_CONTEXT("cuMemHostAlloc")
    return lock_host(memory, bytes);
}
unsigned cuMemFreeHost(void *memory) {
    CALL_IN_CONTEXT("cuMemFreeHost")
    synchronize_all();
    return unlock_host(memory);
}

unsigned cuMemsetD8_v2(Pointer pointer, unsigned char value, std::size_t bytes) {
    CALL_IN_CONTEXT("cuMemsetD8_v2")
    return set_bytes(pointer, value, bytes, default_stream());
}
unsigned cuMemsetD8Async(Pointer pointer, unsigned char value, std::size_t bytes, void *handle) {
    CALL_IN_CONTEXT("cuMemsetD8Async")
    Stream *stream = stream_of(handle);
    return stream ? set_bytes(pointer, value, bytes, *stream) : INVALID_HANDLE;
}
unsigned cuMemcpyHtoD_v2(Pointer target, const void *source, std::size_t bytes) {
    CALL_IN_CONTEXT("cuMemcpyHtoD_v2")
    const unsigned code = to_device(target, source, bytes, default_stream());
    if (code)
        return code;
    counters.waits++;
    return synchronize(default_stream()), SUCCESS;
}
unsigned cuMemcpyHtoDAsync_v2(Pointer target, const void *source, std::size_t bytes, void *handle) {
    CALL_IN_CONTEXT("cuMemcpyHtoDAsync_v2")
    Stream *stream = stream_of(handle);
    return stream ? to_device(target, source, bytes, *stream) : INVALID_HANDLE;
}
unsigned cuMemcpyDtoH_v2(void *target, Pointer source, std::size_t bytes) {
    CALL_IN_CONTEXT("cuMemcpyDtoH_v2")
    const unsigned code = to_host(target, source, bytes, default_stream());
    return code ? code : (synchronize(default_stream()), SUCCESS);
}
unsigned cuMemcpyDtoHAsync_v2(void *target, Pointer source, std::size_t bytes, void *handle) {
    CALL_IN_CONTEXT("cuMemcpyDtoHAsync_v2")
    Stream *stream = stream_of(handle);
    return stream ? to_host(target, source, bytes, *stream) : INVALID_HANDLE;
}
unsigned cuMemcpyDtoD_v2(Pointer target, Pointer source, std::size_t bytes) {
    CALL_IN_CONTEXT("cuMemcpyDtoD_v2")
    return within_device(target, source, bytes, default_stream());
}
unsigned cuMemcpyDtoDAsync_v2(Pointer target, Pointer source, std::size_t bytes, void *handle) {
    CALL_IN_CONTEXT("cuMemcpyDtoDAsync_v2")
    Stream *stream = stream_of(handle);
    return stream ? within_device(target, source, bytes, *stream) : INVALID_HANDLE;
}

unsigned cuModuleLoadData(void **module, const void *image) {
    CALL_IN_CONTEXT("cuModuleLoadData")
    return load_module(module, image);
}
unsigned cuModuleLoad(void **, const char *) {
    CALL_IN_CONTEXT("cuModuleLoad")
    return NOT_FOUND;
}
unsigned cuModuleUnload(void *module) {
    CALL_IN_CONTEXT("cuModuleUnload")
    return unload_module(module);
}
unsigned cuModuleGetFunction(void **function, void *module, const char *name) {
    CALL_IN_CONTEXT("cuModuleGetFunction")
    return find_function(function, module, name);
}

unsigned cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                        unsigned block_z, unsigned shared_bytes, void *handle, void **parameters, void **extra) {
    CALL_IN_CONTEXT("cuLaunchKernel")
    Stream *stream = stream_of(handle);
    const Kernel *kernel = kernel_of(function);
    if (!stream || !kernel)
        return INVALID_HANDLE;
    // The limits of compute capability 3.0 and newer.
    const bool fits = grid_x && grid_y && grid_z && block_x && block_y && block_z && grid_x <= 0x7FFFFFFF &&
                      grid_y <= 65535 && grid_z <= 65535 && block_x <= 1024 && block_y <= 1024 && block_z <= 64 &&
                      std::uint64_t(block_x) * block_y * block_z <= 1024;
    if (!fits || extra || shared_bytes > (48 << 10))
        return INVALID_VALUE;
    log_launch(*kernel);
    std::vector<std::vector<char>> values;
    for (std::size_t i = 0; i < kernel->sizes.size(); i++) {
        const auto *value = static_cast<const char *>(parameters[i]);
        values.emplace_back(value, value + kernel->sizes[i]);
    }
    enqueue(*stream, [=] { run(*kernel, dim3{grid_x, grid_y, grid_z}, dim3{block_x, block_y, block_z}, shared_bytes, values); });
    return SUCCESS;
}

} // extern "C"
