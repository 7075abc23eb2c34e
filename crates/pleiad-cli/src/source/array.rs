use std::str::FromStr;

/// Ranges of numbers: `1-100`, `0-30:10`, or several with commas between.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Array(Vec<Range>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Range {
    first: u64,
    last: u64,
    step: u64,
}

/// Why a text is not an array.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ArrayError {
    #[error("expected numbers such as 1-100, 0-90:10 or 3,7,20-29")]
    Form,
    #[error("{first}-{last} is empty: the first number must not be above the last")]
    Backwards { first: u64, last: u64 },
    #[error("a step of 0 never ends: give a step of at least 1")]
    ZeroStep,
}

impl Array {
    /// How many numbers there are.
    pub(crate) fn total(&self) -> u64 {
        let count = |r: &Range| ((r.last - r.first) / r.step).saturating_add(1);
        self.0.iter().map(count).fold(0, u64::saturating_add)
    }

    /// The numbers, range after range.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + Send + use<> {
        self.0.clone().into_iter().flat_map(|range| {
            let step = move |n: &u64| n.checked_add(range.step).filter(|&n| n <= range.last);
            std::iter::successors(Some(range.first), step)
        })
    }
}

impl FromStr for Array {
    type Err = ArrayError;

    fn from_str(text: &str) -> Result<Self, ArrayError> {
        text.split(',').map(Range::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl Range {
    fn parse(text: &str) -> Result<Self, ArrayError> {
        let (span, step) = text.split_once(':').unwrap_or((text, "1"));
        let (first, last) = span.split_once('-').unwrap_or((span, span));
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        match () {
            () if step == 0 => Err(ArrayError::ZeroStep),
            () if first > last => Err(ArrayError::Backwards { first, last }),
            () => Ok(Self { first, last, step }),
        }
    }
}

fn number(text: &str) -> Result<u64, ArrayError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits).ok_or(ArrayError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_steps_and_lists_give_their_numbers() {
        for (text, numbers) in [
            ("1-4", &[1, 2, 3, 4][..]),
            ("0-10:5", &[0, 5, 10]),
            ("1-10:4", &[1, 5, 9]),
            ("7", &[7]),
            ("3,7,20-21", &[3, 7, 20, 21]),
        ] {
            let array: Array = text.parse().unwrap();
            assert_eq!(array.numbers().collect::<Vec<_>>(), numbers, "{text}");
            assert_eq!(array.total(), numbers.len() as u64, "{text}");
        }
        let all: Array = format!("0-{}", u64::MAX).parse().unwrap();
        assert_eq!(all.total(), u64::MAX);
        let end: Array = format!("{}-{}", u64::MAX - 1, u64::MAX).parse().unwrap();
        assert_eq!(end.numbers().count(), 2);
    }

    #[test]
    fn what_gives_no_numbers_is_an_error_with_its_reason() {
        for text in ["", "a", "1-", "-5", "1-2-3", "1:2:3", "1,,2", "+1-3", "1.5-2", "1 - 3"] {
            assert_eq!(text.parse::<Array>(), Err(ArrayError::Form), "{text}");
        }
        assert_eq!("5-1".parse::<Array>(), Err(ArrayError::Backwards { first: 5, last: 1 }));
        assert_eq!("1-10:0".parse::<Array>(), Err(ArrayError::ZeroStep));
    }
}
