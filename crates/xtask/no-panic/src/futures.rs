//! The functions that are `async`. Each has a panic from the compiler, for being polled after its
//! end, and whoever awaits it in another function has it, too. The check knows these apart.

use crate::{
    frame::{quality, resolution, setting},
    multipart::{Source, boundary, config},
    opaque::{Bare, Peer, any, bytes, changed, duration, formatted, instant, perhaps, poll},
    ring::policy,
    websocket::{close, fin, key, kind, limits, request},
};
use camwire_capture::{CaptureConfig, FrameRing, FrameRingMemory, Settings, SourceStatus};
use camwire_frame::{Blocking, Clock, Control, FrameRate, FrameSource};
use camwire_multipart::{Decoder, MultipartSource};
use camwire_pattern::TestSource;
use camwire_websocket::{Refusal, Role, WebSocket};
use core::{fmt::Display, hint::black_box};

pub fn call_all() {
    adapters();
    if cfg!(feature = "pattern") {
        test_source();
    }
    multipart_source();
    capturing();
    web_sockets();
}

fn adapters() {
    poll(<&Peer as Clock>::sleep_until(&&Peer, instant()));
    poll(<&Peer as Clock>::deadline(&&Peer, instant()));
    poll(<Bare as Clock>::deadline(&Bare, instant()));

    let mut blocking = Blocking(Peer);
    black_box(poll(<Blocking<Peer> as FrameSource>::capture(&mut blocking, bytes())).is_ok());
    poll(<Blocking<Peer> as FrameSource>::pause(&mut blocking));
    poll(<Blocking<Peer> as FrameSource>::resume(&mut blocking));
    black_box(poll(<Blocking<Peer> as Control>::set(&mut blocking, setting())).is_ok());

    let mut lent = &mut Peer;
    black_box(poll(<&mut Peer as FrameSource>::capture(&mut lent, bytes())).is_ok());
    poll(<&mut Peer as FrameSource>::pause(&mut lent));
    poll(<&mut Peer as FrameSource>::resume(&mut lent));

    poll(<Bare as FrameSource>::pause(&mut Bare));
    poll(<Bare as FrameSource>::resume(&mut Bare));
}

fn test_source() {
    let mut source = TestSource::new(Peer, resolution(), quality());
    changed(&mut source);
    black_box(poll(<TestSource<Peer> as FrameSource>::capture(&mut source, bytes())).is_ok());
    black_box(poll(<TestSource<Peer> as Control>::set(&mut source, setting())).is_ok());
}

fn multipart_source() {
    let decoder = Decoder::new(&boundary(), config());
    let mut source: Source = MultipartSource::new(Peer, decoder, Peer);
    changed(&mut source);
    let capture = <MultipartSource<_, _, 512> as FrameSource>::capture(&mut source, bytes());
    black_box(poll(capture).is_ok());
    poll(<MultipartSource<_, _, 512> as FrameSource>::pause(&mut source));
}

fn capturing() {
    let mut memory = FrameRingMemory::<3, 1024, 2>::new();
    let mut ring = FrameRingMemory::ring(&mut memory, policy());
    changed(&mut ring);
    let Ok(mut publisher) = FrameRing::publisher(&ring) else { return };
    let mut config = <CaptureConfig as Default>::default();
    config.rate = perhaps(FrameRate::from_millihertz(any())).flatten();
    config.timeout = duration();
    config.backoff_min = duration();
    config.backoff_max = duration();
    config.lease_grace = duration();
    let mut status = SourceStatus::new("camera");
    changed(&mut status);
    poll(camwire_capture::capture_loop(&mut publisher, &mut Peer, &Peer, &config, &status));

    let mut settings = Settings::new();
    changed(&mut settings);
    black_box(poll(Settings::set(&settings, setting())).is_ok());
    let (camera, clock) = (&mut Peer, &Peer);
    let publisher = &mut publisher;
    poll(camwire_capture::capture_loop_with_settings(
        publisher, camera, clock, &config, &status, &settings,
    ));
}

fn web_sockets() {
    let mut memory = [0; 1024];
    let check = |request: &camwire_websocket::Request<'_>| {
        black_box(request);
        perhaps(()).ok_or(Refusal::Forbidden)
    };
    match poll(WebSocket::accept(Peer, Peer, &mut memory, limits(), &["a", "b"], check)) {
        Ok((socket, protocol)) => {
            black_box(protocol);
            web_socket(socket);
        }
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    match poll(WebSocket::connect(Peer, Peer, &mut memory, limits(), &request(), key)) {
        Ok((socket, protocol)) => {
            black_box(protocol);
            web_socket(socket);
        }
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}

fn web_socket<O: Role, K: FnMut() -> O::Key>(mut socket: WebSocket<'_, Peer, Peer, O, K>) {
    changed(&mut socket);
    match poll(WebSocket::receive(&mut socket)) {
        Ok(event) => _ = black_box(event),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    changed(&mut socket);
    black_box(poll(WebSocket::send(&mut socket, kind(), bytes())).is_ok());
    changed(&mut socket);
    black_box(poll(WebSocket::send_fragment(&mut socket, kind(), bytes(), fin())).is_ok());
    changed(&mut socket);
    black_box(poll(WebSocket::ping(&mut socket, bytes())).is_ok());
    changed(&mut socket);
    black_box(poll(WebSocket::close(&mut socket, close())).is_ok());
    black_box(WebSocket::phase(&socket));
    black_box(WebSocket::into_parts(socket));
}
