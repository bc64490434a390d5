//! Panics of dfdx and cudarc, made errors of: they panic in the places that have no way to return one.

use image_files::panics::quietly;

/// The result of `work`, or what it reported, be it by an error or by a panic.
///
/// # Errors
/// The message.
pub fn caught<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    quietly(work).unwrap_or_else(|payload| {
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
        let nested = caught::<()>(|| {
            let inner = caught::<()>(|| panic!("inner"));
            panic!("outer after {inner:?}")
        });
        assert_eq!(nested, Err("outer after Err(\"inner\")".to_string()));
    }
}
