// A step of an optimiser for one tensor (trainer/src/optimiser/cuda.rs), in one pass over memory, and the norm by which gradients
// are clipped.
//
// Formulas and names are those of trainer/src/optimiser/mod.rs.

// sums[block] = Σ gradient² over the block's part, in an order that does not change from run to run.
extern "C" __global__ void optimiser_squares(size_t count, const float *gradient, double *sums) {
    double sum = 0.0;
    for (size_t i = blockIdx.x * 256 + threadIdx.x; i < count; i += 256 * gridDim.x)
        sum += (double)gradient[i] * gradient[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0)
        sums[blockIdx.x] = sum;
}

// norm[0] = √Σ sums, norm[1] = min(1, largest / (norm[0] + epsilon)), by one block.
extern "C" __global__ void optimiser_clip(unsigned int count, const double *sums, double largest, double epsilon, double *norm) {
    double sum = 0.0;
    for (unsigned int i = threadIdx.x; i < count; i += 256)
        sum += sums[i];
    sum = sum_of_block(sum);
    if (threadIdx.x == 0) {
        norm[0] = sqrt(sum);
        norm[1] = fmin(1.0, largest / (norm[0] + epsilon));
    }
}

// `Update`, but for the rule. The factor of the gradients is norm[1], where there is a norm.
struct OptimiserUpdate {
    float regularisation, shrink;
    float average_gain; // 1 − decay
};

struct AdamRule {
    float beta2, gain1, gain2, step_size, second_scale, epsilon;
};

// `average` is null where no average of the weights is kept. The gradient is zero afterwards.
extern "C" __global__ void optimiser_adam(size_t count, OptimiserUpdate update, AdamRule rule, const double *norm, float *weights,
                                          float *gradient, float *first, float *second, float *average) {
    const float scale = norm ? (float)norm[1] : 1.0f;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += blockDim.x * gridDim.x) {
        const float weight = weights[i], g = gradient[i] * scale + weight * update.regularisation;
        const float m = first[i] + rule.gain1 * (g - first[i]);
        const float v = rule.beta2 * second[i] + rule.gain2 * (g * g);
        const float next = weight * update.shrink - rule.step_size * m / (sqrtf(v) * rule.second_scale + rule.epsilon);
        gradient[i] = 0.0f;
        first[i] = m;
        second[i] = v;
        weights[i] = next;
        if (average)
            average[i] += update.average_gain * (next - average[i]);
    }
}

// `first` is null without momentum; `average` and the gradient as above.
extern "C" __global__ void optimiser_sgd(size_t count, OptimiserUpdate update, float momentum, float rate, const double *norm,
                                         float *weights, float *gradient, float *first, float *average) {
    const float scale = norm ? (float)norm[1] : 1.0f;
    for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += blockDim.x * gridDim.x) {
        const float weight = weights[i];
        float step = gradient[i] * scale + weight * update.regularisation;
        if (first)
            step = first[i] = momentum * first[i] + step;
        const float next = weight - rate * step;
        gradient[i] = 0.0f;
        weights[i] = next;
        if (average)
            average[i] += update.average_gain * (next - average[i]);
    }
}
