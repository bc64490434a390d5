//! From a data set to the training loop: which images are held out, in which order the others come in each
//! epoch, and batches that are prepared on another thread while the network works on the one before.
//!
//! Every choice follows from the seed alone (see [`crate::random`]).

use std::{sync::mpsc, thread};

use rand::seq::SliceRandom;

use super::LabelledImages;
use crate::random;

/// Batches that may wait for the network. As inputs of 224×224, one of 256 images takes 51 MB.
const BATCHES_AHEAD: usize = 2;

/// The division of the training images, as positions in the data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// Images to learn from.
    pub train: Vec<usize>,
    /// Images held out, to choose the best epoch by.
    pub validation: Vec<usize>,
}

/// Images with their labels, prepared.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<P> {
    /// The images, prepared.
    pub images: P,
    /// Their labels.
    pub labels: Vec<u16>,
}

impl Split {
    /// Holds `validation` of `images` images out at random and keeps at most `limit` of the rest.
    ///
    /// Both parts are a random sample, each in ascending order. The held-out images depend on the seed and on
    /// `validation`, not on `limit`, so that runs of different size are judged by the same images.
    /// Where fewer than `validation + 1` images exist, `None`: nothing would be left to learn from.
    pub fn new(images: usize, validation: usize, limit: Option<usize>, seed: u64) -> Option<Self> {
        Self::stratified(images, None, validation, limit, seed)
    }

    /// Like [`Split::new`], but given the labels of the images, the same share of each class is held out, as near as whole images
    /// allow.
    pub fn stratified(
        images: usize,
        labels: Option<&[u16]>,
        validation: usize,
        limit: Option<usize>,
        seed: u64,
    ) -> Option<Self> {
        if validation >= images {
            return None;
        }
        let mut order: Vec<usize> = (0..images).collect();
        order.shuffle(&mut random::generator(seed, b"division", 0, 0));
        if let Some(labels) = labels {
            order = by_classes(&order, labels);
        }
        let mut train = order.split_off(validation);
        train.truncate(limit.unwrap_or(images));
        let mut validation = order;
        train.sort_unstable();
        validation.sort_unstable();
        Some(Self { train, validation })
    }

    /// The training images in the order of an epoch: each exactly once.
    pub fn epoch_order(&self, seed: u64, epoch: usize) -> Vec<usize> {
        let mut order = self.train.clone();
        order.shuffle(&mut random::generator(seed, b"shuffled", epoch as u64, 0));
        order
    }
}

/// The same positions in an order of which every beginning has about the same share of each class: the `k`-th image of `n` of a class
/// (from 0) stands where `(k + ½) / n` of all do, and those of one place in the order that they had.
fn by_classes(order: &[usize], labels: &[u16]) -> Vec<usize> {
    let mut counts = vec![0_usize; 1 + usize::from(u16::MAX)];
    labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    let mut ranks = vec![0_usize; counts.len()];
    let mut placed: Vec<(f64, usize)> = Vec::with_capacity(order.len());
    for &position in order {
        let class = usize::from(labels[position]);
        placed.push(((ranks[class] as f64 + 0.5) / counts[class] as f64, position));
        ranks[class] += 1;
    }
    placed.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    placed.into_iter().map(|(_, position)| position).collect()
}

/// Calls `consume` with the images at the positions `order`, `batch_size` at a time, the last batch smaller
/// where they do not divide evenly.
///
/// `prepare` makes a batch of the images at some positions. It runs on another thread, a few batches ahead.
///
/// # Errors
/// The first error of `prepare` or `consume`; nothing more is consumed then.
///
/// # Panics
/// Where `order` holds a position that `data` does not have, as indexing a slice does.
pub fn for_each_batch<P: Send, E: Send>(
    data: &LabelledImages,
    order: &[usize],
    batch_size: usize,
    prepare: impl Fn(&[usize]) -> Result<P, E> + Sync,
    mut consume: impl FnMut(Batch<P>) -> Result<(), E>,
) -> Result<(), E> {
    pass_on(data, order, batch_size, &prepare, &mut consume)
}

/// The loop of [`for_each_batch`], compiled once for all that networks prepare and consume.
fn pass_on<P: Send, E: Send>(
    data: &LabelledImages,
    order: &[usize],
    batch_size: usize,
    prepare: &(dyn Fn(&[usize]) -> Result<P, E> + Sync),
    consume: &mut dyn FnMut(Batch<P>) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::sync_channel(BATCHES_AHEAD);
        scope.spawn(move || {
            for positions in order.chunks(batch_size.max(1)) {
                let labels = positions.iter().map(|&position| data.labels()[position]).collect();
                let batch = prepare(positions).map(|images| Batch { images, labels });
                let failed = batch.is_err();
                // Sending fails when the consumer has stopped; so does this thread then.
                if sender.send(batch).is_err() || failed {
                    break;
                }
            }
        });
        for batch in receiver {
            consume(batch?)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, path::Path};

    use proptest::prelude::*;

    use super::*;
    use crate::data::idx::Idx;

    /// One-pixel images: pixel and label tell the position.
    fn numbered(count: u8) -> LabelledImages {
        LabelledImages::new(
            Idx::new([count.into(), 1, 1], (0..count).collect()).unwrap(),
            Idx::new([count.into()], (0..count).collect()).unwrap(),
            256,
            [Path::new("images"), Path::new("labels")],
        )
        .unwrap()
    }

    fn copy(positions: &[usize]) -> Result<Vec<usize>, String> {
        Ok(positions.to_vec())
    }

    proptest! {
        #[test]
        fn an_epoch_has_every_sample_once_and_none_held_out(
            images in 1_usize..400,
            validation in 0_usize..400,
            limit in proptest::option::of(1_usize..400),
            seed: u64,
            epoch in 0_usize..1000,
        ) {
            let Some(split) = Split::new(images, validation, limit, seed) else {
                prop_assert!(validation >= images);
                return Ok(());
            };
            let held_out: BTreeSet<_> = split.validation.iter().copied().collect();
            prop_assert_eq!(held_out.len(), validation);
            let order = split.epoch_order(seed, epoch);
            let learnt: BTreeSet<_> = order.iter().copied().collect();
            prop_assert_eq!(order.len(), learnt.len());
            prop_assert_eq!(learnt.len(), limit.unwrap_or(images).min(images - validation));
            prop_assert!(learnt.is_disjoint(&held_out));
            prop_assert!(learnt.union(&held_out).all(|&position| position < images));
            prop_assert_eq!(learnt, split.train.into_iter().collect());
        }

        #[test]
        fn batches_cover_the_order_with_the_last_one_smaller(count in 1_u8..60, batch_size in 1_usize..20) {
            let data = numbered(count);
            let order = Split::new(count.into(), 0, None, 7).unwrap().epoch_order(7, 1);
            let mut labels = Vec::new();
            let mut sizes = Vec::new();
            for_each_batch(&data, &order, batch_size, copy, |batch| {
                assert!(batch.labels.iter().map(|&label| usize::from(label)).eq(batch.images));
                sizes.push(batch.labels.len());
                labels.extend(batch.labels);
                Ok(())
            })
            .unwrap();
            prop_assert!(labels.iter().map(|&label| usize::from(label)).eq(order));
            let (last, full) = sizes.split_last().unwrap();
            prop_assert!(full.iter().all(|&size| size == batch_size));
            prop_assert_eq!(*last, (usize::from(count) - 1) % batch_size + 1);
        }
    }

    #[test]
    fn orders_depend_on_seed_and_epoch_only() {
        let split = Split::new(100, 10, None, 1).unwrap();
        assert_eq!(split, Split::new(100, 10, None, 1).unwrap());
        assert_ne!(split, Split::new(100, 10, None, 2).unwrap());
        assert_eq!(split.epoch_order(1, 5), split.epoch_order(1, 5));
        assert_ne!(split.epoch_order(1, 5), split.epoch_order(1, 6));
        assert_ne!(split.epoch_order(1, 5), split.epoch_order(2, 5));
        // The limit changes what is learnt from, not what is held out.
        assert_eq!(split.validation, Split::new(100, 10, Some(3), 1).unwrap().validation);
    }

    proptest! {
        #[test]
        fn each_class_is_held_out_by_the_same_share(
            labels in proptest::collection::vec(0_u16..5, 1..300),
            share in 0.0..1.0_f64,
            seed: u64,
        ) {
            let validation = (share * labels.len() as f64) as usize;
            let split = Split::stratified(labels.len(), Some(&labels), validation, None, seed).unwrap();
            prop_assert_eq!(split.validation.len(), validation);
            let mut all = [&split.train[..], &split.validation].concat();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..labels.len()));
            for class in 0..5 {
                let count = labels.iter().filter(|label| **label == class).count() as f64;
                let held = split.validation.iter().filter(|position| labels[**position] == class).count() as f64;
                let expected = count * validation as f64 / labels.len() as f64;
                prop_assert!((held - expected).abs() <= 3.0, "{held} of {count}, expected {expected}");
            }
        }
    }

    #[test]
    fn twenty_images_a_class_hold_out_two() {
        let labels: Vec<u16> = (0..200).map(|image| image / 20).collect();
        for seed in 0..20 {
            let split = Split::stratified(200, Some(&labels), 20, None, seed).unwrap();
            let of = |class| split.validation.iter().filter(|position| **position / 20 == class).count();
            assert_eq!((0..10).map(of).collect::<Vec<_>>(), [2; 10]);
        }
        assert_ne!(
            Split::stratified(200, Some(&labels), 20, None, 0),
            Split::stratified(200, Some(&labels), 20, None, 1)
        );
    }

    #[test]
    fn the_first_error_ends_the_batches() {
        let data = numbered(50);
        let order: Vec<usize> = (0..50).collect();
        let refuse_20 = |positions: &[usize]| {
            if positions.contains(&20) { Err("image 20".to_string()) } else { copy(positions) }
        };
        let mut seen = 0;
        let result = for_each_batch(&data, &order, 8, refuse_20, |batch| {
            seen += batch.labels.len();
            Ok(())
        });
        assert_eq!((result, seen), (Err("image 20".to_string()), 16));

        let mut calls = 0;
        let result = for_each_batch(&data, &order, 8, copy, |_| {
            calls += 1;
            if calls == 2 { Err("enough".to_string()) } else { Ok(()) }
        });
        assert_eq!((result, calls), (Err("enough".to_string()), 2));
    }
}
