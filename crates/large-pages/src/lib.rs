//! A global allocator that asks Linux for large pages: see [`LargePages`].

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

use std::alloc::{GlobalAlloc, Layout, System};

/// Bytes of a large page on x86-64, and of AArch64 with pages of 4 KB.
const PAGE: usize = 2 << 20;

/// Bytes of an allocation that has a whole large page, wherever it begins.
const LEAST: usize = 2 * PAGE;

/// The system's allocator, with large pages for allocations of 4 MB and more where Linux grants them.
///
/// It takes no more memory than the system's, but that a page of 2 MB is there from the first byte of it that is written on.
#[derive(Debug, Clone, Copy, Default)]
pub struct LargePages;

// SAFETY: memory is the system allocator's in all of the methods; that its pages are large changes nothing of what it holds.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller says.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller says.
        advised(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Asks for large pages of the memory at `pointer`, if they would fit in.
#[inline]
fn advised(pointer: *mut u8, size: usize) -> *mut u8 {
    #[cfg(target_os = "linux")]
    if size >= LEAST && !pointer.is_null() {
        advise(pointer, size);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = size;
    pointer
}

/// Asks for large pages of the part of an allocation that whole ones fit into.
#[cfg(target_os = "linux")]
#[cold]
#[inline(never)]
fn advise(pointer: *mut u8, size: usize) {
    let behind = pointer.addr() + size;
    let start = pointer.addr().next_multiple_of(PAGE);
    let length = (behind - start) / PAGE * PAGE;
    // SAFETY: the range lies within an allocation, and advice changes nothing of what it holds. Where it is refused, pages are small.
    unsafe { libc::madvise(pointer.wrapping_add(start - pointer.addr()).cast(), length, libc::MADV_HUGEPAGE) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use std::fs;

    #[global_allocator]
    static ALLOCATOR: LargePages = LargePages;

    /// Whether the kernel knows that large pages are wanted at an address, as `smaps` of proc(5) says it.
    fn wanted(address: usize) -> bool {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut within = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            if let Some((from, to)) = range {
                let number = |text| usize::from_str_radix(text, 16);
                if let (Ok(from), Ok(to)) = (number(from), number(to)) {
                    within = (from..to).contains(&address);
                }
            } else if let (true, Some(flags)) = (within, line.strip_prefix("VmFlags:")) {
                return flags.split_whitespace().any(|flag| flag == "hg");
            }
        }
        false
    }

    /// Whether this kernel knows large pages at all.
    fn are_known() -> bool {
        fs::exists("/sys/kernel/mm/transparent_hugepage/enabled").unwrap()
    }

    #[test]
    fn large_allocations_ask_for_large_pages_and_small_ones_do_not() {
        let large = vec![1_u8; 5 * PAGE];
        let zeroed = vec![0_u8; 5 * PAGE];
        let mut grown = vec![1_u8; 8];
        grown.resize(5 * PAGE, 1);
        for memory in [&large, &zeroed, &grown] {
            assert_eq!(wanted(memory.as_ptr().addr().next_multiple_of(PAGE)), are_known());
        }
        assert!(large.iter().chain(&grown).all(|value| *value == 1) && zeroed.iter().all(|value| *value == 0));
        let small = vec![1_u8; LEAST - 1];
        assert!(!wanted(small.as_ptr().addr()));
    }
}
