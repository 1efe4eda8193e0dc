use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use camwire_frame::{FrameRate, Instant};
use portable_atomic::{AtomicU32, Ordering};

use crate::Mode;

/// A place for one viewer, and what is known of who has it.
///
/// Written by that viewer's connection alone and read by `/stats` at any time, on any core, so
/// everything is a 32-bit atomic: those are what small chips have.
#[derive(Debug)]
pub struct ViewerSlot {
    /// 0 while the place is free, else the viewer's number.
    id: AtomicU32,
    /// IPv6 (or mapped IPv4) address in four words, then the port, then whether it is known.
    peer: [AtomicU32; 6],
    transport: AtomicU32,
    mode: AtomicU32,
    cap_millihertz: AtomicU32,
    sent: AtomicU32,
    missed: AtomicU32,
    bytes: [AtomicU32; 2],
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
            transport: zero(),
            mode: zero(),
            cap_millihertz: zero(),
            sent: zero(),
            missed: zero(),
            bytes: [const { zero() }; 2],
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

/// By which door the pictures leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Mjpeg,
    WebSocket,
    /// To a relay, over WebSocket.
    Push,
}

impl Transport {
    /// As in `/stats`.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::WebSocket => "websocket",
            Self::Push => "push",
        }
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

/// A viewer's hold on its place; free again when dropped.
#[derive(Debug)]
pub(crate) struct Viewer<'s> {
    slot: &'s ViewerSlot,
    pub(crate) mode: Mode,
    pub(crate) cap: Option<FrameRate>,
    last_sent: Option<Instant>,
}

impl<'s> Viewer<'s> {
    /// Takes a free place for the viewer numbered `id`, if there is one.
    pub(crate) fn enter(
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
        set(&slot.transport, transport as u32);
        set(&slot.mode, mode as u32);
        set(&slot.cap_millihertz, cap.map_or(0, FrameRate::as_millihertz));
        for counter in [&slot.sent, &slot.missed, &slot.interval_us, &slot.captured_ms] {
            set(counter, 0);
        }
        slot.bytes.iter().for_each(|half| set(half, 0));
        slot.id.store(id, Ordering::Release);
        Some(Self { slot, mode, cap, last_sent: None })
    }

    /// Counts bytes that the connection has taken.
    pub(crate) fn sent_bytes(&self, count: usize) {
        let [low, high] = &self.slot.bytes;
        let (sum, carry) = low.load(Ordering::Relaxed).overflowing_add(count as u32);
        if carry {
            high.store(high.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
        low.store(sum, Ordering::Relaxed);
    }

    /// Counts a picture that the connection has taken as a whole.
    pub(crate) fn sent_picture(&mut self, missed: u64, captured_at: Instant, now: Instant) {
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
    /// Whether somebody has the place.
    pub(crate) fn is_taken(&self) -> bool {
        !matches!(self.id.load(Ordering::Relaxed), 0 | CLAIMED)
    }

    /// What is known of who has the place; `None` if nobody does.
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
            transport: match get(&self.transport) {
                transport if transport == Transport::WebSocket as u32 => Transport::WebSocket,
                transport if transport == Transport::Push as u32 => Transport::Push,
                _ => Transport::Mjpeg,
            },
            mode: if get(&self.mode) == Mode::All as u32 { Mode::All } else { Mode::Live },
            cap: FrameRate::from_millihertz(get(&self.cap_millihertz)),
            millihertz: if interval == 0 || still { 0 } else { 1_000_000_000 / interval },
            sent,
            missed: get(&self.missed),
            bytes: self.bytes(),
            age_ms: (sent > 0).then(|| since(get(&self.captured_ms))),
        };
        // Somebody else may have taken the place meanwhile; then this is of nobody.
        (self.id.load(Ordering::Relaxed) == id).then_some(stats)
    }

    fn bytes(&self) -> u64 {
        let [low, high] = &self.bytes;
        let before = high.load(Ordering::Relaxed);
        let low = low.load(Ordering::Relaxed);
        let after = high.load(Ordering::Relaxed);
        // A carry in between: the low half is near zero, or was near its end.
        let high = if before != after && low > u32::MAX / 2 { before } else { after };
        u64::from(high) << 32 | u64::from(low)
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
    fn places_are_taken_and_given_back() {
        let slots = [const { ViewerSlot::new() }; 2];
        let enter = |id| Viewer::enter(&slots, id, None, Transport::Mjpeg, Mode::Live, None);
        let (first, second) = (enter(1).unwrap(), enter(2).unwrap());
        assert!(enter(3).is_none());
        drop(first);
        assert_eq!(slots[0].read(Instant::ZERO), None);
        assert_eq!(slots[1].read(Instant::ZERO).unwrap().id, 2);
        let third = enter(4).unwrap();
        assert_eq!(slots[0].read(Instant::ZERO).unwrap().id, 4);
        drop((second, third));
    }

    #[test]
    fn counts() {
        let slots = [ViewerSlot::new()];
        let mut viewer = Viewer::enter(&slots, 7, None, Transport::Mjpeg, Mode::All, None).unwrap();
        assert_eq!(slots[0].read(Instant::ZERO).unwrap().age_ms, None);
        let mut now = Instant::from_micros(5_000_000);
        for _ in 0..50 {
            now = now + Duration::from_millis(50);
            viewer.sent_bytes(1 << 31);
            viewer.sent_picture(2, Instant::from_micros(now.as_micros() - 3000), now);
        }
        let stats = slots[0].read(now + Duration::from_millis(7)).unwrap();
        assert_eq!((stats.sent, stats.missed, stats.bytes), (50, 100, 50 << 31));
        assert_eq!(stats.age_ms, Some(10));
        assert!((19_900..=20_100).contains(&stats.millihertz), "{}", stats.millihertz);
        let later = slots[0].read(now + Duration::from_secs(3)).unwrap();
        assert_eq!(later.millihertz, 0);
    }
}
