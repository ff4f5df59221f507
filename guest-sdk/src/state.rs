//! What a strategy remembers: bytes that the host hands from one answer to the next question.

/// The memory of a strategy.
///
/// Every decision runs in a fresh instance, so this is the only memory there is. State that does not decode
/// (another format, a first decision) is the default state; a strategy never fails because of it.
pub trait State: Default {
    /// The state as bytes; the host refuses more than 16 KiB.
    fn encode(&self) -> Vec<u8>;
    /// The state from bytes that some version of this strategy encoded.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// No memory.
impl State for () {
    fn encode(&self) -> Vec<u8> {
        Vec::new()
    }

    fn decode(_: &[u8]) -> Option<Self> {
        Some(())
    }
}

/// Memory in a format of the author's own.
impl State for Vec<u8> {
    fn encode(&self) -> Vec<u8> {
        self.clone()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(bytes.to_vec())
    }
}

/// A fixed row of numbers, little endian: enough for averages and marks.
impl<const N: usize> State for [u64; N]
where
    [u64; N]: Default,
{
    fn encode(&self) -> Vec<u8> {
        self.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (numbers, []) = bytes.as_chunks::<8>() else { return None };
        let mut row = [0; N];
        if numbers.len() != N {
            return None;
        }
        for (slot, number) in row.iter_mut().zip(numbers) {
            *slot = u64::from_le_bytes(*number);
        }
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_numbers_comes_back() {
        let row = [1, u64::MAX, 3];
        assert_eq!(<[u64; 3]>::decode(&row.encode()), Some(row));
    }

    #[test]
    fn state_of_another_shape_is_no_state() {
        assert_eq!(<[u64; 3]>::decode(&[1, 2].encode()), None);
        assert_eq!(<[u64; 1]>::decode(&[1, 2, 3]), None);
    }
}
