//! Evaluation of classifiers, and how results are shown: which class is taken for which ([`confusion`]), precision, recall, F1 and
//! their table ([`evaluation`]), tables ([`table`]), pages for browsers ([`page`]), numbers and durations in words ([`words`]), and colour ([`terminal`]). trainer and
//! infer-cli report by the same code, so that their tables and sentences agree.

pub mod arguments;
pub mod confusion;
pub mod evaluation;
#[cfg(feature = "manual")]
pub mod manual;
pub mod page;
pub mod table;
pub mod terminal;
pub mod words;

/// The code of the README is compiled with the documentation's tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
