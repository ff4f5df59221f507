//! Base64 as keys, signatures and stored logins have it: the usual alphabet, with padding.

/// What `text` encodes; nothing if it is not exactly the encoding of some bytes.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let encoded = text.as_bytes();
    if !encoded.len().is_multiple_of(4) {
        return None;
    }
    let padding = encoded.iter().rev().take_while(|&&digit| digit == b'=').count();
    let mut bytes = Vec::with_capacity(encoded.len() / 4 * 3);
    let (mut bits, mut waiting) = (0u32, 0u32);
    for &digit in &encoded[..encoded.len() - padding] {
        bits = bits << 6 | value(digit)?;
        waiting += 6;
        if waiting >= 8 {
            waiting -= 8;
            bytes.push(u8::try_from(bits >> waiting).ok()?);
            bits &= (1 << waiting) - 1;
        }
    }
    // Padding stands for whole missing bytes, and the bits that it leaves over are zero.
    let is_whole = matches!((padding, waiting), (0, 0) | (1, 2) | (2, 4));
    (is_whole && bits == 0).then_some(bytes)
}

fn value(digit: u8) -> Option<u32> {
    let value = match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    };
    Some(u32::from(value))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_vectors_of_rfc_4648_hold() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(decode(text), Some(bytes.as_bytes().to_vec()));
        }
        assert_eq!(decode("+/+/"), Some(vec![0xfb, 0xff, 0xbf]));
    }

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "Zg", "Zg=", "Zg===", "Z===", "====", "=", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "-_-_", "é==",
            "Z=g=",
        ] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_refused(text: String) {
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(text.len(), bytes.len().div_ceil(3) * 4);
            }
        }
    }
}
