//! A viewer's place, and what `/stats` shows of it.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use camwire_frame::{FrameRate, Instant};
use portable_atomic::{AtomicU32, Ordering};

use crate::sender::ByteCounter;
use crate::viewer::options::Mode;

/// A place for one viewer, and what is known of the viewer that has it.
///
/// It is written by that viewer's connection alone and read by `/stats` at any time, on any core, so
/// everything is a 32-bit atomic: those are what small chips have.
#[derive(Debug)]
pub struct ViewerSlot {
    /// 0 while the place is free, else the viewer's number.
    id: AtomicU32,
    /// IPv6 (or mapped IPv4) address in four words, then the port, then whether it is known.
    peer: [AtomicU32; 6],
    transport: [AtomicU32; 3],
    mode: AtomicU32,
    cap_millihertz: AtomicU32,
    sent: AtomicU32,
    missed: AtomicU32,
    bytes: ByteCounter,
    interval_us: AtomicU32,
    captured_ms: AtomicU32,
    sent_ms: AtomicU32,
}

impl ViewerSlot {
    /// A free place.
    #[must_use]
    pub const fn new() -> Self {
        const fn zero() -> AtomicU32 {
            AtomicU32::new(0)
        }
        Self {
            id: zero(),
            peer: [const { zero() }; 6],
            transport: [const { zero() }; 3],
            mode: zero(),
            cap_millihertz: zero(),
            sent: zero(),
            missed: zero(),
            bytes: ByteCounter::new(),
            interval_us: zero(),
            captured_ms: zero(),
            sent_ms: zero(),
        }
    }
}

impl Default for ViewerSlot {
    fn default() -> Self {
        Self::new()
    }
}

/// The name of an output in `/stats`, such as `mjpeg`: 1 to 12 letters (`a` to `z`), digits and
/// hyphens.
///
/// ```
/// use camwire_server::Transport;
///
/// const RTSP: Transport = Transport::new("rtsp").unwrap();
/// assert_eq!(RTSP.as_str(), "rtsp");
/// assert_eq!(Transport::new("<script>"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transport {
    /// Zero beyond the name.
    name: [u8; Self::MAX_LEN],
}

impl Transport {
    /// Bytes of the longest name.
    pub const MAX_LEN: usize = 12;
    /// `/stream`, and [`StreamBody`](crate::StreamBody).
    pub const MJPEG: Self = Self::new("mjpeg").unwrap();
    /// `/ws`.
    pub const WEBSOCKET: Self = Self::new("websocket").unwrap();
    /// To a relay, over WebSocket ([`Push`](crate::Push)).
    pub const PUSH: Self = Self::new("push").unwrap();

    /// An output of that name; `None` if it is empty, too long, or has other characters.
    #[must_use]
    pub const fn new(name: &str) -> Option<Self> {
        let mut kept = [0; Self::MAX_LEN];
        let mut room: &mut [u8] = &mut kept;
        let mut rest = name.as_bytes();
        if rest.is_empty() {
            return None;
        }
        while let [byte, after @ ..] = rest {
            if !matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-') {
                return None;
            }
            let Some((place, more)) = room.split_first_mut() else { return None };
            *place = *byte;
            (room, rest) = (more, after);
        }
        Some(Self { name: kept })
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        str::from_utf8(name).unwrap_or_default() // It is ASCII.
    }

    fn words(self) -> [u32; 3] {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = self.name;
        [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_le_bytes)
    }

    fn from_words(words: [u32; 3]) -> Self {
        let [[a, b, c, d], [e, f, g, h], [i, j, k, l]] = words.map(u32::to_le_bytes);
        Self { name: [a, b, c, d, e, f, g, h, i, j, k, l] }
    }
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.as_str()).finish()
    }
}

/// What is known of a viewer at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ViewerStats {
    pub(crate) id: u32,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) transport: Transport,
    pub(crate) mode: Mode,
    pub(crate) cap: Option<FrameRate>,
    pub(crate) millihertz: u32,
    pub(crate) sent: u32,
    pub(crate) missed: u32,
    pub(crate) bytes: u64,
    pub(crate) age_ms: Option<u32>,
}

/// A viewer's claim on a place, from [`Hub::claim_slot`](crate::Hub::claim_slot). The place is free
/// again when this is dropped.
///
/// [`stream`](crate::stream) counts by itself what it sends. Another output counts with
/// [`sent_bytes`](Self::sent_bytes) and [`sent_frame`](Self::sent_frame).
#[derive(Debug)]
#[must_use = "dropping it gives the place up"]
pub struct Viewer<'s> {
    slot: &'s ViewerSlot,
    mode: Mode,
    cap: Option<FrameRate>,
    last_sent: Option<Instant>,
}

impl<'s> Viewer<'s> {
    /// Takes a free place for the viewer numbered `id`, if there is one.
    pub(crate) fn claim(
        slots: &'s [ViewerSlot],
        id: u32,
        peer: Option<SocketAddr>,
        transport: Transport,
        mode: Mode,
        cap: Option<FrameRate>,
    ) -> Option<Self> {
        let claim = |slot: &&ViewerSlot| {
            // Not shown to readers of statistics until its number is there.
            slot.id.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
        };
        let slot = slots.iter().find(claim)?;
        let set = |cell: &AtomicU32, value| cell.store(value, Ordering::Relaxed);
        for (word, value) in slot.peer.iter().zip(encode_peer(peer)) {
            set(word, value);
        }
        for (word, value) in slot.transport.iter().zip(transport.words()) {
            set(word, value);
        }
        set(&slot.mode, mode as u32);
        set(&slot.cap_millihertz, cap.map_or(0, FrameRate::as_millihertz));
        for counter in [&slot.sent, &slot.missed, &slot.interval_us, &slot.captured_ms] {
            set(counter, 0);
        }
        slot.bytes.reset();
        slot.id.store(id, Ordering::Release);
        Some(Self { slot, mode, cap, last_sent: None })
    }

    /// Which frames it gets: what it asked for, or [`Config::mode`](crate::Config::mode).
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Most frames per second, if there is a limit.
    #[must_use]
    pub const fn rate(&self) -> Option<FrameRate> {
        self.cap
    }

    /// Where its bytes are counted.
    pub(crate) const fn bytes(&self) -> &'s ByteCounter {
        &self.slot.bytes
    }

    /// Counts bytes that the viewer's connection has taken.
    pub fn sent_bytes(&self, count: usize) {
        self.slot.bytes.add(count);
    }

    /// Counts a frame that the viewer's connection has taken as a whole at `now`, and how many this
    /// viewer missed just before it.
    pub fn sent_frame(&mut self, missed: u64, captured_at: Instant, now: Instant) {
        let slot = self.slot;
        let add = |counter: &AtomicU32, n: u32| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
        };
        add(&slot.sent, 1);
        add(&slot.missed, missed as u32);
        slot.captured_ms.store(millis(captured_at), Ordering::Relaxed);
        slot.sent_ms.store(millis(now), Ordering::Relaxed);
        if let Some(last) = self.last_sent.replace(now) {
            let gap = now.saturating_since(last);
            let gap = gap.as_secs().min(1000) as u32 * 1_000_000 + gap.subsec_micros();
            let smoothed = match slot.interval_us.load(Ordering::Relaxed) {
                0 => gap,
                interval => interval - interval / 8 + gap / 8,
            };
            slot.interval_us.store(smoothed.max(1), Ordering::Relaxed);
        }
    }
}

impl Drop for Viewer<'_> {
    fn drop(&mut self) {
        self.slot.id.store(0, Ordering::Release);
    }
}

const CLAIMED: u32 = u32::MAX;

impl ViewerSlot {
    /// Whether a viewer has the place.
    pub(crate) fn is_taken(&self) -> bool {
        !matches!(self.id.load(Ordering::Relaxed), 0 | CLAIMED)
    }

    /// What is known of the viewer that has the place; `None` if none has.
    pub(crate) fn read(&self, now: Instant) -> Option<ViewerStats> {
        let id = self.id.load(Ordering::Acquire);
        if !self.is_taken() {
            return None;
        }
        let get = |cell: &AtomicU32| cell.load(Ordering::Relaxed);
        let sent = get(&self.sent);
        let interval = get(&self.interval_us);
        let since = |then: u32| match millis(now).wrapping_sub(then) {
            age if (age as i32) < 0 => 0, // Written on another core just now.
            age => age,
        };
        let still = since(get(&self.sent_ms)) > 2000.max(interval / 250);
        let stats = ViewerStats {
            id,
            peer: decode_peer(self.peer.each_ref().map(get)),
            transport: Transport::from_words(self.transport.each_ref().map(get)),
            mode: if get(&self.mode) == Mode::All as u32 { Mode::All } else { Mode::Live },
            cap: FrameRate::from_millihertz(get(&self.cap_millihertz)),
            millihertz: if interval == 0 || still { 0 } else { 1_000_000_000 / interval },
            sent,
            missed: get(&self.missed),
            bytes: self.bytes.get(),
            age_ms: (sent > 0).then(|| since(get(&self.captured_ms))),
        };
        // Another viewer may have taken the place meanwhile; then this belongs to neither.
        (self.id.load(Ordering::Relaxed) == id).then_some(stats)
    }
}

fn encode_peer(peer: Option<SocketAddr>) -> [u32; 6] {
    let Some(peer) = peer else { return [0; 6] };
    let ip = match peer.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    let ip = ip.to_bits();
    let word = |n: u32| (ip >> (96 - 32 * n)) as u32;
    [word(0), word(1), word(2), word(3), u32::from(peer.port()), 1]
}

fn decode_peer([a, b, c, d, port, known]: [u32; 6]) -> Option<SocketAddr> {
    let ip = [a, b, c, d].into_iter().fold(0u128, |ip, word| ip << 32 | u128::from(word));
    let ip = Ipv6Addr::from_bits(ip).to_canonical();
    (known != 0).then(|| SocketAddr::new(ip, port as u16))
}

fn millis(at: Instant) -> u32 {
    (at.as_micros() / 1000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn peers_come_back_as_they_were() {
        for text in ["127.0.0.1:80", "[::1]:65535", "[fe80::1234:5678:9abc:def0]:1"] {
            let peer: SocketAddr = text.parse().unwrap();
            assert_eq!(decode_peer(encode_peer(Some(peer))), Some(peer));
        }
        assert_eq!(decode_peer(encode_peer(None)), None);
    }

    #[test]
    fn transports_have_short_plain_names() {
        for name in ["a", "mjpeg", "websocket", "twelve-chars"] {
            let transport = Transport::new(name).unwrap();
            assert_eq!(transport.as_str(), name);
            assert_eq!(Transport::from_words(transport.words()), transport);
        }
        for name in ["", "thirteen-char", "RTSP", "a b", "a\0", "\u{e4}"] {
            assert_eq!(Transport::new(name), None, "{name:?}");
        }
    }

    #[test]
    fn places_are_taken_and_given_back() {
        let slots = [const { ViewerSlot::new() }; 2];
        let claim = |id| Viewer::claim(&slots, id, None, Transport::MJPEG, Mode::Live, None);
        let (first, second) = (claim(1).unwrap(), claim(2).unwrap());
        assert!(claim(3).is_none());
        drop(first);
        assert_eq!(slots[0].read(Instant::ZERO), None);
        assert_eq!(slots[1].read(Instant::ZERO).unwrap().id, 2);
        let third = claim(4).unwrap();
        assert_eq!(slots[0].read(Instant::ZERO).unwrap().id, 4);
        drop((second, third));
    }

    #[test]
    fn what_a_viewer_took_is_counted() {
        let slots = [ViewerSlot::new()];
        let mut viewer = Viewer::claim(&slots, 7, None, Transport::MJPEG, Mode::All, None).unwrap();
        assert_eq!(slots[0].read(Instant::ZERO).unwrap().age_ms, None);
        let mut now = Instant::from_micros(5_000_000);
        for _ in 0..50 {
            now = now + Duration::from_millis(50);
            viewer.sent_bytes(1 << 31);
            viewer.sent_frame(2, Instant::from_micros(now.as_micros() - 3000), now);
        }
        let stats = slots[0].read(now + Duration::from_millis(7)).unwrap();
        assert_eq!((stats.sent, stats.missed, stats.bytes), (50, 100, 50 << 31));
        assert_eq!(stats.age_ms, Some(10));
        assert!((19_900..=20_100).contains(&stats.millihertz), "{}", stats.millihertz);
        let later = slots[0].read(now + Duration::from_secs(3)).unwrap();
        assert_eq!(later.millihertz, 0);
    }
}
