//! The C interface of Espressif's esp32-camera driver over a simulated sensor, in simulated time,
//! for the tests of `camwire-esp32cam` and of what is built on it.
//!
//! The driver itself is `c/driver.c`; whatever links this crate has `esp_camera_init` and the
//! others. There is one of it, as on a chip, so a test holds the [`Simulator`] while it runs. The camera
//! may be on another thread.

use camwire_frame::{Quality, Resolution, SettingName};
use camwire_pattern::TestPattern;
use std::{
    ffi::{CStr, c_char, c_int, c_long},
    slice,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

// SAFETY: these are the functions of c/driver.c with their types.
unsafe extern "C" {
    fn simulator_reset();
    fn simulator_live(draw: Draw);
    fn simulator_advance(micros: i64);
    fn simulator_plan(fault: c_int);
    fn simulator_plan_rest(fault: c_int);
    fn simulator_fail_init(error: c_int);
    fn simulator_remove_psram();
    fn simulator_bare_sensor();
    fn simulator_refuse_next(answer: c_int);
    fn simulator_hang(hang: bool);
    fn simulator_wait_for_hang();
    fn simulator_misuse() -> *const c_char;
    fn simulator_last_order(value: *mut c_int) -> *const c_char;
    fn simulator_lent() -> usize;
    fn simulator_lost() -> usize;
    fn simulator_counts(counts: *mut [usize; 5]);
    fn simulator_config(fields: *mut [c_long; 26]);
    fn simulator_layout(figures: *mut [usize; 16]) -> usize;
    fn esp_timer_get_time() -> i64;
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Fault {
    /// It is a good picture.
    Good,
    /// Its EOI is missing: the driver drops it without a word.
    WithoutEnd,
    /// An older picture's EOI lies behind it, so that the driver says too large a length.
    StaleTail,
    /// Between SOI and EOI is nonsense.
    Broken,
    /// It has no SOI: the driver drops it while it arrives.
    NotJpeg,
    /// It never begins.
    Silence,
    /// It is larger than the driver's buffers, so that its EOI is missing.
    TooLarge,
}

/// How often what was called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Inits that succeeded.
    pub inits: usize,
    /// Deinits.
    pub deinits: usize,
    /// Frames lent to the program.
    pub gets: usize,
    /// Frames that came back one by one.
    pub returns: usize,
    /// Calls of the sensor's functions.
    pub orders: usize,
}

static ONE: Mutex<()> = Mutex::new(());

/// The one simulated driver, for as long as a test holds this.
///
/// When it is dropped, it panics if the driver was misused, a frame is lost, or the driver was not
/// deinitialised.
#[derive(Debug)]
pub struct Simulator {
    _one: MutexGuard<'static, ()>,
}

/// A new one waits until the others are gone, and begins with a chip switched on: a sensor that
/// sends 25 good pictures a second, nothing initialised.
impl Default for Simulator {
    fn default() -> Self {
        // A test that failed with the simulator in its hands is no reason for others to fail.
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: as for all calls below: the lock is held, so no other test is in C.
        unsafe { simulator_reset() };
        Self { _one: one }
    }
}

/// As `draw_t` in c/driver.c.
type Draw = unsafe extern "C" fn(u16, u16, *const c_int, u32, i64, *mut u8, usize) -> usize;

/// For a program that people look at: from now on time passes by itself, and the pictures are those
/// of a test card. Its one thread with the camera may call the driver; nothing is planned any more,
/// and nothing is asked.
pub fn live() {
    let simulator = Simulator::default();
    // SAFETY: the lock is held, and the function is as its type says.
    unsafe { simulator_live(draw) };
    std::mem::forget(simulator);
}

/// # Safety
///
/// There are six settings, and `capacity` bytes at `out`.
unsafe extern "C" fn draw(
    width: u16,
    height: u16,
    settings: *const c_int,
    number: u32,
    time: i64,
    out: *mut u8,
    capacity: usize,
) -> usize {
    // SAFETY: as the caller promises; nobody else has these bytes meanwhile.
    let (settings, out) =
        unsafe { (slice::from_raw_parts(settings, 6), slice::from_raw_parts_mut(out, capacity)) };
    let mut sizes = Resolution::ALL.iter();
    let Some(size) = sizes.find(|size| (size.width(), size.height()) == (width, height)) else {
        return 0;
    };
    let mut card = TestPattern::new(*size, Quality::MIN);
    let names = [
        SettingName::Quality,
        SettingName::Brightness,
        SettingName::Saturation,
        SettingName::HMirror,
        SettingName::VFlip,
        SettingName::ColorBar,
    ];
    for (name, value) in names.into_iter().zip(settings) {
        // What the card does not have, it does not show.
        let setting = i16::try_from(*value).ok().and_then(|value| name.with_number(value));
        let _ = setting.map(|setting| card.set(setting));
    }
    let time = Duration::from_micros(time.unsigned_abs());
    card.encode(number.into(), time, out).unwrap_or(0)
}

impl Simulator {
    /// Lets time pass.
    pub fn advance_millis(&self, millis: u32) {
        // SAFETY: the lock is held.
        unsafe { simulator_advance(i64::from(millis) * 1000) }
    }

    /// Microseconds since the chip was switched on.
    #[must_use]
    pub fn now(&self) -> u64 {
        // SAFETY: the lock is held.
        unsafe { esp_timer_get_time() }.unsigned_abs()
    }

    /// What becomes of the next frames, one after another.
    pub fn plan(&self, faults: &[Fault]) {
        for &fault in faults {
            // SAFETY: the lock is held; the numbers of `Fault` are those of `fault_t`.
            unsafe { simulator_plan(fault as c_int) }
        }
    }

    /// What becomes of all frames for which nothing is planned.
    pub fn plan_rest(&self, fault: Fault) {
        // SAFETY: the lock is held; the numbers of `Fault` are those of `fault_t`.
        unsafe { simulator_plan_rest(fault as c_int) }
    }

    /// What `esp_camera_init` answers from now on; 0 lets it succeed.
    pub fn fail_init(&self, error: i32) {
        // SAFETY: the lock is held.
        unsafe { simulator_fail_init(error) }
    }

    /// The chip has no PSRAM.
    pub fn remove_psram(&self) {
        // SAFETY: the lock is held.
        unsafe { simulator_remove_psram() }
    }

    /// The sensor can be set to a size and a quality, and to nothing else.
    pub fn bare_sensor(&self) {
        // SAFETY: the lock is held.
        unsafe { simulator_bare_sensor() }
    }

    /// What the sensor answers to its next order, which it does not obey.
    pub fn refuse_next(&self, answer: i32) {
        // SAFETY: the lock is held.
        unsafe { simulator_refuse_next(answer) }
    }

    /// From now on `esp_camera_fb_get` does not come back, until what this returns is dropped. Time
    /// stands still then, unless it is made to pass.
    pub fn hang(&self) -> Hang<'_> {
        // SAFETY: the lock is held.
        unsafe { simulator_hang(true) };
        Hang { _simulator: self }
    }

    /// The first misuse, if there was any.
    #[must_use]
    pub fn misuse(&self) -> Option<String> {
        // SAFETY: the lock is held.
        text(unsafe { simulator_misuse() })
    }

    /// The last function of the sensor that was called, and with what.
    #[must_use]
    pub fn last_order(&self) -> Option<(String, i32)> {
        let mut value = 0;
        // SAFETY: the lock is held; the function writes one int.
        let name = text(unsafe { simulator_last_order(&raw mut value) });
        name.map(|name| (name, value))
    }

    /// Frames that the program has.
    #[must_use]
    pub fn lent(&self) -> usize {
        // SAFETY: the lock is held.
        unsafe { simulator_lent() }
    }

    /// How often what was called.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = [0; 5];
        // SAFETY: the lock is held; the function writes five figures.
        unsafe { simulator_counts(&raw mut counts) };
        let [inits, deinits, gets, returns, orders] = counts;
        Counts { inits, deinits, gets, returns, orders }
    }

    /// The fields of the last `camera_config_t`, in its order.
    pub fn config(&self) -> [i64; 26] {
        let mut fields = [0; 26];
        // SAFETY: the lock is held; the function writes 26 figures.
        unsafe { simulator_config(&raw mut fields) };
        #[allow(clippy::useless_conversion)] // C's long has 32 bits elsewhere.
        fields.map(i64::from)
    }

    /// Forgets that the driver was misused, for tests of just that.
    pub fn forgive(&self) {
        // SAFETY: the lock is held.
        unsafe { simulator_reset() }
    }
}

/// A driver that hangs.
#[derive(Debug)]
#[must_use]
pub struct Hang<'s> {
    _simulator: &'s Simulator,
}

impl Hang<'_> {
    /// Waits until a thread hangs in the driver.
    pub fn wait_until_caught(&self) {
        // SAFETY: the simulator's lock is held.
        unsafe { simulator_wait_for_hang() }
    }
}

impl Drop for Hang<'_> {
    fn drop(&mut self) {
        // SAFETY: the simulator's lock is held.
        unsafe { simulator_hang(false) }
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if let Some(misuse) = self.misuse() {
            panic!("the driver was misused: {misuse}");
        }
        // SAFETY: the lock is held.
        let lost = unsafe { simulator_lost() };
        assert_eq!(lost, 0, "frames are lost");
        let Counts { inits, deinits, .. } = self.counts();
        assert_eq!(inits, deinits, "the driver is still initialised");
    }
}

/// Sizes and offsets of the interface as the C compiler has them, in the order of
/// `simulator_layout`.
///
/// # Panics
///
/// If C has another number of figures.
#[must_use]
pub fn layout() -> [usize; 16] {
    let mut figures = [0; 16];
    // SAFETY: the function writes at most 16 figures, and touches nothing else.
    let count = unsafe { simulator_layout(&raw mut figures) };
    assert_eq!(count, figures.len());
    figures
}

fn text(text: *const c_char) -> Option<String> {
    // SAFETY: what the C functions return is null or a string constant.
    let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
    text.map(|text| text.to_string_lossy().into_owned())
}
