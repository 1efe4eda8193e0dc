//! camwire-frame

use crate::opaque::{
    Bare, Fault, Peer, any, bytes, capture_error, changed, duration, formatted, instant, text,
    upstream,
};
use camwire_frame::{
    Backoff, Blocking, BlockingFrameSource, CaptureError, Clock, Control, FrameRate, FrameSource,
    Instant, Pacer, Quality, Random, Ranged, RepeatFilter, Resolution, Setting, SettingName,
    jpeg::{Scanner, Splitter},
};
use camwire_pattern::{TestPattern, TestSource};
use core::{
    fmt::{Debug, Display},
    hint::black_box,
    ops::Add,
    str::FromStr,
    time::Duration,
};

pub fn call_all() {
    settings();
    time();
    random();
    pace();
    jpeg_structure();
    sources();
    if cfg!(feature = "pattern") {
        test_pattern();
    }
}

pub fn quality() -> Quality {
    Ranged::new(any()).unwrap_or(Quality::MAX)
}

pub fn resolution() -> Resolution {
    let mut resolution = Resolution::VGA;
    changed(&mut resolution);
    resolution
}

pub fn setting_name() -> SettingName {
    let mut name = SettingName::Resolution;
    changed(&mut name);
    name
}

pub fn setting() -> Setting {
    let number = SettingName::with_number(setting_name(), any());
    number.unwrap_or(Setting::Resolution(resolution()))
}

fn settings() {
    black_box(Ranged::get(quality()));
    black_box((Setting::name(setting()), Setting::number(setting())));
    black_box((SettingName::as_str(setting_name()), SettingName::range(setting_name())));
    black_box(<SettingName as FromStr>::from_str(text()).is_ok());
    if let Err(error) = SettingName::with_text(setting_name(), text()) {
        formatted(|f| Display::fmt(&error, f));
    }

    let resolution = resolution();
    black_box(Resolution::name(resolution));
    black_box((Resolution::width(resolution), Resolution::height(resolution)));
    black_box((Resolution::number(resolution), Resolution::jpeg_bytes(resolution)));
    black_box(Resolution::from_number(any()));
    black_box(<Resolution as FromStr>::from_str(text()).is_ok());
    formatted(|f| <Resolution as Display>::fmt(&resolution, f));
}

fn time() {
    let at = Instant::from_micros(any());
    black_box(Instant::as_micros(at));
    black_box(Instant::saturating_since(at, instant()));
    black_box(<Instant as Add<Duration>>::add(at, duration()));
    formatted(|f| <Instant as Display>::fmt(&at, f));

    black_box(<&Peer as Clock>::now(&&Peer));
    black_box(<&Peer as Clock>::unix_offset(&&Peer));
    black_box(<Bare as Clock>::unix_offset(&Bare));

    let mut backoff = Backoff::new(duration(), duration());
    changed(&mut backoff);
    black_box(Backoff::next(&mut backoff, any()));
    Backoff::at_least(&mut backoff, duration());
    Backoff::reset(&mut backoff);
    black_box(backoff);
}

fn random() {
    let mut random = Random::new(any::<u32>);
    changed(&mut random);
    black_box(Random::word(random));
    let (none, key, odd): ([u8; 0], [u8; 4], [u8; 17]) =
        (Random::bytes(random), Random::bytes(random), Random::bytes(random));
    black_box((none, key, odd));
    formatted(|f| <Random as Debug>::fmt(&random, f));
}

fn pace() {
    let rate = FrameRate::from_millihertz(any());
    black_box(FrameRate::per_second(any()));
    black_box(<FrameRate as FromStr>::from_str(text()).is_ok());
    let Some(rate) = rate else { return };
    black_box(FrameRate::as_millihertz(rate));
    black_box(FrameRate::period(rate));
    formatted(|f| <FrameRate as Display>::fmt(&rate, f));

    let mut pacer = Pacer::new(rate);
    black_box(Pacer::admit(&mut pacer, instant()));
    black_box(Pacer::admit(&mut pacer, instant()));
    black_box(Pacer::due(&pacer));
    Pacer::hasten(&mut pacer, instant());
    changed(&mut pacer);
}

fn test_pattern() {
    let mut pattern = TestPattern::new(resolution(), quality());
    black_box(TestPattern::set(&mut pattern, setting()).is_ok());
    let name = setting_name();
    black_box(TestPattern::get(&pattern, name));
    black_box(TestPattern::encode(&pattern, any(), duration(), bytes()).is_ok());

    let mut source = TestSource::new(Peer, resolution(), quality());
    black_box(TestSource::pattern(&source));
    black_box(<TestSource<Peer> as BlockingFrameSource>::capture(&mut source, bytes()).is_ok());
    black_box(<TestSource<Peer> as Control>::get(&source, name));
}

fn jpeg_structure() {
    black_box(camwire_frame::jpeg::inspect(bytes()).is_ok());

    let mut scanner = <Scanner as Default>::default();
    changed(&mut scanner);
    black_box(Scanner::push(&mut scanner, bytes()).is_ok());
    changed(&mut scanner);
    black_box(Scanner::size(&scanner));
    black_box(Scanner::finish(&mut scanner).is_ok());
    black_box(Scanner::new());

    let mut splitter = <Splitter as Default>::default();
    changed(&mut splitter);
    let mut input: &[u8] = bytes();
    while let Some(piece) = Splitter::next(&mut splitter, &mut input) {
        black_box(piece);
        changed(&mut splitter);
    }
    black_box(Splitter::size(&splitter));
    black_box(Splitter::finish(&mut splitter).is_ok());
    black_box(Splitter::new());
}

fn sources() {
    black_box(<CaptureError<u32> as From<u32>>::from(any()));
    let error = CaptureError::map_source(capture_error(), |_| Fault);
    formatted(|f| Display::fmt(&error, f));

    black_box(<Blocking<Peer> as Control>::get(&Blocking(Peer), setting_name()));

    let mut filter = RepeatFilter::new();
    changed(&mut filter);
    black_box(RepeatFilter::is_repeat(&mut filter, upstream(), bytes()));
    black_box(RepeatFilter::may_be_repeat(&filter, upstream(), any()));

    black_box(<Blocking<Peer> as FrameSource>::flow(&Blocking(Peer)));
    black_box(<&mut Peer as FrameSource>::flow(&&mut Peer));
    black_box(<Bare as FrameSource>::flow(&Bare));
    black_box(<Bare as BlockingFrameSource>::flow(&Bare));
    <Bare as BlockingFrameSource>::pause(&mut Bare);
    <Bare as BlockingFrameSource>::resume(&mut Bare);
}
