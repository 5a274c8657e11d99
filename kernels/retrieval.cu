// Retrieval: the eight rows nearest to each content unit, searched exactly, and the unit's pull towards them.
//
// retrieval_nearest: squared Euclidean distances of up to 8 queries to every row; each block keeps the eight nearest of
// its share of the rows, nearest first, the lower row first among equals; places beyond the rows there are hold row -1.
// A distance that is no number is no neighbour's.
//
// shapes     rows [count, dim] and queries [query_count, dim] row-major, both aligned to 16 bytes, dim a multiple of 4 and
//            at most 1024; found_distance f32 and found_row i32 [query_count, blocks, 8]
// grid       (blocks, ceil(query_count / 8)) of 256 threads; a row per warp and step, 16 bytes of it per lane; block b
//            takes rows 8 b + warp, then every 8 blocks: at any moment the grid reads one stretch of memory
// shared     32 dim bytes for the queries (dynamic), 4,096 for the lists of the warps
// registers  retrieval_nearest 64 at most
// contract   distances in f32, summed per lane and then over lanes: within 1e-5 of the twin's, relatively
// CPU twin   path::retrieval::Retrieval::search on an index of one list
//
// retrieval_blend: merges the blocks' lists and replaces unit u by (1 - rate) u + rate sum_i w_i row_i with w_i in
// proportion to 1 / distance^2 and of sum 1; exact hits share all the weight. A unit without neighbours stays.
//
// shapes     as above; units [query_count, dim], neighbour_row i32 and neighbour_distance [query_count, 8]
// grid       query_count blocks of 256 threads; blocks at most 2048
// shared     160 bytes
// registers  retrieval_blend 46 at most
// contract   as the twin given the same distances, within 1e-6 relatively
// CPU twin   path::retrieval::Retrieval::blend
#include "syrinx.cuh"

#define QUERIES 8
#define NEIGHBOURS 8
#define THREADS 256
#define WARPS (THREADS / WARP)
#define LEAST_DISTANCE 1.17549435e-38f

// Nearest first, of equals the lower row; no row is last.
__device__ inline bool nearer(float distance, int row, float other_distance, int other_row) {
    if (row < 0) return false;
    return other_row < 0 || distance < other_distance || (distance == other_distance && row < other_row);
}

// Inserts a candidate in a sorted list held in registers.
__device__ inline void offer(float (&distances)[NEIGHBOURS], int (&rows)[NEIGHBOURS], float distance, int row) {
    if (!(distance == distance) || !nearer(distance, row, distances[NEIGHBOURS - 1], rows[NEIGHBOURS - 1])) return;
    distances[NEIGHBOURS - 1] = distance;
    rows[NEIGHBOURS - 1] = row;
#pragma unroll
    for (int i = NEIGHBOURS - 1; i > 0; i--) {
        if (nearer(distances[i], rows[i], distances[i - 1], rows[i - 1])) {
            float d = distances[i];
            distances[i] = distances[i - 1];
            distances[i - 1] = d;
            int r = rows[i];
            rows[i] = rows[i - 1];
            rows[i - 1] = r;
        }
    }
}

KERNEL(retrieval_nearest, THREADS)
(const float *rows, int count, int dim, const float *queries, int query_count, float *found_distance,
 int *found_row) {
    DYNAMIC_SHARED(float4, query);
    __shared__ float list_distance[WARPS][QUERIES][NEIGHBOURS];
    __shared__ int list_row[WARPS][QUERIES][NEIGHBOURS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, quads = dim / 4;
    const int first_query = blockIdx.y * QUERIES;
    for (int i = threadIdx.x; i < QUERIES * quads; i += THREADS) {
        bool inside = first_query + i / quads < query_count;
        query[i] = inside ? ((const float4 *)queries)[(long long)first_query * quads + i]
                          : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    __syncthreads();

    // Lane q keeps the list of query q.
    float distances[NEIGHBOURS];
    int best[NEIGHBOURS];
#pragma unroll
    for (int i = 0; i < NEIGHBOURS; i++) {
        distances[i] = infinity();
        best[i] = -1;
    }
    for (long long row = blockIdx.x * WARPS + warp; row < count; row += (long long)gridDim.x * WARPS) {
        const float4 *values = (const float4 *)rows + row * quads;
        float sums[QUERIES] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
        for (int i = lane; i < quads; i += WARP) {
            float4 r = values[i];
#pragma unroll
            for (int q = 0; q < QUERIES; q++) {
                float4 u = query[q * quads + i];
                float x = r.x - u.x, y = r.y - u.y, z = r.z - u.z, w = r.w - u.w;
                sums[q] += x * x + y * y + z * z + w * w;
            }
        }
        float own = 0.0f;
#pragma unroll
        for (int q = 0; q < QUERIES; q++) {
            float sum = warp_sum(sums[q]);
            if (lane == q) own = sum;
        }
        if (lane < QUERIES) offer(distances, best, own, (int)row);
    }
    if (lane < QUERIES) {
#pragma unroll
        for (int i = 0; i < NEIGHBOURS; i++) {
            list_distance[warp][lane][i] = distances[i];
            list_row[warp][lane][i] = best[i];
        }
    }
    __syncthreads();
    if (threadIdx.x < QUERIES && first_query + (int)threadIdx.x < query_count) {
        // The first warp's lists are in these very registers.
        for (int other = 1; other < WARPS; other++) {
            for (int i = 0; i < NEIGHBOURS; i++) {
                offer(distances, best, list_distance[other][threadIdx.x][i], list_row[other][threadIdx.x][i]);
            }
        }
        long long at = ((long long)(first_query + threadIdx.x) * gridDim.x + blockIdx.x) * NEIGHBOURS;
#pragma unroll
        for (int i = 0; i < NEIGHBOURS; i++) {
            found_distance[at + i] = distances[i];
            found_row[at + i] = best[i];
        }
    }
}

KERNEL(retrieval_blend, THREADS)
(const float *rows, int count, int dim, float *units, int blocks, const float *found_distance, const int *found_row,
 float rate, int *neighbour_row, float *neighbour_distance) {
    __shared__ float warp_distance[WARPS];
    __shared__ int warp_row[WARPS];
    __shared__ float weight[NEIGHBOURS];
    __shared__ float nearest_distance[NEIGHBOURS];
    __shared__ int nearest_row[NEIGHBOURS];
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, unit = blockIdx.x;
    float distances[NEIGHBOURS];
    int best[NEIGHBOURS];
#pragma unroll
    for (int i = 0; i < NEIGHBOURS; i++) {
        distances[i] = infinity();
        best[i] = -1;
    }
    long long lists = (long long)unit * blocks * NEIGHBOURS;
    for (int i = threadIdx.x; i < blocks * NEIGHBOURS; i += THREADS) {
        int row = found_row[lists + i];
        if (row < count) offer(distances, best, found_distance[lists + i], row);
    }
    // Eight times the nearest head of all threads' lists.
    for (int place = 0; place < NEIGHBOURS; place++) {
        float distance = distances[0];
        int row = best[0];
        for (int step = WARP / 2; step > 0; step /= 2) {
            float other_distance = __shfl_xor_sync(ALL_LANES, distance, step);
            int other_row = __shfl_xor_sync(ALL_LANES, row, step);
            if (nearer(other_distance, other_row, distance, row)) {
                distance = other_distance;
                row = other_row;
            }
        }
        if (lane == 0) {
            warp_distance[warp] = distance;
            warp_row[warp] = row;
        }
        __syncthreads();
        distance = warp_distance[0];
        row = warp_row[0];
        for (int i = 1; i < WARPS; i++) {
            if (nearer(warp_distance[i], warp_row[i], distance, row)) {
                distance = warp_distance[i];
                row = warp_row[i];
            }
        }
        if (threadIdx.x == 0) {
            nearest_distance[place] = distance;
            nearest_row[place] = row;
        }
        // A row stands in one list only.
        if (row >= 0 && best[0] == row) {
#pragma unroll
            for (int i = 0; i + 1 < NEIGHBOURS; i++) {
                distances[i] = distances[i + 1];
                best[i] = best[i + 1];
            }
            distances[NEIGHBOURS - 1] = infinity();
            best[NEIGHBOURS - 1] = -1;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        int found = 0, exact = 0;
        while (found < NEIGHBOURS && nearest_row[found] >= 0) {
            exact += nearest_distance[found] <= LEAST_DISTANCE;
            found++;
        }
        float sum = 0.0f;
        for (int i = 0; i < found; i++) {
            // Relative to the nearest, so that no square overflows.
            float ratio = nearest_distance[0] / nearest_distance[i];
            float w = exact > 0 ? (nearest_distance[i] <= LEAST_DISTANCE ? 1.0f : 0.0f) : ratio * ratio;
            weight[i] = w;
            sum += w;
        }
        for (int i = 0; i < found; i++) weight[i] /= sum;
    }
    __syncthreads();
    if (threadIdx.x < NEIGHBOURS) {
        neighbour_row[unit * NEIGHBOURS + threadIdx.x] = nearest_row[threadIdx.x];
        neighbour_distance[unit * NEIGHBOURS + threadIdx.x] = nearest_distance[threadIdx.x];
    }
    if (nearest_row[0] < 0) return;
    for (int i = threadIdx.x; i < dim; i += THREADS) {
        float value = units[(long long)unit * dim + i] * (1.0f - rate);
        for (int n = 0; n < NEIGHBOURS && nearest_row[n] >= 0; n++) {
            value += rate * weight[n] * rows[(long long)nearest_row[n] * dim + i];
        }
        units[(long long)unit * dim + i] = value;
    }
}
