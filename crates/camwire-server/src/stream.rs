use core::future::Future;
use core::net::SocketAddr;
use core::pin::pin;

use camwire_frame::{Clock, Instant, Pacer};
use camwire_multipart::{Encoder, PartHead};
use camwire_ring::{Follow, FrameLease, Reader, TooManyReaders};
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet, gone};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::viewers::Viewer;
use crate::{Application, Mode, StreamOptions};

/// It has no state, so one serves everybody.
static ENCODER: Encoder = Encoder::new(&camwire_multipart::Boundary::DEFAULT);

/// As text. That it is one is checked when this is compiled, so that no chip needs the code for it.
pub(crate) const CONTENT_TYPE: &str = match core::str::from_utf8(ENCODER.content_type()) {
    Ok(text) => text,
    Err(_) => panic!("a content type is ASCII"),
};

/// Why there are no more viewers.
pub(crate) const FULL: &str = "too many viewers";

/// What the body of a stream begins with.
pub(crate) const fn opening(options: StreamOptions) -> &'static [u8] {
    if options.advance_headers { ENCODER.advance_opening() } else { ENCODER.opening() }
}

impl<C: Clock, A: Application> Server<'_, C, A> {
    /// `/stream`: pictures for as long as the viewer takes them.
    pub(crate) async fn stream<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        options: StreamOptions,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let Some(viewer) = self.enter(options, connection.peer) else {
            return self.unavailable(connection, FULL).await;
        };
        if !connection.out.with_body {
            return connection.out.begin(CONTENT_TYPE, &[], None).await;
        }
        let Ok(reader) = self.read(viewer.mode) else {
            drop(viewer); // Its place is free again before the refusal has been read.
            return self.unavailable(connection, FULL).await;
        };
        let Connection { read, out, .. } = connection;
        out.begin(CONTENT_TYPE, opening(options), Some(&viewer)).await?;
        self.pictures(out, gone(read), options, viewer, reader, |_| {}).await
    }

    /// Takes a place for a viewer, if there is one.
    pub(crate) fn enter(
        &self,
        options: StreamOptions,
        peer: Option<SocketAddr>,
    ) -> Option<Viewer<'_>> {
        // A rate is for live pictures, so whoever asks for one has chosen.
        let mode = match (options.mode, options.rate) {
            (Some(mode), _) => mode,
            (None, Some(_)) => Mode::Live,
            (None, None) => self.config.mode,
        };
        Viewer::enter(self.viewers, self.next_id(), peer, mode, options.rate)
    }

    /// A reader of the ring for a viewer.
    pub(crate) fn read(&self, mode: Mode) -> Result<Reader<'_>, TooManyReaders> {
        let follow = match mode {
            Mode::Live => Follow::Live,
            Mode::All => Follow::Ordered,
        };
        let mut reader = self.ring.subscribe(follow)?;
        if mode == Mode::All {
            reader.rewind();
        }
        Ok(reader)
    }

    /// Sends pictures until the source has ended, or the viewer has `gone`. Each is shown to `lend`
    /// before it is sent.
    pub(crate) async fn pictures<'r, W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        gone: impl Future<Output = ()>,
        options: StreamOptions,
        mut viewer: Viewer<'_>,
        mut reader: Reader<'r>,
        lend: impl Fn(&FrameLease<'_, 'r>),
    ) -> Result<(), Disconnect<W::Error>> {
        let mut pacer = options.rate.map(Pacer::new);
        // Pictures that the reader missed since the last one that was sent.
        let mut missed = 0;
        // The number of the last picture that was sent.
        let mut sent = 0;
        // The timer is not set anew for each picture, but when it fires too early. With hundreds
        // of viewers that is much less work.
        let mut repeat_at = self.clock.now() + self.config.repeat_after;
        let mut timer = pin!(self.clock.sleep_until(repeat_at));
        let mut gone = pin!(gone);
        loop {
            let picture = async {
                match viewer.mode {
                    Mode::Live => reader.latest().await,
                    Mode::All => reader.next().await,
                }
            };
            let timer_fired = match select3(picture, gone.as_mut(), timer.as_mut()).await {
                Either3::First(Some(lease)) => {
                    let now = self.clock.now();
                    repeat_at = now + self.config.repeat_after;
                    missed += lease.missed();
                    let captured_at = lease.info().captured_at;
                    if let Some(pacer) = &mut pacer {
                        let Some(empty) = pacer.admit(captured_at) else { continue };
                        // What the cap would have skipped anyway was not missed.
                        missed = missed.min(empty);
                    }
                    let sequence = lease.sequence();
                    lend(&lease);
                    self.send_picture(out, options, lease, missed, &viewer, now).await?;
                    viewer.sent_picture(missed, captured_at, now);
                    (sent, missed) = (sequence, 0);
                    false
                }
                Either3::First(None) => {
                    // The source has ended, and so does the stream.
                    let by = out.picture_deadline();
                    out.send(&mut [ENCODER.closing()], by, None, Some(&viewer)).await?;
                    return out.flush().await;
                }
                Either3::Second(()) => return Err(Disconnect::Closed),
                Either3::Third(()) => true,
            };
            if timer_fired {
                let now = self.clock.now();
                // A picture that the cap skipped is sent only if no other comes in its place.
                let capped = pacer.as_ref().and_then(Pacer::due).filter(|due| *due > now);
                if now >= repeat_at
                    && let Some(lease) = reader.repeat()
                {
                    let (sequence, captured_at) = (lease.sequence(), lease.info().captured_at);
                    match capped.filter(|_| sequence != sent) {
                        Some(due) => repeat_at = due,
                        None => {
                            lend(&lease);
                            self.send_picture(out, options, lease, 0, &viewer, now).await?;
                            if sequence != sent {
                                viewer.sent_picture(0, captured_at, now);
                                (sent, missed) = (sequence, 0);
                            }
                        }
                    }
                }
                if now >= repeat_at {
                    repeat_at = now + self.config.repeat_after;
                }
                timer.set(self.clock.sleep_until(repeat_at));
            }
        }
    }

    /// One picture, from its first byte to its last, or the connection is lost.
    async fn send_picture<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        options: StreamOptions,
        lease: FrameLease<'_, '_>,
        missed: u64,
        viewer: &Viewer<'_>,
        now: Instant,
    ) -> Result<(), Disconnect<W::Error>> {
        let mut memory = [0; PartHead::MAX_LEN];
        let (head, tail): (&[u8], _) = if options.advance_headers {
            (&[], ENCODER.advance_tail())
        } else {
            let head = PartHead {
                content_length: Some(lease.len() as u64),
                timestamp_us: Some(self.timestamp_us(lease.info().captured_at)),
                sequence: Some(lease.sequence()),
                missed: Some(missed),
            };
            (head.encode(&mut memory), ENCODER.tail())
        };
        let by = now + self.config.picture_timeout;
        out.send(&mut [head, &lease, tail], by, Some(&lease), Some(viewer)).await?;
        // The transport has it all; what it still does with that needs no slot of the ring.
        drop(lease);
        out.flush().await
    }

    /// `/capture`: one picture that was captured after it was asked for.
    pub(crate) async fn capture<R, W>(
        &self,
        connection: &mut Connection<'_, R, W, C>,
        asked_at: Instant,
    ) -> Result<(), Disconnect<W::Error>>
    where
        R: Read,
        W: WriteVectored,
    {
        let Ok(mut reader) = self.ring.subscribe(Follow::Live) else {
            return self.unavailable(connection, FULL).await;
        };
        let until = self.clock.now() + self.config.capture_timeout;
        loop {
            let deadline = select(gone(&mut connection.read), self.clock.sleep_until(until));
            let lease = match select(reader.latest(), deadline).await {
                Either::First(Some(lease)) if lease.info().captured_at < asked_at => continue,
                Either::First(Some(lease)) => lease,
                Either::Second(Either::First(())) => return Err(Disconnect::Closed),
                Either::First(None) | Either::Second(Either::Second(())) => break,
            };
            return self.send_capture(&mut connection.out, lease).await;
        }
        drop(reader); // Its demand ends here, not with the connection.
        self.unavailable(connection, "no picture came").await
    }

    async fn send_capture<W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        lease: FrameLease<'_, '_>,
    ) -> Result<(), Disconnect<W::Error>> {
        let timestamp = Instant::from_micros(self.timestamp_us(lease.info().captured_at));
        let head = out.head(
            "200 OK",
            "image/jpeg",
            format_args!(
                "Content-Length: {}\r\nX-Timestamp: {timestamp}\r\nX-Frame: {}\r\n",
                lease.len(),
                lease.sequence()
            ),
        );
        let body: &[u8] = if out.with_body { &lease } else { &[] };
        let by = out.picture_deadline();
        out.send(&mut [head.as_bytes(), body], by, Some(&lease), None).await?;
        drop(lease);
        out.flush().await
    }

    /// What `X-Timestamp` says of a moment: Unix time where the platform knows it.
    fn timestamp_us(&self, at: Instant) -> u64 {
        at.as_micros().saturating_add(self.clock.unix_offset().unwrap_or(0))
    }
}
