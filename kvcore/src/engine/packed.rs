//! A run of pairs as bytes: the form in which the engine in memory gives a part of its state away.
//!
//! ```text
//! 0      format, 1
//! 1..5   CRC-32C of all that follows, little-endian
//! 5..    postcard: a sequence of pairs, each a key and a value, ascending by key
//! ```

use bytes::Bytes;

use crate::types::{Error, Kind, Result};

const FORMAT: u8 = 1;
const HEAD: usize = 5;

/// Pairs as bytes.
pub(super) fn pack(pairs: &[(Bytes, Bytes)]) -> Result<Bytes> {
    let body = pairs.iter().map(|(key, value)| key.len() + value.len() + 8).sum::<usize>();
    let mut packed = Vec::with_capacity(HEAD + body + 8);
    packed.extend_from_slice(&[0; HEAD]);
    packed = postcard::to_extend(pairs, packed)
        .map_err(|error| Error::internal("a run cannot be encoded").because(error))?;
    if let Some((head, body)) = packed.split_first_chunk_mut::<HEAD>() {
        let [a, b, c, d] = crc32c::crc32c(body).to_le_bytes();
        *head = [FORMAT, a, b, c, d];
    }
    Ok(Bytes::from(packed))
}

/// The pairs again, which share the memory of `packed`.
pub(super) fn unpack(packed: &[u8]) -> Result<Vec<(&[u8], &[u8])>> {
    let damaged = |what: &str| Error::new(Kind::Corruption, what);
    let (&[format, a, b, c, d], body) =
        packed.split_first_chunk::<HEAD>().ok_or_else(|| damaged("a run has no head"))?;
    if format != FORMAT {
        return Err(damaged("a run has another format").with("format", format));
    }
    if crc32c::crc32c(body) != u32::from_le_bytes([a, b, c, d]) {
        return Err(damaged("the checksum of a run does not match"));
    }
    let (pairs, rest) = postcard::take_from_bytes(body)
        .map_err(|error| damaged("a run does not parse").because(error))?;
    match rest {
        [] => Ok(pairs),
        _ => Err(damaged("a run goes on behind its end")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs() -> Vec<(Bytes, Bytes)> {
        vec![
            (Bytes::from_static(b""), Bytes::from_static(b"of the empty key")),
            (Bytes::from_static(b"\0\xFF"), Bytes::new()),
            (Bytes::from_static(b"large"), Bytes::from(vec![7; 300])),
        ]
    }

    #[test]
    fn pairs_come_back() {
        for pairs in [pairs(), Vec::new()] {
            let packed = pack(&pairs).unwrap();
            let unpacked = unpack(&packed).unwrap();
            assert_eq!(unpacked, pairs.iter().map(|(k, v)| (&k[..], &v[..])).collect::<Vec<_>>());
        }
    }

    #[test]
    fn any_flipped_bit_and_any_cut_is_found() {
        let packed = pack(&pairs()).unwrap();
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut damaged = packed.to_vec();
                damaged[at] ^= 1 << bit;
                assert_eq!(unpack(&damaged).unwrap_err().kind(), Kind::Corruption);
            }
            assert_eq!(unpack(&packed[..at]).unwrap_err().kind(), Kind::Corruption);
        }
        assert!(unpack(&[&packed[..], &[0]].concat()).is_err());
    }

    #[test]
    fn the_form_is_fixed() {
        let pairs = [(Bytes::from_static(b"k"), Bytes::from_static(b"va"))];
        let packed = pack(&pairs).unwrap();
        assert_eq!(packed[0], 1);
        assert_eq!(packed[1..5], crc32c::crc32c(&packed[5..]).to_le_bytes());
        assert_eq!(packed[5..], [1, 1, b'k', 2, b'v', b'a']);
    }
}
