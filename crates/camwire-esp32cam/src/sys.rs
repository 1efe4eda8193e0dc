//! The driver's C interface: types with the layout of its headers, and its functions.
//!
//! After `driver/include/esp_camera.h` and `driver/include/sensor.h` of espressif/esp32-camera,
//! commit 2ac69a6 of March 2026, with `CONFIG_CAMERA_CONVERTER_ENABLED` off. In 2.1.0 to 2.1.5 they
//! are the same but for the end of `sensor_t`, which is said there.

// Names are the header's. Most fields are only for C to read, or only there to hold a place.
#![allow(non_camel_case_types, non_snake_case, dead_code, clippy::type_complexity)]

use core::ffi::{c_char, c_int, c_long, c_uint};

pub(crate) type esp_err_t = c_int;

// Enumerations without negative values, so unsigned to GCC and Clang, and of 32 bits on all three
// chips.
pub(crate) type ledc_timer_t = c_uint;
pub(crate) type ledc_channel_t = c_uint;
pub(crate) type pixformat_t = c_uint;
pub(crate) type framesize_t = c_uint;
pub(crate) type gainceiling_t = c_uint;
pub(crate) type camera_fb_location_t = c_uint;
pub(crate) type camera_grab_mode_t = c_uint;
pub(crate) type camera_model_t = c_uint;
pub(crate) type camera_sccb_addr_t = c_uint;
pub(crate) type camera_pid_t = c_uint;

pub(crate) const ESP_OK: esp_err_t = 0;
pub(crate) const PIXFORMAT_JPEG: pixformat_t = 4;
pub(crate) const CAMERA_FB_IN_PSRAM: camera_fb_location_t = 0;
pub(crate) const CAMERA_FB_IN_DRAM: camera_fb_location_t = 1;
pub(crate) const CAMERA_GRAB_WHEN_EMPTY: camera_grab_mode_t = 0;
pub(crate) const CAMERA_GRAB_LATEST: camera_grab_mode_t = 1;

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct camera_config_t {
    pub(crate) pin_pwdn: c_int,
    pub(crate) pin_reset: c_int,
    pub(crate) pin_xclk: c_int,
    /// In a union with its older name `pin_sscb_sda`, as the next with `pin_sscb_scl`.
    pub(crate) pin_sccb_sda: c_int,
    pub(crate) pin_sccb_scl: c_int,
    pub(crate) pin_d7: c_int,
    pub(crate) pin_d6: c_int,
    pub(crate) pin_d5: c_int,
    pub(crate) pin_d4: c_int,
    pub(crate) pin_d3: c_int,
    pub(crate) pin_d2: c_int,
    pub(crate) pin_d1: c_int,
    pub(crate) pin_d0: c_int,
    pub(crate) pin_vsync: c_int,
    pub(crate) pin_href: c_int,
    pub(crate) pin_pclk: c_int,
    pub(crate) xclk_freq_hz: c_int,
    pub(crate) ledc_timer: ledc_timer_t,
    pub(crate) ledc_channel: ledc_channel_t,
    pub(crate) pixel_format: pixformat_t,
    pub(crate) frame_size: framesize_t,
    pub(crate) jpeg_quality: c_int,
    pub(crate) fb_count: usize,
    pub(crate) fb_location: camera_fb_location_t,
    pub(crate) grab_mode: camera_grab_mode_t,
    pub(crate) sccb_i2c_port: c_int,
}

/// A configuration, and room for the `conv_mode` that stands before `sccb_i2c_port` where the
/// driver was built with `CONFIG_CAMERA_CONVERTER_ENABLED` (S3 only, off by default). Such a driver
/// copies four bytes more; here they are. As long as the port is 0, it reads no conversion and
/// port 0.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct PaddedConfig {
    pub(crate) config: camera_config_t,
    pub(crate) room: c_int,
}

/// ESP-IDF 5, which the driver demands, has a `time_t` of 64 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct timeval {
    pub(crate) tv_sec: i64,
    pub(crate) tv_usec: c_long,
}

#[repr(C)]
pub(crate) struct camera_fb_t {
    pub(crate) buf: *mut u8,
    pub(crate) len: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) format: pixformat_t,
    pub(crate) timestamp: timeval,
}

#[repr(C)]
pub(crate) struct sensor_id_t {
    pub(crate) MIDH: u8,
    pub(crate) MIDL: u8,
    pub(crate) PID: u16,
    pub(crate) VER: u8,
}

#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct camera_status_t {
    pub(crate) framesize: framesize_t,
    pub(crate) scale: bool,
    pub(crate) binning: bool,
    pub(crate) quality: u8,
    pub(crate) brightness: i8,
    pub(crate) contrast: i8,
    pub(crate) saturation: i8,
    pub(crate) sharpness: i8,
    pub(crate) denoise: u8,
    pub(crate) special_effect: u8,
    pub(crate) wb_mode: u8,
    pub(crate) awb: u8,
    pub(crate) awb_gain: u8,
    pub(crate) aec: u8,
    pub(crate) aec2: u8,
    pub(crate) ae_level: i8,
    pub(crate) aec_value: u16,
    pub(crate) agc: u8,
    pub(crate) agc_gain: u8,
    pub(crate) gainceiling: u8,
    pub(crate) bpc: u8,
    pub(crate) wpc: u8,
    pub(crate) raw_gma: u8,
    pub(crate) lenc: u8,
    pub(crate) hmirror: u8,
    pub(crate) vflip: u8,
    pub(crate) dcw: u8,
    pub(crate) colorbar: u8,
}

pub(crate) type SetLevel = Option<unsafe extern "C" fn(*mut sensor_t, c_int) -> c_int>;
type Plain = Option<unsafe extern "C" fn(*mut sensor_t) -> c_int>;

/// Never made and never copied here: the driver's is used in place, through a pointer.
#[repr(C)]
pub(crate) struct sensor_t {
    pub(crate) id: sensor_id_t,
    pub(crate) slv_addr: u8,
    pub(crate) pixformat: pixformat_t,
    pub(crate) status: camera_status_t,
    pub(crate) xclk_freq_hz: c_int,
    pub(crate) init_status: Plain,
    pub(crate) reset: Plain,
    pub(crate) set_pixformat: Option<unsafe extern "C" fn(*mut Self, pixformat_t) -> c_int>,
    pub(crate) set_framesize: Option<unsafe extern "C" fn(*mut Self, framesize_t) -> c_int>,
    pub(crate) set_contrast: SetLevel,
    pub(crate) set_brightness: SetLevel,
    pub(crate) set_saturation: SetLevel,
    pub(crate) set_sharpness: SetLevel,
    pub(crate) set_denoise: SetLevel,
    pub(crate) set_gainceiling: Option<unsafe extern "C" fn(*mut Self, gainceiling_t) -> c_int>,
    pub(crate) set_quality: SetLevel,
    pub(crate) set_colorbar: SetLevel,
    pub(crate) set_whitebal: SetLevel,
    pub(crate) set_gain_ctrl: SetLevel,
    pub(crate) set_exposure_ctrl: SetLevel,
    pub(crate) set_hmirror: SetLevel,
    pub(crate) set_vflip: SetLevel,
    pub(crate) set_aec2: SetLevel,
    pub(crate) set_awb_gain: SetLevel,
    pub(crate) set_agc_gain: SetLevel,
    pub(crate) set_aec_value: SetLevel,
    pub(crate) set_special_effect: SetLevel,
    pub(crate) set_wb_mode: SetLevel,
    pub(crate) set_ae_level: SetLevel,
    pub(crate) set_dcw: SetLevel,
    pub(crate) set_bpc: SetLevel,
    pub(crate) set_wpc: SetLevel,
    pub(crate) set_raw_gma: SetLevel,
    pub(crate) set_lenc: SetLevel,
    pub(crate) get_reg: Option<unsafe extern "C" fn(*mut Self, c_int, c_int) -> c_int>,
    pub(crate) set_reg: Option<unsafe extern "C" fn(*mut Self, c_int, c_int, c_int) -> c_int>,
    pub(crate) set_res_raw: Option<
        unsafe extern "C" fn(
            *mut Self,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            bool,
            bool,
        ) -> c_int,
    >,
    pub(crate) set_pll: Option<
        unsafe extern "C" fn(
            *mut Self,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
            c_int,
        ) -> c_int,
    >,
    pub(crate) set_xclk: Option<unsafe extern "C" fn(*mut Self, c_int, c_int) -> c_int>,
    // Up to 2.1.5 the struct ends here, so what follows is never touched.
    pub(crate) af_is_supported: Plain,
    pub(crate) af_init: Option<unsafe extern "C" fn(*mut Self, u32) -> c_int>,
    pub(crate) af_set_mode: SetLevel,
    pub(crate) af_trigger: Plain,
    pub(crate) af_get_status:
        Option<unsafe extern "C" fn(*mut Self, *mut u8, *mut bool, *mut bool) -> c_int>,
    pub(crate) af_set_manual_position: Option<unsafe extern "C" fn(*mut Self, u16) -> c_int>,
}

#[repr(C)]
pub(crate) struct camera_sensor_info_t {
    pub(crate) model: camera_model_t,
    pub(crate) name: *const c_char,
    pub(crate) sccb_addr: camera_sccb_addr_t,
    pub(crate) pid: camera_pid_t,
    pub(crate) max_size: framesize_t,
    pub(crate) support_jpeg: bool,
}

// SAFETY: the signatures are those of the headers above, and of ESP-IDF's `esp_timer.h` for the
// last.
unsafe extern "C" {
    pub(crate) fn esp_camera_init(config: *const camera_config_t) -> esp_err_t;
    pub(crate) fn esp_camera_deinit() -> esp_err_t;
    pub(crate) fn esp_camera_fb_get() -> *mut camera_fb_t;
    pub(crate) fn esp_camera_fb_return(fb: *mut camera_fb_t);
    pub(crate) fn esp_camera_return_all();
    pub(crate) fn esp_camera_sensor_get() -> *mut sensor_t;
    pub(crate) fn esp_camera_sensor_get_info(id: *mut sensor_id_t) -> *mut camera_sensor_info_t;
    pub(crate) fn esp_timer_get_time() -> i64;
}

/// Figures of the headers for the chips, where pointers, `int`, `long` and `size_t` have 32 bits
/// and `int64_t` is aligned to 8.
#[cfg(target_pointer_width = "32")]
const _: () = {
    use core::mem::{offset_of, size_of};

    macro_rules! layout {
        ($type:ident: $size:literal { $($field:ident $offset:literal,)* }) => {
            assert!(size_of::<$type>() == $size);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };
    }

    layout!(camera_config_t: 104 {
        pin_pwdn 0, pin_reset 4, pin_xclk 8, pin_sccb_sda 12, pin_sccb_scl 16,
        pin_d7 20, pin_d6 24, pin_d5 28, pin_d4 32, pin_d3 36, pin_d2 40, pin_d1 44, pin_d0 48,
        pin_vsync 52, pin_href 56, pin_pclk 60, xclk_freq_hz 64, ledc_timer 68, ledc_channel 72,
        pixel_format 76, frame_size 80, jpeg_quality 84, fb_count 88, fb_location 92,
        grab_mode 96, sccb_i2c_port 100,
    });
    layout!(PaddedConfig: 108 { config 0, room 104, });
    layout!(timeval: 16 { tv_sec 0, tv_usec 8, });
    layout!(camera_fb_t: 40 {
        buf 0, len 4, width 8, height 12, format 16, timestamp 24,
    });
    layout!(sensor_id_t: 6 { MIDH 0, MIDL 1, PID 2, VER 4, });
    layout!(camera_status_t: 36 {
        framesize 0, scale 4, binning 5, quality 6, brightness 7, contrast 8, saturation 9,
        sharpness 10, denoise 11, special_effect 12, wb_mode 13, awb 14, awb_gain 15, aec 16,
        aec2 17, ae_level 18, aec_value 20, agc 22, agc_gain 23, gainceiling 24, bpc 25, wpc 26,
        raw_gma 27, lenc 28, hmirror 29, vflip 30, dcw 31, colorbar 32,
    });
    layout!(sensor_t: 212 {
        id 0, slv_addr 6, pixformat 8, status 12, xclk_freq_hz 48, init_status 52, reset 56,
        set_pixformat 60, set_framesize 64, set_contrast 68, set_brightness 72,
        set_saturation 76, set_sharpness 80, set_denoise 84, set_gainceiling 88, set_quality 92,
        set_colorbar 96, set_whitebal 100, set_gain_ctrl 104, set_exposure_ctrl 108,
        set_hmirror 112, set_vflip 116, set_aec2 120, set_awb_gain 124, set_agc_gain 128,
        set_aec_value 132, set_special_effect 136, set_wb_mode 140, set_ae_level 144,
        set_dcw 148, set_bpc 152, set_wpc 156, set_raw_gma 160, set_lenc 164, get_reg 168,
        set_reg 172, set_res_raw 176, set_pll 180, set_xclk 184, af_is_supported 188,
        af_init 192, af_set_mode 196, af_trigger 200, af_get_status 204,
        af_set_manual_position 208,
    });
    layout!(camera_sensor_info_t: 24 {
        model 0, name 4, sccb_addr 8, pid 12, max_size 16, support_jpeg 20,
    });
};

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::{offset_of, size_of};

    /// The simulated driver stands in for the real one only if both sides agree here as well.
    #[test]
    fn c_has_the_same_layout() {
        assert_eq!(
            esp32_camera_simulator::layout(),
            [
                size_of::<camera_config_t>(),
                offset_of!(camera_config_t, fb_count),
                offset_of!(camera_config_t, sccb_i2c_port),
                size_of::<camera_fb_t>(),
                offset_of!(camera_fb_t, timestamp),
                size_of::<timeval>(),
                size_of::<sensor_id_t>(),
                size_of::<camera_status_t>(),
                offset_of!(camera_status_t, aec_value),
                offset_of!(camera_status_t, colorbar),
                size_of::<sensor_t>(),
                offset_of!(sensor_t, status),
                offset_of!(sensor_t, set_framesize),
                offset_of!(sensor_t, set_lenc),
                size_of::<camera_sensor_info_t>(),
                offset_of!(camera_sensor_info_t, max_size),
            ]
        );
    }
}
