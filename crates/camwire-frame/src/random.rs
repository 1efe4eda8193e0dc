use core::fmt;

/// The platform's generator of unpredictable numbers, given to whatever must not be guessed: the
/// boundary of a multipart response, the masking keys of a WebSocket.
///
/// The generator must be one for cryptography: numbers that a client has seen say nothing about the
/// next ones. A counter, the clock, or a sequence that begins with either is guessed, and then a
/// frame can run a script in the browsers of those that watch.
///
/// It is a plain function, since a generator belongs to the whole system and any task may ask it. One
/// with a state keeps that in a `static`, behind a lock, and panics if it was never seeded.
///
/// ```
/// use camwire_frame::Random;
/// # mod getrandom { pub fn u32() -> Result<u32, core::fmt::Error> { Ok(4) } }
///
/// // On a computer the operating system's, by the crate `getrandom`; with ESP-IDF, too:
/// const RANDOM: Random =
///     Random::new(|| getrandom::u32().expect("the system has random numbers"));
///
/// let secret: [u8; 16] = RANDOM.bytes();
/// ```
///
/// With esp-hal it is `Random::new(|| Rng::new().random())`. The generator of an ESP32 is fed by the
/// radio's noise, so it is unpredictable once Wi-Fi has been started.
#[derive(Clone, Copy)]
pub struct Random {
    word: fn() -> u32,
}

impl Random {
    /// The generator that gives 32 unpredictable bits with each call.
    #[must_use]
    pub const fn new(word: fn() -> u32) -> Self {
        Self { word }
    }

    /// 32 unpredictable bits.
    #[must_use]
    pub fn word(self) -> u32 {
        (self.word)()
    }

    /// `N` unpredictable bytes. Asks the generator once for each four of them.
    #[must_use]
    pub fn bytes<const N: usize>(self) -> [u8; N] {
        let mut bytes = [0; N];
        for four in bytes.chunks_mut(4) {
            let word = self.word().to_ne_bytes();
            four.iter_mut().zip(word).for_each(|(to, from)| *to = from);
        }
        bytes
    }
}

/// Shows no numbers.
impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Random")
    }
}

#[cfg(test)]
mod tests {
    use super::Random;
    use core::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn every_byte_comes_from_the_generator() {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        let random = Random::new(|| {
            let call = CALLS.fetch_add(1, Ordering::Relaxed) as u8;
            u32::from_ne_bytes([1, 2, 3, 4].map(|n| 10 * (call + 1) + n))
        });
        assert_eq!(random.bytes::<10>(), [11, 12, 13, 14, 21, 22, 23, 24, 31, 32]);
        assert_eq!(random.word().to_ne_bytes(), [41, 42, 43, 44]);
        assert_eq!(random.bytes::<0>(), []);
        assert_eq!(CALLS.load(Ordering::Relaxed), 4);
    }
}
