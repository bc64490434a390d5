//! Addresses of dfdx's tensors, for the project's own kernels.
//!
//! dfdx lends nobody the address of a tensor's values. But it makes its copies by the driver's functions, which this program
//! defines itself (`libraries::driver`): while a thread asks for an address, the call that would read or write all values of
//! the tensor tells where they lie, and does nothing else. So no value is copied.
//!
//! - For reading, dfdx is asked to copy the tensor to the host. The host's slice must be as long as the tensor, but nobody
//!   touches it: its pages, fresh from the system, take no memory.
//! - For writing, dfdx is asked to fill the tensor with zeros. Where other tensors share its values, dfdx gives it a copy of
//!   its own first, as before any change.

use std::cell::Cell;

use cudarc::driver::{DriverError, sys::CUresult};
use dfdx::{
    shapes::{HasShape, Shape},
    tensor::{Cuda, CudaError, Tensor, ZerosTensor},
    tensor_ops::ReshapeTo,
};

/// The address of values on the device. Whoever passes it on keeps the memory behind it alive.
pub(crate) type Address = u64;

/// Question that a thread asks the driver's functions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Where a copy to the host reads.
    Source,
    /// Where memory is filled.
    Target,
}

// Between the question and its answer, within one call of `ask`.
thread_local! {
    static QUESTION: Cell<Option<Question>> = const { Cell::new(None) };
    static ANSWER: Cell<Option<Address>> = const { Cell::new(None) };
}

/// Whether this thread asks for an address: nothing is given to the GPU then, and so there is nothing to wait for.
pub(super) fn is_asking() -> bool {
    QUESTION.get().is_some()
}

/// Takes note of where a copy to the host reads; false where nobody asks, and it is to be made.
pub(super) fn answered_source(source: Address) -> bool {
    answered(Question::Source, source)
}

/// Takes note of where memory is filled; false where nobody asks, and it is to be filled.
pub(super) fn answered_target(target: Address) -> bool {
    answered(Question::Target, target)
}

fn answered(question: Question, address: Address) -> bool {
    let asked = QUESTION.get() == Some(question);
    if asked {
        ANSWER.set(Some(address));
    }
    asked
}

/// The address that `work` tells, and its result.
fn ask<T>(question: Question, work: impl FnOnce() -> Result<T, CudaError>) -> Result<(T, Address), CudaError> {
    /// Ends the question, also where `work` panics.
    struct Asking;
    impl Drop for Asking {
        fn drop(&mut self) {
            QUESTION.set(None);
        }
    }
    ANSWER.set(None);
    QUESTION.set(Some(question));
    let asking = Asking;
    let result = work();
    drop(asking);
    let address = ANSWER.take().ok_or(DriverError(CUresult::CUDA_ERROR_NOT_FOUND))?;
    Ok((result?, address))
}

/// A tensor whose values kernels read. As long as it is kept, they stay where they are and nobody changes them: dfdx gives
/// whoever wants to change shared values a copy.
#[derive(Debug, Clone)]
pub(crate) struct Shared<S: Shape> {
    address: Address,
    _tensor: Tensor<S, f32, Cuda>,
}

impl<S: Shape> Shared<S> {
    /// Shares a tensor. Only one whose values do not lie in the order of its shape, or not all of them, is copied.
    ///
    /// # Errors
    /// The device's own.
    pub(crate) fn new(tensor: Tensor<S, f32, Cuda>) -> Result<Self, CudaError> {
        let tensor = tensor.try_contiguous()?;
        let mut untouched = vec![0.0; tensor.shape().num_elements()];
        let ((), address) = ask(Question::Source, || {
            tensor.copy_into(&mut untouched);
            Ok(())
        })?;
        Ok(Self { address, _tensor: tensor })
    }

    /// Where the values lie, row-major.
    pub(crate) fn address(&self) -> Address {
        self.address
    }
}

/// A new tensor with nothing in particular in it, and where its values lie, row-major.
///
/// # Errors
/// The device's own.
pub(crate) fn uninitialised<S: Shape>(device: &Cuda, shape: &S) -> Result<(Tensor<S, f32, Cuda>, Address), CudaError> {
    ask(Question::Target, || device.try_zeros_like(shape))
}

/// Result of `work` on memory that it asks to be filled with zeros, and that is not filled.
///
/// # Errors
/// The work's.
pub(super) fn unfilled<T>(work: impl FnOnce() -> Result<T, CudaError>) -> Result<T, CudaError> {
    ask(Question::Target, work).map(|(result, _)| result)
}

/// Where the values of a tensor lie that are to be changed, until the tensor is used for anything else. No other tensor has
/// them.
///
/// # Errors
/// The device's own, as running out of memory for a copy.
pub(crate) fn unshared<S: Shape>(tensor: &mut Tensor<S, f32, Cuda>) -> Result<Address, CudaError> {
    ask(Question::Target, || tensor.try_fill_with_zeros()).map(|((), address)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_is_answered_and_only_its_question() {
        assert!(!is_asking() && !answered_source(1) && !answered_target(1));
        let result = ask(Question::Source, || {
            assert!(is_asking() && answered_source(7) && !answered_target(8));
            assert!(std::thread::spawn(|| !is_asking() && !answered_source(9)).join().is_ok_and(|good| good));
            Ok("result")
        });
        assert_eq!(result.unwrap(), ("result", 7));
        assert!(!is_asking());
    }

    #[test]
    fn a_question_ends_with_a_panic_and_without_an_answer() {
        assert!(std::panic::catch_unwind(|| ask::<()>(Question::Target, || panic!("no"))).is_err());
        assert!(!is_asking() && !answered_target(1));
        assert!(ask(Question::Target, || Ok(())).is_err());
    }
}
