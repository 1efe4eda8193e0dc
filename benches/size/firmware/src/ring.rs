use crate::surroundings::{AnyCamera, AnyClock, opaque, run};
use camwire_capture::{
    CaptureConfig, Follow, FrameRing, Policy, SourceStatus, StaticFrameRing, capture_loop,
};
use camwire_frame::FrameInfo;
use core::time::Duration;

/// Any policy, and everything that a publisher and readers can do.
pub fn all() {
    static RING: StaticFrameRing<2, 64, 2> = StaticFrameRing::new();
    let Some(ring) = opaque(&RING).take(opaque(Policy::DropOldest)) else { return };
    opaque((ring.slots(), ring.slot_bytes(), ring.readers(), ring.dropped(), ring.policy()));
    publish(ring);
    read(ring);
}

fn publish(ring: &FrameRing<'_>) {
    let Ok(mut publisher) = ring.publisher() else { return };
    if let Ok(mut grant) = publisher.try_grant() {
        opaque(&mut *grant);
        let _ = opaque(publisher.commit(grant, opaque(100), opaque(FrameInfo::default())));
    }
    drop(run(publisher.grant()));
    run(publisher.demand());
    run(publisher.no_demand());
    opaque(publisher.has_demand());
    publisher.skip();
    publisher.clear();
    let [now, grace] = [opaque(0), opaque(0)].map(Duration::from_millis);
    opaque(publisher.revoke_oldest(now, grace));
    publisher.close();
}

fn read(ring: &FrameRing<'_>) {
    let Ok(mut reader) = ring.subscribe(opaque(Follow::Live)) else { return };
    reader.rewind();
    opaque(reader.try_next().is_ok());
    opaque(reader.try_latest().is_ok());
    run(async { opaque(reader.next().await).is_some() });
    run(async { opaque(reader.latest().await).is_some() });
    if let Some(mut lease) = reader.repeat() {
        opaque((lease.first(), lease.info(), lease.sequence(), lease.missed()));
        run(lease.revoked());
    }
}

/// The loop that fills a ring from a camera.
pub fn capture() {
    static STATUS: SourceStatus = SourceStatus::new("any");
    static RING: StaticFrameRing<2, 64, 2> = StaticFrameRing::new();
    let Some(ring) = opaque(&RING).take(opaque(Policy::DropOldest)) else { return };
    let Ok(mut publisher) = ring.publisher() else { return };
    let config = opaque(CaptureConfig::default());
    run(capture_loop(&mut publisher, &mut AnyCamera, &AnyClock, &config, &STATUS));
}
