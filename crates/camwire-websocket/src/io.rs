use core::marker::PhantomData;
use core::ops::Range;

use embedded_io_async::{Read, Write};

use crate::client::{ClientHandshake, ClientRequest, RequestError, ResponseError};
use crate::connection::{Ends, Phase};
use crate::decode::Progress;
use crate::encode::MaskKey;
use crate::event::{DecodeError, Event, Fin, Kind};
use crate::head::{HeadFinder, HeadTooLong};
use crate::role::sealed::Key;
use crate::server::{Refusal, Request};
use crate::{Client, Close, EncodeError, Limits, Mask, Role, Server};

/// A WebSocket connection over a reader and a writer: of a server by [`accept`](Self::accept), of a
/// client by [`connect`](Self::connect).
///
/// It answers Pings and Closes by itself, whenever it is called: who wants that must be calling
/// [`receive`](Self::receive) most of the time. It does one thing at a time; who must send while it
/// receives drives a [`Connection`](crate::Connection) from two halves of its own.
///
/// The memory given to it is used one half for what comes in, the other for what goes out. The
/// first bounds the head of the opening handshake, and pieces of messages; the second bounds nothing
/// but the size of writes. The writer is flushed after each frame.
///
/// # Cancel safety
///
/// Each method says it. All of them rely on `read` and `write` to lose no bytes when dropped.
#[derive(Debug)]
pub struct WebSocket<'b, R, W, O, K> {
    reader: R,
    writer: W,
    ends: Ends,
    role: PhantomData<O>,
    keys: K,
    input: &'b mut [u8],
    /// What of the input is still to be decoded.
    undecoded: Range<usize>,
    output: &'b mut [u8],
    /// What of the output is still to be written.
    unwritten: Range<usize>,
    /// Something was written since the last flush.
    unflushed: bool,
    /// A frame is under way that is only in part in the output or written.
    torn: bool,
}

/// What can become of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The reader or the writer failed.
    #[error("{0}")]
    Transport(E),
    /// The peer broke a rule, and was told so by a Close frame. Drop the connection.
    #[error(transparent)]
    Protocol(DecodeError),
    /// This must not be sent now.
    #[error(transparent)]
    Send(EncodeError),
    /// The transport has ended without the closing handshake.
    #[error("the connection has ended without a Close")]
    Ended,
    /// The writer takes no more.
    #[error("the writer takes nothing")]
    WriteZero,
    /// An earlier `send` was dropped in the middle of a frame, which cannot be made up for. Drop
    /// the connection.
    #[error("a frame was begun and not finished")]
    Torn,
}

/// Why there is no connection to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AcceptError<E> {
    /// It ended, or failed, before the request was there.
    #[error(transparent)]
    Connection(#[from] Error<E>),
    /// The request was not what it should be; the client was told so.
    #[error("the client was refused: {0}")]
    Refused(#[from] Refusal),
}

/// Why there is no connection to a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError<E> {
    /// It ended, or failed, before the response was there.
    #[error(transparent)]
    Connection(#[from] Error<E>),
    /// The request cannot be sent.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The response's head is longer than half of the memory.
    #[error(transparent)]
    HeadTooLong(#[from] HeadTooLong),
    /// The response is not what it should be.
    #[error(transparent)]
    Refused(#[from] ResponseError),
}

/// Least bytes of memory: half of it holds the longest control frame.
const MEMORY_MIN: usize = 512;

impl<'b, R: Read, W: Write<Error = R::Error>> WebSocket<'b, R, W, Server, fn()> {
    /// Reads a client's request, and answers it.
    ///
    /// `check` has the last word on a request that is formed as it should be: it looks at the
    /// target, and at [`Request::origin`] and [`Request::host`] if the server is for some pages
    /// only. Returned is also the subprotocol that was chosen from `protocols`, as
    /// [`ServerHandshake`](crate::ServerHandshake) does it.
    ///
    /// # Errors
    ///
    /// As [`AcceptError`] says.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost. Drop the connection.
    pub async fn accept<'p, const N: usize>(
        reader: R,
        writer: W,
        memory: &'b mut [u8; N],
        limits: Limits,
        protocols: &'p [&'p str],
        check: impl FnOnce(&Request<'_>) -> Result<(), Refusal>,
    ) -> Result<(Self, Option<&'p str>), AcceptError<R::Error>> {
        let mut this = Self::new(reader, writer, memory, limits, || ());
        let request = match this.read_head().await? {
            Ok(head) => Request::parse(head),
            Err(HeadTooLong) => Err(Refusal::HeadTooLong),
        };
        let accepted = request.and_then(|request| {
            let accepted = request.accept(protocols)?;
            check(&request)?;
            Ok(accepted)
        });
        match &accepted {
            Ok(accepted) => this.write_all(&accepted.response()).await?,
            Err(refusal) => this.write_all(&refusal.response()).await?,
        }
        Ok((this, accepted?.protocol()))
    }
}

impl<'b, R, W, K> WebSocket<'b, R, W, Client, K>
where
    R: Read,
    W: Write<Error = R::Error>,
    K: FnMut() -> [u8; 4],
{
    /// Sends a request to a server, and reads its answer.
    ///
    /// `keys` gives random bytes that nobody can predict (RFC 6455, section 10.3): each frame that
    /// is sent takes four, and this takes sixteen. Returned is also the subprotocol that the server
    /// chose.
    ///
    /// # Errors
    ///
    /// As [`ConnectError`] says.
    ///
    /// # Cancel safety
    ///
    /// None: what was read is lost. Drop the connection.
    pub async fn connect<'p, const N: usize>(
        reader: R,
        writer: W,
        memory: &'b mut [u8; N],
        limits: Limits,
        request: &ClientRequest<'p>,
        keys: K,
    ) -> Result<(Self, Option<&'p str>), ConnectError<R::Error>> {
        let mut this = Self::new(reader, writer, memory, limits, keys);
        let mut nonce = [0; 16];
        for word in nonce.as_chunks_mut().0 {
            *word = (this.keys)();
        }
        this.unwritten = 0..request.write(nonce, this.output)?.len();
        this.flush().await?;
        let head = this.read_head().await??;
        let protocol = ClientHandshake::new(nonce, request.protocols).read(head)?;
        Ok((this, protocol))
    }
}

impl<R, W, O, K> WebSocket<'_, R, W, O, K> {
    /// How far the closing handshake is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.ends.phase()
    }

    /// Gives the reader and the writer back. What had been read ahead is lost.
    #[must_use]
    pub fn into_parts(self) -> (R, W) {
        (self.reader, self.writer)
    }
}

impl<'b, R, W, O, K> WebSocket<'b, R, W, O, K>
where
    R: Read,
    W: Write<Error = R::Error>,
    O: Role,
    K: FnMut() -> O::Key,
{
    fn new<const N: usize>(
        reader: R,
        writer: W,
        memory: &'b mut [u8; N],
        limits: Limits,
        keys: K,
    ) -> Self {
        const { assert!(N >= MEMORY_MIN, "512 bytes are needed") };
        let (input, output) = memory.split_at_mut_checked(N / 2).unwrap_or_default();
        Self {
            reader,
            writer,
            ends: Ends::new(limits, O::PEER_MASKS),
            role: PhantomData,
            keys,
            input,
            undecoded: 0..0,
            output,
            unwritten: 0..0,
            unflushed: false,
            torn: false,
        }
    }

    /// Waits for the next event. `None` says that the closing handshake is done, and the connection
    /// can be dropped.
    ///
    /// After [`Event::Close`] it must be called once more, for the answer to be sent.
    ///
    /// # Errors
    ///
    /// [`Error`]; all but those of the transport come again.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is lost, neither of what came nor of an answer that was being sent.
    pub async fn receive(&mut self) -> Result<Option<Event<'_>>, Error<R::Error>> {
        let (progress, payload) = loop {
            self.answer().await?;
            let undecoded = self.input.get_mut(self.undecoded.clone()).unwrap_or_default();
            let (used, progress) = self.ends.advance(undecoded);
            let start = self.undecoded.start.saturating_add(used);
            let payload = start..start.saturating_add(progress.payload());
            self.undecoded.start = payload.end;
            match progress {
                Progress::Hungry if self.ends.phase() == Phase::Closed => return Ok(None),
                Progress::Hungry => {
                    let read = self.reader.read(self.input).await.map_err(Error::Transport)?;
                    if read == 0 {
                        return Err(Error::Ended);
                    }
                    self.undecoded = 0..read.min(self.input.len());
                }
                Progress::Failed => {
                    // Whether the peer can still be told is not the point.
                    _ = self.answer().await;
                    break (progress, payload);
                }
                _ => break (progress, payload),
            }
        };
        let payload = self.input.get(payload).unwrap_or_default();
        self.ends.incoming.told(progress, payload).map_err(Error::Protocol)
    }

    /// Sends a message as one frame. Text must be UTF-8.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Cancel safety
    ///
    /// None, if the message is larger than half of the memory: everything after it is then
    /// [`Error::Torn`]. A smaller one is sent by the next call, or not at all.
    pub async fn send(&mut self, kind: Kind, payload: &[u8]) -> Result<(), Error<R::Error>> {
        self.answer().await?;
        let key = self.key();
        let outgoing = self.ends.open().map_err(Error::Send)?;
        let head = outgoing.message(kind, payload.len(), key).map_err(Error::Send)?;
        self.send_frame(head.as_bytes(), key, payload).await
    }

    /// Sends the next fragment of a message: the first one, if no message is under way.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Cancel safety
    ///
    /// As [`send`](Self::send).
    pub async fn send_fragment(
        &mut self,
        kind: Kind,
        payload: &[u8],
        fin: Fin,
    ) -> Result<(), Error<R::Error>> {
        self.answer().await?;
        let key = self.key();
        let outgoing = self.ends.open().map_err(Error::Send)?;
        let head = outgoing.fragment(kind, payload.len(), fin, key).map_err(Error::Send)?;
        self.send_frame(head.as_bytes(), key, payload).await
    }

    /// Sends a Ping of at most 125 bytes. Its Pong comes as an event.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Cancel safety
    ///
    /// Safe: the Ping is sent by the next call, or not at all.
    pub async fn ping(&mut self, payload: &[u8]) -> Result<(), Error<R::Error>> {
        self.answer().await?;
        let key = self.key();
        let outgoing = self.ends.open().map_err(Error::Send)?;
        let frame = outgoing.ping(payload, key).map_err(Error::Send)?;
        self.push(frame.as_bytes());
        self.flush().await
    }

    /// Sends a Close. From then on nothing can be sent, but [`receive`](Self::receive) goes on
    /// until the peer's Close has come. How long to wait for that is for the caller to say.
    ///
    /// # Errors
    ///
    /// [`Error`].
    ///
    /// # Cancel safety
    ///
    /// Safe: the Close is sent by the next call, or not at all.
    pub async fn close(&mut self, close: Option<Close<'_>>) -> Result<(), Error<R::Error>> {
        self.whole()?;
        // This is the answer, if one was owed, so that must not be sent first.
        self.flush().await?;
        let key = self.key();
        let frame = self.ends.close(close, key).map_err(Error::Send)?;
        self.push(frame.as_bytes());
        self.flush().await
    }

    /// Reads up to the end of a head, and returns it; what is behind it remains to be decoded.
    async fn read_head(&mut self) -> Result<Result<&[u8], HeadTooLong>, Error<R::Error>> {
        let mut finder = HeadFinder::new(self.input.len());
        let mut filled = 0_usize;
        let head = loop {
            let room = self.input.get_mut(filled..).unwrap_or_default();
            if room.is_empty() {
                return Ok(Err(HeadTooLong));
            }
            let read = self.reader.read(room).await.map_err(Error::Transport)?;
            let piece = room.get(..read).unwrap_or_default();
            if piece.is_empty() {
                return Err(Error::Ended);
            }
            let before = filled;
            filled = filled.saturating_add(read);
            match finder.push(piece) {
                Ok(None) => {}
                Ok(Some(used)) => break before.saturating_add(used),
                Err(error) => return Ok(Err(error)),
            }
        };
        self.undecoded = head..filled;
        Ok(Ok(self.input.get(..head).unwrap_or_default()))
    }

    // --- Writing ---

    /// Sends what is left from before, and what is owed.
    async fn answer(&mut self) -> Result<(), Error<R::Error>> {
        self.whole()?;
        loop {
            self.flush().await?;
            if !self.ends.owes_answer() {
                return Ok(());
            }
            let key = self.key();
            if let Some(frame) = self.ends.answer(key) {
                self.push(frame.as_bytes());
            }
        }
    }

    fn key(&mut self) -> MaskKey {
        (self.keys)().bytes()
    }

    fn whole(&self) -> Result<(), Error<R::Error>> {
        if self.torn { Err(Error::Torn) } else { Ok(()) }
    }

    /// The output is empty.
    async fn send_frame(
        &mut self,
        head: &[u8],
        key: MaskKey,
        payload: &[u8],
    ) -> Result<(), Error<R::Error>> {
        self.torn = true;
        self.push(head);
        let mut mask = key.map(Mask::new);
        let mut rest = payload;
        loop {
            let copied = self.push(rest);
            if let (Some(mask), Some(copy)) = (&mut mask, self.output.get_mut(copied.clone())) {
                mask.apply(copy);
            }
            rest = rest.get(copied.len()..).unwrap_or_default();
            if rest.is_empty() {
                // What is in the output will be written, now or later.
                self.torn = false;
                return self.flush().await;
            }
            self.write_output().await?;
            while mask.is_none() && rest.len() >= self.output.len() {
                let written = self.writer.write(rest).await.map_err(Error::Transport)?;
                rest = rest.get(written..).unwrap_or_default();
                self.unflushed = true;
                if written == 0 {
                    return Err(Error::WriteZero);
                }
            }
        }
    }

    /// Puts into the output what fits, and says where it is then.
    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.unwritten.end;
        let room = self.output.get_mut(start..).unwrap_or_default();
        let fits = room.len().min(bytes.len());
        if let (Some(room), Some(bytes)) = (room.get_mut(..fits), bytes.get(..fits)) {
            room.copy_from_slice(bytes);
        }
        self.unwritten.end = start.saturating_add(fits);
        start..self.unwritten.end
    }

    async fn write_output(&mut self) -> Result<(), Error<R::Error>> {
        while let Some(bytes @ [_, ..]) = self.output.get(self.unwritten.clone()) {
            let written = self.writer.write(bytes).await.map_err(Error::Transport)?;
            if written == 0 {
                return Err(Error::WriteZero);
            }
            self.unwritten.start = self.unwritten.start.saturating_add(written);
            self.unflushed = true;
        }
        self.unwritten = 0..0;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Error<R::Error>> {
        self.write_output().await?;
        if self.unflushed {
            self.writer.flush().await.map_err(Error::Transport)?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Of the handshake.
    async fn write_all(&mut self, pieces: &[&[u8]]) -> Result<(), Error<R::Error>> {
        for piece in pieces {
            let mut rest = *piece;
            while !rest.is_empty() {
                let copied = self.push(rest);
                rest = rest.get(copied.len()..).unwrap_or_default();
                if !rest.is_empty() {
                    self.write_output().await?;
                }
            }
        }
        self.flush().await
    }
}
