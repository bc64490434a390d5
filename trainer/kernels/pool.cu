// Max-pooling (trainer/src/ops/cuda): of a convolution's maps, in one with its bias and ReLU, and of maps as dfdx has them.
//
// The sizes of a map and of the pooling's window are constants of the compilation: HEIGHT, WIDTH, KERNEL, STRIDE, PADDING, and the
// window's positions ROWS × COLUMNS.

#define POSITIONS (ROWS * COLUMNS)

// The largest value under a window, and which of the window's taps that is: the first of the largest, the last NaN, as PyTorch
// does it.
struct Largest {
    float value;
    unsigned int tap;
};

// The largest of `value_of(·)` of a plane's values under the window at a position.
template <typename Function> __device__ inline Largest largest_under(const float *plane, unsigned int position, Function value_of) {
    Largest largest = {0.0f, KERNEL * KERNEL};
#pragma unroll
    for (unsigned int tap = 0; tap < KERNEL * KERNEL; tap++) {
        const unsigned int y = position / COLUMNS * STRIDE + tap / KERNEL - PADDING;
        const unsigned int x = position % COLUMNS * STRIDE + tap % KERNEL - PADDING;
#if PADDING
        if (y >= HEIGHT || x >= WIDTH) // above and before the plane they wrap around
            continue;
#endif
        const float value = value_of(plane[y * WIDTH + x]);
        if (largest.tap == KERNEL * KERNEL || value > largest.value || isnan(value))
            largest = {value, tap};
    }
    return largest;
}

// Windows along one axis that can cover one value.
#define COVERING ((KERNEL + STRIDE - 1) / STRIDE)

// The sum of the gradients of the windows that chose value i of a plane, of those whose output `passes(position)`.
template <typename Function>
__device__ inline float gradient_of(unsigned int i, const unsigned char *choices, const float *gradient, Function passes) {
    const unsigned int x = i % WIDTH + PADDING, y = i / WIDTH + PADDING;
    float sum = 0.0f;
    // From the first window that covers the value to the last, in both directions.
#pragma unroll
    for (unsigned int above = COVERING; above-- > 0;) {
        const unsigned int row = y / STRIDE - above; // wraps around above the first
        const unsigned int k = y % STRIDE + above * STRIDE;
#pragma unroll
        for (unsigned int before = COVERING; before-- > 0;) {
            const unsigned int column = x / STRIDE - before;
            const unsigned int l = x % STRIDE + before * STRIDE;
            if (k < KERNEL && l < KERNEL && row < ROWS && column < COLUMNS) {
                const unsigned int position = row * COLUMNS + column;
                if (choices[position] == k * KERNEL + l && passes(position))
                    sum += gradient[position];
            }
        }
    }
    return sum;
}

// The largest of relu(maps + bias) under each window, and its tap. blockIdx.y is the channel.
extern "C" __global__ void __launch_bounds__(256, 4) tower_bias_relu_pool(unsigned int batch, unsigned int pitch, Place to,
                                                                       const float *bias, const float *maps,
                                                                       float *pooled, unsigned char *choices) {
    const unsigned int channel = blockIdx.y, count = batch * POSITIONS;
    const float *planes = maps + row_start(channel, pitch), added = bias[channel];
    FOR_EACH(i, count) {
        const unsigned int image = i / POSITIONS, position = i % POSITIONS;
        const Largest largest = largest_under(planes + image * (HEIGHT * WIDTH), position,
                                              [added](float value) { return relu(value + added); });
        pooled[channel * to.of_channel + image * to.of_image + position] = largest.value;
        choices[row_start(channel, count) + i] = (unsigned char)largest.tap;
    }
}

// Its gradient: each value of a map gets those of the windows that chose it, and none where the ReLU gave 0. `pooled` and
// `gradient` lie as `pooled` above, `map_gradient` as `maps`, scaled. blockIdx.y is the channel.
// sums[channel, block] is the sum of what a block wrote, before that.
extern "C" __global__ void __launch_bounds__(256, 4)
    tower_pool_relu_backward(unsigned int batch, unsigned int pitch, Place from, const float *pooled,
                             const unsigned char *choices, const float *gradient, const unsigned int *largest,
                             Stored *map_gradient, float *sums) {
    const float scale = scale_of(largest);
    const unsigned int channel = blockIdx.y, count = batch * (HEIGHT * WIDTH);
    choices += row_start(channel, batch * POSITIONS);
    pooled += channel * from.of_channel;
    gradient += channel * from.of_channel;
    Stored *target = map_gradient + row_start(channel, pitch);
    float total = 0.0f;
    FOR_EACH_VECTOR(start, count) {
        Factors factors;
#pragma unroll
        for (unsigned int v = 0; v < VECTOR; v++) {
            const unsigned int i = start + v, image = i / (HEIGHT * WIDTH);
            const float *outputs = pooled + image * from.of_image;
            float sum = 0.0f;
            if (i < count)
                sum = gradient_of(i % (HEIGHT * WIDTH), choices + image * POSITIONS, gradient + image * from.of_image,
                                  [outputs](unsigned int position) { return outputs[position] > 0.0f; });
            factors.values[v] = to_stored(sum * scale);
            total += sum;
        }
        *(Factors *)(target + start) = factors;
    }
    total = sum_of_block(total);
    if (threadIdx.x == 0)
        sums[channel * gridDim.x + blockIdx.x] = total;
}

// The largest value under each window of planes that follow each other, and its tap. blockIdx.y takes the planes in turns.
extern "C" __global__ void __launch_bounds__(256, 4)
    maps_pool(unsigned int planes, const float *maps, float *pooled, unsigned char *choices) {
    for (unsigned int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        const float *values = maps + row_start(plane, HEIGHT * WIDTH);
        const size_t target = row_start(plane, POSITIONS);
        FOR_EACH(position, POSITIONS) {
            const Largest largest = largest_under(values, position, [](float value) { return value; });
            pooled[target + position] = largest.value;
            choices[target + position] = (unsigned char)largest.tap;
        }
    }
}

// target[·] += its gradient.
extern "C" __global__ void __launch_bounds__(256, 4)
    maps_pool_backward(unsigned int planes, const unsigned char *choices, const float *gradient, float *target) {
    for (unsigned int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        const size_t source = row_start(plane, POSITIONS);
        float *values = target + row_start(plane, HEIGHT * WIDTH);
        FOR_EACH(i, HEIGHT * WIDTH) {
            values[i] += gradient_of(i, choices + source, gradient + source, [](unsigned int) { return true; });
        }
    }
}
