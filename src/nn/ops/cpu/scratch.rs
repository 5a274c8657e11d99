//! Buffers that a thread keeps, since fresh ones would cost a page fault every 4 kB.

use std::cell::RefCell;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Calls `body` with `len` values of arbitrary content.
pub fn with<R>(len: usize, body: impl FnOnce(&mut [f32]) -> R) -> R {
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
    let result = body(&mut buffer[..len]);
    FREE.with_borrow_mut(|free| free.push(buffer));
    result
}
