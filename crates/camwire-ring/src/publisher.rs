use core::future::{Future, poll_fn};
use core::ops::{Deref, DerefMut};
use core::task::{Context, Poll};
use core::time::Duration;

use crate::life::{PublisherError, Stream};
use crate::ring::{ORDERED, Policy, Ring, is_after};
use crate::slot::{Meta, Slot};
use crate::sync::Ordering;
use crate::waker::Event;

/// Why there is no slot to write into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// No slot is free, and by the ring's policy none can be made free now.
    #[error("no slot is free")]
    Full,
}

/// Why an item was not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The grant is of another ring.
    #[error("the grant is of another ring")]
    OtherRing,
    /// The length given is more than a slot holds.
    #[error("the item is longer than its slot")]
    TooLong,
    /// The stream has ended.
    #[error("the ring is closed")]
    Closed,
}

/// A item that was not published. Its slot is still granted.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Uncommitted<'r, M: Copy = ()> {
    /// Why it was not published.
    pub error: CommitError,
    /// For another attempt, or another item.
    pub grant: Grant<'r, M>,
}

impl<M: Copy> From<Uncommitted<'_, M>> for CommitError {
    fn from(uncommitted: Uncommitted<'_, M>) -> Self {
        uncommitted.error
    }
}

/// The one end of a [`Ring`] through which items come in.
///
/// When it is dropped the stream ends: its readers get what the ring still offers of it, then the
/// end. A later publisher begins another stream, whose numbers go on where this one's stopped.
#[derive(Debug)]
pub struct Publisher<'r, M: Copy = ()> {
    ring: &'r Ring<'r, M>,
    stream: Stream,
}

/// A slot that its owner has for itself, to write an item into: all its bytes, aligned to
/// [`SLOT_ALIGN`](crate::SLOT_ALIGN).
///
/// Several may be open at once, for an input that interleaves items. Dropping it without
/// [`Publisher::commit`] leaves no trace.
#[derive(Debug)]
#[must_use = "a grant that is dropped publishes nothing"]
pub struct Grant<'r, M: Copy = ()> {
    ring: &'r Ring<'r, M>,
    slot: &'r Slot<M>,
    number: u32,
}

/// The way in.
impl<M: Copy> Ring<'_, M> {
    /// The one publisher.
    ///
    /// If the stream of the one before it has ended, this one begins another, for readers that
    /// subscribe from now on. If it was [detached](Publisher::detach), this one goes on with its
    /// stream.
    ///
    /// # Errors
    ///
    /// If there is a publisher already, or the ring is closed.
    pub fn publisher(&self) -> Result<Publisher<'_, M>, PublisherError> {
        Ok(Publisher { ring: self, stream: self.life.claim()? })
    }
}

impl<'r, M: Copy> Publisher<'r, M> {
    /// The ring it publishes to.
    #[must_use]
    pub fn ring(&self) -> &'r Ring<'r, M> {
        self.ring
    }

    /// A slot to write the next item into, if there is one.
    ///
    /// # Errors
    ///
    /// [`GrantError::Full`] if every slot is leased or granted, holds the newest item, or holds one that
    /// the policy keeps. Nothing is counted; see [`skip`](Self::skip).
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn try_grant(&mut self) -> Result<Grant<'r, M>, GrantError> {
        let ring = self.ring;
        let head = ring.head.load(Ordering::Relaxed);
        let tail = ring.tail.load(Ordering::Relaxed);
        // When the ring offers as many items as there are slots, none can be free.
        let may_be_free = (head.wrapping_sub(tail) as usize) < ring.slots.len();
        let slot = may_be_free
            .then(|| self.take_free())
            .flatten()
            .or_else(|| self.withdraw_before(self.keep_from(head)))
            // A lease may have moved meanwhile, from a slot that was leased when it was looked at
            // to one that was withdrawn afterwards. It cannot move on to another of those.
            .or_else(|| self.take_free());
        let (number, slot) = slot.ok_or(GrantError::Full)?;
        Ok(Grant { ring, slot, number })
    }

    /// Takes a slot that is free.
    #[inline]
    fn take_free(&self) -> Option<(u32, &'r Slot<M>)> {
        self.ring.numbered_slots().find(|(_, slot)| slot.take())
    }

    /// Withdraws items before the position `keep`, the oldest first, until that frees a slot,
    /// which is taken.
    fn withdraw_before(&self, keep: u32) -> Option<(u32, &'r Slot<M>)> {
        let ring = self.ring;
        let mut tail = ring.tail.load(Ordering::Relaxed);
        while is_after(keep, tail) {
            let number = ring.slot_at(tail);
            tail = tail.wrapping_add(1);
            // First the tail, then the withdrawal: a reader that is refused finds the new tail.
            ring.tail.store(tail, Ordering::Release);
            let slot = number.and_then(|n| Some((n, ring.slots.get(n as usize)?)));
            if let Some(taken) = slot.filter(|(_, slot)| slot.withdraw()) {
                return Some(taken);
            }
        }
        None
    }

    /// The first position that must not be withdrawn.
    fn keep_from(&self, head: u32) -> u32 {
        // The newest item always stays, for those who come now.
        let newest = head.wrapping_sub(1);
        let earlier = |a: u32, b: u32| if is_after(a, b) { b } else { a };
        match self.ring.policy() {
            Policy::DropOldest => newest,
            Policy::DropNewest => earlier(newest, self.ring.passed.load(Ordering::Relaxed)),
            Policy::KeepAll => self
                .ring
                .reader_slots()
                .iter()
                // Acquire: the cursor is at least the one that the kind was set with.
                .filter(|reader| reader.kind.load(Ordering::Acquire) == ORDERED)
                .map(|reader| reader.cursor.load(Ordering::Relaxed))
                .fold(newest, earlier),
        }
    }

    /// A slot to write the next item into, as soon as there is one: under
    /// [`Policy::KeepAll`], when the slowest ordered reader has moved on.
    ///
    /// Cancel-safe.
    pub fn grant(&mut self) -> impl Future<Output = Grant<'r, M>> {
        // Not an `async fn`, here and elsewhere in the ring: each of those has a panic in it, for
        // being polled after its end.
        poll_fn(|cx| self.poll_until(cx, Event::SLOT, |publisher| publisher.try_grant().ok()))
    }

    /// Waits until there is a reader. Cancel-safe.
    pub fn demand(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            self.poll_until(cx, Event::DEMAND, |publisher| publisher.has_demand().then_some(()))
        })
    }

    /// Waits until there is no reader. Cancel-safe.
    pub fn no_demand(&mut self) -> impl Future<Output = ()> {
        poll_fn(|cx| {
            self.poll_until(cx, Event::DEMAND, |publisher| (!publisher.has_demand()).then_some(()))
        })
    }

    /// Whether there is any reader.
    #[must_use]
    pub fn has_demand(&self) -> bool {
        self.ring.readers() != 0
    }

    /// Tries; if that fails, goes to sleep and tries once more, so that no change is missed.
    fn poll_until<T>(
        &mut self,
        cx: &mut Context<'_>,
        event: Event,
        mut attempt: impl FnMut(&mut Self) -> Option<T>,
    ) -> Poll<T> {
        if let Some(done) = attempt(self) {
            return Poll::Ready(done);
        }
        // SAFETY: there is one publisher, which is borrowed mutably; the one before it has left
        // with Release before this one came with Acquire.
        unsafe { self.ring.publisher_waker.register(cx.waker(), event) };
        match attempt(self) {
            Some(done) => Poll::Ready(done),
            None => Poll::Pending,
        }
    }

    /// Publishes the first `len` bytes of `grant`, with what is known of them in `info`, and returns
    /// the item's sequence number. Numbers start at 1 and rise by one with every item that is
    /// published or [skipped](Self::skip).
    ///
    /// Items are published in the order of the commits, whatever the order of the grants.
    ///
    /// # Errors
    ///
    /// As [`CommitError`] says. The grant is given back beside it.
    #[inline]
    pub fn commit(
        &mut self,
        grant: Grant<'r, M>,
        len: usize,
        info: M,
    ) -> Result<u64, Uncommitted<'r, M>> {
        let ring = self.ring;
        let error = if !core::ptr::eq(grant.ring, ring) {
            Some(CommitError::OtherRing)
        } else if len > ring.slot_bytes() {
            Some(CommitError::TooLong)
        } else if ring.life.has_ended() {
            Some(CommitError::Closed)
        } else {
            None
        };
        if let Some(error) = error {
            return Err(Uncommitted { error, grant });
        }
        let (slot, number) = (grant.slot, grant.number);
        core::mem::forget(grant);
        let sequence = self.number();
        let position = ring.head.load(Ordering::Relaxed);
        slot.publish(Meta { position, sequence, stream: self.stream, len, info });
        ring.set_order(position, number);
        // Release: who sees the new head finds the slot through the table.
        ring.head.store(position.wrapping_add(1), Ordering::Release);
        ring.wake_readers_for_item();
        Ok(sequence)
    }

    /// Counts an item that was not published because there was no slot for it. It has a
    /// sequence number like any other, so readers see that they missed it.
    pub fn skip(&mut self) {
        self.number();
        let dropped = self.ring.dropped.load(Ordering::Relaxed);
        self.ring.dropped.store(dropped.wrapping_add(1), Ordering::Relaxed);
    }

    fn number(&mut self) -> u64 {
        let sequence = self.ring.next_sequence.load();
        self.ring.next_sequence.store(sequence.wrapping_add(1));
        sequence
    }

    /// Withdraws every item, so that nobody who comes later gets an old one. Leases stay valid.
    pub fn clear(&mut self) {
        let head = self.ring.head.load(Ordering::Relaxed);
        while let Some((_, slot)) = self.withdraw_before(head) {
            slot.abort();
        }
    }

    /// If there is no slot left for the next item, asks back the leases of one that the ring has
    /// wanted back the longest, provided that is at least `grace`. Returns how many leases were asked
    /// back.
    ///
    /// `now` is the time since any fixed moment, for instance the start of the program; it is used
    /// in whole milliseconds. A slot is wanted back from when the ring no longer offers its item.
    /// The ring has no clock, so that counts from the first call that sees it; a lease has at least
    /// that time. When no slot
    /// is left, what the policy gives up is withdrawn here already. Holders of a lease see in
    /// [`Lease::revoked`](crate::Lease::revoked) that it is asked back, and should end it,
    /// for a viewer by closing its connection.
    ///
    /// Those who do not end it do not protect the others: after another `grace` the next longest are
    /// asked.
    ///
    /// Under [`Policy::KeepAll`] the publisher waits for the leases of
    /// [`Follow::Ordered`](crate::Follow::Ordered) readers, and does not ask for them, but for
    /// those of [`Reader::repeat`](crate::Reader::repeat).
    ///
    /// Call it after each commit, so that there is time for that before the next item, and while
    /// there is no slot.
    pub fn revoke_oldest(&mut self, now: Duration, grace: Duration) -> usize {
        let (now, grace) = (millis(now), millis(grace));
        if self.has_spare_slot(now) {
            return 0;
        }
        let head = self.ring.head.load(Ordering::Relaxed);
        if let Some((_, slot)) = self.withdraw_before(self.keep_from(head)) {
            slot.abort();
            return 0;
        }
        if self.has_spare_slot(now) {
            return 0;
        }
        let mut oldest = None;
        for slot in self.ring.slots {
            let Some(since) = slot.wanted_since(now) else { continue };
            let is_due = now.saturating_sub(since) >= grace;
            if slot.is_revoked() {
                if !is_due {
                    return 0; // It may yet come.
                }
            } else if is_due && oldest.is_none_or(|(_, earliest)| since < earliest) {
                oldest = Some((slot, since));
            }
        }
        let asked = oldest.map_or(0, |(slot, _)| slot.revoke(now));
        if asked > 0 {
            self.ring.wake_readers(Event::REVOCATION);
        }
        asked as usize
    }

    /// Whether there is a slot that no lease keeps from the next item: it is free, or could be
    /// made so, or the policy keeps its item. Notes which slots are wanted back.
    fn has_spare_slot(&self, now: u64) -> bool {
        let ring = self.ring;
        let (head, tail) = (ring.head.load(Ordering::Relaxed), ring.tail.load(Ordering::Relaxed));
        let newest = if head == tail { None } else { ring.slot_at(head.wrapping_sub(1)) };
        let mut is_spare = false;
        for (number, slot) in ring.numbered_slots() {
            slot.wanted_since(now);
            is_spare |= slot.is_unused() && Some(number) != newest;
        }
        is_spare
    }

    /// Ends the stream: its readers get what the ring still offers of it, then the end. Nothing more
    /// can be published; another publisher may begin another stream.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    pub fn close(&mut self) {
        self.ring.life.end();
        self.ring.wake_readers_for_item();
    }

    /// Makes room for another publisher that goes on with this one's stream: readers keep what the
    /// ring offers, and wait for what that one publishes.
    ///
    /// For items that come over connections, which come and go.
    ///
    /// ```
    /// use camwire_ring::{Follow, Policy, RingMemory};
    ///
    /// let mut memory = RingMemory::<3, 16, 1>::new();
    /// let ring = memory.ring(Policy::DropOldest);
    /// let mut reader = ring.subscribe(Follow::Live)?;
    /// for number in 1..=3 {
    ///     let mut publisher = ring.publisher().expect("the one before has left");
    ///     let grant = publisher.try_grant()?;
    ///     assert_eq!(publisher.commit(grant, 0, ()).unwrap(), number);
    ///     publisher.detach();
    ///     assert!(!ring.has_publisher());
    /// }
    /// let item = reader.try_latest().expect("it is still there");
    /// assert_eq!((item.sequence(), item.missed()), (3, 0));
    /// # drop(item);
    /// # let waiting = core::pin::pin!(reader.latest());
    /// # let mut context = core::task::Context::from_waker(core::task::Waker::noop());
    /// # assert!(waiting.poll(&mut context).is_pending());
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn detach(self) {
        let mut publisher = core::mem::ManuallyDrop::new(self);
        publisher.leave();
    }

    /// Lets another publisher in. This one must do nothing more.
    #[cfg_attr(target_pointer_width = "32", inline(never))]
    fn leave(&mut self) {
        // SAFETY: as in `poll_until`.
        let wakers = unsafe { self.ring.publisher_waker.clear() };
        self.ring.life.leave();
        drop(wakers); // Last, since a waker may panic.
    }
}

impl<M: Copy> Drop for Publisher<'_, M> {
    fn drop(&mut self) {
        self.close();
        self.leave();
    }
}

impl<M: Copy> Drop for Grant<'_, M> {
    fn drop(&mut self) {
        self.slot.abort();
        self.ring.wake_publisher(Event::SLOT);
    }
}

impl<M: Copy> Deref for Grant<'_, M> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.slot.is_read();
        // SAFETY: the slot's memory is the grant's alone until it is consumed: `Slot::take` and
        // `Slot::withdraw` gave it to one grant and nobody leases it. `bytes_of` is in bounds for
        // `slot_bytes` bytes, which were initialised when the ring was made.
        unsafe {
            core::slice::from_raw_parts(
                self.ring.bytes_of(self.number).as_ptr(),
                self.ring.slot_bytes(),
            )
        }
    }
}

impl<M: Copy> DerefMut for Grant<'_, M> {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.slot.is_written();
        // SAFETY: as in `deref`, and `&mut self` makes this the only slice of it.
        unsafe {
            core::slice::from_raw_parts_mut(
                self.ring.bytes_of(self.number).as_ptr(),
                self.ring.slot_bytes(),
            )
        }
    }
}

/// Milliseconds of a time. Not `Duration::as_millis`: its 128 bits are costly on a 32-bit core.
fn millis(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1000).saturating_add(u64::from(time.subsec_millis()))
}
