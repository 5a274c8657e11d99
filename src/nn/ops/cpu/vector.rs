//! The few vector operations that the kernels are written in.

/// Several `f32` lanes of one level.
///
/// Every method is inlined into a function compiled for the level; [`Level::run`](super::level::Level::run) is the only
/// way to get one, and it checks the machine.
pub trait Vector: Copy {
    /// Number of lanes.
    const LANES: usize;
    /// Whether there are 32 registers, not 16.
    const MANY_REGISTERS: bool;

    /// The same value in all lanes.
    fn splat(value: f32) -> Self;

    /// Reads [`LANES`](Self::LANES) values, unaligned.
    ///
    /// # Safety
    /// All of them must be readable.
    unsafe fn load(from: *const f32) -> Self;

    /// Writes [`LANES`](Self::LANES) values, unaligned.
    ///
    /// # Safety
    /// All of them must be writable.
    unsafe fn store(self, to: *mut f32);

    /// Writes the first `count` lanes, or all if there are fewer.
    ///
    /// # Safety
    /// Those written must be writable.
    unsafe fn store_first(self, to: *mut f32, count: usize);

    /// Adds the first `count` lanes, or all if there are fewer, to what is there.
    ///
    /// # Safety
    /// Those added to must be readable and writable.
    unsafe fn add_first(self, to: *mut f32, count: usize);

    /// Asks for the cache line at `from` to be brought into the second-level cache; it need not be readable.
    fn fetch(from: *const f32);

    /// `self + other`.
    fn add(self, other: Self) -> Self;
    /// `self - other`.
    fn sub(self, other: Self) -> Self;
    /// `self * other`.
    fn mul(self, other: Self) -> Self;
    /// `self / other`.
    fn div(self, other: Self) -> Self;
    /// `self * factor + addend`, in one rounding where the level has it.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger; `other` where either is not a number.
    fn max(self, other: Self) -> Self;
    /// The smaller; `other` where either is not a number.
    fn min(self, other: Self) -> Self;
    /// `yes` where `self < bound`, else `no`.
    fn select_less(self, bound: Self, yes: Self, no: Self) -> Self;
    /// `self * 2^power` for whole powers in `-126..=127`.
    fn scale(self, power: Self) -> Self;
}

/// Lanes of the portable level: one 128-bit register on the targets that matter.
const PORTABLE_LANES: usize = 4;

/// Plain arrays, which the compiler vectorises for whatever the target guarantees.
#[derive(Clone, Copy)]
pub struct Portable([f32; PORTABLE_LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| f(self.0[lane], other.0[lane])))
    }
}

impl Vector for Portable {
    const LANES: usize = PORTABLE_LANES;
    const MANY_REGISTERS: bool = false;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; PORTABLE_LANES])
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller has made the lanes readable.
        Self(unsafe { from.cast::<[f32; PORTABLE_LANES]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller has made the lanes writable.
        unsafe { to.cast::<[f32; PORTABLE_LANES]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        for (lane, value) in self.0.into_iter().enumerate().take(count) {
            // SAFETY: the caller has made the first `count` lanes writable.
            unsafe { to.add(lane).write(value) };
        }
    }

    #[inline(always)]
    unsafe fn add_first(self, to: *mut f32, count: usize) {
        for (lane, value) in self.0.into_iter().enumerate().take(count) {
            // SAFETY: the caller has made the first `count` lanes readable and writable.
            unsafe { *to.add(lane) += value };
        }
    }

    #[inline(always)]
    fn fetch(_: *const f32) {}

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }

    #[inline(always)]
    fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|lane| {
            // Without the instruction, `f32::mul_add` is a library call.
            if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
                self.0[lane].mul_add(factor.0[lane], addend.0[lane])
            } else {
                self.0[lane] * factor.0[lane] + addend.0[lane]
            }
        }))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn select_less(self, bound: Self, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(|lane| if self.0[lane] < bound.0[lane] { yes.0[lane] } else { no.0[lane] }))
    }

    #[inline(always)]
    fn scale(self, power: Self) -> Self {
        self.zip(power, |value, power| value * f32::from_bits((((power as i32) + 127) << 23) as u32))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Pairs512;

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(clippy::wildcard_imports, reason = "every instruction used is named in the macro calls below")]
    use std::arch::x86_64::*;

    use super::Vector;

    // SAFETY of every block below: `Level::run` has found the instructions on this machine before it hands out the
    // type, and the two memory operations pass on the caller's promise.
    macro_rules! vector {
        ($vector:ty, $lanes:literal, $many:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $sub:ident,
         $mul:ident, $div:ident, $fma:ident, $max:ident, $min:ident, $select:expr, $scale:expr, $store_first:expr) => {
            impl Vector for $vector {
                const LANES: usize = $lanes;
                const MANY_REGISTERS: bool = $many;

                #[inline(always)]
                fn splat(value: f32) -> Self {
                    // SAFETY: see above.
                    unsafe { $splat(value) }
                }

                #[inline(always)]
                unsafe fn load(from: *const f32) -> Self {
                    // SAFETY: see above.
                    unsafe { $load(from) }
                }

                #[inline(always)]
                unsafe fn store(self, to: *mut f32) {
                    // SAFETY: see above.
                    unsafe { $store(to, self) }
                }

                #[inline(always)]
                unsafe fn store_first(self, to: *mut f32, count: usize) {
                    // SAFETY: see above.
                    unsafe {
                        if count >= $lanes {
                            $store(to, self);
                        } else {
                            $store_first(to, self, count);
                        }
                    }
                }

                #[inline(always)]
                unsafe fn add_first(self, to: *mut f32, count: usize) {
                    // SAFETY: see above.
                    unsafe {
                        if count >= $lanes {
                            $store(to, $add(self, $load(to)));
                        } else {
                            let mut there = [0.0; $lanes];
                            there[..count].copy_from_slice(std::slice::from_raw_parts(to, count));
                            $store_first(to, $add(self, $load(there.as_ptr())), count);
                        }
                    }
                }

                #[inline(always)]
                fn fetch(from: *const f32) {
                    // SAFETY: fetching reads nothing.
                    unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
                }

                #[inline(always)]
                fn add(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                fn sub(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $sub(self, other) }
                }

                #[inline(always)]
                fn mul(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $mul(self, other) }
                }

                #[inline(always)]
                fn div(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $div(self, other) }
                }

                #[inline(always)]
                fn mul_add(self, factor: Self, addend: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $fma(self, factor, addend) }
                }

                #[inline(always)]
                fn max(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $max(self, other) }
                }

                #[inline(always)]
                fn min(self, other: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $min(self, other) }
                }

                #[inline(always)]
                fn select_less(self, bound: Self, yes: Self, no: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $select(self, bound, yes, no) }
                }

                #[inline(always)]
                fn scale(self, power: Self) -> Self {
                    // SAFETY: see above.
                    unsafe { $scale(self, power) }
                }
            }
        };
    }

    #[inline(always)]
    unsafe fn store_first256(to: *mut f32, value: __m256, count: usize) {
        // Eight lanes from place `8 - count` on select the first `count`.
        const MASK: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: see the macro; `count < 8`.
        unsafe { _mm256_maskstore_ps(to, _mm256_loadu_si256(MASK.as_ptr().add(8 - count).cast()), value) }
    }

    #[inline(always)]
    unsafe fn store_first512(to: *mut f32, value: __m512, count: usize) {
        // SAFETY: see the macro; `count < 16`.
        unsafe { _mm512_mask_storeu_ps(to, (1 << count) - 1, value) }
    }

    #[inline(always)]
    unsafe fn select256(value: __m256, bound: __m256, yes: __m256, no: __m256) -> __m256 {
        // SAFETY: see the macro.
        unsafe { _mm256_blendv_ps(no, yes, _mm256_cmp_ps::<_CMP_LT_OQ>(value, bound)) }
    }

    #[inline(always)]
    unsafe fn scale256(value: __m256, power: __m256) -> __m256 {
        // SAFETY: see the macro.
        unsafe {
            let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(power), _mm256_set1_epi32(127));
            _mm256_mul_ps(value, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent)))
        }
    }

    #[inline(always)]
    unsafe fn select512(value: __m512, bound: __m512, yes: __m512, no: __m512) -> __m512 {
        // SAFETY: see the macro.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, bound), no, yes) }
    }

    #[inline(always)]
    unsafe fn scale512(value: __m512, power: __m512) -> __m512 {
        // SAFETY: see the macro.
        unsafe { _mm512_scalef_ps(value, power) }
    }

    vector!(
        __m256,
        8,
        false,
        _mm256_set1_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_add_ps,
        _mm256_sub_ps,
        _mm256_mul_ps,
        _mm256_div_ps,
        _mm256_fmadd_ps,
        _mm256_max_ps,
        _mm256_min_ps,
        select256,
        scale256,
        store_first256
    );
    vector!(
        __m512,
        16,
        true,
        _mm512_set1_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_add_ps,
        _mm512_sub_ps,
        _mm512_mul_ps,
        _mm512_div_ps,
        _mm512_fmadd_ps,
        _mm512_max_ps,
        _mm512_min_ps,
        select512,
        scale512,
        store_first512
    );

    /// As `__m512`, but the factors of [`mul_add`](Vector::mul_add) are not `f32`: each lane is two bfloat16, whose
    /// products are both added. Kernels that only move factors about and multiply them run on pairs as they are.
    #[derive(Clone, Copy)]
    pub struct Pairs512(__m512);

    macro_rules! as_lanes {
        ($($name:ident($($other:ident),*)),* $(,)?) => {
            $(
                #[inline(always)]
                fn $name(self $(, $other: Self)*) -> Self {
                    Self(self.0.$name($($other.0),*))
                }
            )*
        };
    }

    impl Vector for Pairs512 {
        const LANES: usize = <__m512 as Vector>::LANES;
        const MANY_REGISTERS: bool = true;

        as_lanes!(
            add(other),
            sub(other),
            mul(other),
            div(other),
            max(other),
            min(other),
            scale(power),
            select_less(bound, yes, no)
        );

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(<__m512 as Vector>::splat(value))
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            // SAFETY: passed on.
            Self(unsafe { <__m512 as Vector>::load(from) })
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            // SAFETY: passed on.
            unsafe { self.0.store(to) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, count: usize) {
            // SAFETY: passed on.
            unsafe { self.0.store_first(to, count) }
        }

        #[inline(always)]
        unsafe fn add_first(self, to: *mut f32, count: usize) {
            // SAFETY: passed on.
            unsafe { self.0.add_first(to, count) }
        }

        #[inline(always)]
        fn fetch(from: *const f32) {
            <__m512 as Vector>::fetch(from);
        }

        #[inline(always)]
        fn mul_add(self, factor: Self, addend: Self) -> Self {
            // SAFETY: see the macro; every pattern of bits is two bfloat16.
            unsafe {
                let pair = |lanes: __m512| std::mem::transmute::<__m512, __m512bh>(lanes);
                Self(_mm512_dpbf16_ps(addend.0, pair(self.0), pair(factor.0)))
            }
        }
    }
}
