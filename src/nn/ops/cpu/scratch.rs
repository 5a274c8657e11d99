//! Buffers that a thread keeps, since fresh ones would cost a page fault every 4 kB.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Values in a cache line, to which buffers are aligned.
const LINE: usize = 16;

/// Calls `body` with `len` values of arbitrary (but finite) content.
pub fn with<R>(length: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
    let len = length + LINE;
    let mut buffer = FREE.with_borrow_mut(|free| {
        // The smallest that is large enough, else the largest.
        let fits = free.iter().enumerate().filter(|(_, buffer)| buffer.len() >= len).min_by_key(|(_, b)| b.len());
        let index = fits.or_else(|| free.iter().enumerate().max_by_key(|(_, b)| b.len())).map(|(index, _)| index);
        index.map(|index| free.swap_remove(index)).unwrap_or_default()
    });
    if buffer.len() < len {
        buffer.clear();
        buffer.resize(len, 0.0);
    }
    let start = buffer.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
    let result = body(&mut buffer[start..start + length]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
