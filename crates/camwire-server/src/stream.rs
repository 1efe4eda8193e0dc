use core::future::pending;
use core::net::SocketAddr;
use core::pin::pin;
use core::time::Duration;

use camwire_capture::{Follow, FrameLease, FrameReader, SubscribeError};
use camwire_frame::{Clock, Instant, Pacer, Random};
use camwire_multipart::{Encoder, MediaType, PartHead};
use camwire_websocket::Server as ServerRole;
use embassy_futures::select::{Either, Either3, select, select3};
use embedded_io_async::Read;

use crate::connection::{Connection, Disconnect, Outlet, gone};
use crate::io::WriteVectored;
use crate::server::Server;
use crate::v1::{PictureClock, PictureHead};
use crate::viewers::{Transport, Viewer};
use crate::websocket::Messages;
use crate::{Answer, Application, Mode, StreamOptions};

/// Why there are no more viewers.
pub(crate) const FULL: &str = "too many viewers";

/// What stands around the pictures of a stream, and what may be said besides.
#[allow(clippy::large_enum_variant)] // There is no heap to put it on.
#[derive(Debug)]
pub(crate) enum Framing {
    /// Parts of a multipart body.
    Parts(Parts),
    /// Messages of a WebSocket.
    Messages(Messages<ServerRole>),
}

/// What came from a viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It has closed its end, or broken the connection.
    Gone,
    /// Something that may want an answer.
    Message,
}

impl Framing {
    /// Whether a picture is sent again when no other comes. A browser shows a part only when the
    /// next one begins; a message is complete.
    const fn repeats(&self) -> bool {
        !matches!(self, Self::Messages(_))
    }

    /// Whether a picture may be sent now.
    fn may_send(&self) -> bool {
        match self {
            Self::Messages(messages) => messages.has_credit(),
            _ => true,
        }
    }

    /// What may be heard from the viewer; nothing in a multipart body.
    const fn messages(&mut self) -> Option<&mut Messages<ServerRole>> {
        match self {
            Self::Parts(_) => None,
            Self::Messages(messages) => Some(messages),
        }
    }

    /// When there is something to do besides sending pictures.
    fn due(&self) -> Option<Instant> {
        match self {
            Self::Messages(messages) => Some(messages.due()),
            _ => None,
        }
    }
}

/// Waits for what a viewer says. Loses nothing when it is dropped, if `read` does not.
async fn hear(messages: Option<&mut Messages<ServerRole>>, read: &mut impl Read) -> Heard {
    match messages {
        Some(messages) => messages.hear(read).await,
        None => {
            gone(read).await;
            Heard::Gone
        }
    }
}

/// A multipart body. Its boundary is its own, and unpredictable.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    encoder: Encoder,
    /// Whether the head of each part is at the end of the part before it.
    advance_heads: bool,
}

impl Parts {
    pub(crate) fn new(options: StreamOptions, random: Random) -> Self {
        let encoder = Encoder::new(random.bytes());
        Self { encoder, advance_heads: options.advance_headers }
    }

    pub(crate) const fn content_type(&self) -> MediaType {
        self.encoder.content_type()
    }

    /// What comes before the first frame.
    pub(crate) const fn opening(&self) -> &[u8] {
        if self.advance_heads { self.encoder.advance_opening() } else { self.encoder.opening() }
    }

    /// What comes right before a frame.
    fn head<'m>(&self, head: &PartHead, memory: &'m mut [u8; PartHead::MAX_LEN]) -> &'m [u8] {
        if self.advance_heads { &[] } else { head.encode(memory) }
    }

    /// What comes right after a frame.
    const fn tail(&self) -> &[u8] {
        if self.advance_heads { self.encoder.advance_tail() } else { self.encoder.tail() }
    }
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
        let Some(viewer) = self.enter(options, Transport::Mjpeg, connection.peer) else {
            return self.unavailable(connection, FULL).await;
        };
        let parts = Parts::new(options, self.random);
        if !connection.out.with_body {
            return connection.out.begin(parts.content_type().as_str(), &[], None).await;
        }
        let Ok(reader) = self.read(viewer.mode) else {
            drop(viewer); // Its place is free again before the refusal has been read.
            return self.unavailable(connection, FULL).await;
        };
        let Connection { read, out, .. } = connection;
        out.begin(parts.content_type().as_str(), parts.opening(), Some(&viewer)).await?;
        let mut framing = Framing::Parts(parts);
        self.pictures(out, read, &mut framing, viewer, reader, |_| {}).await
    }

    /// Takes a place for a viewer, if there is one.
    pub(crate) fn enter(
        &self,
        options: StreamOptions,
        transport: Transport,
        peer: Option<SocketAddr>,
    ) -> Option<Viewer<'_>> {
        // A rate is for live pictures, so whoever asks for one has chosen.
        let mode = match (options.mode, options.rate) {
            (Some(mode), _) => mode,
            (None, Some(_)) => Mode::Live,
            (None, None) => self.config.mode,
        };
        Viewer::enter(self.viewers, self.next_id(), peer, transport, mode, options.rate)
    }

    /// A reader of the ring for a viewer.
    pub(crate) fn read(&self, mode: Mode) -> Result<FrameReader<'_>, SubscribeError> {
        let follow = match mode {
            Mode::Live => Follow::Live,
            Mode::All => Follow::Ordered,
        };
        #[cfg(feature = "ingest")]
        self.forget_old();
        let mut reader = self.ring.subscribe(follow)?;
        if mode == Mode::All {
            reader.rewind();
        }
        Ok(reader)
    }

    /// Sends pictures until the source has ended, or the viewer has gone, which is known by reading.
    /// Each is shown to `lend` before it is sent.
    pub(crate) async fn pictures<'r, R: Read, W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        read: &mut R,
        framing: &mut Framing,
        mut viewer: Viewer<'_>,
        mut reader: FrameReader<'r>,
        lend: impl Fn(&FrameLease<'_, 'r>),
    ) -> Result<(), Disconnect<W::Error>> {
        let mut pacer = viewer.cap.map(Pacer::new);
        // Pictures that the reader missed since the last one that was sent.
        let mut missed = 0;
        // The number of the last picture that was sent.
        let mut sent = 0;
        // The timer is not set anew for each picture, but when it fires too early. With hundreds
        // of viewers that is much less work.
        let mut repeat_at = self.clock.now() + self.config.repeat_after;
        let earlier = |at: Instant, framing: &Framing| framing.due().map_or(at, |due| at.min(due));
        let mut timer = pin!(self.clock.deadline(earlier(repeat_at, framing)));
        loop {
            self.reply(out, framing, &viewer).await?;
            let may_send = framing.may_send();
            let picture = async {
                if !may_send {
                    pending::<()>().await;
                }
                match viewer.mode {
                    Mode::Live => reader.latest().await,
                    Mode::All => reader.next().await,
                }
            };
            let heard = hear(framing.messages(), read);
            let timer_fired = match select3(picture, heard, timer.as_mut()).await {
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
                    self.send_picture(out, read, framing, (lease, missed), &viewer, now).await?;
                    viewer.sent_picture(missed, captured_at, now);
                    (sent, missed) = (sequence, 0);
                    false
                }
                // The source has ended, and so does the stream.
                Either3::First(None) => return self.end(out, read, framing, &viewer).await,
                Either3::Second(Heard::Gone) => return Err(Disconnect::Closed),
                Either3::Second(Heard::Message) => false,
                Either3::Third(()) => true,
            };
            if timer_fired {
                // Who has no credit waits for no picture, so is told of the end here.
                if !may_send && reader.has_ended() {
                    return self.end(out, read, framing, &viewer).await;
                }
                let now = self.clock.now();
                // A picture that the cap skipped is sent only if no other comes in its place.
                let capped = pacer.as_ref().and_then(Pacer::due).filter(|due| *due > now);
                let lease = if may_send && now >= repeat_at { reader.repeat() } else { None };
                if let Some(lease) =
                    lease.filter(|lease| framing.repeats() || lease.sequence() != sent)
                {
                    let (sequence, captured_at) = (lease.sequence(), lease.info().captured_at);
                    match capped.filter(|_| sequence != sent) {
                        Some(due) => repeat_at = due,
                        None => {
                            lend(&lease);
                            self.send_picture(out, read, framing, (lease, 0), &viewer, now).await?;
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
                self.look_after(out, framing, &viewer, now).await?;
                timer.set(self.clock.deadline(earlier(repeat_at, framing)));
            }
        }
    }

    /// One picture, from its first byte to its last, or the connection is lost. With it comes how
    /// many were missed before it.
    async fn send_picture<R: Read, W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        read: &mut R,
        framing: &mut Framing,
        (mut lease, missed): (FrameLease<'_, '_>, u64),
        viewer: &Viewer<'_>,
        now: Instant,
    ) -> Result<(), Disconnect<W::Error>> {
        let mut memory = [0; PartHead::MAX_LEN];
        let (head, tail, mut messages): (&[u8], &[u8], _) = match framing {
            Framing::Parts(parts) => {
                let head = PartHead {
                    content_length: Some(lease.len() as u64),
                    timestamp_us: Some(self.timestamp_us(lease.info().captured_at)),
                    sequence: Some(lease.sequence()),
                    missed: Some(missed),
                };
                (parts.head(&head, &mut memory), parts.tail(), None)
            }
            Framing::Messages(messages) => {
                let head = self.picture_head(&lease, missed);
                match messages.head(lease.len(), &head, now, (), &mut memory) {
                    Some(head) => (head, &[], Some(messages)),
                    None => return Err(Disconnect::Closed),
                }
            }
        };
        let by = now + self.config.picture_timeout;
        {
            let (picture, mut revocation) = lease.split();
            let pieces = &mut [head, picture, tail];
            let mut sending = pin!(out.send(pieces, by, Some(&mut revocation), Some(viewer)));
            // What the viewer says meanwhile is answered afterwards.
            loop {
                match select(sending.as_mut(), hear(messages.as_deref_mut(), read)).await {
                    Either::First(sent) => break sent?,
                    Either::Second(Heard::Gone) => return Err(Disconnect::Closed),
                    Either::Second(Heard::Message) => {}
                }
            }
        }
        // The transport has it all; what it still does with that needs no slot of the ring.
        drop(lease);
        out.flush().await
    }

    /// The end of a stream whose source has ended.
    async fn end<R: Read, W: WriteVectored>(
        &self,
        out: &mut Outlet<'_, W, C>,
        read: &mut R,
        framing: &mut Framing,
        viewer: &Viewer<'_>,
    ) -> Result<(), Disconnect<W::Error>> {
        let by = out.picture_deadline();
        match framing {
            Framing::Messages(messages) => {
                if let Some(close) = messages.going_away(()) {
                    out.send(&mut [close.as_bytes()], by, None, Some(viewer)).await?;
                }
            }
            Framing::Parts(parts) => {
                out.send(&mut parts.encoder.closing(), by, None, Some(viewer)).await?;
            }
        }
        out.flush().await?;
        // If the connection were closed on unread bytes, many systems would throw the end away.
        let mut until = pin!(self.clock.deadline(self.clock.now() + Duration::from_secs(1)));
        while let Framing::Messages(messages) = framing
            && messages.is_open()
            && let Either::First(Heard::Message) = select(messages.hear(read), until.as_mut()).await
        {
        }
        Ok(())
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
        mut lease: FrameLease<'_, '_>,
    ) -> Result<(), Disconnect<W::Error>> {
        let timestamp = Instant::from_micros(self.timestamp_us(lease.info().captured_at));
        let head = out.head(
            "200 OK",
            "image/jpeg",
            Answer::SANDBOX,
            format_args!(
                "Content-Length: {}\r\nX-Timestamp: {timestamp}\r\nX-Frame: {}\r\n",
                lease.len(),
                lease.sequence()
            ),
        );
        let (picture, mut revocation) = lease.split();
        let body = if out.with_body { picture } else { &[] };
        let by = out.picture_deadline();
        out.send(&mut [head.as_bytes(), body], by, Some(&mut revocation), None).await?;
        drop(lease);
        out.flush().await
    }

    /// What stands before a picture in `camwire.v1`.
    pub(crate) fn picture_head(&self, lease: &FrameLease<'_, '_>, missed: u64) -> PictureHead {
        let clock = match self.clock.unix_offset() {
            Some(_) => PictureClock::Unix,
            None => PictureClock::Boot,
        };
        let captured_us = self.timestamp_us(lease.info().captured_at);
        PictureHead { clock, missed, sequence: lease.sequence(), captured_us }
    }

    /// What `X-Timestamp` says of a moment: Unix time where the platform knows it.
    pub(crate) fn timestamp_us(&self, at: Instant) -> u64 {
        at.as_micros().saturating_add(self.clock.unix_offset().unwrap_or(0))
    }
}
