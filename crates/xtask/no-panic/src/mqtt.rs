//! camwire-mqtt

use crate::frame::setting;
use crate::opaque::{any, bytes, changed, duration, formatted, instant, one_of, perhaps, text};
use camwire_frame::FrameRate;
use camwire_frame::SettingName;
use camwire_mqtt::{
    CameraSession, Captured, Chunker, ChunkerError, Command, CommandMessage, ControlTopics,
    Delivery, Device, Dialect, Discovery, Event, FrameMessages, Greeting, Led, Lost, Message,
    Messages, Motor, MotorWatchdog, Outcome, PartHeader, Patience, Picture, Prefix, Publishing,
    Reassembler, RefusalReason, Retain, SessionConfig, Speed, SplitError, Stamp, Stats, Topic,
    Transmit,
};
use core::{fmt::Display, hint::black_box};

pub fn call_all() {
    let mut prefix = match Prefix::new(text()) {
        Ok(prefix) => prefix,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut prefix);
    topics(prefix);
    chunkers(prefix);
    header();
    reassemblers(prefix);
    control(prefix);
    motors();
    greeting();
    session(prefix);
}

fn topics(prefix: Prefix<'_>) {
    black_box(Prefix::as_str(prefix));
    topic(Prefix::status(prefix));
    topic(Prefix::refused(prefix));
    topic(Prefix::source(prefix));
    topic(Prefix::state(prefix));
    topic(Prefix::stats(prefix));
}

fn topic(mut topic: Topic<'_>) {
    changed(&mut topic);
    black_box(Topic::encode(&topic, &mut [0; Topic::MAX_LEN]));
    formatted(|f| <Topic<'_> as Display>::fmt(&topic, f));
}

fn chunkers(prefix: Prefix<'_>) {
    let retain = one_of([Retain::No, Retain::Yes]);
    black_box(Retain::flag(retain));
    chunker(Chunker::framed(prefix, any(), any()));
    chunker(Chunker::indexed(prefix, retain, any()));
    chunker(Chunker::whole(prefix, retain, any()));
    black_box(camwire_mqtt::checksum(bytes()));
}

fn chunker(chunker: Result<Chunker<'_>, ChunkerError>) {
    let mut chunker = match chunker {
        Ok(chunker) => chunker,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut chunker);
    black_box((Chunker::prefix(&chunker), Chunker::largest_picture(&chunker)));
    let stamp = Stamp { sequence: any(), timestamp_us: perhaps(any()), checksum: perhaps(any()) };
    match Chunker::split(&chunker, bytes(), stamp) {
        Ok(messages) => all(messages),
        Err(error) => formatted(|f| <SplitError as Display>::fmt(&error, f)),
    }
}

fn all(mut messages: Messages<'_, '_>) {
    changed(&mut messages);
    black_box(<Messages<'_, '_> as Iterator>::size_hint(&messages));
    while let Some(mut message) = <Messages<'_, '_> as Iterator>::next(&mut messages) {
        changed(&mut message);
        topic(Message::topic(&message));
        black_box((Message::head(&message), Message::body(&message), Message::retain(&message)));
        black_box(Message::payload_len(&message));
        black_box(Message::copy_payload(&message, bytes()));
        black_box(Message::transmit(&message, &mut [0; Topic::MAX_LEN]));
        changed(&mut messages);
    }
}

fn header() {
    let header = PartHeader {
        stream: any(),
        sequence: any(),
        timestamp_us: perhaps(any()),
        total: any(),
        offset: any(),
        index: any(),
        count: any(),
        checksum: any(),
    };
    black_box(PartHeader::encode(&header));
    match PartHeader::decode(bytes()) {
        Ok(decoded) => _ = black_box(decoded),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}

fn reassemblers(prefix: Prefix<'_>) {
    reassembler(Reassembler::framed(prefix));
    reassembler(Reassembler::indexed(prefix));
    reassembler(Reassembler::whole(prefix));
}

fn reassembler(reassembler: Reassembler<'_, &mut [u8], 3>) {
    let preset = <Patience as Default>::default();
    let patience = Patience { for_older: duration(), for_parts: duration() };
    let mut reassembler = Reassembler::patience(reassembler, one_of([preset, patience]));
    changed(&mut reassembler);
    for filter in Reassembler::filters(&reassembler) {
        topic(filter);
    }
    loop {
        black_box(Reassembler::wants_buffer(&reassembler));
        black_box(Reassembler::supply(&mut reassembler, bytes()).is_ok());
        changed(&mut reassembler);
        let delivery = Delivery::from_retain_flag(any::<u8>() != 0);
        let pushed = Reassembler::push(&mut reassembler, text(), bytes(), delivery, instant());
        if let Err(error) = pushed {
            formatted(|f| Display::fmt(&error, f));
        }
        changed(&mut reassembler);
        match Reassembler::poll(&mut reassembler, instant()) {
            Some(Event::Picture(Picture { buffer, info })) => _ = black_box((buffer, info)),
            Some(Event::Lost(lost)) => _ = black_box(Lost::count(&lost)),
            None => break,
        }
        changed(&mut reassembler);
        black_box(Reassembler::deadline(&reassembler));
    }
    black_box(Reassembler::counts(&reassembler));
}

fn control(prefix: Prefix<'_>) {
    let dialect = one_of([Dialect::Camwire, Dialect::Esp32Cam]);
    let mut topics = ControlTopics::new(prefix, dialect);
    changed(&mut topics);
    for filter in ControlTopics::filters(&topics) {
        topic(filter);
    }
    let delivery = one_of([Delivery::Live, Delivery::Retained]);
    match ControlTopics::parse(&topics, text(), bytes(), delivery) {
        Ok(command) => _ = black_box(command),
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
    let led = one_of([Led::from_millipercent(any()).unwrap_or(Led::OFF), Led::BEYOND]);
    black_box((Led::as_millipercent(led), Led::duty(led)));
    let rate = FrameRate::from_millihertz(any());
    let command = one_of([
        Command::Set(setting()),
        rate.map_or(Command::Shot, Command::Rate),
        Command::Led(led),
        Command::Shot,
        Command::StartStream,
        Command::StopStream,
        Command::Motor(motor(), speed()),
        Command::Heartbeat,
    ]);
    if let Some(mut message) = ControlTopics::message(&topics, command) {
        changed(&mut message);
        topic(CommandMessage::topic(&message));
        black_box(CommandMessage::payload(&message));
    }
}

fn motor() -> Motor {
    one_of([Motor::A, Motor::B])
}

fn speed() -> Speed {
    Speed::from_thousandths(any()).unwrap_or(Speed::STOP)
}

fn motors() {
    black_box((Speed::as_thousandths(speed()), Speed::duty(speed())));
    let mut motors = MotorWatchdog::new();
    changed(&mut motors);
    MotorWatchdog::heartbeat(&mut motors, instant());
    changed(&mut motors);
    if let Err(error) = MotorWatchdog::set(&mut motors, motor(), speed(), instant()) {
        formatted(|f| Display::fmt(&error, f));
    }
    changed(&mut motors);
    black_box(MotorWatchdog::outputs(&motors, instant()));
}

fn greeting() {
    match Greeting::parse(bytes()) {
        Ok(mut greeting) => {
            changed(&mut greeting);
            formatted(|f| <Greeting<'_> as Display>::fmt(&greeting, f));
        }
        Err(error) => formatted(|f| Display::fmt(&error, f)),
    }
}

fn session_config(prefix: Prefix<'_>) -> SessionConfig<'_> {
    let Ok(control) = Prefix::new(text()) else { return SessionConfig::new(prefix) };
    let config = [SessionConfig::new(prefix), SessionConfig::like_esp32cam(prefix, control)];
    let mut config = one_of(config);
    let mut device = Device::new(control, prefix);
    (device.name, device.model) = (text(), text());
    (device.web_port, device.has_signal) = (perhaps(any()), any::<u8>() != 0);
    let retain = one_of([None, Some(Retain::No), Some(Retain::Yes)]);
    (config.framed, config.indexed, config.whole) = (perhaps(any()), retain, retain);
    (config.largest_packet, config.framed_packet) = (any(), any());
    config.publishing = Publishing::from_on(any::<u8>() != 0);
    config.rate = FrameRate::from_millihertz(any());
    config.has_motors = any::<u8>() != 0;
    config.discovery =
        one_of([Discovery::Off, Discovery::Announce(device), Discovery::Remove(control)]);
    config
}

fn session(prefix: Prefix<'_>) {
    let mut session = match CameraSession::new(session_config(prefix)) {
        Ok(session) => session,
        Err(error) => return formatted(|f| Display::fmt(&error, f)),
    };
    changed(&mut session);
    black_box(CameraSession::config(&session));
    let (will, payload) = CameraSession::offline(&session);
    topic(will);
    black_box(payload);
    for filter in CameraSession::filters(&session) {
        topic(filter);
    }
    while any::<u8>() != 0 {
        session_step(&mut session);
        changed(&mut session);
    }
    CameraSession::close(&mut session);
    changed(&mut session);
}

fn session_step(session: &mut CameraSession<'_>) {
    CameraSession::connected(session, instant(), perhaps(any::<u32>().into()));
    changed(session);
    black_box(CameraSession::disconnected(session, instant()));
    changed(session);
    if let Err(error) = CameraSession::limit_packets(session, any()) {
        formatted(|f| Display::fmt(&error, f));
    }
    changed(session);
    let delivery = one_of([Delivery::Live, Delivery::Retained]);
    outcome(CameraSession::handle_input(session, text(), bytes(), delivery, instant()));
    changed(session);
    outcome(CameraSession::handle_skipped(session, text()));
    changed(session);
    black_box(CameraSession::poll_setting(session));
    changed(session);
    let reason = one_of([RefusalReason::Other(text()), RefusalReason::NoMemory { needed: any() }]);
    CameraSession::setting_applied(session, one_of([Ok(()), Err(reason)]));
    changed(session);
    CameraSession::update_settings(session, |name: SettingName| name.with_number(any()));
    CameraSession::update_source(session, any::<u8>() != 0);
    let mut stats = <Stats as Default>::default();
    stats.millihertz = any();
    (stats.viewers, stats.signal) = (perhaps(any()), perhaps(any::<u8>() as i8));
    CameraSession::update_stats(session, stats);
    changed(session);
    if let Some(Transmit { topic, head, body, retain }) =
        CameraSession::poll_transmit(session, instant(), bytes())
    {
        black_box((topic, head, body, retain));
    }
    changed(session);
    black_box(CameraSession::unsent(session));
    black_box(CameraSession::poll_motors(session, instant()));
    black_box(CameraSession::poll_timeout(session));
    black_box(CameraSession::frame_due(session));
    let at = Captured { at: instant(), missed: any(), unix_offset: perhaps(any()) };
    let at = one_of([at, <Captured as Default>::default()]);
    let mut messages = CameraSession::publish(session, bytes(), at, instant());
    changed(&mut messages);
    black_box(<FrameMessages<'_, '_> as Iterator>::size_hint(&messages));
    black_box(FrameMessages::rejected(&messages));
    while let Some(message) = <FrameMessages<'_, '_> as Iterator>::next(&mut messages) {
        black_box(message);
        changed(&mut messages);
    }
}

fn outcome(outcome: Outcome<'_>) {
    if let Outcome::Rejected(refusal) | Outcome::RejectedUnreported(refusal) = outcome {
        topic(refusal.topic);
        formatted(|f| <RefusalReason as Display>::fmt(&refusal.reason, f));
    }
}
