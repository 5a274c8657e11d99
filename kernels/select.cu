// Rows of a table by their numbers.
//
// y[o, i, ..] = x[o, rows[i], ..]; NaN for a number that the table lacks.
//
// shapes     x [outer, table, inner], rows [count], y [outer, count, inner], all but `rows` any 32 bits
// grid       ceil(outer count inner / 256) blocks of 256 threads: a value each
// shared     none
// registers  select_rows 16 at most
// contract   every bit is kept
// CPU twin   burn_flex's select
#include "syrinx.cuh"

#define THREADS 256
#define NOT_A_NUMBER 0x7fc00000u

KERNEL(select_rows, THREADS)
(const u32 *x, const int *rows, u32 *y, int outer, int table, int count, int inner) {
    int at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= outer * count * inner) return;
    int line = at / inner, o = line / count, row = rows[line - o * count];
    bool known = row >= 0 && row < table;
    y[at] = known ? x[(o * table + row) * inner + (at - line * inner)] : NOT_A_NUMBER;
}
