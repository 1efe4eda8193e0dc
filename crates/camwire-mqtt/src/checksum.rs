/// The checksum of a picture in the framed layout: CRC-32 as in Ethernet, zip and PNG
/// (CRC-32/ISO-HDLC; that of `123456789` is CBF43926).
///
/// It finds damage and pictures that were put together wrongly, not forgery.
#[must_use]
pub fn checksum(picture: &[u8]) -> u32 {
    #[cfg(target_pointer_width = "64")]
    return crc32fast::hash(picture);
    #[cfg(not(target_pointer_width = "64"))]
    return SMALL.checksum(picture);
}

/// With one table of 1 KiB.
#[cfg(any(test, not(target_pointer_width = "64")))]
static SMALL: crc::Crc<u32, crc::Table<1>> =
    crc::Crc::<u32, crc::Table<1>>::new(&crc::CRC_32_ISO_HDLC);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_catalogue_s_example() {
        assert_eq!(checksum(b"123456789"), 0xCBF4_3926);
        assert_eq!(checksum(b""), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn small_chips_have_the_same(bytes: std::vec::Vec<u8>) {
            prop_assert_eq!(SMALL.checksum(&bytes), checksum(&bytes));
        }
    }
}
