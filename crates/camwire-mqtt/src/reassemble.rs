mod assembly;
mod framed;
mod indexed;
mod streams;

use core::ops::DerefMut;
use core::time::Duration;

use camwire_frame::{FrameInfo, Instant, jpeg};

use crate::chunk::{FRAME, IMAGE, IMAGE_COMPLETE, IMAGE_PART, copy};
use crate::{Delivery, HeaderError, Prefix, Topic};
use assembly::Assembly;
use streams::Streams;

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
/// # let pattern = camwire_frame::TestPattern::new(
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
    /// Where the messages have no number, how many pictures have begun.
    begun: u64,
    /// Still to be told.
    lost: Option<Lost>,
    counts: Counts,
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
    /// Its picture was given back or given up before.
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
    content: Content,
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // There are only few of them, and all are used.
enum Content {
    Free,
    UnderWay(Assembly),
    Whole(Whole),
}

/// A picture that is to be given back.
#[derive(Clone, Copy, Debug)]
struct Whole {
    stream: u32,
    sequence: u64,
    info: FrameInfo,
    /// It need not wait longer than that for an older one.
    until: Instant,
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
            slots: [const { Slot { buffer: None, content: Content::Free } }; K],
            streams: Streams::new(),
            settled: None,
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
                slot.content = Content::Free;
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
        if let Some((_, whole)) = next
            && self.streams.is_current(whole.stream)
        {
            self.drop_older(whole.sequence);
            // The ones before it that nothing arrived of are lost, too.
            self.settle(whole.sequence.saturating_sub(1));
        }
        if let Some(lost) = self.lost.take() {
            return Some(Event::Lost(lost));
        }
        let (index, whole) = next?;
        let slot = self.slots.get_mut(index)?;
        slot.content = Content::Free;
        let buffer = slot.buffer.take()?;
        if self.streams.is_current(whole.stream) {
            self.settled = Some(whole.sequence);
        }
        add(&mut self.counts.pictures, 1);
        Some(Event::Picture(Picture { buffer, info: whole.info }))
    }

    /// When [`poll`](Self::poll) will have something to tell even if no message comes.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let deadlines = self.slots.iter().filter_map(|slot| match &slot.content {
            Content::Free => None,
            Content::UnderWay(assembly) => Some(assembly.until),
            Content::Whole(whole) => Some(whole.until),
        });
        deadlines.min()
    }

    /// The whole picture whose turn it is, if it need not wait for an older one.
    fn next_whole(&self, now: Instant) -> Option<(usize, Whole)> {
        let is_current = |stream| self.streams.is_current(stream);
        let whole = self.numbered_slots().filter_map(|(index, slot)| match slot.content {
            Content::Whole(whole) => Some((index, whole)),
            _ => None,
        });
        // What is left of a former stream comes first.
        let (index, next) = whole.min_by_key(|(_, w)| (is_current(w.stream), w.sequence))?;
        let older = self
            .under_way()
            .any(|assembly| assembly.stream == next.stream && assembly.sequence < next.sequence);
        (!older || now >= next.until).then_some((index, next))
    }

    fn numbered_slots(&self) -> impl Iterator<Item = (usize, &Slot<B>)> {
        (0..K).zip(&self.slots)
    }

    fn under_way(&self) -> impl Iterator<Item = &Assembly> {
        self.slots.iter().filter_map(|slot| match &slot.content {
            Content::UnderWay(assembly) => Some(assembly),
            _ => None,
        })
    }

    /// Gives up what has waited too long for parts.
    fn expire(&mut self, now: Instant) {
        let last = self.give_up(&|assembly| now >= assembly.until);
        if let Some(last) = last {
            self.settle_dead(last);
        }
    }

    /// Gives up the older ones of the current stream.
    fn drop_older(&mut self, sequence: u64) {
        let streams = self.streams;
        self.give_up(&|assembly| {
            streams.is_current(assembly.stream) && assembly.sequence < sequence
        });
    }

    /// Gives up pictures under way. Of those of the current stream, returns the largest number.
    fn give_up(&mut self, which: &dyn Fn(&Assembly) -> bool) -> Option<u64> {
        let mut last = None;
        for slot in &mut self.slots {
            if let Content::UnderWay(assembly) = &slot.content
                && which(assembly)
            {
                if self.streams.is_current(assembly.stream) {
                    last = last.max(Some(assembly.sequence));
                }
                slot.content = Content::Free;
                add(&mut self.counts.incomplete, 1);
            }
        }
        last
    }

    /// That picture of the current stream was given up. If none before it may still come, that is
    /// told at once, and not only with the next that does.
    fn settle_dead(&mut self, sequence: u64) {
        let older = self.slots.iter().any(|slot| match &slot.content {
            Content::Free => false,
            Content::UnderWay(assembly) => {
                self.streams.is_current(assembly.stream) && assembly.sequence < sequence
            }
            Content::Whole(whole) => {
                self.streams.is_current(whole.stream) && whole.sequence < sequence
            }
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

    /// A slot with a buffer and nothing in it: that with the largest one.
    fn free_slot(&self) -> Option<(usize, usize)> {
        let free = self.numbered_slots().filter_map(|(index, slot)| {
            let len = slot.buffer.as_ref()?.len();
            matches!(slot.content, Content::Free).then_some((index, len))
        });
        free.max_by_key(|(_, len)| *len)
    }

    /// There is no buffer for a picture of so many bytes, or is there?
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
        let sequence = self.begun;
        let result = self.put_whole(sequence, payload, now);
        if result.is_err() {
            self.settle_dead(sequence);
        }
        result
    }

    fn put_whole(&mut self, sequence: u64, payload: &[u8], now: Instant) -> Result<(), Refused> {
        let picture = jpeg::inspect(payload).map_err(|_| Refused::Broken)?;
        self.fits(picture.len)?;
        let (index, _) = self.free_slot().ok_or(Refused::NoBuffer)?;
        let slot = self.slots.get_mut(index).ok_or(Refused::NoBuffer)?;
        let room = slot.buffer.as_mut().and_then(|buffer| buffer.get_mut(..picture.len));
        let too_large = Refused::TooLarge { needed: picture.len };
        copy(room.ok_or(too_large)?, payload.get(..picture.len).unwrap_or_default());
        let jpeg::Picture { width, height, len } = picture;
        let info = FrameInfo { len, width, height, captured_at: now, ..FrameInfo::default() };
        let until = now + self.patience.for_older;
        slot.content = Content::Whole(Whole { stream: streams::LOCAL, sequence, info, until });
        Ok(())
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
