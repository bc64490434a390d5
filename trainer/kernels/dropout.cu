// Dropout's masks from coins that were thrown on the host (trainer/src/ops/cuda/dropout.rs).

// mask[row, column] = 2 where a bit of the row's words is 1, 0 where it is 0. Each row begins with a new word. blockIdx.y takes the
// rows in turns.
extern "C" __global__ void dropout_mask(unsigned int rows, unsigned int columns, const unsigned long long *words, float *mask) {
    const unsigned int words_of_row = (columns + 63) / 64;
    for (unsigned int row = blockIdx.y; row < rows; row += gridDim.y)
        for (unsigned int i = blockIdx.x * blockDim.x + threadIdx.x; i < columns; i += blockDim.x * gridDim.x) {
            const unsigned long long word = words[(size_t)row * words_of_row + i / 64];
            mask[(size_t)row * columns + i] = 2.0f * (float)(word >> i % 64 & 1);
        }
}
