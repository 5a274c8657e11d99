//! The entry to real-time code.
#![expect(unsafe_code, reason = "the floating-point control register has no safe accessor")]

use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic was caught. Whatever it left behind is not to be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("real-time code panicked")]
pub struct Panicked;

/// Runs one device callback.
///
/// For its duration denormal numbers are zero (a decaying filter would otherwise slow down a hundredfold), and the
/// floating-point state is as it was afterwards. A panic ends here, so that it never unwinds into the C code of an
/// audio server. Where the binary's global allocator is `assert_no_alloc::AllocDisabler`, as in this crate's real-time
/// tests, an allocation, also that of a panic's message, aborts the process.
///
/// # Errors
/// [`Panicked`] if `work` panicked; its outputs are then unfinished and must be silenced.
pub fn enter<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    let _denormals = DenormalsOff::new();
    contain(|| assert_no_alloc::assert_no_alloc(work))
}

/// Runs one part of a callback whose panic must not take the rest with it.
///
/// # Errors
/// [`Panicked`] if `work` panicked.
pub fn contain<R>(work: impl FnOnce() -> R) -> Result<R, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|payload| {
        // A payload's destructor could panic again.
        std::mem::forget(payload);
        Panicked
    })
}

/// Flush-to-zero and denormals-are-zero while this lives.
struct DenormalsOff {
    before: Control,
}

impl DenormalsOff {
    fn new() -> Self {
        let before = read_control();
        write_control(before | DENORMALS_ARE_ZERO);
        Self { before }
    }
}

impl Drop for DenormalsOff {
    fn drop(&mut self) {
        write_control(self.before);
    }
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
/// Bits 15 (results) and 6 (operands) of MXCSR.
#[cfg(target_arch = "x86_64")]
const DENORMALS_ARE_ZERO: Control = 1 << 15 | 1 << 6;

#[cfg(target_arch = "x86_64")]
fn read_control() -> Control {
    let mut control = 0;
    // SAFETY: stores the four bytes of MXCSR to `control`, which is aligned and lives until after.
    unsafe { std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags)) };
    control
}

#[cfg(target_arch = "x86_64")]
fn write_control(control: Control) {
    // SAFETY: loads MXCSR from four readable bytes; only bits that it reported or defines are set, so it cannot fault.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags, readonly)) };
}

#[cfg(target_arch = "aarch64")]
type Control = u64;
/// Bit 24 of FPCR: results and operands.
#[cfg(target_arch = "aarch64")]
const DENORMALS_ARE_ZERO: Control = 1 << 24;

#[cfg(target_arch = "aarch64")]
fn read_control() -> Control {
    let control;
    // SAFETY: reads a register that user code may read.
    unsafe { std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags)) };
    control
}

#[cfg(target_arch = "aarch64")]
fn write_control(control: Control) {
    // SAFETY: writes a register that user code may write, with bits that it reported or defines.
    unsafe { std::arch::asm!("msr fpcr, {}", in(reg) control, options(nomem, nostack, preserves_flags)) };
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Control = u32;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const DENORMALS_ARE_ZERO: Control = 0;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn read_control() -> Control {
    0
}
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn write_control(_: Control) {}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    /// Half the smallest normal number.
    fn denormal() -> f32 {
        black_box(f32::MIN_POSITIVE) * black_box(0.5)
    }

    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[test]
    fn denormals_are_zero_inside_and_numbers_again_after() {
        assert!(denormal() > 0.0);
        assert_eq!(enter(denormal), Ok(0.0));
        assert!(denormal() > 0.0);
    }

    #[test]
    fn a_panic_ends_at_the_entry_and_leaves_the_state_as_it_was() {
        assert_eq!(enter(|| assert!(black_box(false), "as this test wants")), Err(Panicked));
        assert!(denormal() > 0.0);
        assert_eq!(enter(|| 7), Ok(7));
    }
}
