//! Frames of a streamed answer: length, checksum, message.
//! <https://github.com/prometheus/prometheus/blob/main/storage/remote/chunked.go>

use prost::Message;
use prost::encoding::encode_varint;

/// Appends `message` as a frame: its length as a varint, the CRC-32C of its bytes as four (the highest first), its bytes.
pub fn framed(message: &impl Message, into: &mut Vec<u8>) {
    let bytes = message.encode_to_vec();
    encode_varint(bytes.len() as u64, into);
    into.extend_from_slice(&crc32c(&bytes).to_be_bytes());
    into.extend_from_slice(&bytes);
}

/// Castagnoli's polynomial, its bits in reverse (RFC 3720, appendix B.4).
const POLYNOMIAL: u32 = 0x82f6_3b78;

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut n = 0;
    while n < 256 {
        let mut crc = n as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[n] = crc;
        n += 1;
    }
    table
};

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)];
    !bytes.iter().fold(!0, step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        let ascending: Vec<u8> = (0..32).collect();
        for (bytes, sum) in [
            (&[0; 32][..], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
            (&ascending, 0x46dd_794e),
            (b"123456789", 0xe306_9283),
        ] {
            assert_eq!(crc32c(bytes), sum);
        }
    }

    #[test]
    fn a_frame_is_length_checksum_and_message() {
        let message = crate::read::ChunkedReadResponse { query_index: 300, ..Default::default() };
        let mut out = vec![7];
        framed(&message, &mut out);
        let bytes = [0x10, 0xac, 0x02];
        assert_eq!(out, [&[7, 3][..], &crc32c(&bytes).to_be_bytes(), &bytes].concat());
    }
}
