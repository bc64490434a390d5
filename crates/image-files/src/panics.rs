//! Panics of other people's code, which are errors to whoever calls it: caught, and not printed.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
    thread,
};

thread_local! {
    /// Whether a panic of this thread is somebody's error and need not be printed.
    pub(crate) static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work`, or its panic, which is not printed. What `work` changes before it panics is not to be used again, but
/// where that is harmless.
///
/// # Errors
/// The panic's payload.
pub fn quietly<T>(work: impl FnOnce() -> T) -> thread::Result<T> {
    // The hook is set once and never taken away, so that no thread can miss it or print by another's.
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |information| {
            if !CAUGHT.get() {
                print(information);
            }
        }));
    });
    let before = CAUGHT.replace(true);
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(before);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_result_also_within_another() {
        assert_eq!(quietly(|| 1).ok(), Some(1));
        let nested = quietly(|| {
            assert!(quietly(|| panic!("inner")).is_err() && CAUGHT.get());
            panic!("outer")
        });
        assert_eq!(nested.unwrap_err().downcast_ref(), Some(&"outer"));
        assert!(!CAUGHT.get());
    }
}
