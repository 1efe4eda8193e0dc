use core::pin::pin;
use core::time::Duration;

use camwire_capture::{FrameGrant, FramePublisher, Policy, SourceState, SourceStatus};
use camwire_frame::{Clock, Instant, RepeatFilter};
use camwire_websocket::{Acceptance, Kind, Server as ServerRole};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::client::Protocol;
use crate::connection::{Connection, Disconnect, Outlet};
use crate::intake::{Arrival, Broke, Intake, Outcome};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::{Application, Config, v1};

/// How many pictures may be on their way while somebody watches: enough that a camera far away is
/// not waiting for acknowledgements, and few enough that not many are old.
const CREDIT: u8 = 4;

/// How long a viewer may have a picture that the ring needs.
const LEASE_GRACE: Duration = Duration::from_secs(1);

/// How long to wait for a slot at a time, on a ring that keeps all.
const SLOT_WAIT: Duration = Duration::from_millis(100);

/// Bytes that are read at once where it is not known what comes. So many of each picture are
/// copied, at most; the others are read to where they belong.
const BUFFER: usize = 256;

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// `/ingest`: takes pictures from a camera that pushes, for as long as it does.
    pub(crate) async fn ingest<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        acceptance: &Acceptance<'_>,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let Ok(publisher) = self.ring.publisher() else {
            let reason = "another camera pushes";
            return self.refuse(connection, "409 Conflict", "", reason).await;
        };
        let mut seat = Seat { publisher: Some(publisher), status: self.status };
        let Connection { read, out, .. } = connection;
        let by = out.picture_deadline();
        out.send(&mut acceptance.response(), by, None, None).await?;
        out.flush().await?;
        let protocol = if acceptance.protocol().is_some() { Protocol::V1 } else { Protocol::Bare };
        let now = self.clock.now();
        let camera = Pushing {
            intake: Intake::new(protocol),
            grant: None,
            is_wanted: false,
            previous: None,
            heard_at: now,
            ping_at: now + self.config.ping_interval,
        };
        let Some(publisher) = &mut seat.publisher else { return Ok(()) };
        let ended = self.take_pictures(read, out, publisher, camera).await;
        drop(seat); // Another camera may come while the rest of this one is read.
        if matches!(ended, Err(Disconnect::Protocol)) {
            connection.drain().await; // Or it might not get the Close.
        }
        ended
    }

    /// Takes pictures until the connection is lost.
    async fn take_pictures<'r, R, W>(
        &self,
        read: &mut R,
        out: &mut Outlet<'_, W, C>,
        publisher: &mut FramePublisher<'r>,
        mut camera: Pushing<'r>,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let (clock, config, status) = (&self.clock, &self.config, self.status);
        let mut buffer = [0; BUFFER];
        let mut timer = pin!(clock.deadline(camera.due(config)));
        loop {
            if let Some(frame) = camera.intake.answer(()) {
                self.say(out, frame.as_bytes()).await?;
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
                    // Those who come now have not had the last frame.
                    camera.intake.set_repeat_filter(RepeatFilter::new());
                } else {
                    publisher.clear();
                    status.idle();
                    camera.grant = None;
                }
                let credit = if is_wanted { CREDIT } else { 0 };
                self.tell(out, &mut camera, &[2, credit]).await?;
                continue; // It may have changed meanwhile.
            }
            self.make_room(publisher, &mut camera).await;
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
                            self.say(out, frame.as_bytes()).await?;
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
                self.arrived(out, publisher, &mut camera, arrived).await?;
                continue;
            }
            let mut input = buffer.get_mut(..count).unwrap_or_default();
            loop {
                let slot = camera.grant.as_deref_mut();
                let arrived = camera.intake.take(&mut input, slot, camera.heard_at);
                if !self.arrived(out, publisher, &mut camera, arrived).await? {
                    break;
                }
                self.make_room(publisher, &mut camera).await; // For the next one.
            }
        }
    }

    /// Takes a slot for the next picture, if it is wanted. On a ring that keeps all, the camera waits
    /// for the slowest viewer.
    async fn make_room<'r>(&self, publisher: &mut FramePublisher<'r>, camera: &mut Pushing<'r>) {
        if !camera.is_wanted || camera.grant.is_some() || !camera.intake.is_between() {
            return;
        }
        loop {
            publisher.revoke_oldest(self.clock.now().saturating_since(Instant::ZERO), LEASE_GRACE);
            camera.grant = publisher.try_grant().ok();
            let keeps_all = self.ring.policy() == Policy::KeepAll;
            if camera.grant.is_some() || !keeps_all || !publisher.has_demand() {
                return;
            }
            let again = self.clock.sleep_until(self.clock.now() + SLOT_WAIT);
            let waited = select(publisher.grant(), again).await;
            camera.heard_at = self.clock.now(); // Nothing was read, so it was not silent.
            if let Either::First(grant) = waited {
                camera.grant = Some(grant);
                return;
            }
        }
    }

    /// Publishes what has arrived, if anything has, and acknowledges it; says whether there was
    /// anything.
    async fn arrived<'r, W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        publisher: &mut FramePublisher<'r>,
        camera: &mut Pushing<'r>,
        arrived: Result<Option<Arrival>, Broke>,
    ) -> Result<bool, Disconnect<W::Error>> {
        let arrival = match arrived {
            Ok(Some(arrival)) => arrival,
            Ok(None) => return Ok(false),
            Err(Broke) => {
                if let Some(frame) = camera.intake.answer(()) {
                    self.say(out, frame.as_bytes()).await?;
                }
                return Err(Disconnect::Protocol);
            }
        };
        let status = self.status;
        match arrival.outcome {
            Outcome::Picture(info) => {
                let grant = camera.grant.take();
                if grant.is_some_and(|grant| publisher.commit(grant, info.len, info).is_ok()) {
                    let now = self.clock.now();
                    publisher.revoke_oldest(now.saturating_since(Instant::ZERO), LEASE_GRACE);
                    status.published(&info, camera.previous.replace(info.captured_at), now);
                }
            }
            Outcome::Repeat => status.repeated(self.clock.now()),
            Outcome::Broken(error) => status.failed(format_args!("{error}")),
            Outcome::TooLarge(needed) => {
                let room = self.ring.slot_bytes();
                status.failed(format_args!("a frame needs {needed} bytes, a slot has {room}"));
            }
            Outcome::Unwanted if camera.is_wanted => publisher.skip(), // The ring was full.
            Outcome::Unwanted | Outcome::Other => {}
        }
        if let Some(sequence) = arrival.sequence {
            self.tell(out, camera, &v1::acknowledgement(sequence)).await?;
        }
        Ok(true)
    }

    /// Sends a message of the subprotocol, if the camera speaks that.
    async fn tell<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        camera: &mut Pushing<'_>,
        message: &[u8],
    ) -> Result<(), Disconnect<W::Error>> {
        if camera.intake.protocol() == Protocol::Bare {
            return Ok(());
        }
        let head = camera.intake.socket().message(Kind::Binary, message.len(), ());
        let Ok(head) = head else { return Ok(()) }; // It is closing.
        let by = out.picture_deadline();
        out.send(&mut [head.as_bytes(), message], by, None, None).await?;
        out.flush().await
    }

    async fn say<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        frame: &[u8],
    ) -> Result<(), Disconnect<W::Error>> {
        let by = out.picture_deadline();
        out.send(&mut [frame], by, None, None).await?;
        out.flush().await
    }

    /// Whether this is a relay of cameras that push, and none does.
    pub(crate) fn waits_for_camera(&self) -> bool {
        self.config.ingest_token.is_some() && !self.ring.has_publisher()
    }

    /// Whether nobody lacks pictures, while no camera pushes. Nobody keeps the status then.
    pub(crate) fn is_well_without_camera(&self, now: Instant) -> bool {
        let had_pictures = self.status.state() != SourceState::Idle;
        let since = self.status.quiet(now);
        self.ring.readers() == 0 || (had_pictures && since <= self.config.health_deadline)
    }

    /// Before somebody comes to read: the last picture of a camera that has gone is for those who
    /// have watched since.
    pub(crate) fn forget_old(&self) {
        if self.waits_for_camera()
            && self.ring.readers() == 0
            && let Ok(mut publisher) = self.ring.publisher()
        {
            publisher.clear();
            publisher.detach();
        }
    }
}

/// The place of the one camera that may push, free again when dropped. Viewers stay.
struct Seat<'r> {
    publisher: Option<FramePublisher<'r>>,
    status: &'r SourceStatus,
}

impl Drop for Seat<'_> {
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
struct Pushing<'r> {
    intake: Intake<ServerRole>,
    /// Where its next picture goes, or the one under way.
    grant: Option<FrameGrant<'r>>,
    /// What it was told: whether anybody watches.
    is_wanted: bool,
    /// When the last picture came, if one has since pictures are wanted.
    previous: Option<Instant>,
    heard_at: Instant,
    ping_at: Instant,
}

impl Pushing<'_> {
    /// When to do something even if nothing comes.
    fn due(&self, config: &Config) -> Instant {
        self.ping_at.min(self.heard_at + config.push_timeout)
    }
}
