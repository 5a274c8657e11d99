// Attention: softmax(scale query key^T) value for each head, over the keys in sight, optionally with what is known of
// distances.
//
// score[i, j] = scale query_i . (key_j + relative_key[j - i]), y_i = sum_j softmax_j(score[i, j]) (value_j +
// relative_value[j - i]); the relative ones are 0 further away than `reach`. Keys pass through shared memory 32 at a
// time, one per lane; softmax is made up as they pass.
//
// shapes     query and y [batch, queries, heads * size], key and value [batch, keys, heads * size], relative keys and
//            values [2 reach + 1, size] or null; size at most 128; query i sees keys i - before..=i + after
// grid       (ceil(queries / 4), batch * heads) blocks of 128 threads: a query per warp
// shared     dynamic: (64 (size | 1) + 4 size) floats
// registers  attention 80 at most
// contract   sums in f32: within 1e-5 of the twin's for values about 1
// CPU twin   nn::ops::plain::attention
#include "syrinx.cuh"

#define THREADS 128
#define WARPS (THREADS / WARP)
#define MOST_SIZE 128
// Threads that load one row, and rows that each loads of a tile.
#define ROW_LANES 32
#define ROWS_EACH (WARP * ROW_LANES / THREADS)

__device__ inline float warp_most(float value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        value = fmaxf(value, __shfl_xor_sync(ALL_LANES, value, distance));
    }
    return value;
}

KERNEL(attention, THREADS)
(const float *query, const float *key, const float *value, const float *relative_key, const float *relative_value,
 int reach, int queries, int keys, int heads, int size, float scale, int before, int after, float *y) {
    DYNAMIC_SHARED(float, shared);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, width = size | 1, features = heads * size;
    const int item = blockIdx.y / heads, head = blockIdx.y - item * heads, first = blockIdx.x * WARPS;
    float *now_keys = shared, *now_values = shared + WARP * width, *own = shared + 2 * WARP * width + warp * size;
    query += (long long)item * queries * features + head * size;
    key += (long long)item * keys * features + head * size;
    value += (long long)item * keys * features + head * size;
    y += (long long)item * queries * features + head * size;

    const int i = first + warp;
    const bool here = i < queries;
    for (int c = lane; c < size; c += WARP) own[c] = here ? scale * query[i * features + c] : 0.0f;
    __syncwarp();
    // In i - before..=i + after without ever counting beyond the keys.
    const int last_query = min(first + WARPS, queries) - 1;
    const int start = first > before ? first - before : 0;
    const int end = after < keys - last_query ? last_query + after + 1 : keys;

    float most = -infinity(), weight = 0.0f;
    float sums[MOST_SIZE / WARP] = {};
    for (int tile = start; tile < end; tile += WARP) {
        __syncthreads();
        // A row for each group of lanes, so that all loads are under way before the first is placed.
#pragma unroll
        for (int part = 0; part < MOST_SIZE / ROW_LANES; part++) {
            const int c = threadIdx.x % ROW_LANES + part * ROW_LANES;
            if (c >= size) break;
            float of_keys[ROWS_EACH], of_values[ROWS_EACH];
#pragma unroll
            for (int n = 0; n < ROWS_EACH; n++) {
                const int j = tile + threadIdx.x / ROW_LANES + n * (THREADS / ROW_LANES);
                of_keys[n] = j < keys ? key[j * features + c] : 0.0f;
                of_values[n] = j < keys ? value[j * features + c] : 0.0f;
            }
#pragma unroll
            for (int n = 0; n < ROWS_EACH; n++) {
                const int at = (threadIdx.x / ROW_LANES + n * (THREADS / ROW_LANES)) * width + c;
                now_keys[at] = of_keys[n];
                now_values[at] = of_values[n];
            }
        }
        __syncthreads();
        const int j = tile + lane, d = j - i;
        float score = -infinity();
        if (here && j < keys && -d <= before && d <= after) {
            score = 0.0f;
#pragma unroll 8
            for (int c = 0; c < size; c++) score += own[c] * now_keys[lane * width + c];
            if (relative_key && -d <= reach && d <= reach) {
                const float *row = relative_key + (d + reach) * size;
#pragma unroll 8
                for (int c = 0; c < size; c++) score += own[c] * row[c];
            }
        }
        const float now_most = fmaxf(most, warp_most(score));
        // Nothing in sight yet.
        if (now_most == -infinity()) continue;
        const float rescale = expf(most - now_most), p = expf(score - now_most);
        most = now_most;
        weight = weight * rescale + p;
#pragma unroll
        for (int n = 0; n < MOST_SIZE / WARP; n++) sums[n] *= rescale;
#pragma unroll 4
        for (int k = 0; k < WARP; k++) {
            const float share = __shfl_sync(ALL_LANES, p, k);
            const int distance = tile + k - i;
            const bool near = relative_value && -distance <= reach && distance <= reach;
            const float *row = near ? relative_value + (distance + reach) * size : nullptr;
#pragma unroll
            for (int n = 0; n < MOST_SIZE / WARP; n++) {
                const int c = lane + n * WARP;
                if (c >= size) break;
                float of_key = now_values[k * width + c];
                if (near) of_key += row[c];
                sums[n] += share * of_key;
            }
        }
    }
    weight = warp_sum(weight);
    if (!here) return;
#pragma unroll
    for (int n = 0; n < MOST_SIZE / WARP; n++) {
        const int c = lane + n * WARP;
        if (c < size) y[i * features + c] = sums[n] / weight;
    }
}
