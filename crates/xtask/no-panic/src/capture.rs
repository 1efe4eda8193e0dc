//! camwire-capture, but for its loop, which is among the futures.

use crate::frame::setting_name;
use crate::opaque::{Peer, any, changed, info, instant, one_of, poll};
use camwire_capture::{Settings, SourceState, SourceStatus};
use core::hint::black_box;

pub fn call_all() {
    status();
    settings();
}

fn status() {
    let mut status = SourceStatus::new("camera");
    changed(&mut status);
    black_box(SourceState::as_str(SourceStatus::state(&status)));
    black_box(SourceStatus::kind(&status));
    black_box((SourceStatus::captured(&status), SourceStatus::errors(&status)));
    black_box(SourceStatus::size(&status));
    black_box(SourceStatus::millihertz(&status, instant()));
    black_box(SourceStatus::quiet(&status, instant()));
    SourceStatus::idle(&status);
    SourceStatus::starting(&status, instant());
    SourceStatus::published(&status, &info(), one_of([None, Some(instant())]), instant());
    SourceStatus::passed_over(&status, instant());
    SourceStatus::repeated(&status, instant());
    SourceStatus::failed(&status, format_args!("{}", any::<u32>()));
    black_box(SourceStatus::write_error(&status, &mut Peer).is_ok());
}

fn settings() {
    let mut settings = <Settings as Default>::default();
    changed(&mut settings);
    black_box(Settings::get(&settings, setting_name()));
    black_box(Settings::version(&settings));
    black_box(poll(Settings::changed(&settings, any())).is_ok());
    black_box(Settings::new());
}
