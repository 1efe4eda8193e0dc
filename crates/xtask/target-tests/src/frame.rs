use camwire::frame::jpeg::{Scanner, inspect};
use camwire::frame::{FrameRate, Instant, Pacer, Quality, Resolution};
use camwire::pattern::TestPattern;
use core::fmt::Write;
use core::time::Duration;

/// Of build.rs.
static COMPUTERS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/pattern.jpg"));

pub fn the_test_pattern_is_that_of_the_computer() {
    let pattern = TestPattern::new(Resolution::QQVGA, Quality::new(12).unwrap());
    let mut bytes = [0; 8192];
    let len = pattern.encode(u64::MAX, Duration::from_millis(86_399_999), &mut bytes).unwrap();
    assert_eq!(len, COMPUTERS.len());
    for (at, (here, there)) in bytes.iter().zip(COMPUTERS).enumerate() {
        assert_eq!(here, there, "byte {at}");
    }
}

pub fn pictures_are_found_however_they_are_cut() {
    let whole = inspect(COMPUTERS).unwrap();
    assert_eq!((whole.width, whole.height, whole.len), (160, 120, COMPUTERS.len()));
    for size in 1..=100 {
        let mut scanner = Scanner::new();
        let found = COMPUTERS.chunks(size).map(|piece| scanner.push(piece).unwrap()).last();
        assert_eq!(found, Some(Some(whole)), "in pieces of {size}");
    }
}

pub fn time_goes_on_after_32_bits() {
    const LIMIT: u64 = 1 << 32;
    for micros in [LIMIT - 1, LIMIT * 1000 - 1, u64::MAX - 1] {
        let before = Instant::from_micros(micros);
        let after = before + Duration::from_micros(1);
        assert!(before < after);
        assert_eq!(after.as_micros(), micros + 1);
        assert_eq!(after.saturating_since(before), Duration::from_micros(1));
        assert_eq!(before.saturating_since(after), Duration::ZERO);
    }
    let end = Instant::from_micros(u64::MAX);
    assert_eq!(end + Duration::MAX, end);
    assert_eq!(Instant::ZERO + Duration::from_secs(LIMIT), Instant::from_micros(LIMIT * 1_000_000));
    let mut text = heapless::String::<64>::new();
    write!(text, "{} {end}", Instant::from_micros(LIMIT)).unwrap();
    assert_eq!(text, "4294.967296 18446744073709.551615");
}

pub fn a_schedule_goes_on_after_32_bits() {
    let mut pacer = Pacer::new("0.001".parse::<FrameRate>().unwrap());
    // A picture in 1000 seconds, over the hour and a bit that 32 bits of microseconds last.
    for step in 0..10 {
        let at = Instant::from_micros(step * 1_000_000_000);
        assert_eq!(pacer.admit(at), Some(0), "{at}");
        assert_eq!(pacer.due(), Some(at + Duration::from_secs(1000)));
        assert_eq!(pacer.admit(at + Duration::from_secs(500)), None);
    }
    // Half a year later.
    assert_eq!(pacer.admit(Instant::from_micros(15_000_000_000_000)), Some(14_990));
}
