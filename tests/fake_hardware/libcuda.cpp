// A GPU made of ordinary memory: the part of CUDA's driver API (cuda.h) that the sensor uses.
//
// It is built as libcuda.so.1, so that whatever loads that library gets it. A device address is an
// address of this process; kernels are the sensor's own kernels.cu, compiled for this processor and
// run thread after thread. What is queued on a stream runs when somebody waits for it and not before:
// a forgotten wait shows. New memory holds rubbish, and memory outside of what was allocated is
// refused as a GPU would.

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

struct Dimensions {
    unsigned x, y, z;
};
static Dimensions gridDim, blockIdx, blockDim, threadIdx;
#define __global__
#define __device__
#include KERNELS

typedef int Result;
enum { OK = 0, INVALID = 1, NO_MEMORY = 2, NOT_FOUND = 500, ILLEGAL_ADDRESS = 700, CAPTURE = 900 };

typedef std::function<void()> Work;
struct Stream {
    std::vector<Work> queue;
    std::vector<Work> *capturing = nullptr;
};

static std::map<uintptr_t, size_t> blocks;
static std::set<Stream *> streams;
static Result broken = OK;        // CUDA's errors stay
static long calls_left = -1;      // then it breaks
static size_t memory_left = 1ul << 32;
static unsigned long dirty_frees = 0, launches = 0;

static Result checked(uintptr_t address, size_t size)
{
    if (calls_left >= 0 && calls_left-- == 0)
        broken = ILLEGAL_ADDRESS;
    if (broken || !size)
        return broken;
    auto after = blocks.upper_bound(address);
    if (after == blocks.begin() || address + size > std::prev(after)->first + std::prev(after)->second)
        return broken = ILLEGAL_ADDRESS;
    return OK;
}

static void run(Stream *stream)
{
    std::vector<Work> queue;
    queue.swap(stream->queue);
    for (auto &work : queue)
        work();
}

// The default stream waits for all others.
static void run_all()
{
    for (auto stream : streams)
        run(stream);
}

static Result enqueue(Stream *stream, Work work)
{
    if (stream == nullptr) {
        run_all();
        work();
    } else {
        (stream->capturing ? *stream->capturing : stream->queue).push_back(work);
    }
    return OK;
}

// All threads, one after the other. Arguments lie in a buffer, each at a multiple of its size.
template <class... A, size_t... I>
static void call(void (*kernel)(A...), const char *buffer, std::index_sequence<I...>)
{
    size_t offsets[sizeof...(A)], at = 0, index = 0;
    ((at = (at + alignof(A) - 1) / alignof(A) * alignof(A), offsets[index++] = at, at += sizeof(A)),
     ...);
    std::tuple<A...> values;
    (memcpy((void *)&std::get<I>(values), buffer + offsets[I], sizeof(A)), ...);
    for (blockIdx.y = 0; blockIdx.y < gridDim.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++)
            for (threadIdx.y = 0; threadIdx.y < blockDim.y; threadIdx.y++)
                for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++)
                    std::apply(kernel, values);
}

template <class... A> static void call(void (*kernel)(A...), const char *buffer)
{
    call(kernel, buffer, std::index_sequence_for<A...>{});
}

typedef void (*Kernel)(const char *);
static void call_sample(const char *buffer) { call(sample, buffer); }
static void call_contrast(const char *buffer) { call(contrast, buffer); }

extern "C" {

// ---- how it is to behave, and what it has seen
void fake_reset(size_t memory, long calls)
{
    broken = OK;
    memory_left = memory;
    calls_left = calls;
    dirty_frees = launches = 0;
}
unsigned long fake_dirty_frees() { return dirty_frees; }
unsigned long fake_graph_launches() { return launches; }

// A process of its own is told by its environment.
__attribute__((constructor)) static void listen()
{
    const char *memory = getenv("FAKE_GPU_MEMORY"), *calls = getenv("FAKE_GPU_CALLS");
    fake_reset(memory ? strtoul(memory, 0, 10) : 1ul << 32, calls ? strtol(calls, 0, 10) : -1);
}

// ---- device and context
Result cuInit(unsigned) { return broken; }
Result cuDriverGetVersion(int *version) { return *version = 13000, OK; }
Result cuDeviceGetCount(int *count) { return *count = 1, OK; }
Result cuDeviceGet(int *device, int number) { return *device = 0, number ? 101 : OK; }
Result cuDeviceGetName(char *name, int size, int) { return strncpy(name, "fake GPU", size), OK; }
Result cuDeviceComputeCapability(int *major, int *minor, int) { return *major = 1, *minor = 0, OK; }
Result cuDeviceGetAttribute(int *value, int attribute, int)
{
    return *value = attribute == 75, OK;
}
Result cuDeviceTotalMem_v2(size_t *size, int) { return *size = 1ul << 32, OK; }
Result cuDevicePrimaryCtxRetain(void **context, int) { return *context = &streams, OK; }
Result cuDevicePrimaryCtxRelease_v2(int) { return OK; }
Result cuCtxPushCurrent_v2(void *) { return OK; }
Result cuCtxPopCurrent_v2(void **context) { return *context = &streams, OK; }
Result cuCtxGetDevice(int *device) { return *device = 0, OK; }
Result cuCtxSynchronize() { return run_all(), broken; }
Result cuGetErrorString(Result result, const char **text)
{
    *text = result == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
            : result == NO_MEMORY     ? "out of memory"
                                      : "failed";
    return OK;
}

// ---- memory
Result cuMemGetInfo_v2(size_t *free, size_t *total)
{
    return *free = memory_left, *total = 1ul << 32, broken;
}
Result cuMemAlloc_v2(uintptr_t *address, size_t size)
{
    if (broken)
        return broken;
    if (size > memory_left)
        return NO_MEMORY;
    memory_left -= size;
    *address = (uintptr_t)aligned_alloc(256, (size + 255) / 256 * 256);
    memset((void *)*address, 0xa5, size);
    blocks[*address] = size;
    return OK;
}
Result cuMemFree_v2(uintptr_t address)
{
    if (!blocks.count(address))
        return INVALID;
    run_all();
    size_t size = blocks[address];
    for (size_t at = 0; at < size; at++)
        if (((char *)address)[at]) {
            dirty_frees++;
            break;
        }
    memory_left += size;
    blocks.erase(address);
    free((void *)address);
    return OK;
}
Result cuMemHostAlloc(void **address, size_t size, unsigned)
{
    if (broken)
        return broken;
    *address = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
    memset(*address, 0xa5, size);
    return OK;
}
Result cuMemFreeHost(void *address) { return free(address), OK; }
Result cuMemsetD8Async(uintptr_t to, unsigned char value, size_t size, Stream *stream)
{
    if (Result failed = checked(to, size))
        return failed;
    return enqueue(stream, [=] { memset((void *)to, value, size); });
}
Result cuMemsetD8_v2(uintptr_t to, unsigned char value, size_t size)
{
    return cuMemsetD8Async(to, value, size, nullptr);
}
Result cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t size, Stream *stream)
{
    if (Result failed = checked(to, size))
        return failed;
    return enqueue(stream, [=] { memcpy((void *)to, from, size); });
}
Result cuMemcpyHtoD_v2(uintptr_t to, const void *from, size_t size)
{
    return cuMemcpyHtoDAsync_v2(to, from, size, nullptr);
}
Result cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t size, Stream *stream)
{
    if (Result failed = checked(from, size))
        return failed;
    return enqueue(stream, [=] { memcpy(to, (const void *)from, size); });
}
Result cuMemcpyDtoH_v2(void *to, uintptr_t from, size_t size)
{
    return cuMemcpyDtoHAsync_v2(to, from, size, nullptr);
}

// ---- streams and graphs
Result cuStreamCreate(Stream **stream, unsigned)
{
    streams.insert(*stream = new Stream);
    return broken;
}
Result cuStreamDestroy_v2(Stream *stream)
{
    run(stream);
    streams.erase(stream);
    delete stream;
    return OK;
}
Result cuStreamSynchronize(Stream *stream)
{
    if (stream->capturing)
        return CAPTURE;
    return run(stream), checked(0, 0);
}
Result cuStreamBeginCapture_v2(Stream *stream, int)
{
    if (broken || !stream->queue.empty())
        return broken ? broken : CAPTURE;
    stream->capturing = new std::vector<Work>;
    return OK;
}
Result cuStreamEndCapture(Stream *stream, void **graph)
{
    *graph = stream->capturing;
    stream->capturing = nullptr;
    return broken;
}
Result cuGraphInstantiateWithFlags(void **launchable, void *graph, unsigned long long)
{
    *launchable = new std::vector<Work>(*(std::vector<Work> *)graph);
    return broken;
}
Result cuGraphDestroy(void *graph) { return delete (std::vector<Work> *)graph, OK; }
Result cuGraphExecDestroy(void *graph) { return delete (std::vector<Work> *)graph, OK; }
Result cuGraphLaunch(void *graph, Stream *stream)
{
    if (Result failed = checked(0, 0))
        return failed;
    launches++;
    for (auto &work : *(std::vector<Work> *)graph)
        stream->queue.push_back(work);
    return OK;
}

// ---- kernels
Result cuModuleLoadData(void **module, const void *) { return *module = &blocks, broken; }
Result cuModuleLoadDataEx(void **module, const void *, unsigned, void *, void *)
{
    return *module = &blocks, broken;
}
Result cuModuleUnload(void *) { return OK; }
Result cuModuleGetFunction(Kernel *kernel, void *, const char *name)
{
    *kernel = !strcmp(name, "sample") ? call_sample : !strcmp(name, "contrast") ? call_contrast : 0;
    return *kernel ? OK : NOT_FOUND;
}
Result cuFuncSetBlockShape(Kernel, int, int, int) { return OK; }
Result cuLaunchKernel(Kernel kernel, unsigned grid_x, unsigned grid_y, unsigned, unsigned block_x,
                      unsigned block_y, unsigned, unsigned, Stream *stream, void **, void **extra)
{
    if (Result failed = checked(0, 0))
        return failed;
    // pairs of a key and a value: 1 the buffer of arguments, 2 the address of its size, 0 the end
    std::string arguments((const char *)extra[1], *(size_t *)extra[3]);
    return enqueue(stream, [=] {
        gridDim = {grid_x, grid_y, 1};
        blockDim = {block_x, block_y, 1};
        kernel(arguments.data());
    });
}
Result cuLaunchHostFunc(Stream *stream, void (*function)(void *), void *given)
{
    if (Result failed = checked(0, 0))
        return failed;
    return enqueue(stream, [=] { function(given); });
}
}
