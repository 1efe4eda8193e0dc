use crate::surroundings::{AnyClock, AnyConnection, opaque, run};
use camwire_capture::{FrameRingMemory, FrameSlot, Policy, ReaderSlot, SourceStatus};
use camwire_frame::Random;
use camwire_server::{Config, Sequential, Server, ViewerSlot};
use core::mem::MaybeUninit;

/// Every route, for every viewer.
pub fn all() {
    static STATUS: SourceStatus = SourceStatus::new("any");
    let mut memory = FrameRingMemory::<2, 64, 2>::new();
    let ring = opaque(&mut memory).ring(opaque(Policy::DropOldest));
    let viewers = [ViewerSlot::new()];
    let random = opaque(Random::new(|| opaque(0)));
    let server = Server::new(&ring, &STATUS, &viewers, AnyClock, random, opaque(Config::default()));
    let _ = opaque(run(server.serve(AnyConnection, Sequential(AnyConnection), opaque(None))));
}

/// One of each, so that the symbol table tells its size.
#[used]
#[unsafe(no_mangle)]
static VIEWER_SLOT: MaybeUninit<ViewerSlot> = MaybeUninit::uninit();
#[used]
#[unsafe(no_mangle)]
static READER_SLOT: MaybeUninit<ReaderSlot> = MaybeUninit::uninit();
#[used]
#[unsafe(no_mangle)]
static SLOT: MaybeUninit<FrameSlot> = MaybeUninit::uninit();
