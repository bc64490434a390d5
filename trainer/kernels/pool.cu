// Bias, ReLU and max-pooling of a convolution's maps in one (trainer/src/ops/cuda).
//
// The sizes of a map and of the pooling's window are constants of the compilation: HEIGHT, WIDTH, KERNEL, STRIDE, and the
// window's positions ROWS × COLUMNS. blockIdx.y is the channel.

#define POSITIONS (ROWS * COLUMNS)

// The largest of relu(maps + bias) under each window, and which of the window's taps that is: the first of the largest, the last
// NaN, as PyTorch does it.
extern "C" __global__ void __launch_bounds__(256, 4) tower_bias_relu_pool(unsigned int batch, unsigned int pitch, Place to,
                                                                       const float *bias, const float *maps,
                                                                       float *pooled, unsigned char *choices) {
    const unsigned int channel = blockIdx.y, count = batch * POSITIONS;
    const float *planes = maps + row_start(channel, pitch), added = bias[channel];
    FOR_EACH(i, count) {
        const unsigned int image = i / POSITIONS, position = i % POSITIONS;
        const float *corner = planes + image * (HEIGHT * WIDTH) + position / COLUMNS * STRIDE * WIDTH + position % COLUMNS * STRIDE;
        float largest = 0.0f;
        unsigned int choice = 0;
#pragma unroll
        for (unsigned int tap = 0; tap < KERNEL * KERNEL; tap++) {
            const float value = relu(corner[tap / KERNEL * WIDTH + tap % KERNEL] + added);
            if (tap == 0 || value > largest || isnan(value)) {
                largest = value;
                choice = tap;
            }
        }
        pooled[channel * to.of_channel + image * to.of_image + position] = largest;
        choices[row_start(channel, count) + i] = (unsigned char)choice;
    }
}

// Windows along one axis that can cover one value.
#define COVERING ((KERNEL + STRIDE - 1) / STRIDE)

// Its gradient: each value of a map gets those of the windows that chose it, and none where the ReLU gave 0. `pooled` and
// `gradient` lie as `pooled` above, `map_gradient` as `maps`, scaled.
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
            const unsigned int x = i % WIDTH, y = i / WIDTH % HEIGHT;
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
                    if (i < count && k < KERNEL && l < KERNEL && row < ROWS && column < COLUMNS) {
                        const unsigned int position = row * COLUMNS + column;
                        const size_t at = image * from.of_image + position;
                        if (choices[image * POSITIONS + position] == k * KERNEL + l && pooled[at] > 0.0f)
                            sum += gradient[at];
                    }
                }
            }
            factors.values[v] = to_stored(sum * scale);
            total += sum;
        }
        *(Factors *)(target + start) = factors;
    }
    total = sum_of_block(total);
    if (threadIdx.x == 0)
        sums[channel * gridDim.x + blockIdx.x] = total;
}
