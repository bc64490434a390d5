// What the kernels of a network's inputs share (inputs.cu, colour.cu).
//
// Every operation is rounded by itself, in the order of the processor's code, so that the results are the same to the last bit:
// the compiler may not contract the functions that end in `_rn`.

// Mean and standard deviation of each channel: `ByChannel` in trainer/src/inputs/cuda.rs.
struct Normalisation {
    float mean[3], std[3];
};

__device__ inline float normalised(float value, const Normalisation &normalisation, unsigned int channel) {
    return __fdiv_rn(__fsub_rn(value, normalisation.mean[channel]), normalisation.std[channel]);
}
