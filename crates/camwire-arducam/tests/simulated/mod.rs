//! A simulated Arducam Mega on a simulated SPI bus, and time that moves when the driver waits.
//!
//! Every access is checked: whatever the camera's protocol does not allow panics. What the registers
//! mean is written down here a second time, apart from the driver.
#![allow(dead_code, unreachable_pub)] // Each test uses its part of it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use camwire_arducam::{Blocked, Mega};
use camwire_frame::{Clock, Instant, Quality, Resolution, Setting, SettingName};
use camwire_pattern::TestPattern;
use embedded_hal::spi::{ErrorKind, ErrorType, Operation};

pub type Driver = Mega<Blocked<Spi>, Blocked<Delay>, Time>;

pub const IDS: [u8; 4] = [0x81, 0x82, 0x83, 0x84];

const MS: u64 = 1000;
const RESET_TIME: u64 = 50 * MS;
const SETTING_TIME: u64 = 10 * MS;
const EXPOSURE_TIME: u64 = 25 * MS;

/// What goes wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// The state register never says idle.
    pub busy: bool,
    /// No picture is ever done.
    pub no_picture: bool,
    /// What the length registers say, in place of the truth.
    pub length: Option<u32>,
    /// The picture is cut off after so many bytes, and filled up as ever.
    pub cut: Option<usize>,
    /// How much is behind the picture.
    pub padding: usize,
    /// The transaction with this number fails, before or after the camera has heard it.
    pub fail: Option<(u64, When)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// What the sensor was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sensor {
    pub resolution: u8,
    pub quality: u8,
    pub brightness: u8,
    pub contrast: u8,
    pub saturation: u8,
    pub sharpness: u8,
    pub effect: u8,
    pub light: u8,
    pub exposure_level: u8,
    /// Of gain, exposure and white balance.
    pub automatics: [bool; 3],
    pub exposure: u32,
    pub gain: u16,
}

const AFTER_RESET: Sensor = Sensor {
    resolution: 0xFF,
    quality: 0xFF,
    brightness: 0,
    contrast: 0,
    saturation: 0,
    sharpness: 0,
    effect: 0,
    light: 0,
    exposure_level: 0,
    automatics: [true; 3],
    // Whatever the automatics left there.
    exposure: 0xF_1234,
    gain: 0x3AB,
};

struct Chip {
    now: u64,
    id: u8,
    faults: Faults,
    transactions: u64,
    sensor: Sensor,
    was_reset: bool,
    sensor_address: u8,
    format: u8,
    asleep: bool,
    /// Until then it does not take the next register.
    not_before: u64,
    /// Until then it says that it is busy.
    busy_until: u64,
    /// Until then it cannot take pictures.
    drowsy_until: u64,
    /// Until then its pictures are of no use.
    blinded_until: u64,
    fifo: Fifo,
    pictures: u32,
}

#[derive(Debug)]
enum Fifo {
    Empty,
    Exposing { done_at: u64 },
    Full { bytes: Vec<u8>, read: usize },
}

/// The camera, seen by the test.
#[derive(Clone)]
pub struct Simulated {
    chip: Rc<RefCell<Chip>>,
    /// Whether transactions and waits let others run before they begin.
    yields: Rc<Cell<bool>>,
}

/// The camera, seen by the driver.
#[derive(Clone)]
pub struct Spi(Simulated);
#[derive(Clone)]
pub struct Delay(Simulated);
#[derive(Clone)]
pub struct Time(Simulated);

impl Simulated {
    pub fn new(id: u8) -> Self {
        let chip = Chip {
            now: 5_000_000,
            id,
            faults: Faults { padding: 37, ..Faults::default() },
            transactions: 0,
            sensor: AFTER_RESET,
            was_reset: false,
            sensor_address: 0,
            format: 0,
            asleep: false,
            not_before: 0,
            busy_until: 0,
            drowsy_until: 0,
            blinded_until: 0,
            fifo: Fifo::Empty,
            pictures: 0,
        };
        Self { chip: Rc::new(RefCell::new(chip)), yields: Rc::default() }
    }

    pub fn parts(&self) -> (Spi, Delay, Time) {
        (Spi(self.clone()), Delay(self.clone()), Time(self.clone()))
    }

    pub fn driver(&self, resolution: Resolution) -> Driver {
        let (spi, delay, time) = self.parts();
        Mega::new_blocking(spi, delay, time, resolution).expect("nothing is wrong")
    }

    pub fn set_yielding(&self, yields: bool) {
        self.yields.set(yields);
    }

    pub fn set_id(&self, id: u8) {
        self.chip.borrow_mut().id = id;
    }

    pub fn faults(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.chip.borrow_mut().faults);
    }

    /// The transaction after so many more fails.
    pub fn fail_after(&self, transactions: u64, when: When) {
        let mut chip = self.chip.borrow_mut();
        chip.faults.fail = Some((chip.transactions + transactions, when));
    }

    pub fn transactions(&self) -> u64 {
        self.chip.borrow().transactions
    }

    pub fn sensor(&self) -> Sensor {
        self.chip.borrow().sensor
    }

    pub fn is_asleep(&self) -> bool {
        self.chip.borrow().asleep
    }

    /// Whether a picture lies in its memory.
    pub fn holds_picture(&self) -> bool {
        !matches!(self.chip.borrow().fifo, Fifo::Empty)
    }

    /// How many pictures it has taken.
    pub fn pictures(&self) -> u32 {
        self.chip.borrow().pictures
    }

    pub fn now(&self) -> Instant {
        Instant::from_micros(self.chip.borrow().now)
    }

    pub fn advance(&self, micros: u64) {
        self.chip.borrow_mut().now += micros;
    }

    async fn give_way(&self) {
        if self.yields.get() {
            embassy_futures::yield_now().await;
        }
    }
}

impl Chip {
    /// One assertion of chip select.
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        let fails = self.faults.fail.filter(|(number, _)| *number == self.transactions);
        self.transactions += 1;
        if let Some((_, When::Before)) = fails {
            return Err(ErrorKind::Other);
        }
        let mut frame = Frame { sent: Vec::new() };
        for operation in operations {
            match operation {
                Operation::Write(bytes) => {
                    for byte in *bytes {
                        self.exchange(&mut frame, *byte);
                    }
                }
                Operation::Read(bytes) => {
                    for byte in &mut **bytes {
                        *byte = self.exchange(&mut frame, 0);
                    }
                }
                other => panic!("the driver has no use for {other:?}"),
            }
        }
        self.end(&frame);
        if fails.is_some() { Err(ErrorKind::Other) } else { Ok(()) }
    }

    /// What the camera answers while it is sent a byte.
    fn exchange(&mut self, frame: &mut Frame, sent: u8) -> u8 {
        frame.sent.push(sent);
        self.now += 1; // 8 MHz.
        let garbage = 0xA5;
        match (frame.sent[0], frame.sent.len()) {
            (_, 1 | 2) => garbage,
            (0x3C, _) => {
                self.look();
                let Fifo::Full { bytes, read } = &mut self.fifo else {
                    panic!("a burst without a picture")
                };
                let byte = *bytes.get(*read).expect("a burst past the end");
                *read += 1;
                byte
            }
            (address @ ..0x80, 3) => self.register(address),
            _ => panic!("too long: {:02x?}", frame.sent),
        }
    }

    fn end(&mut self, frame: &Frame) {
        match *frame.sent {
            [0x3C, _, _, ..] => {
                let Fifo::Full { bytes, read } = &self.fifo else { unreachable!() };
                assert_eq!(*read, bytes.len(), "a picture not read to its end");
            }
            [address @ 0x80..=0xFF, value] => self.write(address & 0x7F, value),
            [0..=0x7F, _, _] => {}
            ref other => panic!("no register is written or read so: {other:02x?}"),
        }
    }

    /// Lets what is due happen.
    fn look(&mut self) {
        let Fifo::Exposing { done_at } = self.fifo else { return };
        if self.now < done_at || self.faults.no_picture {
            return;
        }
        self.pictures += 1;
        let pattern = TestPattern::new(self.resolution(), self.quality());
        let mut bytes = vec![0; 2_000_000];
        let len = pattern.encode(self.pictures.into(), Default::default(), &mut bytes).unwrap();
        let len = self.faults.cut.unwrap_or(len).min(len);
        bytes.truncate(len);
        bytes.resize(len + self.faults.padding, 0);
        if let Some(length) = self.faults.length {
            bytes.resize(length as usize, 0);
        }
        self.fifo = Fifo::Full { bytes, read: 0 };
    }

    fn register(&mut self, address: u8) -> u8 {
        assert!(self.now >= self.not_before, "{address:#04x} read without a pause after a write");
        self.look();
        let length = |shift: u32| match &self.fifo {
            Fifo::Full { bytes, read: 0 } => (bytes.len() >> shift) as u8,
            other => panic!("no length can be read while {other:?}"),
        };
        match address {
            0x40 => self.id,
            // The bits that are not of the date are set.
            0x41 => 0xC0 | 23,
            0x42 => 0xF0 | 4,
            0x43 => 0xE0 | 12,
            0x49 => 0x21,
            0x44 => {
                let is_idle = self.now >= self.busy_until && !self.faults.busy;
                let is_done = matches!(self.fifo, Fifo::Full { .. });
                (if is_idle { 0x02 } else { 0x01 }) | (if is_done { 0x04 } else { 0 })
            }
            0x45 => length(0),
            0x46 => length(8),
            0x47 => length(16),
            _ => panic!("register {address:#04x} cannot be read"),
        }
    }

    fn write(&mut self, address: u8, value: u8) {
        self.look();
        assert!(self.now >= self.not_before, "{address:#04x} written without a pause");
        self.not_before = self.now + MS;
        if (address, value) == (0x07, 0x40) {
            self.was_reset = true;
            self.sensor = AFTER_RESET;
            (self.sensor_address, self.format) = (0, 0);
            // As the vendor's SDK trusts that it wakes the camera, too.
            (self.asleep, self.drowsy_until) = (false, 0);
            self.fifo = Fifo::Empty;
            self.busy_until = self.now + RESET_TIME;
            self.blinded_until = self.busy_until + 400 * MS;
            return;
        }
        assert!(self.was_reset, "{address:#04x} written before a reset");
        let is_busy = self.now < self.busy_until;
        assert!(!is_busy, "{address:#04x} written while the camera is busy");
        let is_exposing = matches!(self.fifo, Fifo::Exposing { .. });
        assert!(!is_exposing, "{address:#04x} written while a picture is taken");
        if address == 0x02 {
            return self.power(value);
        }
        assert!(!self.asleep, "{address:#04x} written to a camera that sleeps");
        assert!(self.now >= self.drowsy_until, "{address:#04x} written too soon after waking");
        if address == 0x04 {
            return self.control_fifo(value);
        }
        if address != 0x0A {
            assert_eq!(self.sensor_address, 0x78, "the sensor was not addressed");
        }
        self.tell_sensor(address, value);
        self.busy_until = self.now + SETTING_TIME;
    }

    fn power(&mut self, value: u8) {
        let (sleep, wake) = if self.id < 0x83 { (7, 5) } else { (5, 7) };
        if value == sleep {
            assert!(!self.asleep, "put to sleep twice");
            self.asleep = true;
            self.fifo = Fifo::Empty;
        } else if value == wake {
            assert!(self.asleep, "woken twice");
            self.asleep = false;
            let time = if self.is_3mp() { 500 } else { 250 };
            self.drowsy_until = self.now + time * MS;
        } else {
            panic!("power {value:#04x}");
        }
    }

    fn control_fifo(&mut self, value: u8) {
        match value {
            1 => self.fifo = Fifo::Empty,
            2 => {
                assert!(matches!(self.fifo, Fifo::Empty), "started with a picture in memory");
                assert!(self.now >= self.blinded_until, "started too soon after a reset");
                assert_eq!(self.format, 1, "started without a format");
                self.fifo = Fifo::Exposing { done_at: self.now + EXPOSURE_TIME };
            }
            _ => panic!("FIFO {value:#04x}"),
        }
    }

    fn tell_sensor(&mut self, address: u8, value: u8) {
        let is_3mp = self.is_3mp();
        let to = |most: u8| {
            assert!(value <= most, "{value:#04x} written to {address:#04x}");
            value
        };
        let automatics = self.sensor.automatics;
        let sensor = &mut self.sensor;
        let byte = u32::from(value);
        match address {
            0x0A => self.sensor_address = value,
            0x20 => self.format = value,
            0x21 => {
                sensor.resolution = value;
                self.resolution();
            }
            0x22 => sensor.brightness = to(8),
            0x23 => sensor.contrast = to(6),
            0x24 => sensor.saturation = to(6),
            0x25 => sensor.exposure_level = to(6),
            0x26 => sensor.light = to(4),
            0x27 => sensor.effect = to(6),
            0x28 => {
                assert!(is_3mp, "no sharpness here");
                sensor.sharpness = to(8);
            }
            0x2A => sensor.quality = to(2),
            0x30 => {
                let which = usize::from(value & 0x7F);
                sensor.automatics[which] = value & 0x80 != 0;
            }
            0x31..=0x32 => {
                assert!(!automatics[0], "gain written while it is automatic");
                let value = u16::from(value);
                sensor.gain = match address {
                    0x31 => sensor.gain & 0x00FF | value << 8,
                    _ => sensor.gain & 0xFF00 | value,
                };
                assert!(sensor.gain < 1024);
            }
            0x33..=0x35 => {
                assert!(!automatics[1], "exposure written while it is automatic");
                let shift = 8 * u32::from(0x35 - address);
                sensor.exposure = sensor.exposure & !(0xFF << shift) | byte << shift;
                // The last of the three.
                assert!(address < 0x35 || sensor.exposure <= 30_000);
            }
            _ => panic!("register {address:#04x} cannot be written"),
        }
    }

    fn is_3mp(&self) -> bool {
        self.id.is_multiple_of(2)
    }

    fn resolution(&self) -> Resolution {
        match self.sensor.resolution {
            1 => Resolution::QVGA,
            2 => Resolution::VGA,
            4 => Resolution::HD,
            6 => Resolution::UXGA,
            7 => Resolution::FHD,
            8 if self.is_3mp() => Resolution::QXGA,
            9 if !self.is_3mp() => Resolution::R5MP,
            10 => Resolution::R96X96,
            11 => Resolution::R128X128,
            12 => Resolution::R320X320,
            other => panic!("resolution {other:#04x}"),
        }
    }

    fn quality(&self) -> Quality {
        match self.sensor.quality {
            0 => Quality::new(10).unwrap(),
            1 => Quality::new(30).unwrap(),
            2 => Quality::MAX,
            other => panic!("quality {other:#04x}"),
        }
    }
}

/// What the driver has sent since it asserted chip select.
struct Frame {
    sent: Vec<u8>,
}

impl ErrorType for Spi {
    type Error = ErrorKind;
}

impl embedded_hal::spi::SpiDevice for Spi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        self.0.chip.borrow_mut().transaction(operations)
    }
}

impl embedded_hal_async::spi::SpiDevice for Spi {
    async fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), ErrorKind> {
        self.0.give_way().await;
        let result = self.0.chip.borrow_mut().transaction(operations);
        self.0.give_way().await;
        result
    }
}

impl embedded_hal::delay::DelayNs for Delay {
    fn delay_ns(&mut self, ns: u32) {
        self.0.advance(u64::from(ns.div_ceil(1000)));
    }
}

impl embedded_hal_async::delay::DelayNs for Delay {
    async fn delay_ns(&mut self, ns: u32) {
        self.0.give_way().await;
        self.0.advance(u64::from(ns.div_ceil(1000)));
    }
}

impl Clock for Time {
    fn now(&self) -> Instant {
        self.0.now()
    }

    /// For an executor that polls on and on.
    async fn sleep_until(&self, at: Instant) {
        poll_fn(|_| if self.0.now() < at { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

/// The sensor has what the driver says it has.
pub fn agree(get: impl Fn(SettingName) -> Option<Setting>, sensor: &Sensor) {
    use SettingName as N;
    let number = |name| get(name).expect("every such camera has it").number();
    // Even are below the middle, odd above.
    let level = |code: u8| {
        if code.is_multiple_of(2) { -i16::from(code / 2) } else { i16::from(code / 2) + 1 }
    };
    for (name, code) in [
        (N::Brightness, sensor.brightness),
        (N::Contrast, sensor.contrast),
        (N::Saturation, sensor.saturation),
        (N::ExposureLevel, sensor.exposure_level),
    ] {
        assert_eq!(number(name), level(code), "{name:?}");
    }
    let [gain, exposure, white_balance] = sensor.automatics.map(i16::from);
    assert_eq!(number(N::GainControl), gain);
    assert_eq!(number(N::ExposureControl), exposure);
    assert_eq!(number(N::WhiteBalance), white_balance);
    if exposure == 0 {
        assert_eq!(u32::try_from(number(N::Exposure)), Ok(sensor.exposure));
    }
    assert_eq!([0, 5, 3, 2, 6, 1, 4][number(N::SpecialEffect) as usize], sensor.effect);
    assert_eq!([0, 1, 3, 2, 4][number(N::WhiteBalanceMode) as usize], sensor.light);
    let steps = [0..10, 10..30, 30..64];
    assert!(steps[usize::from(sensor.quality)].contains(&number(N::Quality)));
}
