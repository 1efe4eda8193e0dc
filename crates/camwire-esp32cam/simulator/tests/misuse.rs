//! The simulated driver behaves as the real one, and notices what that one would not.

use esp32_camera_simulator::{Fault, Simulator};
use std::ffi::{c_int, c_uint, c_void};

// SAFETY: these are the functions of c/driver.c; what they point to is not looked into here.
unsafe extern "C" {
    fn simulator_init(fb_count: usize, grab_mode: c_uint) -> c_int;
    fn esp_camera_deinit() -> c_int;
    fn esp_camera_fb_get() -> *mut c_void;
    fn esp_camera_fb_return(frame: *mut c_void);
    fn esp_camera_sensor_get() -> *mut c_void;
}

const WHEN_EMPTY: c_uint = 0;
const LATEST: c_uint = 1;

/// Runs it with a driver of its own and demands that it is noticed.
fn misused(what: &str, run: impl FnOnce()) {
    let simulator = Simulator::default();
    run();
    assert_eq!(simulator.misuse().as_deref(), Some(what));
    simulator.forgive();
}

#[test]
fn misuse_is_noticed() {
    // SAFETY: the simulated driver checks whatever it is given and trusts no pointer.
    unsafe {
        misused("fb_get without init", || assert!(esp_camera_fb_get().is_null()));
        misused("deinit without init", || assert_eq!(esp_camera_deinit(), -1));
        misused("sensor_get without init", || assert!(esp_camera_sensor_get().is_null()));
        misused("a second init", || {
            assert_eq!(simulator_init(2, LATEST), 0);
            assert_eq!(simulator_init(2, LATEST), 0x103);
        });
        misused("fb_return of a frame that is not out", || {
            simulator_init(2, LATEST);
            let frame = esp_camera_fb_get();
            esp_camera_fb_return(frame);
            esp_camera_fb_return(frame);
        });
        misused("fb_return of what is no frame", || {
            simulator_init(2, LATEST);
            esp_camera_fb_return(std::ptr::dangling_mut());
        });
        misused("deinit with a frame out", || {
            simulator_init(2, LATEST);
            esp_camera_fb_get();
            esp_camera_deinit();
        });
        misused("fb_return without init", || {
            simulator_init(2, LATEST);
            let frame = esp_camera_fb_get();
            esp_camera_fb_return(frame);
            esp_camera_deinit();
            esp_camera_fb_return(frame);
        });
        misused("an impossible fb_count", || assert_eq!(simulator_init(0, LATEST), -1));
    }
}

#[test]
fn silence_is_null_after_four_seconds() {
    let simulator = Simulator::default();
    simulator.plan_rest(Fault::Silence);
    // SAFETY: the calls are in the order that the driver demands.
    unsafe {
        simulator_init(1, WHEN_EMPTY);
        let before = simulator.now();
        assert!(esp_camera_fb_get().is_null());
        assert_eq!(simulator.now() - before, 4_000_000);
        esp_camera_deinit();
    }
}
