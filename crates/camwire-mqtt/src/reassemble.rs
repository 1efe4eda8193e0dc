mod assembly;
mod framed;
mod indexed;
mod streams;

use core::ops::DerefMut;
use core::time::Duration;

use camwire_frame::{FrameInfo, Instant, Upstream, jpeg};

use crate::chunk::{FRAME, IMAGE, IMAGE_COMPLETE, IMAGE_PART, copy};
use crate::{Delivery, HeaderError, Prefix, Topic};
use assembly::Assembly;
use streams::{LOCAL, Streams};

/// Puts pictures together from the messages of a [`Chunker`](crate::Chunker), or of an existing
/// camera.
///
/// `B` is a buffer for one picture: a grant of `camwire-ring`, a `&mut [u8]`, a `Vec<u8>`. The
/// caller [supplies](Self::supply) up to `K` of them. A picture leaves in the buffer in which it was
/// put together, and then another may be supplied. There is no other memory: about 250 bytes for
/// each buffer.
///
/// After each [`push`](Self::push), and when [`deadline`](Self::deadline) has come, the caller calls
/// [`poll`](Self::poll) until it returns `None`.
///
/// ```
/// use camwire_frame::Instant;
/// use camwire_mqtt::{Delivery, Event, Prefix, Reassembler};
/// # use camwire_mqtt::{Chunker, Stamp};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let prefix = Prefix::new("garden/cam")?;
/// # let chunker = Chunker::framed(prefix, 1, 500)?;
/// # let mut jpeg = vec![0; 5000];
/// # let pattern = camwire_pattern::TestPattern::new(
/// #     camwire_frame::Resolution::R96X96, camwire_frame::Quality::MAX);
/// # let len = pattern.encode(1, std::time::Duration::ZERO, &mut jpeg).unwrap();
/// # jpeg.truncate(len);
/// # let messages: Vec<_> = chunker.split(&jpeg, Stamp::default())?
/// #     .map(|m| (m.topic().to_string(), [m.head(), m.body()].concat(), false)).collect();
/// # let uptime = || Instant::ZERO;
///
/// let mut reassembler = Reassembler::<_, 2>::framed(prefix);
/// for _ in 0..2 {
///     reassembler.supply(vec![0; 65_536]).expect("there is room for two");
/// }
///
/// # let mut pictures = 0;
/// for (topic, payload, retain) in messages {
///     let delivery = Delivery::from_retain_flag(retain);
///     if let Err(refused) = reassembler.push(&topic, &payload, delivery, uptime()) {
///         eprintln!("{refused}");
///     }
///     while let Some(event) = reassembler.poll(uptime()) {
///         match event {
///             Event::Picture(picture) => {
///                 println!("{} bytes", picture.info.len);
///                 let _ = reassembler.supply(picture.buffer);
/// #               pictures += 1;
///             }
///             Event::Lost(lost) => println!("{} pictures are lost", lost.count()),
///         }
///     }
/// }
/// # assert_eq!(pictures, 1);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Reassembler<'t, B, const K: usize = 2> {
    prefix: Prefix<'t>,
    layout: Layout,
    patience: Patience,
    slots: [Slot<B>; K],
    streams: Streams,
    /// The last picture of the current stream that was given back or is lost for good; `None`
    /// until the first was given back.
    settled: Option<u64>,
    /// The last picture that was given back, where the messages number them.
    given: Option<Given>,
    /// Where the messages have no number, how many pictures have begun.
    begun: u64,
    /// Still to be told.
    lost: Option<Lost>,
    counts: Counts,
}

/// What the sender says of a whole picture: of another one it says something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Given {
    stream: u32,
    sequence: u64,
    timestamp_us: Option<u64>,
    total: u32,
    checksum: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Framed,
    Indexed,
    Whole,
}

/// How long to wait for parts that are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long a whole picture waits for older ones that have begun. Between a sender, a broker
    /// and a receiver that keep the order of a topic's messages, as MQTT demands, older ones never
    /// become whole any more, and zero is right. By default 50 ms; also, it never waits longer
    /// than until there is no buffer for a newer one.
    pub for_older: Duration,
    /// How long a picture waits for its next part before it is lost, and how long a stream must
    /// have been silent before another that it had taken the place of may come back. By default
    /// 2 s.
    pub for_parts: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { for_older: Duration::from_millis(50), for_parts: Duration::from_secs(2) }
    }
}

/// What [`Reassembler::poll`] has to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<B> {
    /// A picture.
    Picture(Picture<B>),
    /// Pictures that will not come.
    Lost(Lost),
}

/// A picture that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it takes its buffer with it"]
pub struct Picture<B> {
    /// The buffer with the picture at its start.
    pub buffer: B,
    /// What is known of it. `captured_at` is when its first message arrived, as the caller's
    /// clock said; what the sender says is in `upstream`.
    pub info: FrameInfo,
}

/// Pictures with consecutive numbers of which it is certain that they will not be given back. Told
/// once, in order, before the next picture that is. They count from the first picture that was
/// given back, and anew when the sender has started anew.
///
/// In layouts without numbers, it is those that have begun and did not become whole; their numbers
/// are counted here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Number of the first.
    pub first: u64,
    /// Number of the last; not smaller.
    pub last: u64,
}

impl Lost {
    /// How many they are.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.saturating_sub(self.first).saturating_add(1)
    }
}

/// Why nothing was taken of a message, or a picture was given up with it. For the log: there is
/// nothing to be done about it, and [`Counts`] has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The topic is none of this layout under this prefix; another part of the program may know
    /// it.
    #[error("another topic")]
    OtherTopic,
    /// The broker had kept it, so nobody knows of when it is.
    #[error("a retained message")]
    Retained,
    /// It cannot be a part in the framed layout.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// It cannot be a message of the indexed layout: the number is no number or above 1024, or
    /// the part is too long.
    #[error("no part of a picture")]
    Malformed,
    /// The same part has arrived before.
    #[error("the part has arrived before")]
    Duplicate,
    /// Its picture was given back or given up before. A sender that sends its last picture again
    /// is alive.
    #[error("too late")]
    Late,
    /// It is of a sender whose place another has taken.
    #[error("of a former stream")]
    FormerStream,
    /// Parts of the same picture said something else of it.
    #[error("it contradicts the parts before it")]
    Inconsistent,
    /// The picture does not fit any buffer.
    #[error("the picture needs {needed} bytes")]
    TooLarge {
        /// Bytes it needs, or where that is not known yet, at least needs.
        needed: usize,
    },
    /// There is no buffer that could be used for it.
    #[error("there is no buffer for it")]
    NoBuffer,
    /// It ends a picture of which parts are missing.
    #[error("parts of the picture are missing")]
    Incomplete,
    /// With it the picture is complete, but the checksum or the JPEG structure is wrong.
    #[error("the picture is broken")]
    Broken,
}

/// What became of the messages and pictures. Numbers that would overflow stay at their maximum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Pictures given back.
    pub pictures: u32,
    /// Pictures told as [`Lost`], for whatever reason.
    pub lost: u32,
    /// Pictures that had begun and were given up because parts were missing.
    pub incomplete: u32,
    /// Pictures that were complete and wrong: [`Refused::Broken`].
    pub broken: u32,
    /// Messages that cannot be what their topic says: [`Refused::Header`], [`Refused::Malformed`].
    pub malformed: u32,
    /// [`Refused::Inconsistent`]
    pub inconsistent: u32,
    /// [`Refused::Duplicate`]
    pub duplicate: u32,
    /// [`Refused::Late`] and [`Refused::FormerStream`]
    pub late: u32,
    /// [`Refused::Retained`]
    pub retained: u32,
    /// Messages of pictures too large for every buffer: [`Refused::TooLarge`].
    pub too_large: u32,
    /// [`Refused::NoBuffer`]
    pub no_buffer: u32,
}

/// A place for a buffer and for what is known of the picture in it.
#[derive(Debug)]
struct Slot<B> {
    buffer: Option<B>,
    stage: Stage,
    picture: Assembly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// There is no picture, and what is said of one means nothing.
    Free,
    /// Parts are missing.
    UnderWay,
    /// It is to be given back.
    Whole,
}

impl<'t, B: DerefMut<Target = [u8]>, const K: usize> Reassembler<'t, B, K> {
    /// For the [framed](crate::Chunker::framed) layout.
    #[must_use]
    pub fn framed(prefix: Prefix<'t>) -> Self {
        Self::new(prefix, Layout::Framed)
    }

    /// For the [indexed](crate::Chunker::indexed) layout.
    #[must_use]
    pub fn indexed(prefix: Prefix<'t>) -> Self {
        Self::new(prefix, Layout::Indexed)
    }

    /// For the [whole](crate::Chunker::whole) layout.
    #[must_use]
    pub fn whole(prefix: Prefix<'t>) -> Self {
        Self::new(prefix, Layout::Whole)
    }

    fn new(prefix: Prefix<'t>, layout: Layout) -> Self {
        const { assert!(K > 0, "a buffer is needed") };
        Self {
            prefix,
            layout,
            patience: Patience::default(),
            slots: [const { Slot { buffer: None, stage: Stage::Free, picture: Assembly::NONE } };
                K],
            streams: Streams::new(),
            settled: None,
            given: None,
            begun: 0,
            lost: None,
            counts: Counts::default(),
        }
    }

    /// How long to wait for parts that are missing.
    #[must_use]
    pub fn patience(mut self, patience: Patience) -> Self {
        self.patience = patience;
        self
    }

    /// What to subscribe to: one filter or two. *Retain as published* must not be asked for.
    pub fn filters(&self) -> impl Iterator<Item = Topic<'t>> + use<'t, B, K> {
        let (first, second) = match self.layout {
            Layout::Framed => (FRAME, None),
            Layout::Whole => (IMAGE, None),
            Layout::Indexed => ("image/part/+", Some(IMAGE_COMPLETE)),
        };
        let prefix = self.prefix;
        core::iter::once(first).chain(second).map(move |rest| prefix.topic(rest))
    }

    /// What became of the messages up to now.
    #[must_use]
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether a buffer is missing.
    #[must_use]
    pub fn wants_buffer(&self) -> bool {
        self.slots.iter().any(|slot| slot.buffer.is_none())
    }

    /// Gives a buffer to put pictures together in.
    ///
    /// # Errors
    ///
    /// There are `K` already; the buffer comes back.
    pub fn supply(&mut self, buffer: B) -> Result<(), B> {
        match self.slots.iter_mut().find(|slot| slot.buffer.is_none()) {
            Some(slot) => {
                slot.buffer = Some(buffer);
                Ok(())
            }
            None => Err(buffer),
        }
    }

    /// Takes a message that was received. `now` must not go back.
    ///
    /// # Errors
    ///
    /// As [`Refused`] says; the reassembler goes on.
    pub fn push(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
        now: Instant,
    ) -> Result<(), Refused> {
        let result = self.take(topic, payload, delivery, now);
        if let Err(refused) = result {
            self.counts.note(refused);
        }
        result
    }

    fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        delivery: Delivery,
        now: Instant,
    ) -> Result<(), Refused> {
        let rest = self.prefix.rest(topic).ok_or(Refused::OtherTopic)?;
        let part = rest.strip_prefix(IMAGE_PART.as_bytes());
        let (name, known) = match self.layout {
            Layout::Framed => (FRAME, false),
            Layout::Indexed => (IMAGE_COMPLETE, part.is_some()),
            Layout::Whole => (IMAGE, false),
        };
        let known = known || rest == name.as_bytes();
        if !known {
            return Err(Refused::OtherTopic);
        }
        if delivery == Delivery::Retained {
            return Err(Refused::Retained);
        }
        self.expire(now);
        match (self.layout, part) {
            (Layout::Framed, _) => self.take_framed(payload, now),
            (Layout::Indexed, Some(index)) => self.take_indexed(index, payload, now),
            (Layout::Indexed, None) => self.take_complete(payload, now),
            (Layout::Whole, _) => self.take_whole(payload, now),
        }
    }

    /// What there is to tell, in order: pictures that are lost, and pictures. `None` if nothing
    /// more can be said now.
    pub fn poll(&mut self, now: Instant) -> Option<Event<B>> {
        self.expire(now);
        let next = if self.lost.is_none() { self.next_whole(now) } else { None };
        let next = next.map(|(index, stream, sequence)| {
            let is_current = self.streams.is_current(stream);
            if is_current {
                let streams = self.streams;
                self.give_up(&|picture| {
                    streams.is_current(picture.stream) && picture.sequence < sequence
                });
                // The ones before it that nothing arrived of are lost, too.
                self.settle(sequence.saturating_sub(1));
            }
            (index, is_current.then_some(sequence))
        });
        if let Some(lost) = self.lost.take() {
            return Some(Event::Lost(lost));
        }
        let (index, settled) = next?;
        self.settled = settled.or(self.settled);
        let slot = self.slots.get_mut(index)?;
        slot.stage = Stage::Free;
        let buffer = slot.buffer.take()?;
        let Assembly { stream, sequence, timestamp_us, total, checksum, .. } = slot.picture;
        let Assembly { width, height, first_at, .. } = slot.picture;
        let is_numbered = self.layout == Layout::Framed;
        let given = Given { stream, sequence, timestamp_us, total, checksum };
        self.given = is_numbered.then_some(given);
        let sequence = is_numbered.then_some(sequence);
        let info = FrameInfo {
            len: total as usize,
            width,
            height,
            captured_at: first_at,
            upstream: Upstream { sequence, timestamp_us },
        };
        add(&mut self.counts.pictures, 1);
        Some(Event::Picture(Picture { buffer, info }))
    }

    /// When [`poll`](Self::poll) will have something to tell even if no message comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.pictures().map(|(_, _, picture)| picture.until).min()
    }

    /// Place, stream and number of the whole picture whose turn it is, if it need not wait for an
    /// older one.
    fn next_whole(&self, now: Instant) -> Option<(usize, u32, u64)> {
        let whole = self.pictures().filter(|(_, stage, _)| *stage == Stage::Whole);
        // What is left of a former stream comes first.
        let order =
            |picture: &Assembly| (self.streams.is_current(picture.stream), picture.sequence);
        let (index, _, next) = whole.min_by_key(|(_, _, picture)| order(picture))?;
        let waits = now < next.until
            && self.pictures().any(|(_, stage, picture)| {
                stage == Stage::UnderWay
                    && picture.stream == next.stream
                    && picture.sequence < next.sequence
            });
        (!waits).then_some((index, next.stream, next.sequence))
    }

    /// All pictures that have begun, and where they are.
    fn pictures(&self) -> impl Iterator<Item = (usize, Stage, &Assembly)> {
        let slots = (0..K).zip(&self.slots).filter(|(_, slot)| slot.stage != Stage::Free);
        slots.map(|(index, slot)| (index, slot.stage, &slot.picture))
    }

    /// Gives up what has waited too long for parts.
    fn expire(&mut self, now: Instant) {
        let last = self.give_up(&|picture| now >= picture.until);
        if let Some(last) = last {
            self.settle_dead(last);
        }
    }

    /// Gives up pictures under way. Of those of the current stream, returns the largest number.
    fn give_up(&mut self, which: &dyn Fn(&Assembly) -> bool) -> Option<u64> {
        let mut last = None;
        for slot in &mut self.slots {
            if slot.stage == Stage::UnderWay && which(&slot.picture) {
                slot.stage = Stage::Free;
                add(&mut self.counts.incomplete, 1);
                if self.streams.is_current(slot.picture.stream) {
                    last = last.max(Some(slot.picture.sequence));
                }
            }
        }
        last
    }

    /// That picture of the current stream was given up. If none before it may still come, that is
    /// told at once, and not only with the next that does.
    fn settle_dead(&mut self, sequence: u64) {
        let older = self.pictures().any(|(_, _, picture)| {
            self.streams.is_current(picture.stream) && picture.sequence < sequence
        });
        if !older {
            self.settle(sequence);
        }
    }

    /// All pictures of the current stream up to this one that have not been given back are lost.
    fn settle(&mut self, sequence: u64) {
        let Some(settled) = self.settled else { return };
        let count = sequence.saturating_sub(settled);
        if count > 0 {
            let first = self.lost.map_or(settled.saturating_add(1), |lost| lost.first);
            self.lost = Some(Lost { first, last: sequence });
            self.settled = Some(sequence);
            add(&mut self.counts.lost, u32::try_from(count).unwrap_or(u32::MAX));
        }
    }

    /// A slot with a buffer and nothing in it: that with the largest one, and how large it is.
    fn free_slot(&self) -> Option<(usize, usize)> {
        let free = (0..K).zip(&self.slots).filter(|(_, slot)| slot.stage == Stage::Free);
        let free = free.filter_map(|(index, slot)| Some((index, slot.buffer.as_ref()?.len())));
        free.max_by_key(|(_, len)| *len)
    }

    /// Whether there is any buffer for a picture of so many bytes.
    fn fits(&self, needed: usize) -> Result<(), Refused> {
        let largest = self.slots.iter().filter_map(|slot| Some(slot.buffer.as_ref()?.len())).max();
        match largest {
            None => Err(Refused::NoBuffer),
            Some(largest) if largest < needed => Err(Refused::TooLarge { needed }),
            Some(_) => Ok(()),
        }
    }

    fn take_whole(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        self.begun = self.begun.saturating_add(1);
        let result = self.put_whole(payload, now);
        if result.is_err() {
            self.settle_dead(self.begun);
        }
        result
    }

    fn put_whole(&mut self, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let picture = jpeg::inspect(payload).map_err(|_| Refused::Broken)?;
        self.fits(picture.len)?;
        let (index, _) = self.free_slot().ok_or(Refused::NoBuffer)?;
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let bytes = payload.get(..picture.len).unwrap_or_default();
        slot.put(0, bytes).ok_or(Refused::TooLarge { needed: picture.len })?;
        slot.picture.begin(LOCAL, self.begun, now);
        slot.picture.total = picture.len as u32;
        slot.finish((picture.width, picture.height), now + self.patience.for_older);
        Ok(())
    }
}

impl<B: DerefMut<Target = [u8]>> Slot<B> {
    /// Copies bytes of the picture to where they belong, if there is room.
    fn put(&mut self, offset: usize, bytes: &[u8]) -> Option<()> {
        let room = self.buffer.as_mut()?.get_mut(offset..)?.get_mut(..bytes.len())?;
        copy(room, bytes);
        Some(())
    }

    /// The picture is whole. It need not wait longer than that for an older one.
    fn finish(&mut self, (width, height): (u16, u16), until: Instant) {
        self.stage = Stage::Whole;
        (self.picture.width, self.picture.height) = (width, height);
        self.picture.until = until;
    }
}

impl Counts {
    fn note(&mut self, refused: Refused) {
        let count = match refused {
            Refused::OtherTopic => return,
            Refused::Retained => &mut self.retained,
            Refused::Header(_) | Refused::Malformed => &mut self.malformed,
            Refused::Duplicate => &mut self.duplicate,
            Refused::Late | Refused::FormerStream => &mut self.late,
            Refused::Inconsistent => &mut self.inconsistent,
            Refused::TooLarge { .. } => &mut self.too_large,
            Refused::NoBuffer => &mut self.no_buffer,
            Refused::Incomplete => &mut self.incomplete,
            Refused::Broken => &mut self.broken,
        };
        add(count, 1);
    }
}

fn add(count: &mut u32, more: u32) {
    *count = count.saturating_add(more);
}
