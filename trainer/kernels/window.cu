// Between the input of a convolution and the matrix that its weight is multiplied by (trainer/src/ops/cuda).
//
// The sizes of input and window are constants of the compilation: HEIGHT, WIDTH, KERNEL, STRIDE, PADDING, and the window's
// positions ROWS × COLUMNS. So no division is left, and all loops over taps are unrolled.

#define POSITIONS (ROWS * COLUMNS)

// unfolded[c, k, l][n, i, j] = input[c][n, i·STRIDE + k − PADDING, j·STRIDE + l − PADDING], 0 in the padding. blockIdx.y is
// c · KERNEL + k: each thread writes KERNEL rows of the matrix, VECTOR positions of each.
extern "C" __global__ void __launch_bounds__(256, 2) tower_unfold(unsigned int batch, Place from, unsigned int pitch,
                                                               const float *input, Stored *unfolded) {
    const unsigned int channel = blockIdx.y / KERNEL, k = blockIdx.y % KERNEL, count = batch * POSITIONS;
    const float *planes = input + channel * from.of_channel;
    Stored *target = unfolded + row_start(blockIdx.y * KERNEL, pitch);
    FOR_EACH_VECTOR(start, count) {
        // The row of the input that the window's row k lies on at each position, and the column where the window begins, which
        // is too large where it lies before the row's start.
        const float *row[VECTOR];
        unsigned int first[VECTOR];
        bool inside[VECTOR];
#pragma unroll
        for (unsigned int v = 0; v < VECTOR; v++) {
            const unsigned int position = (start + v) % POSITIONS, image = (start + v) / POSITIONS;
            const unsigned int y = position / COLUMNS * STRIDE + k - PADDING;
            inside[v] = start + v < count && y < HEIGHT;
            row[v] = planes + image * from.of_image + (inside[v] ? y * WIDTH : 0);
            first[v] = position % COLUMNS * STRIDE - PADDING;
        }
#pragma unroll
        for (unsigned int l = 0; l < KERNEL; l++) {
            Factors factors;
#pragma unroll
            for (unsigned int v = 0; v < VECTOR; v++)
                factors.values[v] = to_stored(inside[v] && first[v] + l < WIDTH ? row[v][first[v] + l] : 0.0f);
            *(Factors *)(target + row_start(l, pitch) + start) = factors;
        }
    }
}

// The transposed operation: input[c][n, y, x] = Σ of unfolded[c, k, l][n, i, j] over all that unfold copies it to, or that is added
// to it; what was unfolded is scaled (`largest`), the input is not. blockIdx.y is the channel.
extern "C" __global__ void __launch_bounds__(256, 2) tower_fold(unsigned int batch, unsigned int pitch, Place to,
                                                             unsigned int added, const unsigned int *largest,
                                                             const Stored *unfolded, float *input) {
    const float scale = inverse_scale(largest);
    const unsigned int channel = blockIdx.y, count = batch * (HEIGHT * WIDTH);
    const Stored *taps = unfolded + row_start(channel * KERNEL * KERNEL, pitch);
    float *planes = input + channel * to.of_channel;
    FOR_EACH(i, count) {
        const int x = i % WIDTH, y = i / WIDTH % HEIGHT;
        const Stored *positions = taps + i / (HEIGHT * WIDTH) * POSITIONS;
        float sum = 0.0f;
        // Rows of large windows one after the other: all of their taps at once would need more registers than there are.
#pragma unroll(KERNEL > 5 ? 1 : KERNEL)
        for (int k = 0; k < KERNEL; k++) {
            const int above = y + PADDING - k;
            const bool in_rows = above >= 0 && above % STRIDE == 0 && above / STRIDE < ROWS;
#pragma unroll
            for (int l = 0; l < KERNEL; l++) {
                const int before = x + PADDING - l;
                if (in_rows && before >= 0 && before % STRIDE == 0 && before / STRIDE < COLUMNS)
                    sum += from_stored(positions[above / STRIDE * COLUMNS + before / STRIDE]);
                positions += pitch;
            }
        }
        float *target = planes + i / (HEIGHT * WIDTH) * to.of_image + i % (HEIGHT * WIDTH);
        *target = added ? *target + sum * scale : sum * scale;
    }
}
