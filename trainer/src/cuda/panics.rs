//! Panics of dfdx and cudarc, made errors of: they panic in the places that have no way to return one.

use std::{
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether a panic of this thread is somebody's error and need not be printed.
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// The result of `work`, or what it reported, be it by an error or by a panic.
///
/// # Errors
/// The message.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
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
    result.unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        Err(text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("unknown failure").to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_message() {
        assert_eq!(caught(|| Ok(1)), Ok(1));
        assert_eq!(caught::<()>(|| Err("no".to_string())), Err("no".to_string()));
        assert_eq!(caught::<()>(|| panic!("out of {}", "memory")), Err("out of memory".to_string()));
        assert!(!CAUGHT.get());
        let nested = caught::<()>(|| {
            let inner = caught::<()>(|| panic!("inner"));
            panic!("outer after {inner:?}")
        });
        assert_eq!(nested, Err("outer after Err(\"inner\")".to_string()));
    }
}
