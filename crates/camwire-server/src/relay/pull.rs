//! Frames pulled from another server over WebSocket.

use core::ops::Range;

use camwire_frame::{
    CaptureError, Clock, Flow, FrameInfo, FrameSource, Instant, Random, RepeatFilter,
};
use camwire_websocket::{
    Client as ClientRole, ControlFrame, Kind, Mask, RequestError, ResponseError, Uri,
};
use embedded_io_async::{Read, Write};

use crate::http::authorization::Authorization;
use crate::relay::client::{self, Protocol, Response};
use crate::relay::intake::{Arrival, Broke, Intake, Outcome};
use crate::viewer::v1;

/// Bytes that are read at once where it is not known what comes, and room for a request.
const BUFFER: usize = 1024;

/// Room for what is to be sent before the next frame: an acknowledgement and a Pong.
const UNSENT: usize = 32 + ControlFrame::MAX_LEN;

/// The frames of another server, over WebSocket: those of [`Server`](crate::Server)'s `/ws`, or
/// one in each binary message of any server. Text is passed over.
///
/// With a server that speaks `camwire.v1`, [`FrameInfo::upstream`] has its number and time, and each
/// frame is acknowledged; ask for no more at once than `credit=` in the address's query says.
///
/// - Pings are answered while a frame is captured, so let no long time be between.
/// - A frame is read to where it belongs, but for the first bytes of each.
/// - A message that is not a whole frame is [`CaptureError::Broken`], one that does not fit its memory
///   [`CaptureError::TooLarge`]; the next capture goes on behind it.
/// - A frame that the server sends again, with the same number and time, is
///   [`CaptureError::Repeat`], as [`RepeatFilter`] has it. Of a server that does not speak
///   `camwire.v1`, every frame is new.
/// - After any other error the connection is of no use. To connect again is the caller's work, as is
///   to disconnect for a pause. Hand the new source the [`repeat_filter`](Self::repeat_filter) of
///   the old one, except after a pause: those who come then have not had the last frame.
/// - It is a [`Flow::Stream`] until the connection is of no use.
///
/// # Cancel safety
///
/// If [`capture`](FrameSource::capture) is dropped, the frame under way is lost, and the next
/// capture returns the one after it, provided that `read` and `write` lose no bytes when dropped.
#[derive(Debug)]
pub struct WebSocketSource<R, W, C> {
    read: R,
    write: W,
    clock: C,
    random: Random,
    intake: Intake<ClientRole>,
    buffer: [u8; BUFFER],
    /// What of the buffer is still to be decoded.
    undecoded: Range<usize>,
    /// When it was read.
    arrived: Instant,
    /// What is to be sent, and how much of it was written.
    unsent: heapless::Vec<u8, UNSENT>,
    written: usize,
    /// The connection is of no use any more.
    is_lost: bool,
}

/// Why no frames come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PullError<E> {
    /// The server answers with an error: 401 if the login is wrong or missing.
    #[error("it answers with status {status}")]
    Refused {
        /// Of HTTP; not 101.
        status: u16,
    },
    /// It is not a WebSocket server.
    #[error(transparent)]
    Response(ResponseError),
    /// The address cannot be sent, or is too long.
    #[error(transparent)]
    Request(RequestError),
    /// The connection has ended.
    #[error("the connection has ended")]
    Ended,
    /// The server broke the rules of WebSocket, or of `camwire.v1`, and was sent a Close for it.
    #[error("it breaks the WebSocket protocol")]
    Protocol,
    /// The transport failed.
    #[error("{0}")]
    Transport(E),
}

impl<R, W, C> WebSocketSource<R, W, C>
where
    R: Read,
    W: Write<Error = R::Error>,
    C: Clock,
{
    /// Asks the server for its frames, over a connection to it. `authorization` is what the server
    /// asks for, if it asks; `random` makes the masking keys (RFC 6455, section 10.3).
    ///
    /// # Errors
    ///
    /// [`PullError`]
    ///
    /// # Cancel safety
    ///
    /// None. Close the connection.
    pub async fn connect(
        read: R,
        write: W,
        uri: &Uri<'_>,
        authorization: Option<Authorization<'_>>,
        clock: C,
        random: Random,
    ) -> Result<Self, PullError<R::Error>> {
        let nonce = random.bytes();
        let mut this = Self {
            read,
            write,
            clock,
            random,
            intake: Intake::new(Protocol::Bare),
            buffer: [0; BUFFER],
            undecoded: 0..0,
            arrived: Instant::ZERO,
            unsent: heapless::Vec::new(),
            written: 0,
            is_lost: false,
        };
        let len = client::write_request(uri, authorization.as_ref(), nonce, &mut this.buffer);
        let mut request = this.buffer.get(..len.map_err(PullError::Request)?).unwrap_or_default();
        while !request.is_empty() {
            let written = this.write.write(request).await.map_err(PullError::Transport)?;
            if written == 0 {
                return Err(PullError::Ended);
            }
            request = request.get(written..).unwrap_or_default();
        }
        this.write.flush().await.map_err(PullError::Transport)?;
        let mut response = Response::new(nonce);
        loop {
            let count = this.read.read(&mut this.buffer).await.map_err(PullError::Transport)?;
            if count == 0 {
                return Err(PullError::Ended);
            }
            let answered = response.feed(this.buffer.get(..count).unwrap_or_default());
            let answered = answered.map_err(|error| match error {
                ResponseError::Status { status } => PullError::Refused { status },
                error => PullError::Response(error),
            });
            if let Some((used, protocol)) = answered? {
                this.intake = Intake::new(protocol);
                this.undecoded = used..count;
                this.arrived = this.clock.now();
                return Ok(this);
            }
        }
    }

    /// Goes on after a connection that was lost: the frame that was its last is not new. By
    /// default every first frame is.
    #[must_use]
    pub fn with_repeat_filter(mut self, filter: RepeatFilter) -> Self {
        self.intake.set_repeat_filter(filter);
        self
    }

    /// What is known of the last frame, for the next connection.
    #[must_use]
    pub fn repeat_filter(&self) -> RepeatFilter {
        self.intake.repeat_filter()
    }

    /// Queues what must be sent for what has come.
    fn queue_answers(&mut self, arrival: Option<&Arrival>) {
        let key = self.random.bytes();
        if let Some(sequence) = arrival.and_then(|arrival| arrival.sequence) {
            let mut message = v1::acknowledgement(sequence);
            if let Ok(head) = self.intake.socket().message(Kind::Binary, message.len(), key) {
                Mask::new(key).apply(&mut message);
                self.queue(head.as_bytes());
                self.queue(&message);
            }
        }
        let key = self.random.bytes();
        if let Some(frame) = self.intake.poll_transmit(key) {
            self.queue(frame.as_bytes());
        }
    }

    fn queue(&mut self, bytes: &[u8]) {
        let _ = self.unsent.extend_from_slice(bytes); // All was written before, so there is room.
    }

    /// Writes what is queued.
    async fn write(&mut self) -> Result<(), PullError<R::Error>> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        while let Some(rest @ [_, ..]) = self.unsent.get(self.written..) {
            match self.write.write(rest).await {
                Ok(0) => return Err(PullError::Ended),
                Ok(written) => self.written = self.written.saturating_add(written),
                Err(error) => return Err(PullError::Transport(error)),
            }
        }
        self.write.flush().await.map_err(PullError::Transport)?;
        self.unsent.clear();
        self.written = 0;
        Ok(())
    }

    async fn next(&mut self, slot: &mut [u8]) -> Result<Arrival, PullError<R::Error>> {
        // The slot may be another than that of a capture that was dropped.
        self.intake.abandon();
        loop {
            self.write().await?;
            if !self.intake.is_open() {
                return Err(PullError::Ended);
            }
            let mut input = self.buffer.get_mut(self.undecoded.clone()).unwrap_or_default();
            let arrived = self.intake.handle_input(&mut input, Some(&mut *slot), self.arrived);
            self.undecoded.start = self.undecoded.end.saturating_sub(input.len());
            if let Some(arrival) = self.answer(arrived).await? {
                return Ok(arrival);
            }
            if self.undecoded.is_empty() && self.unsent.is_empty() {
                let room = self.intake.room(slot);
                let is_direct = room.is_some();
                let room = room.unwrap_or(&mut self.buffer);
                let count = self.read.read(room).await.map_err(PullError::Transport)?;
                if count == 0 {
                    return Err(PullError::Ended);
                }
                self.arrived = self.clock.now();
                if !is_direct {
                    self.undecoded = 0..count.min(BUFFER);
                    continue;
                }
                let arrived = self.intake.filled(slot, count);
                if let Some(arrival) = self.answer(arrived).await? {
                    return Ok(arrival);
                }
            }
        }
    }

    async fn answer(
        &mut self,
        arrived: Result<Option<Arrival>, Broke>,
    ) -> Result<Option<Arrival>, PullError<R::Error>> {
        let arrival = arrived.map_err(|Broke| PullError::Protocol);
        self.queue_answers(arrival.as_ref().ok().and_then(Option::as_ref));
        if let Ok(None) = arrival {
            return Ok(None);
        }
        // Should this fail, so will the next capture, and this frame is whole.
        let _ = self.write().await;
        arrival
    }
}

impl<R, W, C> FrameSource for WebSocketSource<R, W, C>
where
    R: Read,
    W: Write<Error = R::Error>,
    C: Clock,
{
    type Error = PullError<R::Error>;

    async fn capture(&mut self, buf: &mut [u8]) -> Result<FrameInfo, CaptureError<Self::Error>> {
        loop {
            let arrival = self.next(buf).await;
            self.is_lost |= arrival.is_err();
            match arrival?.outcome {
                Outcome::Frame(info) => return Ok(info),
                Outcome::Repeat => return Err(CaptureError::Repeat),
                Outcome::Broken(_) => return Err(CaptureError::Broken),
                Outcome::TooLarge(needed) => return Err(CaptureError::TooLarge { needed }),
                Outcome::Unwanted | Outcome::Other => {}
            }
        }
    }

    fn flow(&self) -> Flow {
        if self.is_lost { Flow::OnDemand } else { Flow::Stream }
    }

    async fn pause(&mut self) {
        self.intake.set_repeat_filter(RepeatFilter::new());
    }
}
