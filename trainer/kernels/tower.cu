// Kernels of a tower of convolutions with ReLU and max-pooling (trainer/src/ops/cuda): all but the matrix products, which are
// cuBLAS'.
//
// Feature maps lie as channel × image × row × column ("planes" of one channel of one image each): a convolution of a whole
// batch is then one matrix product, weight (filters × taps) · unfolded input (taps × all positions of all images).
//
// Each kernel's grid is (blocks of elements, rows of the result): blockIdx.y is the channel or tap, and the threads of all
// blockIdx.x together go over the elements of that row. Compiled at run time by NVRTC, which has no headers, and by g++ for the
// emulated GPU, where everything here is tested against the processor's operations.

struct Sizes {
    unsigned int batch, channels, height, width;    // of the input
    unsigned int kernel, stride, padding;           // of the window
    unsigned int rows, columns;                     // positions of the window
};

// The threads of a row take its elements in turns.
#define FOR_EACH(i, count)                                                                                             \
    for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += blockDim.x * gridDim.x)

// Start of a row of `length` elements, which may lie beyond 2^32.
__device__ inline size_t row_start(unsigned int row, unsigned int length) { return (size_t)row * length; }

// unfolded[c, k, l][n, i, j] = input[c][n, i·stride + k − padding, j·stride + l − padding], 0 in the padding.
extern "C" __global__ void tower_unfold(Sizes s, const float *input, float *unfolded) {
    const unsigned int tap = blockIdx.y;
    const unsigned int l = tap % s.kernel, k = tap / s.kernel % s.kernel, channel = tap / (s.kernel * s.kernel);
    const unsigned int count = s.batch * s.rows * s.columns, plane = s.height * s.width;
    const float *source = input + row_start(channel, s.batch * plane);
    float *target = unfolded + row_start(tap, count);
    FOR_EACH(i, count) {
        const unsigned int column = i % s.columns, row = i / s.columns % s.rows, image = i / (s.columns * s.rows);
        // Above and left of the image, these wrap around to values that are too large.
        const unsigned int y = row * s.stride + k - s.padding, x = column * s.stride + l - s.padding;
        target[i] = y < s.height && x < s.width ? source[image * plane + y * s.width + x] : 0.0f;
    }
}

// The transposed operation: input[c][n, y, x] = Σ of unfolded[c, k, l][n, i, j] over all that unfold copies it to.
extern "C" __global__ void tower_fold(Sizes s, const float *unfolded, float *input) {
    const unsigned int channel = blockIdx.y;
    const unsigned int plane = s.height * s.width, count = s.batch * plane, positions = s.rows * s.columns;
    float *target = input + row_start(channel, count);
    FOR_EACH(i, count) {
        const unsigned int x = i % s.width, y = i / s.width % s.height, image = i / plane;
        float sum = 0.0f;
        for (unsigned int k = 0; k < s.kernel; k++) {
            const unsigned int above = y + s.padding - k; // wraps around where negative
            if (above % s.stride != 0 || above / s.stride >= s.rows || y + s.padding < k)
                continue;
            for (unsigned int l = 0; l < s.kernel; l++) {
                const unsigned int before = x + s.padding - l;
                if (before % s.stride != 0 || before / s.stride >= s.columns || x + s.padding < l)
                    continue;
                const unsigned int tap = (channel * s.kernel + k) * s.kernel + l;
                sum += unfolded[row_start(tap, s.batch * positions) + image * positions + above / s.stride * s.columns +
                                before / s.stride];
            }
        }
        target[i] = sum;
    }
}

__device__ inline float relu(float value) { return value < 0.0f ? 0.0f : value; } // NaN stays

// maps[c][·] = relu(maps[c][·] + bias[c])
extern "C" __global__ void tower_bias_relu(unsigned int count, const float *bias, float *maps) {
    float *row = maps + row_start(blockIdx.y, count);
    FOR_EACH(i, count) { row[i] = relu(row[i] + bias[blockIdx.y]); }
}

// gradient[c][·] = 0 where the output of the ReLU is
extern "C" __global__ void tower_relu_backward(unsigned int count, const float *maps, float *gradient) {
    const size_t start = row_start(blockIdx.y, count);
    FOR_EACH(i, count) {
        if (!(maps[start + i] > 0.0f))
            gradient[start + i] = 0.0f;
    }
}

// Bias, ReLU and max-pooling in one: the largest of relu(maps + bias) under each window, and which of the window's taps that
// is, the first of several. A pooled value of channel c, image n, position q goes to pooled[c·of_channel + n·of_image + q].
extern "C" __global__ void tower_bias_relu_pool(Sizes s, size_t of_channel, size_t of_image, const float *bias,
                                                const float *maps, float *pooled, unsigned char *choices) {
    const unsigned int channel = blockIdx.y, positions = s.rows * s.columns, plane = s.height * s.width;
    const unsigned int count = s.batch * positions;
    const float *source = maps + row_start(channel, s.batch * plane);
    FOR_EACH(i, count) {
        const unsigned int column = i % s.columns, row = i / s.columns % s.rows, image = i / positions;
        const float *corner = source + image * plane + row * s.stride * s.width + column * s.stride;
        float largest = 0.0f;
        unsigned int choice = 0;
        for (unsigned int tap = 0; tap < s.kernel * s.kernel; tap++) {
            const float value = relu(corner[tap / s.kernel * s.width + tap % s.kernel] + bias[channel]);
            if (tap == 0 || value > largest || isnan(value)) {
                largest = value;
                choice = tap;
            }
        }
        pooled[channel * of_channel + image * of_image + i % positions] = largest;
        choices[row_start(channel, count) + i] = (unsigned char)choice;
    }
}

// Its gradient: each value of a map gets those of the windows that chose it, and none where the ReLU gave 0. `pooled` and
// `gradient` lie as `pooled` above.
extern "C" __global__ void tower_pool_relu_backward(Sizes s, size_t of_channel, size_t of_image, const float *pooled,
                                                    const unsigned char *choices, const float *gradient,
                                                    float *map_gradient) {
    const unsigned int channel = blockIdx.y, positions = s.rows * s.columns, plane = s.height * s.width;
    const unsigned int count = s.batch * plane;
    const unsigned char *chosen = choices + row_start(channel, s.batch * positions);
    FOR_EACH(i, count) {
        const unsigned int x = i % s.width, y = i / s.width % s.height, image = i / plane;
        float sum = 0.0f;
        // Windows that cover the row y start at rows y − kernel + 1 to y.
        const unsigned int first_row = y < s.kernel ? 0 : (y - s.kernel) / s.stride + 1;
        const unsigned int first_column = x < s.kernel ? 0 : (x - s.kernel) / s.stride + 1;
        for (unsigned int row = first_row; row < s.rows && row * s.stride <= y; row++) {
            for (unsigned int column = first_column; column < s.columns && column * s.stride <= x; column++) {
                const unsigned int position = row * s.columns + column;
                const unsigned int tap = (y - row * s.stride) * s.kernel + x - column * s.stride;
                const size_t at = channel * of_channel + image * of_image + position;
                if (chosen[image * positions + position] == tap && pooled[at] > 0.0f)
                    sum += gradient[at];
            }
        }
        map_gradient[row_start(channel, count) + i] = sum;
    }
}

// bias[c] += Σ gradient[c][·], by one block a channel, in an order that does not change from run to run.
extern "C" __global__ void tower_bias_gradient(unsigned int count, const float *gradient, float *bias) {
    __shared__ float partial[256];
    const float *row = gradient + row_start(blockIdx.y, count);
    float sum = 0.0f;
    for (unsigned int i = threadIdx.x; i < count; i += 256)
        sum += row[i];
    partial[threadIdx.x] = sum;
    __syncthreads();
    for (unsigned int half = 128; half > 0; half /= 2) {
        if (threadIdx.x < half)
            partial[threadIdx.x] += partial[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0)
        bias[blockIdx.y] += partial[0];
}
