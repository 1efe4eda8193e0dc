//! `/ingest`: a camera pushes its frames to this server.

use core::pin::pin;
use core::time::Duration;

use camwire_capture::{FrameGrant, FramePublisher, Policy, SourceStatus};
use camwire_frame::{Clock, Instant, RepeatFilter};
use camwire_websocket::{Acceptance, Kind, Server as ServerRole};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::config::Config;
use crate::http::response::Connection;
use crate::hub::Hub;
use crate::relay::client::Protocol;
use crate::relay::intake::{Arrival, Broke, Intake, Outcome};
use crate::sender::{Disconnect, Sender};
use crate::transport::WriteVectored;
use crate::viewer::v1;

/// How many frames may be unacknowledged while there are viewers: enough that a camera far away is
/// not waiting for acknowledgements, and few enough that not many are old.
const CREDIT: u8 = 4;

/// How long a viewer may have a frame that the ring needs.
const LEASE_GRACE: Duration = Duration::from_secs(1);

/// How long to wait for a slot at a time, on a ring that keeps all.
const SLOT_WAIT: Duration = Duration::from_millis(100);

/// Bytes that are read at once where it is not known what comes. So many of each frame are
/// copied, at most; the others are read to where they belong.
const BUFFER: usize = 256;

/// `/ingest`: takes frames from a camera that pushes, for as long as it does.
pub(crate) async fn ingest<R, W, C>(
    hub: &Hub<'_, C>,
    connection: &mut Connection<'_, R, W, C>,
    acceptance: &Acceptance<'_>,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let Ok(publisher) = hub.ring().publisher() else {
        let reason = "another camera pushes";
        return connection.refuse("409 Conflict", "", reason).await;
    };
    let mut guard = PublisherGuard { publisher: Some(publisher), status: hub.status() };
    let read = &mut connection.read;
    let sender = &mut connection.out.sender;
    sender.send(&mut acceptance.response()).await?;
    sender.flush().await?;
    let protocol = if acceptance.protocol().is_some() { Protocol::V1 } else { Protocol::Bare };
    let now = hub.clock().now();
    let camera = Camera {
        intake: Intake::new(protocol),
        grant: None,
        is_wanted: false,
        previous: None,
        heard_at: now,
        ping_at: now + hub.config().ping_interval,
    };
    let Some(publisher) = &mut guard.publisher else { return Ok(()) };
    let ended = take_frames(hub, read, sender, publisher, camera).await;
    drop(guard); // Another camera may come while the rest of this one is read.
    if matches!(ended, Err(Disconnect::Protocol)) {
        connection.drain().await; // Or it might not get the Close.
    }
    ended
}

/// Takes frames until the connection is lost.
async fn take_frames<'r, R, W, C>(
    hub: &Hub<'r, C>,
    read: &mut R,
    sender: &mut Sender<'_, W, C>,
    publisher: &mut FramePublisher<'r>,
    mut camera: Camera<'r>,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let (clock, config, status) = (hub.clock(), hub.config(), hub.status());
    let mut buffer = [0; BUFFER];
    let mut timer = pin!(clock.deadline(camera.due(config)));
    loop {
        if let Some(frame) = camera.intake.poll_transmit(()) {
            send(sender, frame.as_bytes()).await?;
            if !camera.intake.is_open() {
                return Err(Disconnect::Closed);
            }
        }
        let now = clock.now();
        let is_wanted = publisher.has_demand();
        if is_wanted != camera.is_wanted {
            camera.is_wanted = is_wanted;
            if is_wanted {
                status.starting(now);
                camera.previous = None;
                // Viewers that come now have not had the last frame.
                camera.intake.set_repeat_filter(RepeatFilter::new());
            } else {
                publisher.clear();
                status.idle();
                camera.grant = None;
            }
            let credit = if is_wanted { CREDIT } else { 0 };
            send_message(sender, &mut camera, &[2, credit]).await?;
            continue; // It may have changed meanwhile.
        }
        make_room(hub, publisher, &mut camera).await;
        let demand = async {
            if is_wanted { publisher.no_demand().await } else { publisher.demand().await }
        };
        let room = camera.grant.as_deref_mut().and_then(|slot| camera.intake.room(slot));
        let is_direct = room.is_some();
        let room = room.unwrap_or(&mut buffer);
        let count = match select3(read.read(room), demand, timer.as_mut()).await {
            Either3::First(Ok(0) | Err(_)) => return Err(Disconnect::Closed),
            Either3::First(Ok(count)) => count,
            Either3::Second(()) => continue,
            Either3::Third(()) => {
                let now = clock.now();
                if now >= camera.heard_at + config.push_timeout {
                    return Err(Disconnect::Silent);
                }
                if now >= camera.ping_at {
                    camera.ping_at = now + config.ping_interval;
                    if let Ok(frame) = camera.intake.socket().ping(&[], ()) {
                        send(sender, frame.as_bytes()).await?;
                    }
                }
                timer.set(clock.deadline(camera.due(config)));
                continue;
            }
        };
        camera.heard_at = clock.now();
        if is_direct {
            let slot = camera.grant.as_deref_mut().unwrap_or_default();
            let arrived = camera.intake.filled(slot, count);
            publish(hub, sender, publisher, &mut camera, arrived).await?;
            continue;
        }
        let mut input = buffer.get_mut(..count).unwrap_or_default();
        loop {
            let slot = camera.grant.as_deref_mut();
            let arrived = camera.intake.handle_input(&mut input, slot, camera.heard_at);
            if !publish(hub, sender, publisher, &mut camera, arrived).await? {
                break;
            }
            make_room(hub, publisher, &mut camera).await; // For the next one.
        }
    }
}

/// Takes a slot for the next frame, if it is wanted. On a ring that keeps all, the camera waits
/// for the slowest viewer.
async fn make_room<'r, C: Clock>(
    hub: &Hub<'_, C>,
    publisher: &mut FramePublisher<'r>,
    camera: &mut Camera<'r>,
) {
    if !camera.is_wanted || camera.grant.is_some() || !camera.intake.is_between() {
        return;
    }
    loop {
        publisher.revoke_oldest(hub.clock().now().saturating_since(Instant::ZERO), LEASE_GRACE);
        camera.grant = publisher.try_grant().ok();
        let keeps_all = hub.ring().policy() == Policy::KeepAll;
        if camera.grant.is_some() || !keeps_all || !publisher.has_demand() {
            return;
        }
        let again = hub.clock().sleep_until(hub.clock().now() + SLOT_WAIT);
        let waited = select(publisher.grant(), again).await;
        camera.heard_at = hub.clock().now(); // Nothing was read, so it was not silent.
        if let Either::First(grant) = waited {
            camera.grant = Some(grant);
            return;
        }
    }
}

/// Publishes what has arrived, if anything has, and acknowledges it; says whether there was
/// anything.
async fn publish<'r, W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    sender: &mut Sender<'_, W, C>,
    publisher: &mut FramePublisher<'r>,
    camera: &mut Camera<'r>,
    arrived: Result<Option<Arrival>, Broke>,
) -> Result<bool, Disconnect<W::Error>> {
    let arrival = match arrived {
        Ok(Some(arrival)) => arrival,
        Ok(None) => return Ok(false),
        Err(Broke) => {
            if let Some(frame) = camera.intake.poll_transmit(()) {
                send(sender, frame.as_bytes()).await?;
            }
            return Err(Disconnect::Protocol);
        }
    };
    let status = hub.status();
    match arrival.outcome {
        Outcome::Frame(info) => {
            let grant = camera.grant.take();
            if grant.is_some_and(|grant| publisher.commit(grant, info.len, info).is_ok()) {
                let now = hub.clock().now();
                publisher.revoke_oldest(now.saturating_since(Instant::ZERO), LEASE_GRACE);
                status.published(&info, camera.previous.replace(info.captured_at), now);
            }
        }
        Outcome::Repeat => status.repeated(hub.clock().now()),
        Outcome::Broken(error) => status.failed(format_args!("{error}")),
        Outcome::TooLarge(needed) => {
            let room = hub.ring().slot_bytes();
            status.failed(format_args!("a frame needs {needed} bytes, a slot has {room}"));
        }
        Outcome::Unwanted if camera.is_wanted => publisher.skip(), // The ring was full.
        Outcome::Unwanted | Outcome::Other => {}
    }
    if let Some(sequence) = arrival.sequence {
        send_message(sender, camera, &v1::acknowledgement(sequence)).await?;
    }
    Ok(true)
}

/// Sends a message of the subprotocol, if the camera speaks that.
async fn send_message<W: WriteVectored, C: Clock>(
    sender: &mut Sender<'_, W, C>,
    camera: &mut Camera<'_>,
    message: &[u8],
) -> Result<(), Disconnect<W::Error>> {
    if camera.intake.protocol() == Protocol::Bare {
        return Ok(());
    }
    let head = camera.intake.socket().message(Kind::Binary, message.len(), ());
    let Ok(head) = head else { return Ok(()) }; // It is closing.
    sender.send(&mut [head.as_bytes(), message]).await?;
    sender.flush().await
}

/// Sends and flushes.
async fn send<W: WriteVectored, C: Clock>(
    sender: &mut Sender<'_, W, C>,
    bytes: &[u8],
) -> Result<(), Disconnect<W::Error>> {
    sender.send(&mut [bytes]).await?;
    sender.flush().await
}

/// The place of the one camera that may push, free again when dropped. Viewers stay.
struct PublisherGuard<'r> {
    publisher: Option<FramePublisher<'r>>,
    status: &'r SourceStatus,
}

impl Drop for PublisherGuard<'_> {
    fn drop(&mut self) {
        let Some(mut publisher) = self.publisher.take() else { return };
        if publisher.has_demand() {
            self.status.failed(format_args!("the camera has left"));
        } else {
            self.status.idle();
            publisher.clear();
        }
        publisher.detach();
    }
}

/// A camera that pushes.
struct Camera<'r> {
    intake: Intake<ServerRole>,
    /// Where its next frame goes, or the one under way.
    grant: Option<FrameGrant<'r>>,
    /// Whether there are viewers, as the last credits sent to it say.
    is_wanted: bool,
    /// When the last frame came, if one has since frames are wanted.
    previous: Option<Instant>,
    heard_at: Instant,
    ping_at: Instant,
}

impl Camera<'_> {
    /// When to do something even if nothing comes.
    fn due(&self, config: &Config) -> Instant {
        self.ping_at.min(self.heard_at + config.push_timeout)
    }
}
