//! The one place where C is called. What is above it is safe Rust.
//!
//! A [`Driver`] exists only between a successful `esp_camera_init` and its `esp_camera_deinit`, and
//! there is at most one. It may move to another thread but is not used by two at once (`!Sync`);
//! all calls below borrow it, and so do the frames that it lends. Each proof leans on that.

use core::cell::Cell;
use core::ffi::c_int;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::slice;

use camwire_frame::{Instant, SettingName};
use portable_atomic::{AtomicBool, Ordering};

use crate::{EspError, StartError, sys};

/// Whether there is a [`Driver`].
static IN_USE: AtomicBool = AtomicBool::new(false);

/// The time on the clock of the pictures' time stamps: microseconds since boot, by the chip's timer
/// (`esp_timer_get_time`). The clock of a server that has this camera must agree with it.
#[must_use]
pub fn now() -> Instant {
    // SAFETY: it reads a counter, which runs from boot on.
    Instant::from_micros(unsafe { sys::esp_timer_get_time() }.unsigned_abs())
}

/// The initialised driver.
#[derive(Debug)]
pub(crate) struct Driver {
    not_sync: PhantomData<Cell<()>>,
}

impl Driver {
    pub(crate) fn start(config: &sys::PaddedConfig) -> Result<Self, StartError> {
        if IN_USE.swap(true, Ordering::Acquire) {
            return Err(StartError::InUse);
        }
        // SAFETY: the driver is not initialised: `IN_USE` was false, and nothing else in a program
        // that uses this crate initialises it. It reads the configuration during the call only,
        // and there is room behind it for the field that some builds have more.
        let code = unsafe { sys::esp_camera_init((&raw const *config).cast()) };
        if let Err(error) = EspError::check(code) {
            // It has deinitialised itself.
            IN_USE.store(false, Ordering::Release);
            return Err(error.into());
        }
        Ok(Self { not_sync: PhantomData })
    }

    /// The next frame; `None` if none came within 4 seconds.
    pub(crate) fn frame(&self) -> Option<Lent<'_>> {
        // SAFETY: the driver is initialised.
        let frame = NonNull::new(unsafe { sys::esp_camera_fb_get() })?;
        Some(Lent { frame, driver: PhantomData })
    }

    /// What the sensor is set to.
    pub(crate) fn status(&self) -> Option<sys::camera_status_t> {
        let sensor = self.sensor()?;
        // SAFETY: the sensor lives as long as the driver is initialised, and its status is only
        // written by its own functions, which `set` calls with the driver to itself.
        Some(unsafe { (*sensor.as_ptr()).status })
    }

    /// The number of the largest frame size that the sensor has.
    pub(crate) fn largest(&self) -> Option<u32> {
        let sensor = self.sensor()?;
        // SAFETY: the sensor lives as long as the driver is initialised. The answer is null or a
        // row of the driver's constant table.
        unsafe {
            let info = sys::esp_camera_sensor_get_info(&raw mut (*sensor.as_ptr()).id);
            NonNull::new(info).map(|info| (*info.as_ptr()).max_size)
        }
    }

    /// Calls the sensor's function for that setting; `None` if it has none.
    pub(crate) fn set(&mut self, name: SettingName, value: i16) -> Option<c_int> {
        let sensor = self.sensor()?.as_ptr();
        let setter = self.setter(name)?;
        // SAFETY: the function is the sensor's own and is given the sensor; it runs on this thread
        // and writes the sensor's status and its registers, and we have the driver to ourselves.
        Some(unsafe {
            match setter {
                Setter::Level(set) => set(sensor, value.into()),
                // Neither setting has negative values.
                Setter::Number(set) => set(sensor, value.unsigned_abs().into()),
            }
        })
    }

    /// Whether the sensor has a function for it.
    pub(crate) fn can_set(&self, name: SettingName) -> bool {
        self.setter(name).is_some()
    }

    fn setter(&self, name: SettingName) -> Option<Setter> {
        let sensor = self.sensor()?.as_ptr();
        // SAFETY: the sensor lives as long as the driver is initialised, and its functions were
        // put in during init. Only fields that every version has are read, and no reference is
        // made to the whole, which is shorter in some.
        let level = unsafe {
            match name {
                SettingName::Resolution => return (*sensor).set_framesize.map(Setter::Number),
                SettingName::GainCeiling => return (*sensor).set_gainceiling.map(Setter::Number),
                SettingName::Quality => (*sensor).set_quality,
                SettingName::Brightness => (*sensor).set_brightness,
                SettingName::Contrast => (*sensor).set_contrast,
                SettingName::Saturation => (*sensor).set_saturation,
                SettingName::Sharpness => (*sensor).set_sharpness,
                SettingName::SpecialEffect => (*sensor).set_special_effect,
                SettingName::WhiteBalanceMode => (*sensor).set_wb_mode,
                SettingName::WhiteBalance => (*sensor).set_whitebal,
                SettingName::WhiteBalanceGain => (*sensor).set_awb_gain,
                SettingName::ExposureControl => (*sensor).set_exposure_ctrl,
                SettingName::ExposureControl2 => (*sensor).set_aec2,
                SettingName::ExposureLevel => (*sensor).set_ae_level,
                SettingName::Exposure => (*sensor).set_aec_value,
                SettingName::GainControl => (*sensor).set_gain_ctrl,
                SettingName::Gain => (*sensor).set_agc_gain,
                SettingName::BlackPixels => (*sensor).set_bpc,
                SettingName::WhitePixels => (*sensor).set_wpc,
                SettingName::Gamma => (*sensor).set_raw_gma,
                SettingName::LensCorrection => (*sensor).set_lenc,
                SettingName::HMirror => (*sensor).set_hmirror,
                SettingName::VFlip => (*sensor).set_vflip,
                SettingName::Downsize => (*sensor).set_dcw,
                SettingName::ColorBar => (*sensor).set_colorbar,
                // The lamp is the board's, not the sensor's.
                _ => None,
            }
        };
        level.map(Setter::Level)
    }

    fn sensor(&self) -> Option<NonNull<sys::sensor_t>> {
        // SAFETY: the driver is initialised.
        NonNull::new(unsafe { sys::esp_camera_sensor_get() })
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: the driver is initialised, and frames borrow it, so none can be read any more.
        // One that was forgotten (`mem::forget`) would still be out: it is taken back first. What
        // deinit answers does not matter: it only fails if the driver is not initialised.
        unsafe {
            sys::esp_camera_return_all();
            sys::esp_camera_deinit();
        }
        IN_USE.store(false, Ordering::Release);
    }
}

enum Setter {
    Level(unsafe extern "C" fn(*mut sys::sensor_t, c_int) -> c_int),
    /// Of an enumeration.
    Number(unsafe extern "C" fn(*mut sys::sensor_t, u32) -> c_int),
}

/// A frame that the driver has lent. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Lent<'a> {
    frame: NonNull<sys::camera_fb_t>,
    driver: PhantomData<&'a Driver>,
}

impl Lent<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: between get and return the frame is ours: the driver has it marked as not free
        // and writes neither the struct nor the buffer, of which it has filled `len` bytes. It is
        // deinitialised only after this borrow of it has ended.
        unsafe {
            let frame = self.frame.as_ptr();
            slice::from_raw_parts((*frame).buf, (*frame).len)
        }
    }

    /// When the frame began.
    pub(crate) fn timestamp(&self) -> Instant {
        // SAFETY: as in `bytes`.
        let sys::timeval { tv_sec, tv_usec } = unsafe { (*self.frame.as_ptr()).timestamp };
        let micros = tv_sec.unsigned_abs().saturating_mul(1_000_000);
        #[allow(clippy::useless_conversion)] // C's long has 32 bits on the chips.
        Instant::from_micros(micros.saturating_add(u64::from(tv_usec.unsigned_abs())))
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // SAFETY: the frame came from get, and this is its one return: a `Lent` is made for each
        // get, cannot be copied, and is dropped at most once. The driver is still initialised,
        // because this borrows it.
        unsafe { sys::esp_camera_fb_return(self.frame.as_ptr()) }
    }
}
