// Reads a texture at given places: what a partition of texture memory is sampled and tested with. An image of its own,
// since nothing else of Cogniware reads through texture units.
#include <cstdint>

extern "C" __global__ void __launch_bounds__(256)
    cw_texture_sample(cudaTextureObject_t texture, const float2* at, float* out, uint32_t count) {
    uint32_t i = blockIdx.x * 256 + threadIdx.x;
    if (i < count) out[i] = tex2D<float>(texture, at[i].x, at[i].y);
}
