//! From paths to results, in order and in bounded memory.
//!
//! ```text
//! images ─▶ one thread ─▶ tasks ─▶ threads: read, decode, preprocess a few ─▶ one forward pass ─┐
//!                └───▶ slots, in order ─▶ the calling thread ◀── one answer a slot ────────────┘
//! ```
//!
//! Each image gets a slot, a channel for one record. Slots queue up in order while threads fill them in any order, and
//! the queue's length bounds how many images are under way: one that takes long holds up the others' results, not their
//! work, and never more than that many wait for it.
//!
//! A thread takes its share of the tasks that wait, a batch at most, and passes them through the network together. While one
//! thread decodes, others compute; a thread that has nobody beside it computes with all of them.

use std::{
    io,
    ops::ControlFlow,
    panic,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use anyhow::Context;
use classifier::{Answer, BATCH, guarded};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::{
    images::{Content, Image},
    sheet::Thumbnail,
};

/// Images under way for each thread. Enough to even out how long they take; a path and a record each.
const SLOTS_PER_THREAD: usize = 4 * BATCH;

/// Longest time that the consumer is left alone.
const PATIENCE: Duration = Duration::from_millis(100);

/// Name of the threads whose panics become records.
const WORKER: &str = "worker";

/// The result for an image.
#[derive(Debug)]
pub struct Record {
    /// Path of the image.
    pub path: PathBuf,
    /// Answer of the network, or why it was not asked.
    pub outcome: Result<Answer, String>,
    /// The image for a contact sheet, where one is wanted.
    pub thumbnail: Option<Thumbnail>,
}

/// Consumer of records, in the order of the images.
pub trait Consumer {
    /// Takes a record; may end the run.
    ///
    /// # Errors
    /// The record cannot be written, which ends the run too.
    fn record(&mut self, record: Record) -> io::Result<ControlFlow<()>>;

    /// No record is ready yet, a few times a second: a good time to pass on what was held back, and to end.
    ///
    /// # Errors
    /// It cannot be written.
    fn idle(&mut self) -> io::Result<()>;
}

/// Work of a thread on its images, up to [`BATCH`] at a time.
pub trait Worker {
    /// Makes an image the one at `place` of the next batch.
    ///
    /// # Errors
    /// What is wrong with the image.
    fn prepare(&mut self, place: usize, path: &Path, content: &Content) -> anyhow::Result<()>;

    /// The answers to the first `count` images. `alone`: no other thread is at work.
    ///
    /// # Errors
    /// Why there is no answer, to one image or to all of them.
    fn answer(&mut self, count: usize, alone: bool) -> anyhow::Result<Vec<anyhow::Result<Answer>>>;

    /// The picture of the image at `place` of that batch, where one is wanted.
    fn thumbnail(&mut self, place: usize) -> Option<Thumbnail>;
}

/// An image to work on.
struct Task {
    content: Content,
    place: Place,
}

/// Place of a record in the output.
struct Place {
    path: PathBuf,
    slot: Sender<Record>,
}

impl Place {
    fn end(self, outcome: Result<Answer, String>, thumbnail: Option<Thumbnail>) {
        // Nobody waits for it if the run has ended.
        let _ = self.slot.send(Record { path: self.path, outcome, thumbnail });
    }

    fn fail(self, error: String) {
        self.end(Err(error), None);
    }
}

/// Classifies all images on that many threads, each with a worker of its own.
///
/// # Errors
/// What `consumer` returns, the first error among the images (after the records before it), or that no thread can be
/// started.
pub fn run<W: Worker + Send>(
    images: impl Iterator<Item = anyhow::Result<Image>> + Send,
    workers: Vec<W>,
    consumer: &mut impl Consumer,
) -> anyhow::Result<()> {
    let threads = workers.len();
    let (tasks, work) = bounded(threads * BATCH);
    let (slots, records) = bounded(threads * SLOTS_PER_THREAD);
    let busy = AtomicUsize::new(0);
    thread::scope(|scope| {
        for worker in workers {
            let crew = Crew { work: work.clone(), threads, busy: &busy };
            thread::Builder::new()
                .name(WORKER.into())
                .spawn_scoped(scope, move || crew.work(worker))
                .context("cannot start a thread")?;
        }
        // The threads hold the only receivers, so that tasks cannot be sent once they are gone.
        drop(work);
        let finder = scope.spawn(move || send(images, &tasks, &slots));
        consume(records, consumer)?;
        finder.join().unwrap_or_else(|panic| panic::resume_unwind(panic))
    })
}

/// Gives each image a slot and a task. Ends early when nobody takes slots any more.
fn send(
    images: impl Iterator<Item = anyhow::Result<Image>>,
    tasks: &Sender<Task>,
    slots: &Sender<Receiver<Record>>,
) -> anyhow::Result<()> {
    for image in images {
        let Image { path, content } = image?;
        if matches!(content, Content::Skipped(_) | Content::NoImage) {
            continue;
        }
        let (slot, record) = bounded(1);
        if slots.send(record).is_err() {
            break;
        }
        let place = Place { path, slot };
        if let Content::Problem(problem) = content {
            place.fail(problem);
        } else if tasks.send(Task { content, place }).is_err() {
            break;
        }
    }
    Ok(())
}

/// State that the threads share.
struct Crew<'a> {
    work: Receiver<Task>,
    threads: usize,
    /// Threads that have tasks.
    busy: &'a AtomicUsize,
}

impl Crew<'_> {
    /// Works on tasks until there are no more.
    fn work(&self, mut worker: impl Worker) {
        while let Ok(task) = self.work.recv() {
            self.busy.fetch_add(1, Ordering::Relaxed);
            self.batch(&mut worker, task);
            self.busy.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Works on `first` and a fair share of what waits.
    fn batch(&self, worker: &mut impl Worker, first: Task) {
        let share = (self.work.len() / self.threads).min(BATCH - 1);
        let more = std::iter::from_fn(|| self.work.try_recv().ok()).take(share);
        let mut prepared = Vec::with_capacity(BATCH);
        for Task { content, place } in std::iter::once(first).chain(more) {
            // What is prepared is written anew for each image, so that a worker is as good as new after a panic.
            match guarded(|| worker.prepare(prepared.len(), &place.path, &content)) {
                Ok(()) => prepared.push(place),
                Err(error) => place.fail(error),
            }
        }
        if prepared.is_empty() {
            return;
        }
        let alone = self.busy.load(Ordering::Relaxed) == 1 && self.work.is_empty();
        match guarded(|| worker.answer(prepared.len(), alone)) {
            Ok(answers) => {
                for (number, (place, answer)) in prepared.into_iter().zip(answers).enumerate() {
                    place.end(answer.map_err(|error| format!("{error:#}")), worker.thumbnail(number));
                }
            }
            Err(error) => prepared.into_iter().for_each(|place| place.fail(error.clone())),
        }
    }
}

/// Passes records on in order. Dropping the slots at the end stops the other threads.
fn consume(records: Receiver<Receiver<Record>>, consumer: &mut impl Consumer) -> io::Result<()> {
    while let Some(slot) = next(&records, consumer)? {
        let record = next(&slot, consumer)?.ok_or_else(|| io::Error::other("a thread ended too early"))?;
        if consumer.record(record)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The channel's next item; `None` if there will be none.
fn next<T>(channel: &Receiver<T>, consumer: &mut impl Consumer) -> io::Result<Option<T>> {
    if channel.is_empty() {
        consumer.idle()?;
    }
    loop {
        match channel.recv_timeout(PATIENCE) {
            Ok(item) => return Ok(Some(item)),
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => consumer.idle()?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Collect {
        paths: Vec<String>,
        failed: usize,
        most: usize,
    }

    impl Consumer for Collect {
        fn record(&mut self, record: Record) -> io::Result<ControlFlow<()>> {
            let path = record.path.display().to_string();
            if let Ok(answer) = &record.outcome {
                assert_eq!(answer.logits[0].to_string(), path, "the answer to another image");
            }
            self.paths.push(path);
            self.failed += usize::from(record.outcome.is_err());
            Ok(if self.paths.len() == self.most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        }

        fn idle(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn images(count: usize) -> impl Iterator<Item = anyhow::Result<Image>> {
        let content = |i| if i % 10 == 9 { Content::Problem(String::new()) } else { Content::File };
        (0..count).map(move |i| Ok(Image { path: i.to_string().into(), content: content(i) }))
    }

    /// Takes longer for some images than for others, and panics on some.
    #[derive(Clone, Default)]
    struct Numbers([f32; BATCH]);

    impl Worker for Numbers {
        fn prepare(&mut self, place: usize, path: &Path, _content: &Content) -> anyhow::Result<()> {
            let number: u64 = path.to_str().unwrap().parse()?;
            thread::sleep(Duration::from_micros(number * 7919 % 500));
            assert_ne!(number % 10, 8, "some do not work");
            self.0[place] = number as f32;
            Ok(())
        }

        fn answer(&mut self, count: usize, _alone: bool) -> anyhow::Result<Vec<anyhow::Result<Answer>>> {
            Ok(self.0[..count]
                .iter()
                .map(|number| Ok(Answer { ranking: Vec::new(), logits: vec![*number; 10], doubt: None }))
                .collect())
        }

        fn thumbnail(&mut self, _place: usize) -> Option<Thumbnail> {
            None
        }
    }

    fn workers(count: usize) -> Vec<Numbers> {
        vec![Numbers::default(); count]
    }

    #[test]
    fn records_come_in_order_and_a_panic_is_one() {
        let mut collect = Collect { paths: Vec::new(), failed: 0, most: usize::MAX };
        run(images(1000), workers(8), &mut collect).unwrap();
        assert!(collect.paths.into_iter().eq((0..1000).map(|i| i.to_string())));
        assert_eq!(collect.failed, 200);
    }

    #[test]
    fn the_search_runs_ahead_by_the_slots_and_no_further() {
        let found = AtomicUsize::new(0);
        let mut collect = Collect { paths: Vec::new(), failed: 0, most: 100 };
        let images = images(1_000_000).inspect(|_| _ = found.fetch_add(1, Ordering::Relaxed));
        run(images, workers(3), &mut collect).unwrap();
        assert_eq!(collect.paths.len(), 100);
        // The one that the consumer holds, those in the queue, and the one that waits to get in.
        assert!(found.into_inner() <= 100 + 3 * SLOTS_PER_THREAD + 1);
    }

    #[test]
    fn an_error_of_the_search_comes_after_the_records_before_it() {
        let mut collect = Collect { paths: Vec::new(), failed: 0, most: usize::MAX };
        let images = images(5).chain([Err(anyhow::anyhow!("the list is gone"))]);
        let error = run(images, workers(2), &mut collect).unwrap_err();
        assert_eq!(error.to_string(), "the list is gone");
        assert_eq!(collect.paths.len(), 5);
    }
}
