// What every program of kernels begins with (trainer/src/cuda/program.rs). NVRTC compiles them without any header.

// Threads of a block, in all kernels.
#define THREADS 256

// Threads of all blocks along x take the elements of a row in turns.
#define FOR_EACH(i, count)                                                                                             \
    for (unsigned int i = blockIdx.x * THREADS + threadIdx.x; i < (count); i += THREADS * gridDim.x)

// Sum of a value of each thread of a block, in an order that does not change from run to run, for all of them; once in a kernel.
template <typename Value> __device__ inline Value sum_of_block(Value value) {
    __shared__ Value partial[THREADS];
    partial[threadIdx.x] = value;
    __syncthreads();
    for (unsigned int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half)
            partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    return partial[0];
}
