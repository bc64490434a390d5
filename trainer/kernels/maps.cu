// Bias and ReLU of a convolution's maps where no pooling follows, gradients of biases, and weights as factors
// (trainer/src/ops/cuda). Everything here is the same for all sizes.

// maps[c][·] = relu(maps[c][·] + bias[c]); blockIdx.y is the channel.
extern "C" __global__ void __launch_bounds__(256, 4) tower_bias_relu(unsigned int count, unsigned int pitch, const float *bias,
                                                                  float *maps) {
    float *row = maps + row_start(blockIdx.y, pitch);
    const float added = bias[blockIdx.y];
    FOR_EACH(i, count) { row[i] = relu(row[i] + added); }
}

// map_gradient[c][·] = gradient[c][·], or 0 where the output of the ReLU is, scaled. sums[c, block] is the sum of what a block
// wrote, before that.
extern "C" __global__ void __launch_bounds__(256, 4)
    tower_relu_backward(unsigned int count, unsigned int pitch, const float *maps, const float *gradient,
                        const unsigned int *largest, Stored *map_gradient, float *sums) {
    const float scale = scale_of(largest);
    const size_t row = row_start(blockIdx.y, pitch);
    float total = 0.0f;
    FOR_EACH_VECTOR(start, count) {
        Factors factors;
#pragma unroll
        for (unsigned int v = 0; v < VECTOR; v++) {
            const bool passes = start + v < count && maps[row + start + v] > 0.0f;
            const float value = passes ? gradient[row + start + v] : 0.0f;
            factors.values[v] = to_stored(value * scale);
            total += value;
        }
        *(Factors *)(map_gradient + row + start) = factors;
    }
    total = sum_of_block(total);
    if (threadIdx.x == 0)
        sums[blockIdx.y * gridDim.x + blockIdx.x] = total;
}

// bias[c] += Σ sums[c, ·], in an order that does not change from run to run.
extern "C" __global__ void __launch_bounds__(256, 4) tower_bias_gradient(unsigned int channels, unsigned int parts,
                                                                      const float *sums, float *bias) {
    FOR_EACH(channel, channels) {
        float sum = 0.0f;
        for (unsigned int part = 0; part < parts; part++)
            sum += sums[channel * parts + part];
        bias[channel] += sum;
    }
}

// largest = the bits of the largest absolute value of a matrix, where they were 0 before; blockIdx.y takes the rows in turns.
extern "C" __global__ void __launch_bounds__(256, 4) tower_largest(unsigned int rows, unsigned int columns, unsigned int pitch,
                                                                const float *matrix, unsigned int *largest) {
    unsigned int bits = 0;
    for (unsigned int row = blockIdx.y; row < rows; row += gridDim.y)
        FOR_EACH(i, columns) {
            // Numbers of one sign are in the order of their bits.
            bits = max(bits, __float_as_uint(matrix[row_start(row, pitch) + i]) & 0x7FFFFFFFu);
        }
    atomicMax(largest, bits);
}

// target[·] += what `product` is without its scale.
extern "C" __global__ void __launch_bounds__(256, 4) tower_add(unsigned int count, const unsigned int *largest, const float *product,
                                                            float *target) {
    const float scale = inverse_scale(largest);
    FOR_EACH(i, count) { target[i] += product[i] * scale; }
}

// A matrix as factors, in rows of `pitch`; blockIdx.y takes the rows in turns.
extern "C" __global__ void __launch_bounds__(256, 4) tower_factors(unsigned int rows, unsigned int columns, unsigned int pitch,
                                                                const float *matrix, Stored *factors) {
    for (unsigned int row = blockIdx.y; row < rows; row += gridDim.y)
        FOR_EACH(i, columns) { factors[row_start(row, pitch) + i] = to_stored(matrix[row_start(row, columns) + i]); }
}
