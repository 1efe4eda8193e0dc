//! `/ws`: a message for each frame, for as long as the viewer takes them.

use core::fmt::Write as _;
use core::num::NonZeroU8;

use camwire_capture::FrameReader;
use camwire_frame::Clock;
use camwire_websocket::{Acceptance, Refusal, Server};
use embedded_io_async::Read;

use crate::http::response::Connection;
use crate::hub::{Hub, TooManyViewers};
use crate::sender::Disconnect;
use crate::transport::WriteVectored;
use crate::viewer::options::{Mode, StreamOptions};
use crate::viewer::slot::{Transport, Viewer};
use crate::viewer::stream::Channel;
use crate::viewer::v1::{Credits, SendWindow};
use crate::viewer::websocket::WebSocket;
use crate::viewer::wire::Wire as _;

pub(crate) async fn websocket<'c, R, W, C>(
    hub: &'c Hub<'_, C>,
    connection: &mut Connection<'c, R, W, C>,
    options: StreamOptions,
    acceptance: &Acceptance<'_>,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let Ok(mut viewer) = hub.claim_slot(Transport::WEBSOCKET, &options, connection.peer) else {
        return connection.unavailable(TooManyViewers::REASON).await;
    };
    let mut reader = hub.subscribe(viewer.mode()).ok();
    if reader.is_none() {
        drop(viewer); // Its place is free again before the refusal has been read.
        return connection.unavailable(TooManyViewers::REASON).await;
    }
    let (watched, credit) = (&mut viewer, options.credit);
    let ended = watch(hub, connection, watched, &mut reader, credit, acceptance).await;
    // The place and the demand end with the stream, not with the connection.
    drop((viewer, reader));
    if matches!(ended, Err(Disconnect::Protocol)) {
        connection.drain().await; // Or it might not get the Close.
    }
    ended
}

// A function of its own, so that its future takes the place of those of the refusals.
async fn watch<'c, 's, R, W, C>(
    hub: &'c Hub<'s, C>,
    connection: &mut Connection<'c, R, W, C>,
    viewer: &mut Viewer<'s>,
    reader: &mut Option<FrameReader<'s>>,
    credit: Option<NonZeroU8>,
    acceptance: &Acceptance<'_>,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let Connection { read, out, .. } = connection;
    out.sender.count(viewer.bytes());
    out.sender.send(&mut acceptance.response()).await?;
    out.sender.flush().await?;
    // A viewer of all frames may hold the camera back. Others may take their time.
    let must_acknowledge = viewer.mode() == Mode::All;
    let (now, config) = (hub.clock().now(), hub.config());
    let v1 = acceptance.protocol().map(|_| SendWindow::new(Credits::Requested(credit)));
    let wire = &mut WebSocket::<Server>::new((), now, config, must_acknowledge, v1);
    let (sink, memory) = (&mut out.sender, &mut [0; WebSocket::<Server>::MEMORY]);
    let mut channel = Channel { hub, read, sink, wire, memory };
    channel.send_frames(viewer, reader, |_| {}).await
}

/// The answer to a client whose handshake is refused.
pub(crate) async fn refuse<R, W, C>(
    connection: &mut Connection<'_, R, W, C>,
    refusal: Refusal,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let mut reason = heapless::String::<64>::new();
    let _ = write!(reason, "{refusal}");
    connection.refuse(refusal.status_text(), refusal.fields(), &reason).await
}
