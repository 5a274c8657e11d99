// One function of up to three tensors, value by value; also every copy that only moves values.
//
// y[i] = f(a[i], b[i], c[i]), each tensor with strides of its own: 0 along what is repeated, negative along what is
// backwards. Values are 32 bits: floats, ints, or truths as 0 and 1.
//
// shapes     extents [d0, .., d4] of all, d0 what `count` leaves; strides and the first value's place of each, all in values
// grid       ceil(count / 256) blocks of 256 threads: a value each
// shared     none
// registers  map 36 at most
// contract   as the twin's, within 2e-6 relatively where it is not arithmetic; copies keep every bit
// CPU twin   burn_flex, operation by operation
#include "syrinx.cuh"

#define THREADS 256

// As cuda::ops::Function.
enum Function {
    FILL,
    COPY,
    EXP,
    LOG,
    SQRT,
    ABSOLUTE,
    RECIPROCAL,
    TANH,
    SIGMOID,
    ERF,
    RELU,
    LEAKY_RELU,
    GELU,
    SILU,
    ADD_SCALAR,
    MULTIPLY_SCALAR,
    DIVIDE_SCALAR,
    POWER_SCALAR,
    CLAMP,
    ADD,
    SUBTRACT,
    MULTIPLY,
    DIVIDE,
    LOWER_SCALAR,
    LOWER_EQUAL_SCALAR,
    GREATER_SCALAR,
    GREATER_EQUAL_SCALAR,
    MASK_FILL,
    MASK_WHERE
};

__device__ inline float real(u32 bits) { return __int_as_float((int)bits); }

__device__ inline u32 bits(float value) { return (u32)__float_as_int(value); }

__device__ inline float logistic(float x) { return 1.0f / (1.0f + expf(-x)); }

// b masks: c where it is true, else a.
__device__ inline u32 apply(int function, u32 a, u32 b, u32 c, u32 s, u32 t) {
    float x = real(a), y = real(b), scalar = real(s);
    switch (function) {
    case FILL: return s;
    case EXP: return bits(expf(x));
    case LOG: return bits(logf(x));
    case SQRT: return bits(sqrtf(x));
    case ABSOLUTE: return a & 0x7fffffffu;
    case RECIPROCAL: return bits(1.0f / x);
    case TANH: return bits(tanhf(x));
    case SIGMOID: return bits(logistic(x));
    case ERF: return bits(erff(x));
    case RELU: return bits(x < 0.0f ? 0.0f : x);
    case LEAKY_RELU: return bits(x > 0.0f ? x : scalar * x);
    case GELU: return bits(0.5f * x * (1.0f + erff(x * 0.70710678f)));
    case SILU: return bits(x * logistic(x));
    case ADD_SCALAR: return bits(x + scalar);
    case MULTIPLY_SCALAR: return bits(x * scalar);
    case DIVIDE_SCALAR: return bits(x / scalar);
    case POWER_SCALAR: return bits(powf(x, scalar));
    case CLAMP: return bits(x < scalar ? scalar : x > real(t) ? real(t) : x);
    case ADD: return bits(x + y);
    case SUBTRACT: return bits(x - y);
    case MULTIPLY: return bits(x * y);
    case DIVIDE: return bits(x / y);
    case LOWER_SCALAR: return x < scalar;
    case LOWER_EQUAL_SCALAR: return x <= scalar;
    case GREATER_SCALAR: return x > scalar;
    case GREATER_EQUAL_SCALAR: return x >= scalar;
    case MASK_FILL: return b ? s : a;
    case MASK_WHERE: return b ? c : a;
    default: return a;
    }
}

// One tensor's strides, and its first value's place.
#define PLACES(name) int name##_first, int name##_0, int name##_1, int name##_2, int name##_3, int name##_4
#define PLACE(name) (name##_first + i0 * name##_0 + i1 * name##_1 + i2 * name##_2 + i3 * name##_3 + i4 * name##_4)

KERNEL(map, THREADS)
(int function, u32 s, u32 t, int count, int d1, int d2, int d3, int d4, const u32 *a, PLACES(a), const u32 *b, PLACES(b),
 const u32 *c, PLACES(c), u32 *y, PLACES(y)) {
    int i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= count) return;
    int rest = i / d4, i4 = i - rest * d4;
    i = rest / d3;
    int i3 = rest - i * d3;
    rest = i / d2;
    int i2 = i - rest * d2, i0 = rest / d1, i1 = rest - i0 * d1;
    u32 first = a ? a[PLACE(a)] : 0, second = b ? b[PLACE(b)] : 0, third = c ? c[PLACE(c)] : 0;
    y[PLACE(y)] = apply(function, first, second, third, s, t);
}
