//! `/stream`: MJPEG for as long as the viewer takes it.

use camwire_frame::Clock;
use embedded_io_async::Read;

use crate::http::response::Connection;
use crate::hub::{Hub, TooManyViewers};
use crate::sender::Disconnect;
use crate::transport::WriteVectored;
use crate::viewer::mjpeg::Mjpeg;
use crate::viewer::options::StreamOptions;
use crate::viewer::slot::Transport;
use crate::viewer::stream::Channel;
use crate::viewer::wire::Wire as _;

pub(crate) async fn stream<'c, R, W, C>(
    hub: &'c Hub<'_, C>,
    connection: &mut Connection<'c, R, W, C>,
    options: StreamOptions,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let Ok(mut viewer) = hub.claim_slot(Transport::MJPEG, &options, connection.peer) else {
        return connection.unavailable(TooManyViewers::REASON).await;
    };
    let mut wire = Mjpeg::new(options, hub.random());
    if !connection.out.with_body {
        return connection.out.begin(wire.content_type().as_str(), &[]).await;
    }
    let Ok(reader) = hub.subscribe(viewer.mode()) else {
        drop(viewer); // Its place is free again before the refusal has been read.
        return connection.unavailable(TooManyViewers::REASON).await;
    };
    let Connection { read, out, .. } = connection;
    out.sender.count(viewer.bytes());
    out.begin(wire.content_type().as_str(), wire.opening()).await?;
    let (sink, wire, memory) = (&mut out.sender, &mut wire, &mut [0; Mjpeg::MEMORY]);
    let mut channel = Channel { hub, read, sink, wire, memory };
    channel.send_frames(&mut viewer, &mut Some(reader), |_| {}).await
}
