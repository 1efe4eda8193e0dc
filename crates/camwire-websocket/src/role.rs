/// Which end of a connection this is: [`Server`] or [`Client`].
///
/// What a client sends is masked, what a server sends is not (RFC 6455, section 5.1). So frames of a
/// client need a key, and those of a server cannot have one.
pub trait Role: sealed::Sealed {
    /// What a frame is masked with: four bytes for a client, nothing for a server.
    ///
    /// A client needs a new key for each frame, from a source that nobody can predict
    /// (section 5.3).
    type Key: Copy + sealed::Key;
}

/// The end that was connected to. Its key is `()`.
#[derive(Clone, Copy, Debug)]
pub enum Server {}

/// The end that has connected. Its key is four random bytes.
#[derive(Clone, Copy, Debug)]
pub enum Client {}

impl Role for Server {
    type Key = ();
}

impl Role for Client {
    type Key = [u8; 4];
}

pub(crate) mod sealed {
    use super::{Client, Server};

    #[expect(unnameable_types, reason = "no other crate implements it")]
    pub trait Sealed: Copy + core::fmt::Debug {
        /// Whether the peer of this role masks its frames.
        const PEER_MASKS: bool;
    }

    impl Sealed for Server {
        const PEER_MASKS: bool = true;
    }

    impl Sealed for Client {
        const PEER_MASKS: bool = false;
    }

    #[expect(unnameable_types, reason = "no other crate implements it")]
    pub trait Key {
        fn bytes(self) -> Option<[u8; 4]>;
    }

    impl Key for () {
        fn bytes(self) -> Option<[u8; 4]> {
            None
        }
    }

    impl Key for [u8; 4] {
        fn bytes(self) -> Option<[u8; 4]> {
            Some(self)
        }
    }
}
