//! Random numbers, and random changes of good input.

/// A random number generator that is determined by its seed.
pub struct Noise(u64);

impl Noise {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// `true` with a probability of 1 in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<'a, T: ?Sized>(&mut self, from: &[&'a T]) -> &'a T {
        from[self.below(from.len())]
    }

    /// Often small, now and then large, up to `most`.
    pub fn size(&mut self, most: usize) -> usize {
        let bits = self.below(usize::BITS as usize - most.leading_zeros() as usize + 1);
        (self.next() & ((1_u64 << bits) - 1)) as usize % (most + 1)
    }

    /// Returns text: words of the dictionary, and characters that are difficult for parsers.
    pub fn text(&mut self, dictionary: &[&str]) -> String {
        const ODD: [&str; 20] = [
            "",
            " ",
            "\n",
            "\r\n",
            "\t",
            "\0",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{feff}",
            "\u{fffd}",
            "\u{10ffff}",
            "é",
            "😀",
            "\"",
            "\\",
            "'",
            "-",
            "0",
        ];
        let mut text = String::new();
        for _ in 0..self.size(12) {
            text.push_str(if self.one_in(3) { self.pick(&ODD) } else { self.pick(dictionary) });
        }
        text
    }

    /// A good input with a few changes; nested and repeated ones are among them.
    pub fn changed(&mut self, good: &[&[u8]], dictionary: &[&str]) -> Vec<u8> {
        let mut bytes = self.pick(good).to_vec();
        for _ in 0..self.size(8) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.size(64)).min(bytes.len());
            match self.below(9) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 if at < bytes.len() => bytes[at] = self.next() as u8,
                2 => drop(bytes.drain(at..end)),
                3 => bytes.truncate(at),
                4 => {
                    let again = bytes[at..end].to_vec();
                    bytes.splice(at..at, again);
                }
                5 => {
                    let other = self.pick(good);
                    let from = self.below(other.len() + 1);
                    let to = (from + self.size(256)).min(other.len());
                    bytes.splice(at..end, other[from..to].iter().copied());
                }
                6 => {
                    let word = self.pick(dictionary).as_bytes();
                    let times = if self.one_in(8) { self.size(300) } else { 1 };
                    bytes.splice(at..at, word.repeat(times));
                }
                7 => {
                    let word = self.text(dictionary);
                    bytes.splice(at..end, word.into_bytes());
                }
                _ => {
                    let number = self.number();
                    bytes.splice(at..end, number.into_bytes());
                }
            }
        }
        bytes
    }

    /// A number as text, usually near the end of a range.
    pub fn number(&mut self) -> String {
        const ODD: [&str; 24] = [
            "0",
            "-0",
            "1",
            "-1",
            "1.5",
            "1e3",
            "1E-3",
            "1e999",
            "-1e999",
            "255",
            "65536",
            "4294967296",
            "9007199254740993",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "340282366920938463463374607431768211456",
            "01",
            ".5",
            "1.",
            "1e",
            "NaN",
        ];
        let sign = if self.one_in(5) { "-" } else { "" };
        let number = match self.below(3) {
            0 => self.next().to_string(),
            1 => self.size(1 << 20).to_string(),
            _ => self.pick(&ODD).to_string(),
        };
        format!("{sign}{number}")
    }

    /// `bytes` in pieces of random sizes.
    pub fn pieces<'b>(&mut self, bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let (piece, later) = rest.split_at((1 + self.size(200)).min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        pieces
    }
}
