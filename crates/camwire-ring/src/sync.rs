//! The atomics and cells that the ring is made of, or loom's models of them.

#[cfg(not(loom))]
mod real {
    pub(crate) use portable_atomic::{AtomicBool, AtomicU32, Ordering, fence};

    /// `core`'s cell with the interface of loom's, so that loom can watch each access.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(core::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(core::cell::UnsafeCell::new(value))
        }

        #[inline]
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline]
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

#[cfg(loom)]
mod real {
    pub(crate) use loom::cell::UnsafeCell;
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
}

pub(crate) use real::*;

/// A number of 64 bits that only one thread at a time reads and writes, on chips whose atomics have
/// 32.
#[derive(Debug)]
pub(crate) struct Halves {
    low: AtomicU32,
    high: AtomicU32,
}

impl Halves {
    crate::slot::const_unless_loom! {
        pub(crate) fn new(value: u64) -> Self {
            Self { low: AtomicU32::new(value as u32), high: AtomicU32::new((value >> 32) as u32) }
        }
    }

    pub(crate) fn load(&self) -> u64 {
        let [low, high] = [&self.low, &self.high].map(|half| half.load(Ordering::Relaxed));
        u64::from(high) << 32 | u64::from(low)
    }

    pub(crate) fn store(&self, value: u64) {
        self.low.store(value as u32, Ordering::Relaxed);
        self.high.store((value >> 32) as u32, Ordering::Relaxed);
    }
}

/// Runs a case in all interleavings with at most so many preemptions, and says how many those were.
///
/// The first number is for every run; the second, for when `CAMWIRE_DEEP` is set, takes up to half
/// an hour. Without a bound all but the smallest cases would take days.
#[cfg(all(test, loom))]
pub(crate) fn model(name: &str, bounds: (usize, usize), case: impl Fn() + Send + Sync + 'static) {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let mut builder = loom::model::Builder::new();
    let is_deep = std::env::var_os("CAMWIRE_DEEP").is_some();
    builder.preemption_bound = Some(if is_deep { bounds.1 } else { bounds.0 });
    builder.max_branches = 10_000;
    let (cases, began) = (std::sync::Arc::new(AtomicUsize::new(0)), std::time::Instant::now());
    let count = cases.clone();
    builder.check(move || {
        count.fetch_add(1, Ordering::Relaxed);
        case();
    });
    let (bound, cases) = (builder.preemption_bound, cases.load(Ordering::Relaxed));
    std::println!("model {name}: {bound:?} preemptions, {cases} cases, {:?}", began.elapsed());
}
