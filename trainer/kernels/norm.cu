// Local response normalisation of maps as dfdx has them, image by image (trainer/src/ops/cuda/local_response_norm.rs):
//
//     y = x · s^−0.75 with s = k + α · Σ x², and ∂x = ∂y · s^−0.75 − 2 · α · 0.75 · x · Σ (∂y · x · s^−1.75)
//
// where both sums go over the channels around. blockIdx.y takes the planes in turns, one of a channel of an image each. Constants
// of the compilation are the CHANNELS, the values of a PLANE, and the REACH of the sums to each side.

// The planes of an image from the first one around a channel to the end of those, by the distance from the channel's own.
struct Around {
    int first, end;
};

__device__ inline Around around(int channel) { return {max(-REACH, -channel), min(REACH + 1, CHANNELS - channel)}; }

// s of the value at `value`, which is one of that channel.
__device__ inline float sum_of_squares(const float *value, int channel, float k, float alpha) {
    const Around planes = around(channel);
    float sum = 0.0f;
    for (int plane = planes.first; plane < planes.end; plane++)
        sum += value[plane * PLANE] * value[plane * PLANE];
    return k + alpha * sum;
}

// s^−0.75, by roots.
__device__ inline float power(float sum) {
    const float root = sqrtf(sum);
    return 1.0f / (root * sqrtf(root));
}

// output[·] = y.
extern "C" __global__ void __launch_bounds__(256, 4)
    maps_norm(unsigned int planes, float k, float alpha, const float *input, float *output) {
    for (unsigned int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        const size_t start = (size_t)plane * PLANE;
        FOR_EACH(i, PLANE) {
            const float *value = input + start + i;
            output[start + i] = *value * power(sum_of_squares(value, plane % CHANNELS, k, alpha));
        }
    }
}

// target[·] += ∂x.
extern "C" __global__ void __launch_bounds__(256, 4)
    maps_norm_backward(unsigned int planes, float k, float alpha, const float *input, const float *gradient, float *target) {
    for (unsigned int plane = blockIdx.y; plane < planes; plane += gridDim.y) {
        const size_t start = (size_t)plane * PLANE;
        const int channel = plane % CHANNELS;
        const Around near = around(channel);
        FOR_EACH(i, PLANE) {
            float direct = 0.0f, shares = 0.0f;
            for (int other = near.first; other < near.end; other++) {
                const float *value = input + start + i + other * PLANE;
                const float sum = sum_of_squares(value, channel + other, k, alpha);
                const float own = gradient[start + i + other * PLANE] * power(sum);
                if (other == 0)
                    direct = own;
                shares += own * *value / sum;
            }
            target[start + i] += direct - 1.5f * alpha * input[start + i] * shares;
        }
    }
}
