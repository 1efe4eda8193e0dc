//! `/capture`: one frame that was captured after the request.

use camwire_capture::{Follow, FrameLease};
use camwire_frame::{Clock, Instant};
use embassy_futures::select::{Either, select};
use embedded_io_async::Read;

use crate::http::response::{Answer, Connection, ResponseWriter};
use crate::hub::{Hub, TooManyViewers};
use crate::sender::{Disconnect, closed};
use crate::transport::WriteVectored;

/// `requested_at` is when the request was complete.
pub(crate) async fn capture<R, W, C>(
    hub: &Hub<'_, C>,
    connection: &mut Connection<'_, R, W, C>,
    requested_at: Instant,
) -> Result<(), Disconnect<W::Error>>
where
    R: Read,
    W: WriteVectored,
    C: Clock,
{
    let Ok(mut reader) = hub.ring().subscribe(Follow::Live) else {
        return connection.unavailable(TooManyViewers::REASON).await;
    };
    let clock = hub.clock();
    let until = clock.now() + hub.config().capture_timeout;
    loop {
        let deadline = select(closed(&mut connection.read), clock.sleep_until(until));
        let lease = match select(reader.latest(), deadline).await {
            Either::First(Some(lease)) if lease.info().captured_at < requested_at => continue,
            Either::First(Some(lease)) => lease,
            Either::Second(Either::First(())) => return Err(Disconnect::Closed),
            Either::First(None) | Either::Second(Either::Second(())) => break,
        };
        return send(hub, &mut connection.out, lease).await;
    }
    drop(reader); // Its demand ends here, not with the connection.
    connection.unavailable("no frame came").await
}

async fn send<W: WriteVectored, C: Clock>(
    hub: &Hub<'_, C>,
    out: &mut ResponseWriter<'_, W, C>,
    mut lease: FrameLease<'_, '_>,
) -> Result<(), Disconnect<W::Error>> {
    let timestamp = Instant::from_micros(hub.timestamp_us(lease.info().captured_at));
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
    let (frame, mut revocation) = lease.split();
    let body = if out.with_body { frame } else { &[] };
    let by = out.sender.frame_deadline();
    out.sender.send_by(&mut [head.as_bytes(), body], by, Some(&mut revocation)).await?;
    drop(lease);
    out.sender.flush().await
}
