//! The simulated sensor's functions.

/// The setting, the sensor's function, and the least and largest value that the simulated sensor
/// keeps; none if it refuses every one.
pub(crate) type Order = (&'static str, &'static str, Option<(i16, i16)>);

pub(crate) const ORDERS: &[Order] = &[
    ("framesize", "set_framesize", Some((0, 15))),
    ("quality", "set_quality", Some((0, 63))),
    ("brightness", "set_brightness", Some((-2, 2))),
    ("contrast", "set_contrast", Some((-2, 2))),
    ("saturation", "set_saturation", Some((-2, 2))),
    ("sharpness", "set_sharpness", None),
    ("special_effect", "set_special_effect", Some((0, 6))),
    ("wb_mode", "set_wb_mode", Some((0, 4))),
    ("awb", "set_whitebal", Some((0, 1))),
    ("awb_gain", "set_awb_gain", Some((0, 1))),
    ("aec", "set_exposure_ctrl", Some((0, 1))),
    ("aec2", "set_aec2", Some((0, 1))),
    ("ae_level", "set_ae_level", Some((-2, 2))),
    ("aec_value", "set_aec_value", Some((0, 1200))),
    ("agc", "set_gain_ctrl", Some((0, 1))),
    ("agc_gain", "set_agc_gain", Some((0, 30))),
    ("gainceiling", "set_gainceiling", Some((0, 255))),
    ("bpc", "set_bpc", Some((0, 1))),
    ("wpc", "set_wpc", Some((0, 1))),
    ("raw_gma", "set_raw_gma", Some((0, 1))),
    ("lenc", "set_lenc", Some((0, 1))),
    ("hmirror", "set_hmirror", Some((0, 1))),
    ("vflip", "set_vflip", Some((0, 1))),
    ("dcw", "set_dcw", Some((0, 1))),
    ("colorbar", "set_colorbar", Some((0, 1))),
];
